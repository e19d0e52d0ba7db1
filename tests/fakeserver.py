"""A unix-socket server that says exactly what a test tells it, for the client's side of the protocol.

One thread per connection; a handler gets the request and the socket and writes bytes. `with FakeServer(...)` ends all.
"""

import base64
import hashlib
import socket
import tempfile
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from yurt.client.transport import Transport


@dataclass
class Request:
    """What came: method, target, headers in lower case, the whole body."""

    method: str
    target: str
    headers: dict[str, str]
    body: bytes


Handler = Callable[[Request, socket.socket], None]


def answer(body: bytes, status: str = "200 OK", *more: str) -> bytes:
    """A response with a length."""
    lines = [f"HTTP/1.1 {status}", f"Content-Length: {len(body)}", *more, "", ""]
    return "\r\n".join(lines).encode() + body


def saying(*replies: bytes) -> Handler:
    """A handler that gives these answers to one request after the other, the last one for ever."""
    left = list(replies)

    def handle(_: Request, sock: socket.socket) -> None:
        sock.sendall(left.pop(0) if len(left) > 1 else left[0])

    return handle


def accepting(key: str, protocol: str = "v5.channel.k8s.io") -> bytes:
    """The answer that makes a connection a WebSocket."""
    digest = hashlib.sha1(key.encode() + b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11").digest()
    lines = ["HTTP/1.1 101 Switching Protocols", "Upgrade: websocket", "Connection: Upgrade"]
    lines.append(f"Sec-WebSocket-Accept: {base64.b64encode(digest).decode()}")
    if protocol:
        lines.append(f"Sec-WebSocket-Protocol: {protocol}")
    return "\r\n".join([*lines, "", ""]).encode()


def server_frame(opcode: int, data: bytes, *, final: bool = True) -> bytes:
    """A frame as servers send it: without a mask."""
    head = bytes(((0x80 if final else 0) | opcode,))
    if len(data) < 126:
        return head + bytes((len(data),)) + data
    if len(data) < 1 << 16:
        return head + b"\x7e" + len(data).to_bytes(2, "big") + data
    return head + b"\x7f" + len(data).to_bytes(8, "big") + data


def read_frame(sock: socket.socket) -> tuple[int, bytes] | None:
    """Read one frame from a client, unmasked; None at the end."""
    try:
        head = _exactly(sock, 2)
        size = head[1] & 127
        assert head[0] & 0x80, "clients of ours do not send fragments"
        assert head[1] & 0x80, "a client must mask"
        if size >= 126:
            size = int.from_bytes(_exactly(sock, 2 if size == 126 else 8), "big")
        key = _exactly(sock, 4)
        data = _exactly(sock, size)
    except (EOFError, ConnectionError):
        return None
    return head[0] & 15, bytes(byte ^ key[i % 4] for i, byte in enumerate(data))


def _exactly(sock: socket.socket, size: int) -> bytes:
    data = b""
    while len(data) < size:
        part = sock.recv(size - len(data))
        if not part:
            raise EOFError
        data += part
    return data


class FakeServer:
    """Listens while the block lasts. `requests` holds what came, `connections` how many clients connected."""

    def __init__(self, handler: Handler) -> None:
        self._handler = handler
        self.requests: list[Request] = []
        self.connections = 0
        self.failures: list[BaseException] = []

    def __enter__(self) -> Self:
        self._directory = tempfile.TemporaryDirectory(prefix="yurt-fake-")
        self.path = str(Path(self._directory.name) / "s")
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(self.path)
        self._listener.listen(8)
        self._threads = [threading.Thread(target=self._accept)]
        self._open: list[socket.socket] = []
        self._clients: list[Transport] = []
        self._threads[0].start()
        return self

    def __exit__(self, *_: object) -> None:
        for client in self._clients:
            client.close()
        self._listener.shutdown(socket.SHUT_RDWR)
        self._threads[0].join()
        self._listener.close()
        for sock in self._open:
            sock.close() if sock.fileno() < 0 else _shut(sock)
        for thread in self._threads[1:]:
            thread.join()
        self._directory.cleanup()
        assert not self.failures, self.failures

    def transport(self) -> Transport:
        """A client of this server; closed with it."""
        self._clients.append(Transport(self.path, start=False))
        return self._clients[-1]

    def _accept(self) -> None:
        while True:
            try:
                sock, _ = self._listener.accept()
            except OSError:
                return
            self.connections += 1
            self._open.append(sock)
            thread = threading.Thread(target=self._serve, args=(sock,))
            self._threads.append(thread)
            thread.start()

    def _serve(self, sock: socket.socket) -> None:
        try:
            with sock, sock.makefile("rb") as reader:
                while first := reader.readline():
                    method, target, _ = first.decode().split(" ")
                    headers = {}
                    while line := reader.readline().strip():
                        name, _, value = line.decode("latin-1").partition(":")
                        headers[name.lower()] = value.strip()
                    body = reader.read(int(headers.get("content-length", "0")))
                    if headers.get("transfer-encoding") == "chunked" and target != "/refuse":
                        while size := int(reader.readline(), 16):
                            body += reader.read(size)
                            reader.readline()
                        reader.readline()
                    request = Request(method, target, headers, body)
                    self.requests.append(request)
                    self._handler(request, sock)
                    if "upgrade" in headers or target == "/refuse":
                        return  # what follows is no HTTP
        except OSError:
            return  # the client has gone
        except BaseException as error:
            self.failures.append(error)


def _shut(sock: socket.socket) -> None:
    try:
        sock.shutdown(socket.SHUT_RDWR)
    except OSError:
        return  # closed already
