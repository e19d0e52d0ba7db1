"""The client side of WebSocket (RFC 6455): framing as pure code, and a connection that never blocks its owner.

Output is queued and written when the socket takes it, so that a program which sends and receives at once cannot
lock itself up. No extensions. A message is at most 16 MiB; what breaks the protocol raises Unavailable.
"""

import os
import select
import time

from yurt.client.requests import Request
from yurt.client.transport import Connection, encode, failure, lost, nonsense
from yurt.client.transport import Response as HttpResponse
from yurt.errors import YurtError

CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG = 0, 1, 2, 8, 9, 10
MESSAGE_LIMIT = 16 << 20
GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"  # RFC 6455, section 1.3


def mask(data: bytes, key: bytes) -> bytes:
    """Apply a masking key of 4 bytes; applying it twice gives the data back."""
    size = len(data)
    pad = (key * (size // 4 + 1))[:size]
    return (int.from_bytes(data, "little") ^ int.from_bytes(pad, "little")).to_bytes(size, "little")


def frame(opcode: int, data: bytes, key: bytes) -> bytes:
    """One final frame from client to server."""
    size = len(data)
    if size < 126:
        head = bytes((0x80 | opcode, 0x80 | size))
    elif size < 1 << 16:
        head = bytes((0x80 | opcode, 0x80 | 126)) + size.to_bytes(2, "big")
    else:
        head = bytes((0x80 | opcode, 0x80 | 127)) + size.to_bytes(8, "big")
    return head + key + mask(data, key)


class FrameParser:
    """Turns the server's bytes into messages, however they are cut."""

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._opcode = 0  # of the message whose fragments are being collected
        self._parts: list[bytes] = []
        self._size = 0

    def feed(self, data: bytes) -> "list[tuple[int, bytes]]":
        """Add bytes; return complete messages and control frames as (opcode, payload). Raises Unavailable."""
        self._buffer += data
        found: list[tuple[int, bytes]] = []
        while (taken := self._next()) is not None:
            final, opcode, payload = taken
            if opcode >= CLOSE:
                if not final or len(payload) > 125:
                    raise nonsense("a control frame in pieces")
                found.append((opcode, payload))
                continue
            if (opcode == CONTINUATION) is (self._opcode == 0):
                raise nonsense("fragments out of order")
            self._opcode = self._opcode or opcode
            self._parts.append(payload)
            self._size += len(payload)
            if self._size > MESSAGE_LIMIT:
                raise nonsense("a message too large")
            if final:
                found.append((self._opcode, b"".join(self._parts)))
                self._opcode, self._parts, self._size = 0, [], 0
        return found

    def _next(self) -> "tuple[bool, int, bytes] | None":
        buffer = self._buffer
        if len(buffer) < 2:
            return None
        first, second = buffer[0], buffer[1]
        opcode = first & 15
        if first & 0x70 or second & 0x80 or opcode not in (CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG):
            raise nonsense("a frame no server may send")
        start, size = 2, second & 127
        if size >= 126:
            start = 4 if size == 126 else 10
            if len(buffer) < start:
                return None
            size = int.from_bytes(buffer[2:start], "big")
        if size > MESSAGE_LIMIT:
            raise nonsense("a message too large")
        if len(buffer) < start + size:
            return None
        payload = bytes(buffer[start : start + size])
        del buffer[: start + size]
        return bool(first & 0x80), opcode, payload


def handshake(request: Request, key: str) -> bytes:
    """The upgrade request."""
    extra = [
        "Upgrade: websocket",
        "Connection: Upgrade",
        f"Sec-WebSocket-Key: {key}",
        "Sec-WebSocket-Version: 13",
    ]
    if request.protocol:
        extra.append(f"Sec-WebSocket-Protocol: {request.protocol}")
    return encode(request, *extra)


def accept_value(key: str) -> str:
    """What the server must answer to this key (RFC 6455, section 4.2.2)."""
    from binascii import b2a_base64
    from hashlib import sha1

    return b2a_base64(sha1(key.encode() + GUID).digest(), newline=False).decode()


def open_websocket(connection: Connection, request: Request) -> "WebSocket":
    """Upgrade a fresh connection. Raises the error the server answers with instead."""
    from binascii import b2a_base64

    key = b2a_base64(os.urandom(16), newline=False).decode()
    try:
        connection.socket.sendall(handshake(request, key))
    except (BrokenPipeError, ConnectionResetError) as error:
        raise lost() from error
    status, headers = connection.head()
    if status != 101:
        body = HttpResponse(connection, status, headers).read()
        raise failure(status, body)
    if headers.get("sec-websocket-accept") != accept_value(key):
        raise nonsense("a WebSocket without its key")
    if headers.get("sec-websocket-protocol", "") != request.protocol:
        raise nonsense("a WebSocket of another protocol")
    return WebSocket(connection)


class WebSocket:
    """An open WebSocket. `send_*` queue, `receive` waits, `pump` does what is possible now without waiting."""

    def __init__(self, connection: Connection) -> None:
        self._socket = connection.socket
        self._socket.setblocking(False)
        self._parser = FrameParser()
        self._out = bytearray()
        self._closing = False
        self.ended = False  # nothing more will come
        self.close_code, self.close_reason = 0, ""
        self._messages: list[tuple[int, bytes]] = []
        self._take(connection.buffer)
        connection.buffer = b""

    def fileno(self) -> int:
        """The descriptor to poll."""
        return self._socket.fileno()

    @property
    def queued_bytes(self) -> int:
        """How much waits to be written."""
        return len(self._out)

    def send_binary(self, data: bytes) -> None:
        """Queue a binary message and write what the socket takes."""
        self._send(BINARY, data)

    def send_text(self, text: str) -> None:
        """Queue a text message and write what the socket takes."""
        self._send(TEXT, text.encode())

    def _send(self, opcode: int, data: bytes) -> None:
        if self._closing or self.ended:
            return
        self._out += frame(opcode, data, os.urandom(4))
        self.flush()

    def flush(self) -> None:
        """Write what the socket takes now."""
        while self._out and not self.ended:
            try:
                sent = self._socket.send(memoryview(self._out)[: 256 << 10])
            except BlockingIOError:
                return
            except OSError:
                self._out.clear()  # what the server said before it hung up is still to be read
                return
            del self._out[:sent]

    def _take(self, data: bytes) -> None:
        for opcode, payload in self._parser.feed(data):
            if opcode == PING:
                self._send(PONG, payload)
            elif opcode == CLOSE:
                self.close_code = int.from_bytes(payload[:2], "big") if len(payload) >= 2 else 1005
                self.close_reason = payload[2:].decode(errors="replace")
                self._send(CLOSE, payload[:2])
                self.ended = True
                return
            elif opcode in (TEXT, BINARY):
                self._messages.append((opcode, payload))

    def pump(self) -> "list[tuple[int, bytes]]":
        """Write and read what is possible now; return the messages that are complete. `ended` tells the end."""
        self.flush()
        if not self.ended:
            try:
                data = self._socket.recv(256 << 10)
            except BlockingIOError:
                data = None
            except ConnectionError:
                data = b""
            if data == b"":
                self.ended = True
            elif data:
                self._take(data)
        messages, self._messages = self._messages, []
        return messages

    def pending(self) -> bool:
        """Whether complete messages wait that came with the last bytes read."""
        return bool(self._messages)

    def receive(self, timeout_s: "float | None" = None) -> "tuple[int, bytes] | None":
        """Wait for one message; None at the end, or when `timeout_s` passed first (`ended` tells which)."""
        deadline = None if timeout_s is None else time.monotonic() + timeout_s
        while not self._messages:
            if self.ended:
                return None
            poller = select.poll()
            poller.register(self.fileno(), select.POLLIN | (select.POLLOUT if self._out else 0))
            left = None if deadline is None else max(0.0, deadline - time.monotonic())
            if not poller.poll(None if left is None else left * 1000):
                return None
            self._messages = self.pump()
        return self._messages.pop(0)

    def closed_error(self) -> YurtError:
        """The error for a server that ended the connection, from the reason it gave."""
        from yurt.client.transport import document
        from yurt.errors import from_document

        if self.close_reason.startswith("{"):
            try:
                parsed = document(self.close_reason.encode())
            except YurtError:
                parsed = None
            if isinstance(parsed, dict):
                inner = parsed.get("error", parsed)
                if isinstance(inner, dict) and "code" in inner:
                    return from_document(inner)
        return lost()

    def close(self) -> None:
        """Say goodbye if the socket takes it, and close. Safe to repeat."""
        if self._socket.fileno() < 0:
            return
        if not self.ended:
            self._send(CLOSE, (1000).to_bytes(2, "big"))
        self._closing = self.ended = True
        self._socket.close()
