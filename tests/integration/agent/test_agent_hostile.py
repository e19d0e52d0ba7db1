"""A guest that lies, floods or falls silent, and a host that sends nonsense: neither takes the other down."""

import asyncio
import contextlib
import random
import socket
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from yurt.drivers.agent import wire
from yurt.drivers.agent.client import AgentClient
from yurt.drivers.agent.streams import WINDOW, AgentGone
from yurt.drivers.agent.wire import FrameType, GuestMisbehaved
from yurt.errors import Unavailable, Unsupported
from yurt.model.process import ExecRequest

Agent = Callable[..., None]
DEADLINE_S = 60
Guest = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


def frame(type: int, stream: int, payload: bytes = b"") -> bytes:
    head = wire.HEADER.pack(wire.MAGIC, type, 0, len(payload), stream)
    return head + payload + bytes([wire.END_MARK])


def hello(nonce: bytes, protocol: int = 1) -> bytes:
    return frame(FrameType.HELLO, 0, nonce + protocol.to_bytes(2, "little") + bytes(10) + b"fake")


async def read_sync(reader: asyncio.StreamReader) -> bytes:
    """Return the nonce of the host's SYNC."""
    mark = wire.HEADER.pack(wire.MAGIC, FrameType.SYNC, 0, wire.NONCE_SIZE, 0)
    await reader.readuntil(mark)
    nonce = await reader.readexactly(wire.NONCE_SIZE)
    await reader.readexactly(1)
    return nonce


async def read_open(reader: asyncio.StreamReader) -> int:
    """Return the id of the stream that the host opens next."""
    while True:
        head = await reader.readexactly(wire.HEADER_SIZE)
        _, type, _, length, stream = wire.HEADER.unpack(head)
        await reader.readexactly(length + 1)
        if type == FrameType.OPEN:
            return int(stream)


@contextlib.asynccontextmanager
async def fake_guest(serve: Guest) -> AsyncIterator[AgentClient]:
    async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError, EOFError, asyncio.CancelledError):
            await serve(reader, writer)
        writer.transport.abort()

    with tempfile.TemporaryDirectory(prefix="yurt-agent-") as directory:
        path = Path(directory) / "agent.sock"
        server = await asyncio.start_unix_server(accept, path, limit=1 << 20)
        async with asyncio.timeout(DEADLINE_S), server:
            client = await AgentClient.connect(path)
            try:
                yield client
            finally:
                await client.close()


def guest_that_answers_exec_with(*answers: Callable[[int], bytes]) -> Guest:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(hello(await read_sync(reader)))
        stream = await read_open(reader)
        writer.write(b"".join(answer(stream) for answer in answers))
        await writer.drain()
        await reader.read(-1)

    return serve


def opened(stream: int) -> bytes:
    return frame(FrameType.OPENED, stream, bytes([1, 0, 0, 0, 0, 1, 0, 0]))


def data(stream: int, size: int, channel: int = 1) -> bytes:
    return frame(FrameType.DATA, stream, bytes([channel]) + bytes(size))


