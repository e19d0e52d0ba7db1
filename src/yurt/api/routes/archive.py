"""Files in and out of a guest, as tar streams that are never held in memory."""

import contextlib
from typing import Annotated

import msgspec
from msgspec import Meta

from yurt.api.table import ByteStream, Call, Nothing, Permission, operation, streamed_body
from yurt.errors import Invalid
from yurt.model.names import printable
from yurt.model.process import FileStat

TAR = "application/x-tar"
GuestPath = Annotated[str, Meta(min_length=1, max_length=4096)]


class PathQuery(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """An absolute path in the guest."""

    path: GuestPath


class GetArchiveQuery(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """An absolute path in the guest; `follow`: if it is a symbolic link, what it points to is meant."""

    path: GuestPath
    follow: bool = False


def _checked(path: str) -> str:
    if not path.startswith("/") or "\0" in path:
        raise Invalid(f"`{printable(path)}` is not an absolute path", hint="begin the guest's path with `/`")
    return path


@operation(
    "GET",
    "/v1/instances/{name}/archive",
    "Copy out of a guest",
    query=GetArchiveQuery,
    media=TAR,
    notes="A transfer that fails in the middle ends without the last chunk: do not take it for whole.",
)
async def get_archive(call: Call[GetArchiveQuery, Nothing]) -> object:
    """A file or directory as a tar stream."""
    path = _checked(call.query.path)
    agent = await call.engine.agent(call.path["name"])
    chunks = agent.get_archive(path, follow=call.query.follow)
    first = b""
    with contextlib.suppress(StopAsyncIteration):
        first = await call.until_gone(anext(chunks))
    return ByteStream(chunks, TAR, first)


@operation(
    "PUT",
    "/v1/instances/{name}/archive",
    "Copy into a guest",
    query=PathQuery,
    body_media=TAR,
    response=Nothing,
    notes="`path` is a directory that exists; the tar stream is unpacked below it and cannot lead outside.",
)
async def put_archive(call: Call[PathQuery, Nothing]) -> object:
    """Unpack a tar stream below a directory."""
    path = _checked(call.query.path)
    agent = await call.engine.agent(call.path["name"])
    await agent.put_archive(path, streamed_body(call.receive))
    return Nothing()


@operation(
    "GET",
    "/v1/instances/{name}/stat",
    "Describe a file in a guest",
    permission=Permission.VIEW,
    query=PathQuery,
    response=FileStat,
)
async def get_stat(call: Call[PathQuery, Nothing]) -> object:
    """One file; a symbolic link is not followed."""
    agent = await call.engine.agent(call.path["name"])
    return await call.until_gone(agent.stat(_checked(call.query.path)))


ENDPOINTS = (get_archive, put_archive, get_stat)
