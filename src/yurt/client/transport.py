"""HTTP/1.1 over yurt's unix socket, by hand: what the command line and the SDK both speak.

It is on the command line's hot path, so it imports four light modules of the standard library; starting the daemon,
WebSockets and archives live elsewhere and load when used. What the server sends is bounded and checked: a program
that is not yurtd gives an error, never a crash or a full memory.
"""

import errno
import os

from yurt.client.quick import dumps, loads, socket
from yurt.client.requests import Request, target
from yurt.errors import Denied, Unavailable, YurtError, from_document
from yurt.paths import SOCKET, directories

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from yurt.client.websocket import WebSocket

HEAD_LIMIT = 64 << 10
BODY_LIMIT = 64 << 20
CHUNK = 64 << 10


def socket_path(environ: "dict[str, str] | None" = None) -> str:
    """Where the daemon listens: `YURT_SOCKET`, else in the run directory."""
    env = os.environ if environ is None else environ
    return env.get("YURT_SOCKET") or f"{directories(environ)[1]}/{SOCKET}"


def nonsense(what: str) -> Unavailable:
    """The error for an answer that no yurtd gives."""
    return Unavailable(
        f"the answer on yurt's socket makes no sense: {what}", hint="see who listens there: `ss -xlp`"
    )


class Connection:
    """One connection with its read buffer. Not shared between threads."""

    def __init__(self, sock: socket.socket) -> None:
        self.socket = sock
        self.buffer = b""

    def close(self) -> None:
        """Close it. Safe to repeat."""
        self.socket.close()

    def stale(self) -> bool:
        """Whether the server has closed an idle connection (or talks out of turn)."""
        self.socket.settimeout(
            0
        )  # MSG_DONTWAIT would not do: Python itself waits for a socket with a timeout
        try:
            return self.socket.recv(1, socket.MSG_PEEK) is not None
        except BlockingIOError:
            return False
        except OSError:
            return True

    def fill(self, size: int = CHUNK) -> bool:
        """Read more into the buffer; False at the end. Raises Unavailable when nothing comes in time."""
        try:
            data = self.socket.recv(size)
        except TimeoutError as error:
            raise Unavailable("yurtd does not answer", hint="see its log, or restart it") from error
        except ConnectionError:
            data = b""
        self.buffer += data
        return bool(data)

    def line(self, limit: int = 4096) -> bytes:
        """Read up to the next newline."""
        while b"\n" not in self.buffer:
            if len(self.buffer) > limit:
                raise nonsense("a line without end")
            if not self.fill():
                raise lost()
        line, _, self.buffer = self.buffer.partition(b"\n")
        return line.rstrip(b"\r")

    def head(self) -> "tuple[int, dict[str, str]]":
        """Read a response's status and headers (names in lower case)."""
        while b"\r\n\r\n" not in self.buffer:
            if len(self.buffer) > HEAD_LIMIT:
                raise nonsense("headers without end")
            if not self.fill():
                raise lost()
        raw, _, self.buffer = self.buffer.partition(b"\r\n\r\n")
        return parse_head(raw)


def lost() -> Unavailable:
    """The error for a connection that ends in the middle."""
    return Unavailable(
        "lost the connection to yurtd", hint="it may have been stopped; the next command starts it again"
    )


def parse_head(raw: bytes) -> "tuple[int, dict[str, str]]":
    """Split a response head. Raises Unavailable."""
    first, *lines = raw.decode("latin-1").split("\r\n")
    words = first.split(" ", 2)
    if len(words) < 2 or not words[0].startswith("HTTP/1.") or len(words[1]) != 3 or not words[1].isdecimal():
        raise nonsense("not HTTP")
    headers = {}
    for line in lines:
        name, colon, value = line.partition(":")
        if not colon:
            raise nonsense("a header without a colon")
        headers[name.strip().lower()] = value.strip()
    return int(words[1]), headers


