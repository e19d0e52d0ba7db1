"""User namespaces for containers: one per id range, made before the runtime starts and joined by it.

Made here and not by the runtime because the root file system's idmapped mount needs it first, and because its
*owner* matters: it belongs to the instance's unprivileged user, so that the network helper, which runs as that
user without any capability, may enter this container's namespaces and no others.
"""

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator
from pathlib import Path

from yurt.errors import Timeout, ToolFailed
from yurt.host import proc
from yurt.host.confine import confined
from yurt.host.ids import map_lines

_HOLD = "echo made && read _"  # after unshare(2): say so, then wait for the end of standard input
DEADLINE_S = 20.0


class UserNamespaces:
    """Keeps the descriptors of namespaces made so far; an id range is used again by the next instance of its slot."""

    def __init__(self, keep: int = 64) -> None:
        self._keep = keep
        self._made: dict[tuple[int, int, int, int], int] = {}

    @contextlib.asynccontextmanager
    async def open(self, base: int, count: int, uid: int, gid: int) -> AsyncIterator[int]:
        """Give a descriptor of the namespace that maps 0 to `base`, owned by `uid`; valid inside the block."""
        key = (base, count, uid, gid)
        descriptor = self._made.pop(key, -1)
        if descriptor < 0:
            descriptor = await make_userns(base, count, uid, gid)
        try:
            yield descriptor
        finally:
            stale = self._made.pop(key, -1)
            if stale >= 0:  # two starts of one range at once; one descriptor is enough
                os.close(stale)
            self._made[key] = descriptor
            while len(self._made) > self._keep:
                os.close(self._made.pop(next(iter(self._made))))

    def close(self) -> None:
        """Let go of all namespaces. Safe to repeat."""
        while self._made:
            os.close(self._made.popitem()[1])


async def make_userns(base: int, count: int, uid: int, gid: int) -> int:
    """Make a user namespace that maps 0 to `base` and return a descriptor of it. Raises ToolFailed."""
    maps = (map_lines(base, count, Path(f"/proc/self/{name}").read_text()) for name in ("uid_map", "gid_map"))
    uids, gids = maps
    return await make_mapped(uids, gids, uid, gid)


async def make_mapped(uids: str, gids: str, uid: int, gid: int) -> int:
    """Make a user namespace with these maps. Raises ToolFailed where the host forbids user namespaces."""
    hold_read, hold_write = os.pipe2(os.O_CLOEXEC)
    said_read, said_write = os.pipe2(os.O_CLOEXEC)
    argv = tuple(confined(("unshare", "--user", "--", "sh", "-c", _HOLD), uid, gid))
    try:
        helper = proc.spawn(argv, stdin=hold_read, stdout=said_write)
        os.close(said_write)
        said_write = -1
        try:
            if await first_word(said_read) != b"made\n":
                raise ToolFailed(
                    "this host does not let us make user namespaces",
                    argv=argv,
                    hint="check the sysctls `user.max_user_namespaces` and `kernel.unprivileged_userns_clone`",
                )
            for name, text in (("uid_map", uids), ("gid_map", gids)):
                Path(f"/proc/{helper.pid}/{name}").write_text(text)
            return os.open(f"/proc/{helper.pid}/ns/user", os.O_RDONLY | os.O_CLOEXEC)
        finally:
            os.close(hold_write)
            hold_write = -1
            await helper.end(grace_s=5)
            helper.close()
    finally:
        for descriptor in (hold_read, hold_write, said_read, said_write):
            if descriptor >= 0:
                os.close(descriptor)


async def first_word(descriptor: int) -> bytes:
    """Read what a helper says first (at most 64 bytes); b"" when it ended without a word."""
    loop = asyncio.get_running_loop()
    readable: asyncio.Future[None] = loop.create_future()
    loop.add_reader(descriptor, proc.resolve, readable)
    try:
        async with asyncio.timeout(DEADLINE_S):
            await readable
    except TimeoutError as error:
        raise Timeout(what="a helper's first word", timeout_s=DEADLINE_S) from error
    finally:
        loop.remove_reader(descriptor)
    return os.read(descriptor, 64)
