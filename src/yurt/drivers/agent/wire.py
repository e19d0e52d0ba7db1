"""The frames that the host and a guest's agent exchange: encoding, and a parser that survives any bytes.

No I/O here. What comes out of a guest is hostile until proven otherwise: every length is bounded, what has not been
agreed is refused with `GuestMisbehaved`, and nothing is kept beyond one frame. agent/protocol.md is the reference.
"""

import struct
from collections.abc import Iterator
from enum import IntEnum
from typing import NamedTuple

from yurt.errors import Unavailable

PROTOCOL_VERSION = 1
MAX_TO_AGENT = 16 << 10
MAX_TO_HOST = 32 << 10
NONCE_SIZE = 16
HEADER = struct.Struct("<BBHII")
HEADER_SIZE = HEADER.size
MAGIC = 0x59
END_MARK = 0xA5
UP_MARK = b"yurt-agent is up"
_HELLO = struct.Struct("<HBBII")
_MAX_HELLO = NONCE_SIZE + _HELLO.size + 64


class GuestMisbehaved(Unavailable):
    """the guest's agent broke the protocol: {what}"""


class FrameType(IntEnum):
    """What a frame is. Below 128 from the host (DATA, CREDIT and END: both ways), above from the agent."""

    SYNC = 1
    OPEN = 2
    DATA = 3
    CREDIT = 4
    END = 5
    RESIZE = 6
    SIGNAL = 7
    CLOSE = 8
    PING = 9
    COLLECT = 10
    UP = 128
    HELLO = 129
    OPENED = 130
    EXIT = 131
    ERROR = 132
    PONG = 133


class StreamKind(IntEnum):
    """What a stream is opened for."""

    EXEC = 1
    ATTACH = 2
    CONSOLE = 3
    GET = 4
    PUT = 5
    STAT = 6
    CONFIGURE = 7
    SHUTDOWN = 8
    WAIT = 9
    GROW = 17
    MOUNT = 16
    CONNECT = 33


_FROM_AGENT = frozenset(
    {
        FrameType.DATA,
        FrameType.CREDIT,
        FrameType.END,
        FrameType.UP,
        FrameType.HELLO,
        FrameType.OPENED,
        FrameType.EXIT,
        FrameType.ERROR,
        FrameType.PONG,
    }
)
_OPEN_HEAD = struct.Struct("<BBI")
_CREDIT = struct.Struct("<BI")


class Frame(NamedTuple):
    """One frame as it came."""

    type: FrameType
    stream: int
    payload: bytes


class Hello(NamedTuple):
    """What the agent says of itself. `mode` is socket, microvm, container or vm."""

    protocol: int
    mode: str
    pid: int
    features: int
    version: str
    has_main: bool
    main_exited: bool
    has_console: bool


def encode(type: FrameType, stream: int, payload: bytes = b"") -> bytes:
    """Encode one frame for the agent; `payload` is at most 16 KiB."""
    assert len(payload) <= MAX_TO_AGENT
    return HEADER.pack(MAGIC, type, 0, len(payload), stream) + payload + bytes([END_MARK])


def encode_sync(nonce: bytes, *, preamble: bool) -> bytes:
    """Encode the start of a connection. The preamble of zeros pushes an agent out of a frame that was cut off."""
    return bytes(MAX_TO_AGENT + HEADER_SIZE + 1 if preamble else 0) + encode(FrameType.SYNC, 0, nonce)


def encode_open(stream: int, kind: StreamKind, window: int, body: bytes) -> list[bytes]:
    """Encode the opening of a stream, in as many frames as its body takes. `window`: credit for each output channel."""
    step = MAX_TO_AGENT - _OPEN_HEAD.size
    parts = [body[at : at + step] for at in range(0, len(body), step)] or [b""]
    return [
        encode(FrameType.OPEN, stream, _OPEN_HEAD.pack(kind, int(part is not parts[-1]), window) + part)
        for part in parts
    ]


def encode_data(stream: int, data: bytes) -> bytes:
    """Encode input for a stream: at most 16 KiB - 1."""
    return encode(FrameType.DATA, stream, b"\0" + data)


def encode_credit(stream: int, channel: int, count: int) -> bytes:
    """Encode leave to send `count` more bytes on an output channel; it also confirms what was read before."""
    return encode(FrameType.CREDIT, stream, _CREDIT.pack(channel, count))


def decode_credit(payload: bytes) -> tuple[int, int]:
    """Return channel and count. Raises GuestMisbehaved."""
    if len(payload) != _CREDIT.size:
        raise GuestMisbehaved(what="a malformed CREDIT")
    channel, count = _CREDIT.unpack(payload)
    return channel, count


def decode_opened(payload: bytes) -> tuple[int, int]:
    """Return the program's process id and the credit for its input. Raises GuestMisbehaved."""
    if len(payload) != 8:
        raise GuestMisbehaved(what="a malformed OPENED")
    return int.from_bytes(payload[:4], "little"), int.from_bytes(payload[4:], "little")