class Response:
    """A response whose body is read piece by piece; the connection is free again when the body has ended."""

    def __init__(self, connection: Connection, status: int, headers: "dict[str, str]") -> None:
        self.status, self.headers = status, headers
        self._connection = connection
        self.ended = False
        self.reusable = headers.get("connection", "").lower() != "close"

    def chunks(self) -> "Iterator[bytes]":
        """Yield the body as it comes. Raises Unavailable when it is cut off."""
        connection = self._connection
        if self.status in (204, 304):
            pass
        elif "chunked" in self.headers.get("transfer-encoding", "").lower():
            yield from self._chunked()
        elif "content-length" in self.headers:
            yield from self._exactly(self._length(self.headers["content-length"], 10))
        else:
            self.reusable = False
            while connection.buffer or connection.fill():
                data, connection.buffer = connection.buffer, b""
                yield data
        self.ended = True

    @staticmethod
    def _length(text: str, base: int) -> int:
        digits = "0123456789abcdef"[:base]
        if not 0 < len(text) <= 16 or text.lower().strip(digits):
            raise nonsense("a length that is no number")
        return int(text, base)

    def _exactly(self, left: int) -> "Iterator[bytes]":
        connection = self._connection
        while left:
            if not connection.buffer and not connection.fill():
                raise lost()
            data, connection.buffer = connection.buffer[:left], connection.buffer[left:]
            left -= len(data)
            yield data

    def _chunked(self) -> "Iterator[bytes]":
        connection = self._connection
        while size := self._length(connection.line().partition(b";")[0].decode("latin-1").strip(), 16):
            yield from self._exactly(size)
            if connection.line():
                raise nonsense("a chunk longer than it said")
        while connection.line():
            pass  # trailers

    def read(self, limit: int = BODY_LIMIT) -> bytes:
        """Read the whole body. Raises Unavailable when it is larger than `limit` bytes."""
        parts, size = [], 0
        for chunk in self.chunks():
            size += len(chunk)
            if size > limit:
                raise nonsense("too large")
            parts.append(chunk)
        return b"".join(parts)

    def close(self) -> None:
        """Drop a body that nobody reads to its end."""
        self._connection.close()


def document(body: bytes) -> object:
    """Parse a JSON body. Raises Unavailable."""
    try:
        return loads(body) if body else None
    except (ValueError, RecursionError) as error:
        raise nonsense("not JSON") from error


def failure(status: int, body: bytes) -> YurtError:
    """The error that a response with status 400 or above carries."""
    try:
        parsed = loads(body)
    except (ValueError, RecursionError):
        parsed = None
    error = parsed.get("error") if isinstance(parsed, dict) else None
    if isinstance(error, dict):
        return from_document(error)
    return nonsense(f"status {status} without a reason")


