"""Volumes: storage that outlives instances."""

from typing import Annotated

import msgspec
from msgspec import Meta

from yurt.api.table import Call, Nothing, Permission, operation, streamed_body
from yurt.api.views import Seconds, WaitQuery
from yurt.api.waiting import answer
from yurt.model.names import NAME_PATTERN
from yurt.model.operation import Operation
from yurt.model.volume import ImportFormat, VolumeBytes, VolumeInfo, VolumeSpec

MUTATES = (200, 202)


class DeleteVolumeQuery(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`dry_run`: only say whether it could be deleted, and what that would free."""

    dry_run: bool = False
    wait_s: Seconds = 0.0


class ImportQuery(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The format of the image in the body."""

    format: ImportFormat
    wait_s: Seconds = 0.0


class ResizeBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The new size; volumes only grow."""

    size_bytes: VolumeBytes


class AttachBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The instance; `path`: where its agent mounts the volume (empty: a bare disk, for machines only)."""

    instance: Annotated[str, Meta(pattern=NAME_PATTERN)]
    path: Annotated[str, Meta(max_length=4095)] = ""
    read_only: bool = False


@operation("GET", "/v1/volumes", "List volumes", permission=Permission.VIEW, response=list[VolumeInfo])
async def list_volumes(call: Call[Nothing, Nothing]) -> object:
    """All volumes."""
    return await call.engine.volumes()


@operation(
    "POST",
    "/v1/volumes",
    "Create a volume",
    query=WaitQuery,
    body=VolumeSpec,
    response=Operation,
    statuses=MUTATES,
)
async def create_volume(call: Call[WaitQuery, VolumeSpec]) -> object:
    """Make an empty volume."""
    return await answer(call, await call.engine.create_volume(call.body), call.query.wait_s)


@operation(
    "GET",
    "/v1/volumes/{name}",
    "Describe a volume",
    permission=Permission.VIEW,
    response=VolumeInfo,
)
async def get_volume(call: Call[Nothing, Nothing]) -> object:
    """One volume."""
    return await call.engine.volume(call.path["name"])


@operation(
    "DELETE",
    "/v1/volumes/{name}",
    "Delete a volume",
    query=DeleteVolumeQuery,
    response=Operation,
    statuses=MUTATES,
    notes="Refused with `wrong_state` while an instance has it.",
)
async def delete_volume(call: Call[DeleteVolumeQuery, Nothing]) -> object:
    """Delete a volume and what is in it."""
    begun = await call.engine.delete_volume(call.path["name"], dry_run=call.query.dry_run)
    return await answer(call, begun, call.query.wait_s)


@operation(
    "PUT",
    "/v1/volumes/{name}/content",
    "Import a disk image",
    query=ImportQuery,
    body_media="application/octet-stream",
    response=Operation,
    statuses=MUTATES,
    notes="Makes a block volume of this name; its size is that of the image's disk. The body is the image. The operation "
    "begins when all of it has come; hanging up before undoes everything.",
)
async def import_volume(call: Call[ImportQuery, Nothing]) -> object:
    """Make a volume of a disk image."""
    body = streamed_body(call.receive)
    begun = await call.engine.import_volume(call.path["name"], call.query.format, body)
    return await answer(call, begun, call.query.wait_s)


@operation(
    "POST",
    "/v1/volumes/{name}/resize",
    "Let a volume grow",
    query=WaitQuery,
    body=ResizeBody,
    response=Operation,
    statuses=MUTATES,
    notes="The result's `pending`, where there is one, says what waits for the next start.",
)
async def resize_volume(call: Call[WaitQuery, ResizeBody]) -> object:
    """Let a volume grow."""
    begun = await call.engine.resize_volume(call.path["name"], call.body.size_bytes)
    return await answer(call, begun, call.query.wait_s)


@operation(
    "POST",
    "/v1/volumes/{name}/attach",
    "Attach a volume",
    query=WaitQuery,
    body=AttachBody,
    response=Operation,
    statuses=MUTATES,
    notes="Refused with `wrong_state` while another instance has it. The result's `pending` says what waits for a start.",
)
async def attach_volume(call: Call[WaitQuery, AttachBody]) -> object:
    """Give a volume to an instance."""
    body = call.body
    begun = await call.engine.attach_volume(
        call.path["name"], body.instance, path=body.path, read_only=body.read_only
    )
    return await answer(call, begun, call.query.wait_s)


@operation(
    "POST",
    "/v1/volumes/{name}/detach",
    "Detach a volume",
    query=WaitQuery,
    response=Operation,
    statuses=MUTATES,
)
async def detach_volume(call: Call[WaitQuery, Nothing]) -> object:
    """Take a volume from the instance that has it."""
    return await answer(call, await call.engine.detach_volume(call.path["name"]), call.query.wait_s)


ENDPOINTS = (
    list_volumes,
    create_volume,
    get_volume,
    delete_volume,
    import_volume,
    resize_volume,
    attach_volume,
    detach_volume,
)
