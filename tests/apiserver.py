"""A real server on a real socket for the tests of the API, and plain ways to talk to it."""

import asyncio
import contextlib
import json
import os
import socket
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode

from tests.doubles import DoubleEngine
from websockets.asyncio.client import ClientConnection, unix_connect
from websockets.typing import Subprotocol

from yurt.api.server import ApiServer

PROTOCOL = Subprotocol("v5.channel.k8s.io")


@dataclass
class Answer:
    """One HTTP answer."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def error(self) -> dict[str, str]:
        document: dict[str, dict[str, str]] = json.loads(self.body)
        assert set(document) == {"error"}
        assert set(document["error"]) == {"code", "message", "hint"}
        return document["error"]


@dataclass
class Served:
    """A server, the engine behind it, and a client."""

    engine: DoubleEngine
    server: ApiServer
    path: Path

    async def raw(self, data: bytes, *, end: bool = True, uid: int | None = None) -> bytes:
        """Send bytes on a connection of their own and return everything that comes back until it closes.

        The server may answer and hang up before it has taken everything, as HTTP allows. `end`: close our side after
        sending. `uid`: connect as this user.
        """
        loop = asyncio.get_running_loop()
        with socket.socket(socket.AF_UNIX) as client:
            client.setblocking(False)
            if uid is not None:
                os.seteuid(uid)
            try:
                client.connect(str(self.path))
            finally:
                if uid is not None:
                    os.seteuid(0)
            sending = asyncio.ensure_future(_send(client, data, end=end))
            received = bytearray()
            with contextlib.suppress(ConnectionError):
                while part := await loop.sock_recv(client, 65536):
                    received += part
            sending.cancel()
            await asyncio.gather(sending, return_exceptions=True)
            return bytes(received)

    async def call(
        self, method: str, target: str, body: object = None, *, raw: bytes | None = None
    ) -> Answer:
        """One request; `body` goes as JSON, `raw` as it is."""
        content = raw if raw is not None else b"" if body is None else json.dumps(body).encode()
        head = f"{method} {target} HTTP/1.1\r\nHost: yurt\r\nConnection: close\r\nContent-Length: {len(content)}\r\n\r\n"
        return parse(await self.raw(head.encode() + content, end=False))

    def socket(
        self, target: str, *, protocol: Subprotocol | None = PROTOCOL
    ) -> contextlib.AbstractAsyncContextManager[ClientConnection]:
        """Open a WebSocket."""
        return unix_connect(
            str(self.path),
            f"ws://yurt{target}",
            subprotocols=[protocol] if protocol else None,
            compression=None,
            ping_interval=None,
        )

    def exec(
        self, name: str, *command: str, **query: str
    ) -> contextlib.AbstractAsyncContextManager[ClientConnection]:
        """Run a program over a WebSocket."""
        pairs = [("command", word) for word in command] + list(query.items())
        return self.socket(f"/v1/instances/{name}/exec?{urlencode(pairs, quote_via=quote)}")


async def _send(client: socket.socket, data: bytes, *, end: bool) -> None:
    with contextlib.suppress(ConnectionError, OSError):
        await asyncio.get_running_loop().sock_sendall(client, data)
        if end:
            client.shutdown(socket.SHUT_WR)


def parse(received: bytes) -> Answer:
    """Take an HTTP answer apart."""
    head, _, body = received.partition(b"\r\n\r\n")
    first, *lines = head.decode("latin-1").split("\r\n")
    assert first.startswith("HTTP/1.1 "), received[:200]
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    if headers.get("transfer-encoding") == "chunked":
        body = dechunk(body)
    return Answer(int(first.split(" ")[1]), headers, body)


def dechunk(data: bytes) -> bytes:
    """Join the chunks of a body. Raises EOFError when the last one is missing."""
    whole = b""
    while True:
        size, found, data = data.partition(b"\r\n")
        if not found:
            raise EOFError(whole)
        if int(size, 16) == 0:
            return whole
        whole, data = whole + data[: int(size, 16)], data[int(size, 16) + 2 :]


@contextlib.asynccontextmanager
async def served(engine: DoubleEngine | None = None, **options: Any) -> AsyncIterator[Served]:
    """Serve a double, with one running instance `web`, for the length of a block."""
    if engine is None:
        engine = DoubleEngine()
        engine.add("web")
    with tempfile.TemporaryDirectory(prefix="yt-api-", dir="/tmp") as directory:
        path = Path(directory) / "yurt.sock"
        server = ApiServer(engine, path, **options)
        await server.start()
        try:
            yield Served(engine, server, path)
        finally:
            await server.stop(grace_s=0.2)


def against(test: Callable[[Served], Awaitable[None]], **options: Any) -> None:
    """Run a test against a fresh server; at most a minute."""

    async def run() -> None:
        async with asyncio.timeout(60), served(**options) as api:
            await test(api)

    asyncio.run(run())