class Transport:
    """Talks to one daemon and starts it when nobody listens. Keeps one idle connection; not shared between threads.

    `notice` receives a line for people when something takes long (starting the daemon).
    """

    def __init__(
        self,
        path: "str | None" = None,
        *,
        start: "bool | None" = None,
        notice: "Callable[[str], None] | None" = None,
    ) -> None:
        self.path = path or socket_path()
        # a socket named by hand belongs to a daemon that somebody else looks after
        self._start = (path is None and "YURT_SOCKET" not in os.environ) if start is None else start
        self._notice = notice
        self._idle: Connection | None = None

    def _try_connect(self) -> "socket.socket | None":
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            sock.connect(self.path)
        except OSError as error:
            sock.close()
            if error.errno in (errno.ENOENT, errno.ECONNREFUSED):
                return None
            if error.errno in (errno.EACCES, errno.EPERM):
                raise Denied(
                    f"yurt's socket `{self.path}` belongs to another user", hint="try again with sudo"
                ) from error
            raise Unavailable(f"cannot reach yurtd at `{self.path}`: {error.strerror or error}") from error
        return sock

    def connect(self) -> Connection:
        """Open a new connection; starts the daemon when needed. Raises Unavailable or Denied."""
        sock = self._try_connect()
        if sock is None and self._start:
            from yurt.client.spawn import start_daemon

            sock = start_daemon(self._try_connect, self._notice)
        if sock is None:
            raise Unavailable(f"nobody listens on `{self.path}`", hint="start the daemon with `yurt serve`")
        return Connection(sock)

    def _take(self) -> Connection:
        idle, self._idle = self._idle, None
        if idle is not None and not idle.stale():
            return idle
        if idle is not None:
            idle.close()
        return self.connect()

    def send(self, request: Request, *, timeout_s: "float | None" = None) -> Response:
        """Send a request and read the response's head. Raises the error the server answers with.

        `timeout_s`: the longest silence while reading; None waits for ever.
        """
        connection = self._take()
        try:
            connection.socket.settimeout(timeout_s)
            try:
                connection.socket.sendall(encode(request))
            except (BrokenPipeError, ConnectionResetError):
                return self._answer(connection)  # it may have said why before it hung up
            return self._answer(connection)
        except BaseException:
            self._drop(connection)
            raise

    def _drop(self, connection: Connection) -> None:
        if connection is not self._idle:  # an error answer that was read to its end leaves a good connection
            connection.close()

    def _answer(self, connection: Connection) -> Response:
        status, headers = connection.head()
        while status == 100:
            status, headers = connection.head()
        response = Response(connection, status, headers)
        if status >= 400:
            error = failure(status, response.read())
            self.release(response)
            raise error
        return response

    def release(self, response: Response) -> None:
        """Keep the connection of a response that was read to its end, for the next request."""
        if response.ended and response.reusable and self._idle is None:
            self._idle = response._connection
        else:
            response.close()

    def call(self, request: Request, *, timeout_s: "float | None" = None) -> object:
        """Send a request and return the parsed JSON of its answer."""
        response = self.send(request, timeout_s=timeout_s)
        try:
            body = response.read()
        finally:
            self.release(response)
        return document(body)

    def stream(self, request: Request) -> "Iterator[bytes]":
        """Send a request and yield the body of its answer as it comes."""
        response = self.send(request)
        try:
            yield from response.chunks()
        finally:
            self.release(response)

    def upload(self, request: Request) -> "Upload":
        """Begin a request whose body is written piece by piece."""
        return Upload(self, self._take(), request)

    def websocket(self, request: Request) -> "WebSocket":
        """Open a WebSocket. Raises the error the server answers with instead."""
        from yurt.client.websocket import open_websocket

        connection = self.connect()
        try:
            return open_websocket(connection, request)
        except BaseException:
            connection.close()
            raise

    def close(self) -> None:
        """Close the idle connection. Safe to repeat."""
        if self._idle is not None:
            self._idle.close()
            self._idle = None


def encode(request: Request, *extra: str) -> bytes:
    """A request's bytes, with its JSON body when it has one."""
    lines = [f"{request.method} {target(request)} HTTP/1.1", "Host: yurt", *extra]
    body = b""
    if request.body is not None:
        body = dumps(request.body).encode()
        lines += ["Content-Type: application/json", f"Content-Length: {len(body)}"]
    elif request.method in ("POST", "PUT") and not extra:
        lines.append("Content-Length: 0")
    return "\r\n".join([*lines, "", ""]).encode("ascii") + body


class Upload:
    """A request body in chunks: `write` it, then `finish`. Usable as the file object of a tar stream."""

    def __init__(self, transport: Transport, connection: Connection, request: Request) -> None:
        self._transport, self._connection = transport, connection
        connection.socket.settimeout(None)
        self._hung_up = False
        self._send(encode(request, "Content-Type: application/x-tar", "Transfer-Encoding: chunked"))

    def _send(self, data: bytes) -> None:
        if self._hung_up:
            return
        try:
            self._connection.socket.sendall(data)
        except (BrokenPipeError, ConnectionResetError):
            self._hung_up = True  # its reason is read by finish()

    @property
    def refused(self) -> bool:
        """Whether the server stopped reading: writing more is useless, `finish` raises why."""
        return self._hung_up

    def write(self, data: bytes) -> int:
        """Send some of the body."""
        if data:
            self._send(b"%x\r\n%b\r\n" % (len(data), data))
        return len(data)

    def finish(self) -> object:
        """End the body and return the parsed answer. Raises the error the server answers with."""
        try:
            self._send(b"0\r\n\r\n")
            response = self._transport._answer(self._connection)
            body = response.read()
        except BaseException:
            self._transport._drop(self._connection)
            raise
        self._transport.release(response)
        return document(body)

    def abort(self) -> None:
        """Drop the connection, so that the server sees an unfinished body. Safe to repeat."""
        self._connection.close()
