"""Connections into a guest through its agent: both directions, each with an end of its own."""

import asyncio
import hashlib
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from yurt.drivers.agent.client import AgentClient, ExecSession
from yurt.errors import ToolFailed, Unavailable

Agent = Callable[..., None]
Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@asynccontextmanager
async def listener(serve: Serve, host: str = "127.0.0.1") -> AsyncIterator[int]:
    """The port of a server for as long as the block lasts; then its connections end, too."""
    serving: set[asyncio.Task[None]] = set()

    async def guarded(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        serving.add(task)
        try:
            await serve(reader, writer)
        except ConnectionError:
            pass
        finally:
            writer.transport.abort()
            serving.discard(task)

    server = await asyncio.start_server(guarded, host, 0)
    async with server:
        yield server.sockets[0].getsockname()[1]
    for task in (left := list(serving)):
        task.cancel()
    if left:
        await asyncio.wait(left)


async def everything(session: ExecSession) -> bytes:
    data = bytearray()
    while (item := await session.read()) is not None:
        assert item[0] == 1
        data += item[1]
    return bytes(data)


async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Sends back what comes; ends when its input ends."""
    while data := await reader.read(1 << 16):
        writer.write(data)
        await writer.drain()
    writer.write_eof()


async def hash_it(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Answers only when the input has ended."""
    writer.write(hashlib.sha256(await reader.read()).hexdigest().encode())
    await writer.drain()
    writer.write_eof()


def test_each_direction_ends_on_its_own(agent: Agent) -> None:
    async def test(client: AgentClient, rig: Any) -> None:
        sent = secrets.token_bytes(3 << 20)
        async with listener(hash_it) as port:
            session = await client.connect_port(port)
            await session.write(sent)
            await session.close_stdin()
            assert await everything(session) == hashlib.sha256(sent).hexdigest().encode()
            assert await session.wait() == 0
            await session.close()

        async def speaks_first(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writer.write(b"hello")
            writer.write_eof()
            heard.set_result(await reader.read())

        heard: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
        async with listener(speaks_first) as port:
            session = await client.connect_port(port)
            assert await everything(session) == b"hello", "the end is told while this side may still speak"
            await session.write(b"and goodbye")
            await session.close_stdin()
            assert await heard == b"and goodbye"
            assert await session.wait() == 0
            await session.close()

    agent(test)


def test_ipv6_loopback_and_other_addresses(agent: Agent) -> None:
    async def test(client: AgentClient, rig: Any) -> None:
        for host, address in (("::1", ""), ("::1", "::1"), ("127.0.0.2", "127.0.0.2")):
            async with listener(echo, host) as port:
                session = await client.connect_port(port, address)
                await session.write(b"x")
                assert await session.read() == (1, b"x")
                await session.close()

    agent(test)


def test_what_cannot_be_connected_says_so(agent: Agent) -> None:
    async def test(client: AgentClient, rig: Any) -> None:
        async with listener(echo) as port:
            pass
        session = await client.connect_port(port)
        with pytest.raises(
            Unavailable, match=f"cannot connect to port {port} in the guest: Connection refused"
        ):
            await session.read()
        for number, address in ((0, ""), (80, "localhost"), (1 << 17, "")):
            session = await client.connect_port(number, address)
            with pytest.raises(ToolFailed, match="Invalid argument"):
                await session.read()

    agent(test)


def test_many_at_once_hold_up_nobody(agent: Agent) -> None:
    async def test(client: AgentClient, rig: Any) -> None:
        async def stuck(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await asyncio.get_running_loop().create_future()

        async def talk(port: int, number: int) -> None:
            session = await client.connect_port(port)
            sent = bytes([number]) * 200_000
            writing = asyncio.create_task(write(session, sent))
            assert await everything(session) == sent
            await writing
            await session.close()

        async def write(session: ExecSession, data: bytes) -> None:
            await session.write(data)
            await session.close_stdin()

        async with listener(stuck) as deaf, listener(echo) as port:
            blocked = await client.connect_port(deaf)
            pushing = asyncio.create_task(blocked.write(bytes(32 << 20)))
            await asyncio.gather(*(talk(port, number) for number in range(50)))
            assert not pushing.done(), "nobody reads it, so it cannot all have gone"
            await blocked.close()
            await asyncio.gather(pushing, return_exceptions=True)
        deadline = asyncio.get_running_loop().time() + 10
        children = Path(f"/proc/{rig.process.pid}/task/{rig.process.pid}/children")
        while children.read_text().split():
            assert asyncio.get_running_loop().time() < deadline, "relays are left over"
            await asyncio.sleep(0.02)

    agent(test)
