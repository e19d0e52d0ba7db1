"""uvicorn's two protocol classes with what a local socket needs: who the peer is, and our own refusals.

On a Unix socket the kernel vouches for the peer's uid and pid; they stand in the ASGI scope's `client`.
"""

import asyncio
import socket
import struct
from typing import Any

import msgspec
import websockets.http11
from uvicorn.config import Config
from uvicorn.protocols.http.h11_impl import H11Protocol
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from uvicorn.server import ServerState
from websockets.exceptions import InvalidState
from websockets.http11 import Request

from yurt.api.hangup import EXTENSION
from yurt.errors import Denied, Invalid, YurtError, to_document

MAX_HEAD_BYTES = (
    512 << 10
)  # a command to run travels in the request line: let it be as long as the kernel's own words
MAX_UPGRADE_HEADERS = 100

# The command to run is part of the request line, which websockets limits to 8 KiB. h11 has read the same line within
# our limit before, so this one must not be the smaller. Documented as the setting WEBSOCKETS_MAX_LINE_LENGTH.
websockets.http11.MAX_LINE_LENGTH = MAX_HEAD_BYTES


def peer_of(transport: asyncio.BaseTransport) -> tuple[int, int]:
    """Return uid and pid of the process at the other end, as they were when it connected."""
    connection = transport.get_extra_info("socket")
    raw = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
    pid, uid, _ = struct.unpack("3i", raw)
    return uid & 0xFFFFFFFF, pid


class HttpProtocol(H11Protocol):
    """One HTTP connection. Peers with other uids than `allowed` get 403 and nothing else."""

    def __init__(self, config: Config, server_state: ServerState, *, allowed: frozenset[int]) -> None:
        super().__init__(config, server_state, {})
        self._allowed = allowed

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        uid, pid = peer_of(transport)
        self.client = (f"uid:{uid}", pid)
        if uid not in self._allowed:
            self.logger.warning("refused process %s of uid %s", pid, uid)
            self._refuse(403, Denied("this socket is for another user", hint="use sudo, or your own yurt"))

    def send_400_response(self, msg: str) -> None:
        self._refuse(400, Invalid(msg, hint="see GET /v1/openapi.json"))

    def handle_websocket_upgrade(self, event: Any) -> None:  # Any: an h11.Request
        if len(event.headers) > MAX_UPGRADE_HEADERS:
            self._refuse(400, Invalid(f"more than {MAX_UPGRADE_HEADERS} headers"))
        else:
            super().handle_websocket_upgrade(event)

    def _refuse(self, status: int, error: YurtError) -> None:
        """Answer without the application and hang up. In the middle of another answer, only hang up."""
        if self.cycle is None or self.cycle.response_complete or not self.cycle.response_started:
            body = msgspec.json.encode({"error": to_document(error)})
            head = f"HTTP/1.1 {status} \r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n"
            self.transport.write(head.encode() + b"Connection: close\r\n\r\n" + body)
        self.transport.close()


class WebSocketProtocol(WebSocketsSansIOProtocol):
    """One WebSocket connection."""

    def __init__(self, config: Config, server_state: ServerState, app_state: dict[str, Any]) -> None:
        super().__init__(config, server_state, app_state)
        self._application: Any = self.app  # Any: uvicorn spells the ASGI types as TypedDicts
        self.app = self._run

    async def _run(self, scope: Any, receive: Any, send: Any) -> None:
        await self._application(scope, receive, send)
        if self.initial_response is not None:
            self.handshake_complete = (
                True  # by a refusal; else uvicorn logs each one as a fault of the application
            )

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        uid, pid = peer_of(transport)
        self.client = (f"uid:{uid}", pid)

    def handle_connect(self, event: Request) -> None:
        super().handle_connect(event)
        scope: Any = getattr(self, "scope", None)  # Any: an ASGI scope; absent when the upgrade was refused
        if scope is not None:
            scope["extensions"][EXTENSION] = {"transport": self.transport}

    def shutdown(self) -> None:
        """Say goodbye as the server stops. A client may be leaving at this very moment, which uvicorn does not expect."""
        try:
            super().shutdown()
        except InvalidState:
            self.transport.close()
