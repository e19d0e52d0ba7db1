"""As much of DNS messages as it takes to see what is asked and which addresses are answered. Pure; RFC 1035.

Bytes come from guests and from name servers: every length is checked, pointers only lead backwards.
"""

import struct
from ipaddress import IPv4Address, IPv6Address

import msgspec

from yurt.errors import Invalid

A, AAAA, IN = 1, 28, 1
REFUSED, SERVFAIL = 5, 2
HEAD = struct.Struct("!HHHHHH")
_FIXED = struct.Struct("!HHIH")
MOST_RECORDS, MOST_LABELS = 256, 128


class Answer(msgspec.Struct, frozen=True):
    """What a message says: the one question, and the addresses in the answers with their seconds to live."""

    name: str
    kind: int
    response: bool
    addresses: tuple[tuple[str, int], ...]


def parse(message: bytes) -> Answer:
    """Read a message with exactly one question. Raises Invalid."""
    try:
        return _parse(message)
    except (struct.error, IndexError, UnicodeDecodeError) as error:
        raise Invalid("a malformed DNS message") from error


def _parse(message: bytes) -> Answer:
    _, flags, questions, answers, _, _ = HEAD.unpack_from(message)
    if questions != 1 or answers > MOST_RECORDS or flags & 0x7800:
        raise Invalid("a DNS message that is no plain question or answer")
    name, at = read_name(message, HEAD.size)
    kind, _ = struct.unpack_from("!HH", message, at)
    at += 4
    found = []
    for _ in range(answers):
        _, at = read_name(message, at)
        type_, class_, ttl, size = _FIXED.unpack_from(message, at)
        at += _FIXED.size
        data = message[at : at + size]
        at += size
        if len(data) != size:
            raise Invalid("a DNS message cut short")
        if class_ == IN and type_ == A and size == 4:
            found.append((str(IPv4Address(data)), min(ttl, 1 << 31)))
        elif class_ == IN and type_ == AAAA and size == 16:
            found.append((str(IPv6Address(data)), min(ttl, 1 << 31)))
    return Answer(name, kind, bool(flags & 0x8000), tuple(found))


def read_name(message: bytes, at: int) -> tuple[str, int]:
    """A name in lower case without its last dot, and where what follows it begins. Raises Invalid, IndexError."""
    labels: list[str] = []
    end, limit = -1, at
    while True:
        size = message[at]
        if size & 0xC0 == 0xC0:
            if end < 0:
                end = at + 2
            at = (size & 0x3F) << 8 | message[at + 1]
            if at >= limit:
                raise Invalid("a DNS name that leads nowhere")
            limit = at
            continue
        if size & 0xC0 or len(labels) > MOST_LABELS:
            raise Invalid("a DNS name of an unknown form")
        if size == 0:
            return ".".join(labels), end if end >= 0 else at + 1
        label = message[at + 1 : at + 1 + size]
        if len(label) != size or b"." in label:
            raise Invalid("a DNS name cut short")
        labels.append(label.decode("ascii").lower())
        at += 1 + size


def refusal(query: bytes, code: int) -> bytes:
    """The answer that says no to a question: its head and question, nothing else. Raises Invalid."""
    number, flags, *_ = HEAD.unpack_from(query)
    _, at = read_name(query, HEAD.size)
    head = HEAD.pack(number, 0x8080 | flags & 0x0100 | code, 1, 0, 0, 0)
    return head + query[HEAD.size : at + 4]
