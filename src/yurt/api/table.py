"""One row per operation of the API. Decoding, refusals, routing and the OpenAPI document all come from these rows."""

import asyncio
import re
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Generic, TypeVar
from urllib.parse import parse_qsl

import msgspec
from starlette.websockets import WebSocket

from yurt.api.face import EngineFace
from yurt.errors import Invalid, NotFound, YurtError
from yurt.model.names import NAME_PATTERN, REFERENCE_PATTERN, parse_name, parse_reference, printable

MAX_BODY_BYTES = 1 << 20
BODY_TIMEOUT_S = 30.0
MAX_QUERY_FIELDS = 4096
_OPERATION_ID_PATTERN = r"^[0-9a-f]{8,32}$"
_OPERATION_ID = re.compile(_OPERATION_ID_PATTERN)


class Permission(StrEnum):
    """What a caller must be allowed to do. On the local socket every accepted peer may do all of it."""

    VIEW = "view"
    OPERATE = "operate"


class Nothing(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """No fields at all."""


class Refused(Invalid):
    """A request refused by HTTP itself, with a status of its own: wrong method, too large, too slow."""

    def __init__(
        self, status: int, message: str, *, hint: str = "", headers: dict[str, str] | None = None
    ) -> None:
        super().__init__(message, hint=hint)
        self.http = status
        self.headers = headers or {}


Q = TypeVar("Q", bound=msgspec.Struct)
B = TypeVar("B", bound=msgspec.Struct)
R = TypeVar("R")


@dataclass(slots=True)
class Call(Generic[Q, B]):
    """One decoded request. `receive` gives the raw body messages where the operation streams its body."""

    engine: EngineFace
    path: dict[str, str]
    query: Q
    body: B
    receive: Callable[[], Awaitable[Any]]  # Any: ASGI messages are untyped dictionaries

    async def until_gone(self, work: Awaitable[R]) -> R:
        """Wait for `work`, but no longer than the client does. Raises ClientGone."""
        task, gone = asyncio.ensure_future(work), asyncio.ensure_future(wait_gone(self.receive))
        try:
            await asyncio.wait([task, gone], return_when=asyncio.FIRST_COMPLETED)
            if not task.done():
                raise ClientGone
            return task.result()
        finally:
            for each in (task, gone):
                each.cancel()
            await asyncio.gather(task, gone, return_exceptions=True)


@dataclass(slots=True)
class Session(Generic[Q]):
    """One WebSocket before it is accepted: what is raised until then becomes an HTTP error."""

    engine: EngineFace
    path: dict[str, str]
    query: Q
    socket: WebSocket


class ClientGone(Exception):
    """The client hung up while it waited."""


async def wait_gone(receive: Callable[[], Awaitable[Any]]) -> None:
    """Return when the client has hung up. The body must have been read."""
    while (await receive())["type"] != "http.disconnect":
        pass


async def streamed_body(receive: Callable[[], Awaitable[Any]]) -> AsyncIterator[bytes]:
    """A request's body as it comes. Raises ClientGone when it ends too early."""
    more = True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ClientGone
        if body := message.get("body", b""):
            yield body
        more = message.get("more_body", False)


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer with a status other than 200."""

    value: object
    status: int = 200


@dataclass(frozen=True, slots=True)
class ByteStream:
    """An answer that is sent as it comes. `first` was read ahead, so that early errors still are errors."""

    chunks: AsyncIterator[bytes]
    media: str
    first: bytes = b""


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One operation. Exactly one of `handler` (HTTP) and `stream` (WebSocket) is set."""

    name: str
    method: str
    path: str
    summary: str
    permission: Permission
    query: type[msgspec.Struct] = Nothing
    body: type[msgspec.Struct] | None = None
    body_media: str = "application/json"
    response: Any = None  # Any: what msgspec takes as a type, such as list[Usage]
    media: str = "application/json"
    statuses: tuple[int, ...] = (200,)
    handler: Callable[[Call[Any, Any]], Awaitable[object]] | None = None
    stream: Callable[[Session[Any]], Awaitable[None]] | None = None
    subprotocols: tuple[str, ...] = ()
    notes: str = ""
    lists: frozenset[str] = field(default=frozenset(), repr=False)

    @property
    def parameters(self) -> list[str]:
        """Names of the parameters in the path."""
        return re.findall(r"\{(\w+)\}", self.path)


def operation(
    method: str,
    path: str,
    summary: str,
    *,
    permission: Permission = Permission.OPERATE,
    query: type[Q] = Nothing,  # type: ignore[assignment]  # a default for a type variable
    body: type[B] = Nothing,  # type: ignore[assignment]
    body_media: str = "application/json",
    response: Any = None,
    media: str = "application/json",
    statuses: tuple[int, ...] = (200,),
    notes: str = "",
) -> Callable[[Callable[[Call[Q, B]], Awaitable[object]]], Endpoint]:
    """Turn a handler into the row for an HTTP operation; its name becomes the operation's id."""

    def make(handler: Callable[[Call[Q, B]], Awaitable[object]]) -> Endpoint:
        takes_body = method in ("POST", "PUT") and body_media == "application/json"
        return Endpoint(
            name=handler.__name__,
            method=method,
            path=path,
            summary=summary,
            permission=permission,
            query=query,
            body=body if takes_body else None,
            body_media=body_media,
            response=response,
            media=media,
            statuses=statuses,
            handler=handler,
            notes=notes,
            lists=_lists(query),
        )

    return make


def websocket(
    path: str,
    summary: str,
    *,
    permission: Permission = Permission.OPERATE,
    query: type[Q] = Nothing,  # type: ignore[assignment]
    subprotocols: tuple[str, ...] = (),
    notes: str = "",
) -> Callable[[Callable[[Session[Q]], Awaitable[None]]], Endpoint]:
    """Turn a handler into the row for a WebSocket."""

    def make(handler: Callable[[Session[Q]], Awaitable[None]]) -> Endpoint:
        return Endpoint(
            name=handler.__name__,
            method="GET",
            path=path,
            summary=summary,
            permission=permission,
            query=query,
            statuses=(101,),
            stream=handler,
            subprotocols=subprotocols,
            notes=notes,
            lists=_lists(query),
        )

    return make


def _lists(query: type[msgspec.Struct]) -> frozenset[str]:
    info = msgspec.inspect.type_info(query)
    assert isinstance(info, msgspec.inspect.StructType)
    kinds = (msgspec.inspect.VarTupleType, msgspec.inspect.ListType)
    return frozenset(each.encode_name for each in info.fields if isinstance(each.type, kinds))


# Parameters in paths: the pattern for the document, the parser for the door.


def _parse_operation_id(text: str) -> str:
    if not _OPERATION_ID.fullmatch(text):
        raise NotFound(kind="operation", name=printable(text), hint="see `yurt operation ls`")
    return text


PATH_PARAMETERS: dict[str, tuple[str, Callable[[str], str]]] = {
    "name": (NAME_PATTERN, parse_name),
    "reference": (REFERENCE_PATTERN, parse_reference),
    "id": (_OPERATION_ID_PATTERN, _parse_operation_id),
}


# Decoding


def decode_query(endpoint: Endpoint, raw: bytes) -> msgspec.Struct:
    """Turn a query string into the operation's query type. Refuses unknown and repeated names. Raises Invalid."""
    try:
        pairs = parse_qsl(
            raw.decode("ascii"),
            keep_blank_values=True,
            strict_parsing=bool(raw),
            errors="surrogateescape",  # arguments and paths in a guest may be any bytes
            max_num_fields=MAX_QUERY_FIELDS,
        )
        fields: dict[str, object] = {}
        many: dict[str, list[str]] = {name: [] for name in endpoint.lists}
        for name, value in pairs:
            if name in many:
                many[name].append(value)
            elif name in fields:
                raise Invalid(f"the parameter `{printable(name)}` is given twice")
            else:
                fields[name] = value
        fields.update((name, tuple(values)) for name, values in many.items() if values)
        return msgspec.convert(fields, endpoint.query, strict=False)
    except msgspec.ValidationError as error:
        raise Invalid(f"wrong query: {_explain(error)}", hint="see GET /v1/openapi.json") from error
    except ValueError as error:
        raise Invalid(f"wrong query: {printable(str(error), 200)}") from error


def decode_body(body_type: type[msgspec.Struct], raw: bytes) -> msgspec.Struct:
    """Turn a JSON body into the operation's body type; no body at all means an empty object. Raises Invalid."""
    try:
        return msgspec.json.decode(raw or b"{}", type=body_type)
    except msgspec.ValidationError as error:
        raise Invalid(f"wrong body: {_explain(error)}", hint="see GET /v1/openapi.json") from error
    except (msgspec.DecodeError, UnicodeError, RecursionError) as error:
        raise Invalid(f"the body is not JSON: {printable(str(error), 200)}") from error


def _explain(error: msgspec.ValidationError) -> str:
    return printable(str(error), 300)


async def read_body(receive: Callable[[], Awaitable[Any]], headers: list[tuple[bytes, bytes]]) -> bytes:
    """Read a whole JSON body. Raises Refused (413 too large, 408 too slow) and ClientGone."""
    too_large = Refused(
        413, f"the body is larger than {MAX_BODY_BYTES} bytes", headers={"Connection": "close"}
    )
    for name, value in headers:
        if name == b"content-length" and int(value) > MAX_BODY_BYTES:  # h11 let only digits through
            raise too_large
    body = bytearray()
    try:
        async with asyncio.timeout(BODY_TIMEOUT_S):
            while True:
                message = await receive()
                if message["type"] == "http.disconnect":
                    raise ClientGone
                body += message.get("body", b"")
                if len(body) > MAX_BODY_BYTES:
                    raise too_large
                if not message.get("more_body", False):
                    return bytes(body)
    except TimeoutError as error:
        raise Refused(
            408, f"the body did not come within {BODY_TIMEOUT_S:g} s", headers={"Connection": "close"}
        ) from error


# Routing


class Routes:
    """Finds the operation for a method and a path. A fixed word wins over a parameter where both would do."""

    def __init__(self, endpoints: list[Endpoint]) -> None:
        self.endpoints = endpoints
        self._root = _Node()
        for endpoint in endpoints:
            node = self._root
            for part in endpoint.path.strip("/").split("/"):
                node = node.children.setdefault("{}" if part.startswith("{") else part, _Node())
            assert endpoint.method not in node.methods, (
                f"two operations for {endpoint.method} {endpoint.path}"
            )
            node.methods[endpoint.method] = endpoint

    def find(self, method: str, path: str) -> tuple[Endpoint, dict[str, str]]:
        """Return the operation and its checked path parameters. Raises NotFound, Invalid, Refused (405)."""
        found: list[tuple[_Node, tuple[str, ...]]] = [(self._root, ())]
        for part in path.removeprefix("/").split("/"):
            found = [
                (child, values if key == part else (*values, part))
                for node, values in found
                for key in (part, "{}")
                if part and (child := node.children.get(key)) is not None
            ]
        ends = [(node, values) for node, values in found if node.methods]
        if not ends:
            raise NotFound(f"no path `{printable(path)}`", hint="see GET /v1/openapi.json")
        for node, values in ends:
            if endpoint := node.methods.get(method):
                named = zip(endpoint.parameters, values, strict=True)
                return endpoint, {name: PATH_PARAMETERS[name][1](value) for name, value in named}
        allowed = ", ".join(sorted({name for node, _ in ends for name in node.methods}))
        raise Refused(405, f"{printable(method)} is not a method of this path", headers={"Allow": allowed})


class _Node:
    __slots__ = ("children", "methods")

    def __init__(self) -> None:
        self.children: dict[str, _Node] = {}
        self.methods: dict[str, Endpoint] = {}


def error_headers(error: YurtError) -> dict[str, str]:
    """Extra headers that an error asks for."""
    return error.headers if isinstance(error, Refused) else {}
