"""Serves the API on a Unix socket: binds it, checks who connects, stops in order. No timer runs while nothing happens.

uvicorn gives the protocol classes; its own server loop wakes ten times a second, so this one takes its place.
"""

import asyncio
import contextlib
import os
import secrets
import socket
from pathlib import Path
from typing import Any, cast

from uvicorn.config import Config
from uvicorn.server import ServerState

from yurt.api.app import Api
from yurt.api.face import EngineFace
from yurt.api.protocol import MAX_HEAD_BYTES, HttpProtocol, WebSocketProtocol
from yurt.errors import Invalid

MAX_SOCKET_PATH = 107  # bytes, of sockaddr_un less the final NUL
MAX_MESSAGE_BYTES = 1 << 20
KEEP_ALIVE_S = 60
BACKLOG = 512


def bind_socket(path: Path) -> socket.socket:
    """Return a listening socket with mode 0600 at `path`, in place of whatever lay there. Raises Invalid.

    The caller must hold the daemon's lock: then what lies there is what an earlier daemon left. The socket never
    has another mode and the path never names a socket that does not listen.
    """
    if len(os.fsencode(path)) + 10 > MAX_SOCKET_PATH:
        raise Invalid(
            f"the socket's path is too long: `{path}`",
            hint=f"choose a directory whose socket path has at most {MAX_SOCKET_PATH - 10} bytes",
        )
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(2)}")
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK)
    try:
        os.fchmod(
            listener.fileno(), 0o600
        )  # Linux gives the bound name the socket's own mode, less the umask
        listener.bind(str(temporary))
        listener.listen(BACKLOG)
        temporary.rename(path)
    except BaseException:
        listener.close()
        temporary.unlink(missing_ok=True)
        raise
    return listener


class ApiServer:
    """The API on one socket. `start` returns when it listens; `stop` ends it."""

    def __init__(self, engine: EngineFace, path: Path, *, allowed: frozenset[int] | None = None) -> None:
        """`allowed`: uids that may connect; by default root and the daemon's own."""
        self.path = path
        self._allowed = frozenset({0, os.geteuid()}) if allowed is None else allowed
        self._config = Config(
            cast(Any, Api(engine)),  # Any: uvicorn spells the ASGI types as TypedDicts
            http=HttpProtocol,
            ws=WebSocketProtocol,
            ws_max_size=MAX_MESSAGE_BYTES,
            ws_ping_interval=None,  # a hang-up on a Unix socket is seen at once
            ws_per_message_deflate=False,
            interface="asgi3",
            lifespan="off",
            log_config=None,
            log_level="warning",
            access_log=False,
            proxy_headers=False,
            server_header=False,
            date_header=False,
            timeout_keep_alive=KEEP_ALIVE_S,
            h11_max_incomplete_event_size=MAX_HEAD_BYTES,
        )
        self._state = ServerState()
        self._server: asyncio.Server | None = None
        self._identity = (0, 0)

    async def start(self) -> None:
        """Bind and listen. Raises Invalid for a path that is too long. The caller holds the daemon's lock."""
        self._config.load()
        listener = bind_socket(self.path)
        found = self.path.stat()
        self._identity = (found.st_dev, found.st_ino)
        loop = asyncio.get_running_loop()
        self._server = await loop.create_unix_server(
            lambda: HttpProtocol(self._config, self._state, allowed=self._allowed),
            sock=listener,
            backlog=BACKLOG,
        )

    async def stop(self, *, grace_s: float = 3.0) -> None:
        """Take no more requests, let the running ones end for `grace_s`, then cut them off. Safe to repeat."""
        if self._server is None:
            return
        server, self._server = self._server, None
        server.close()
        with contextlib.suppress(FileNotFoundError):
            found = self.path.stat()
            if (found.st_dev, found.st_ino) == self._identity:
                self.path.unlink()
        for connection in list(self._state.connections):
            connection.shutdown()
        if tasks := set(self._state.tasks):
            await asyncio.wait(tasks, timeout=grace_s)
        for task in set(self._state.tasks):
            task.cancel()
        await asyncio.gather(*self._state.tasks, return_exceptions=True)
        for connection in list(self._state.connections):
            if connection.transport is not None:
                connection.transport.abort()
        await asyncio.sleep(0)  # lets the aborted transports close their sockets
