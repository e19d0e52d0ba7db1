"""Writes tar archives that no honest program writes: every field of a header may lie."""

import io
import struct
import tarfile
from dataclasses import dataclass

BLOCK = 512
FILE, HARD, LINK, CHAR, BLOCKDEV, DIR, FIFO = b"0", b"1", b"2", b"3", b"4", b"5", b"6"
GNU_LONGNAME, GNU_LONGLINK, GNU_SPARSE, PAX, PAX_GLOBAL = b"L", b"K", b"S", b"x", b"g"
END = bytes(2 * BLOCK)


@dataclass(frozen=True, kw_only=True)
class Member:
    """One honest-looking member; long and odd names go into a pax header, as real programs do."""

    name: str
    kind: bytes = FILE
    data: bytes = b""
    link: str = ""
    mode: int = 0o644
    uid: int = 0
    gid: int = 0
    major: int = 0
    minor: int = 0


def file(name: str, data: bytes = b"evil\n", mode: int = 0o644) -> Member:
    return Member(name=name, data=data, mode=mode)


def folder(name: str, mode: int = 0o755) -> Member:
    return Member(name=name, kind=DIR, mode=mode)


def link(name: str, target: str) -> Member:
    return Member(name=name, kind=LINK, link=target)


def hard(name: str, target: str) -> Member:
    return Member(name=name, kind=HARD, link=target)


def header(
    name: bytes,
    *,
    size: int | bytes = 0,
    kind: bytes = FILE,
    link: bytes = b"",
    mode: int | bytes = 0o644,
    uid: int | bytes = 0,
    gid: int | bytes = 0,
    mtime: int | bytes = 1_600_000_000,
    magic: bytes = b"ustar\x0000",
    major: int = 0,
    minor: int = 0,
    checksum: int | None = None,
    tail: bytes = b"",
) -> bytes:
    """One block of 512 bytes. Numbers given as bytes are written as they are."""

    def number(value: int | bytes, digits: int) -> bytes:
        if isinstance(value, bytes):
            return value.ljust(digits + 1, b"\0")[: digits + 1]
        return b"%0*o\0" % (digits, value)

    raw = name[:100].ljust(100, b"\0") + number(mode, 7) + number(uid, 7) + number(gid, 7)
    raw += number(size, 11) + number(mtime, 11) + b" " * 8 + kind + link[:100].ljust(100, b"\0") + magic
    raw = raw.ljust(329, b"\0") + number(major, 7) + number(minor, 7) + tail
    raw = raw.ljust(BLOCK, b"\0")[:BLOCK]
    total = sum(raw) if checksum is None else checksum
    return raw[:148] + b"%06o\0 " % total + raw[156:]


def body(data: bytes) -> bytes:
    """Content, padded to whole blocks."""
    return data + bytes(-len(data) % BLOCK)


def pax(records: dict[str, bytes], kind: bytes = PAX) -> bytes:
    """A pax header of honest records."""
    data = b"".join(record(key, value) for key, value in records.items())
    return header(b"PaxHeader", size=len(data), kind=kind) + body(data)


def pax_raw(data: bytes, *, size: int | bytes | None = None, kind: bytes = PAX) -> bytes:
    """A pax header whose records are whatever bytes."""
    return header(b"PaxHeader", size=len(data) if size is None else size, kind=kind) + body(data)


def record(key: str, value: bytes) -> bytes:
    rest = b" " + key.encode() + b"=" + value + b"\n"
    length = len(rest) + 1
    while length != len(str(length)) + len(rest):
        length = len(str(length)) + len(rest)
    return str(length).encode() + rest


def gnu_long(text: bytes, kind: bytes = GNU_LONGNAME) -> bytes:
    return header(b"././@LongLink", size=len(text) + 1, kind=kind) + body(text + b"\0")


def base256(value: int, size: int = 12) -> bytes:
    """GNU's binary form of a number, also of negative ones."""
    return (value | (1 << (8 * size - 1)) if value >= 0 else (value + (1 << (8 * size)))).to_bytes(
        size, "big"
    )


def write(*members: Member, end: bytes = END) -> bytes:
    """A whole archive."""
    out = bytearray()
    for each in members:
        name, target = (text.encode("utf-8", "surrogateescape") for text in (each.name, each.link))
        records = {}
        if len(name) > 100 or b"\n" in name or b"\0" in name:
            records["path"] = name
        if len(target) > 100:
            records["linkpath"] = target
        if records:
            out += pax(records)
        out += header(
            name,
            size=len(each.data),
            kind=each.kind,
            link=target,
            mode=each.mode,
            uid=each.uid,
            gid=each.gid,
            major=each.major,
            minor=each.minor,
        )
        out += body(each.data)
    return bytes(out) + end


def honest(*members: Member) -> bytes:
    """What Python's own tarfile writes, to compare with."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for each in members:
            info = tarfile.TarInfo(each.name)
            info.type, info.size, info.linkname = each.kind, len(each.data), each.link
            archive.addfile(info, io.BytesIO(each.data))
    return out.getvalue()


def agent_entry(member: Member) -> bytes:
    """What a lying guest's agent would send for a member: nothing of it is checked here."""
    name, target = (text.encode("utf-8", "surrogateescape") for text in (member.name, member.link))
    kind = {FILE: b"f", DIR: b"d", LINK: b"l", HARD: b"h", FIFO: b"o", CHAR: b"o", BLOCKDEV: b"o"}[
        member.kind
    ]
    head = struct.pack(
        "<cIIIqIQIIB",
        kind,
        member.mode,
        member.uid,
        member.gid,
        0,
        0,
        len(member.data),
        len(name),
        len(target),
        0,
    )
    return head + name + target + member.data


AGENT_END = struct.pack("<cIIIqIQIIB", b"e", 0, 0, 0, 0, 0, 0, 0, 0, 0)
