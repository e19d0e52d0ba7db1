"""The ASGI application: finds the operation, decodes, calls, encodes. Every failure becomes the one error document."""

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, MutableMapping
from typing import Any

import msgspec
from starlette.responses import Response
from starlette.websockets import WebSocket, WebSocketDisconnect

from yurt.api import table
from yurt.api.face import EngineFace
from yurt.api.framing import close_reason
from yurt.api.routes import ENDPOINTS
from yurt.api.table import (
    ByteStream,
    Call,
    ClientGone,
    Endpoint,
    Nothing,
    Permission,
    Refused,
    Reply,
    Routes,
    Session,
)
from yurt.errors import Internal, Invalid, YurtError, to_document

log = logging.getLogger("yurt.api")
Scope = MutableMapping[str, Any]  # Any: ASGI messages are untyped dictionaries
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
_JSON = (b"content-type", b"application/json")
_TWO_LENGTHS = {
    b"content-length",
    b"transfer-encoding",
}  # together: how requests are smuggled, RFC 9112 section 11.2
_encode = msgspec.json.Encoder().encode


def error_body(error: YurtError) -> bytes:
    """The error document."""
    return _encode({"error": to_document(error)})


class Api:
    """The application. It keeps no state between requests."""

    def __init__(self, engine: EngineFace) -> None:
        self._engine = engine
        self._routes = Routes(list(ENDPOINTS))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            await self._http(scope, receive, send)
        elif scope["type"] == "websocket":
            await self._websocket(scope, receive, send)

    # plain HTTP

    async def _http(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            answer = await self._answer(scope, receive)
        except ClientGone:
            return
        except Exception as error:
            known = self._known(error, scope)
            await _send(send, known.http, error_body(known), table.error_headers(known))
            return
        if isinstance(answer, ByteStream):
            await _send_stream(answer, receive, send)
        elif isinstance(answer, Reply):
            await _send(send, answer.status, _encode(answer.value))
        else:
            await _send(send, 200, _encode(answer))

    async def _answer(self, scope: Scope, receive: Receive) -> object:
        if {name for name, _ in scope["headers"]} >= _TWO_LENGTHS:
            raise Refused(400, "the body has two lengths", headers={"Connection": "close"})
        endpoint, path = self._routes.find(scope["method"], scope["path"])
        if endpoint.handler is None:
            raise Refused(426, "this path is a WebSocket", headers={"Upgrade": "websocket"})
        query = table.decode_query(endpoint, scope["query_string"])
        body: msgspec.Struct = Nothing()
        if endpoint.body is not None:
            body = table.decode_body(endpoint.body, await table.read_body(receive, scope["headers"]))
        if endpoint.permission is not Permission.VIEW:
            _audit(endpoint, path, scope)
        return await endpoint.handler(Call(self._engine, path, query, body, receive))

    def _known(self, error: Exception, scope: Scope) -> YurtError:
        if isinstance(error, YurtError):
            if error.http >= 500:
                log.warning("%s %s: %s", scope.get("method", "WS"), scope["path"], error)
            return error
        log.error("%s %s failed", scope.get("method", "WS"), scope["path"], exc_info=error)
        return Internal(f"{type(error).__name__}: {error}", hint="this is a bug in yurt: please report it")

    # WebSockets

    async def _websocket(self, scope: Scope, receive: Receive, send: Send) -> None:
        accepted = False

        async def noting_send(message: MutableMapping[str, Any]) -> None:
            nonlocal accepted
            accepted = accepted or message["type"] == "websocket.accept"
            await send(message)

        socket = WebSocket(scope, receive, noting_send)
        try:
            endpoint, path = self._routes.find("GET", scope["path"])
            if endpoint.stream is None:
                raise Invalid("this path is not a WebSocket", hint="see GET /v1/openapi.json")
            query = table.decode_query(endpoint, scope["query_string"])
            if endpoint.permission is not Permission.VIEW:
                _audit(endpoint, path, scope)
            await endpoint.stream(Session(self._engine, path, query, socket))
        except WebSocketDisconnect:
            return
        except Exception as error:
            known = self._known(error, scope)
            with contextlib.suppress(
                WebSocketDisconnect, RuntimeError, OSError
            ):  # the client may be gone already
                if accepted:
                    await socket.close(1011, close_reason(f"{known.code}: {known.message}"))
                else:
                    await socket.receive()  # the connect message
                    await socket.send_denial_response(
                        Response(
                            error_body(known),
                            known.http,
                            table.error_headers(known),
                            media_type="application/json",
                        )
                    )


def _audit(endpoint: Endpoint, path: dict[str, str], scope: Scope) -> None:
    uid, pid = scope.get("client") or ("?", 0)
    log.info("%s %s by %s (process %s)", endpoint.name, " ".join(path.values()), uid, pid)


async def _send(send: Send, status: int, body: bytes, headers: dict[str, str] | None = None) -> None:
    raw = [_JSON, (b"content-length", str(len(body)).encode())]
    raw += [(name.lower().encode(), value.encode()) for name, value in (headers or {}).items()]
    await send({"type": "http.response.start", "status": status, "headers": raw})
    await send({"type": "http.response.body", "body": body})


async def _send_stream(stream: ByteStream, receive: Receive, send: Send) -> None:
    """Send as the client takes it; a failure in the middle cuts the connection, so that no client takes it for the end."""
    media = stream.media.encode()
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", media)]})
    pump = asyncio.ensure_future(_pump(stream, send))
    gone = asyncio.ensure_future(table.wait_gone(receive))
    try:
        await asyncio.wait([pump, gone], return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in (pump, gone):
            task.cancel()
        ended, _ = await asyncio.gather(pump, gone, return_exceptions=True)
        await _aclose(stream.chunks)
    if isinstance(ended, YurtError):
        log.warning("a stream was cut off: %s", ended)
    elif isinstance(ended, Exception):
        log.error("a stream was cut off", exc_info=ended)
    elif ended is None:
        await send({"type": "http.response.body", "body": b""})


async def _pump(stream: ByteStream, send: Send) -> None:
    body = stream.first
    while True:
        await send({"type": "http.response.body", "body": body, "more_body": True})
        try:
            body = await anext(stream.chunks)
        except StopAsyncIteration:
            return


async def _aclose(chunks: AsyncIterator[bytes]) -> None:
    close = getattr(chunks, "aclose", None)
    if close is not None:
        await close()