LIES: dict[str, tuple[Callable[[int], bytes], ...]] = {
    "unknown type": (lambda s: frame(77, s),),
    "host's own type": (lambda s: frame(FrameType.OPEN, s),),
    "stream never opened": (lambda s: frame(FrameType.OPENED, s + 1, bytes(8)),),
    "stream zero": (lambda s: data(0, 5),),
    "output before its beginning": (lambda s: data(s, 5),),
    "output on the input": (opened, lambda s: data(s, 5, 0)),
    "output on channel 3": (opened, lambda s: data(s, 5, 3)),
    "no output": (opened, lambda s: data(s, 0)),
    "output after its end": (opened, lambda s: frame(FrameType.END, s, b"\1"), lambda s: data(s, 5)),
    "opened twice": (opened, opened),
    "flood": (opened, lambda s: data(s, 16_000) * (WINDOW // 16_000 + 1)),
    "too long": (opened, lambda s: wire.HEADER.pack(wire.MAGIC, FrameType.DATA, 0, 1 << 31, s)),
    "garbage": (opened, lambda s: b"\xff" * 100),
    "credit for output": (opened, lambda s: frame(FrameType.CREDIT, s, b"\1\1\0\0\0")),
    "short exit": (opened, lambda s: frame(FrameType.EXIT, s, b"\1")),
    "huge exit": (opened, lambda s: frame(FrameType.EXIT, s, b"\1\1\0\0")),
    "long error": (lambda s: frame(FrameType.ERROR, s, bytes(5000)),),
    "malformed hello": (lambda s: frame(FrameType.HELLO, 0, b"x"),),
}


@pytest.mark.parametrize("lie", LIES)
def test_a_lie_ends_the_connection_and_nothing_else(lie: str) -> None:
    async def main() -> None:
        async with fake_guest(guest_that_answers_exec_with(*LIES[lie])) as client:
            with contextlib.suppress(GuestMisbehaved):
                await client.exec(ExecRequest(argv=("x",)))
            await client.closed
            with pytest.raises(GuestMisbehaved):
                await client.exec(ExecRequest(argv=("x",)))

    asyncio.run(main())


def test_what_was_received_before_a_lie_can_be_read() -> None:
    async def main() -> None:
        guest = guest_that_answers_exec_with(opened, lambda s: data(s, 5), lambda s: frame(77, s))
        async with fake_guest(guest) as client:
            session = await client.exec(ExecRequest(argv=("x",)))
            await client.closed
            assert await session.read() == (1, bytes(5))
            with pytest.raises(GuestMisbehaved):
                await session.read()
            with pytest.raises(GuestMisbehaved):
                await session.wait()

    asyncio.run(main())


def test_a_late_frame_for_a_closed_stream_is_no_lie() -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(hello(await read_sync(reader)))
        first = await read_open(reader)
        writer.write(opened(first))
        second = await read_open(reader)
        writer.write(data(first, 100) + frame(FrameType.EXIT, first, bytes(4)) + opened(second))
        await reader.read(-1)

    async def main() -> None:
        async with fake_guest(serve) as client:
            session = await client.exec(ExecRequest(argv=("x",)))
            await session.close()
            await client.exec(ExecRequest(argv=("y",)))
            assert not client.closed.done()

    asyncio.run(main())


def test_garbage_up_and_old_frames_before_the_hello() -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_sync(reader)  # the one that was lost
        up = frame(FrameType.UP, 0, wire.UP_MARK)
        writer.write(data(5, 1000)[:500] + bytes(wire.MAX_TO_HOST) + hello(bytes(16)) + up)
        nonce = await read_sync(reader)
        writer.write(hello(nonce) + hello(nonce))
        await reader.read(-1)

    async def main() -> None:
        async with fake_guest(serve) as client:
            info = await client.wait_ready()
            assert (info.version, info.mode) == ("fake", "socket")

    asyncio.run(main())


def test_an_agent_that_starts_anew_ends_the_connection() -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(hello(await read_sync(reader)))
        writer.write(bytes(wire.MAX_TO_HOST) + frame(FrameType.UP, 0, wire.UP_MARK))
        await reader.read(-1)

    async def main() -> None:
        async with fake_guest(serve) as client:
            await client.wait_ready()
            await client.closed
            with pytest.raises(AgentGone, match="anew"):
                await client.ping()

    asyncio.run(main())


def test_another_protocol_is_named() -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(hello(await read_sync(reader), protocol=9))
        await reader.read(-1)

    async def main() -> None:
        async with fake_guest(serve) as client:
            with pytest.raises(Unsupported, match="protocol 9"):
                await client.wait_ready()

    asyncio.run(main())


def test_a_guest_that_hangs_up() -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_sync(reader)

    async def main() -> None:
        async with fake_guest(serve) as client:
            with pytest.raises(Unavailable):
                await client.wait_ready()

    asyncio.run(main())


def test_a_guest_that_never_reads_costs_bounded_memory_and_close_returns() -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(hello(await read_sync(reader)))
        stream = await read_open(reader)
        writer.write(
            frame(FrameType.OPENED, stream, bytes([1, 0, 0, 0, 255, 255, 255, 255]))
        )  # endless credit
        await asyncio.sleep(DEADLINE_S)  # and then it does not read

    async def main() -> None:
        async with fake_guest(serve) as client:
            session = await client.exec(ExecRequest(argv=("x",), stdin=True))
            writing = asyncio.create_task(session.write(bytes(64 << 20)))
            await asyncio.wait([writing], timeout=0.3)
            assert not writing.done()
            assert client._writer.transport.get_write_buffer_size() < 1 << 20
            writing.cancel()

    asyncio.run(main())


def test_the_agent_survives_a_host_that_sends_nonsense(agent: Agent) -> None:
    rng = random.Random(7)
    sync = wire.encode(FrameType.SYNC, 0, bytes(16))

    def nonsense() -> bytes:
        kind, stream = rng.choice(list(FrameType)), rng.randrange(4)
        return rng.choice(
            [
                rng.randbytes(rng.randrange(200)),
                wire.encode(kind, stream, rng.randbytes(rng.randrange(40))),
                wire.encode(
                    FrameType.OPEN, stream, bytes([rng.randrange(12), rng.randrange(3)]) + rng.randbytes(30)
                ),
                wire.HEADER.pack(wire.MAGIC, kind, 0, rng.randrange(1 << 32), stream),
                wire.encode(FrameType.DATA, stream, bytes(wire.MAX_TO_AGENT)),
                sync,
            ]
        )

    async def test(client: AgentClient, rig: Any) -> None:
        await client.close()
        for _ in range(300):
            with socket.socket(socket.AF_UNIX) as raw, contextlib.suppress(OSError):
                raw.connect(str(rig.socket))
                raw.sendall(sync + b"".join(nonsense() for _ in range(20)))
                raw.shutdown(socket.SHUT_WR)
                while raw.recv(1 << 16):  # until the agent has done with it
                    pass
        again = await AgentClient.connect(rig.socket)
        assert (await again.wait_ready()).pid == rig.process.pid
        session = await again.exec(ExecRequest(argv=("echo", "alive")))
        assert await session.read() == (1, b"alive\n")
        assert await session.wait() == 0
        await again.close()

    agent(test)
