"""Everything that takes an archive, behind one call: `take(world, tar)` unpacks or raises a YurtError."""

import asyncio
import os
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
from tests.abuse import tars
from tests.abuse.archive_cases import Archive
from tests.abuse.oracles import World
from tests.integration.agent.conftest import Rig

from yurt.beneath import DIRECTORY
from yurt.client.archive import unpack
from yurt.drivers.agent.archive import TarWriter
from yurt.drivers.agent.client import AgentClient
from yurt.images.outside import worker
from yurt.images.outside.extract import Quotas, unpack_stream

QUOTAS = Quotas(tree_bytes=256 << 20, members=20_000, seconds=20)


class Chunks:
    """A tar as a stream that gives what it has."""

    def __init__(self, data: bytes) -> None:
        self._data, self._at = data, 0

    def read(self, size: int = -1, /) -> bytes:
        part = self._data[self._at : self._at + size] if size >= 0 else self._data[self._at :]
        self._at += len(part)
        return part


def rootfs(world: World, data: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    """As a root file system: unpacked, then looked over."""
    _extract(world.target, data, layer=False)
    monkeypatch.setattr(worker, "TREE", str(world.target))
    worker.look_over({})


def layer(world: World, data: bytes) -> None:
    """As a layer over what a lower layer has prepared."""
    _extract(world.target, data, layer=True)


def _extract(target: Path, data: bytes, *, layer: bool) -> None:
    root = os.open(target, DIRECTORY)
    try:
        unpack_stream(Chunks(data), root, QUOTAS, packed_bytes=len(data), layer=layer)
    finally:
        os.close(root)


def copy_out(world: World, data: bytes) -> None:
    """What the client writes on the user's machine, when even the daemon lies."""
    directory = os.open(world.target, DIRECTORY)
    try:
        unpack(iter([data[at : at + 3000] for at in range(0, len(data), 3000)]), directory, "top")
    finally:
        os.close(directory)


def guest(world: World, case: Archive) -> None:
    """A guest's agent lies to the daemon; what passes there goes on to the client."""
    assert case.members is not None
    stream = b"".join(tars.agent_entry(member) for member in case.members(world)) + tars.AGENT_END
    writer = TarWriter()
    copy_out(world, b"".join(writer.feed(stream[at : at + 1000]) for at in range(0, len(stream), 1000)))


class Agent:
    """One real agent of this host, for all cases that copy into a guest."""

    def __init__(self, program: Path, place: Path) -> None:
        self._loop = asyncio.new_event_loop()
        self._rig = Rig(program, place)
        self._client = self._loop.run_until_complete(self._connect())

    async def _connect(self) -> AgentClient:
        client = await AgentClient.connect(self._rig.socket)
        await client.wait_ready()
        return client

    @property
    def pid(self) -> int:
        return self._rig.process.pid

    def put(self, world: World, data: bytes) -> None:
        """Copy into the guest: the daemon's reader, then the agent's own."""

        async def chunks() -> AsyncIterator[bytes]:
            for at in range(0, len(data), 3000):
                yield data[at : at + 3000]

        self._loop.run_until_complete(self._client.put_archive(str(world.target), chunks()))

    def close(self) -> None:
        self._loop.run_until_complete(self._client.close())
        self._loop.close()
        self._rig.close()


Take = Callable[[World, bytes], None]
