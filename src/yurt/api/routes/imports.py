"""Images made of what a client sends: the archive is the request's body, never a path that the daemon would open."""

from yurt.api.table import Call, Nothing, operation, streamed_body
from yurt.api.views import WaitQuery
from yurt.api.waiting import answer
from yurt.model.operation import Operation

ARCHIVE = "application/octet-stream"


@operation(
    "PUT",
    "/v1/images/{reference}/archive",
    "Import an image",
    query=WaitQuery,
    body_media=ARCHIVE,
    response=Operation,
    statuses=(200, 202),
    notes="The body is a tar archive (plain, gzip, xz or zstd): a root file system, an OCI archive, or what `docker save` "
    "writes. The operation begins when all of it has come; hanging up before undoes everything.",
)
async def import_image(call: Call[WaitQuery, Nothing]) -> object:
    """Make an image of an archive."""
    begun = await call.engine.imports.image(call.path["reference"], streamed_body(call.receive))
    return await answer(call, begun, call.query.wait_s)


ENDPOINTS = (import_image,)