def decode_exit(payload: bytes) -> int:
    """Return the exit code, 0 to 255. Raises GuestMisbehaved."""
    if len(payload) != 4 or payload[1:] != b"\0\0\0":
        raise GuestMisbehaved(what="a malformed EXIT")
    return payload[0]


def decode_error(payload: bytes) -> tuple[int, str]:
    """Return code and text of a failure; the text is cut and made printable. Raises GuestMisbehaved."""
    if not 2 <= len(payload) <= 2 + 1024:
        raise GuestMisbehaved(what="a malformed ERROR")
    text = payload[2:].decode("utf-8", "replace")
    return int.from_bytes(payload[:2], "little"), "".join(c if c.isprintable() else "?" for c in text)


def decode_hello(payload: bytes) -> Hello:
    """Read a HELLO, its nonce included. Raises GuestMisbehaved."""
    if not NONCE_SIZE + _HELLO.size <= len(payload) <= _MAX_HELLO:
        raise GuestMisbehaved(what="a malformed HELLO")
    protocol, mode, flags, pid, features = _HELLO.unpack_from(payload, NONCE_SIZE)
    version = payload[NONCE_SIZE + _HELLO.size :].decode("ascii", "replace")
    return Hello(
        protocol=protocol,
        mode=("socket", "microvm", "container", "vm")[mode] if mode < 4 else "unknown",
        pid=pid,
        features=features,
        version="".join(c if c.isprintable() else "?" for c in version),
        has_main=bool(flags & 1),
        main_exited=bool(flags & 2),
        has_console=bool(flags & 4),
    )


_UP_FRAME = encode(FrameType.UP, 0, UP_MARK)


class Parser:
    """Turns what a guest sends into frames. Until the HELLO with our nonce, all but UP is thrown away.

    After an error it must not be fed again. It keeps at most one incomplete frame.
    """

    def __init__(self, nonce: bytes) -> None:
        self.synced = False
        self._nonce = nonce
        self._kept = bytearray()

    def feed(self, data: bytes) -> Iterator[Frame]:
        """Take bytes, yield the frames they completed; use it up. Raises GuestMisbehaved after the frames that were good."""
        self._kept += data
        if not self.synced:
            yield from self._hunt()
        if self.synced:
            yield from self._split()

    def _hunt(self) -> list[Frame]:
        """Look for HELLO and UP in bytes that may begin anywhere."""
        kept, found = self._kept, []
        hello = self._find_hello()
        limit = len(kept) if hello is None else hello
        at = kept.find(_UP_FRAME, 0, limit)
        if at >= 0:  # many say no more than one
            found.append(Frame(FrameType.UP, 0, UP_MARK))
            limit = max(limit, at + len(_UP_FRAME)) if hello is None else limit
        if hello is not None:
            del kept[:hello]
            self.synced = True
        elif at >= 0:
            del kept[: kept.rfind(_UP_FRAME) + len(_UP_FRAME)]
        if not self.synced and len(kept) > 64:
            del kept[:-64]
        return found

    def _find_hello(self) -> int | None:
        at = self._kept.find(self._nonce, HEADER_SIZE)
        while at >= 0:
            magic, type, zero, length, stream = HEADER.unpack_from(self._kept, at - HEADER_SIZE)
            fits = NONCE_SIZE + _HELLO.size <= length <= _MAX_HELLO
            if (magic, type, zero, stream) == (MAGIC, FrameType.HELLO, 0, 0) and fits:
                return at - HEADER_SIZE
            at = self._kept.find(self._nonce, at + 1)
        return None

    def _split(self) -> Iterator[Frame]:
        kept, at = self._kept, 0
        while True:
            while at < len(kept) and kept[at] == 0:
                at += 1
            if at < len(kept) and kept[at] != MAGIC:
                raise GuestMisbehaved(what="bytes that are no frame")
            if len(kept) - at < HEADER_SIZE:
                break
            end = at + HEADER_SIZE + self._check_header(at)
            if len(kept) <= end:
                break
            if kept[end] != END_MARK:
                raise GuestMisbehaved(what="a frame without its end mark")
            stream = int.from_bytes(kept[at + 8 : at + 12], "little")
            yield Frame(FrameType(kept[at + 1]), stream, bytes(kept[at + HEADER_SIZE : end]))
            at = end + 1
        del kept[:at]

    def _check_header(self, at: int) -> int:
        magic, type, zero, length, _ = HEADER.unpack_from(self._kept, at)
        if magic != MAGIC or zero != 0:
            raise GuestMisbehaved(what="bytes that are no frame")
        if type not in _FROM_AGENT:
            raise GuestMisbehaved(what=f"a frame of unknown type {type}")
        if length > MAX_TO_HOST:
            raise GuestMisbehaved(what=f"a frame of {length} bytes")
        return int(length)
