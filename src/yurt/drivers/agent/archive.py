"""Between tar, which clients speak, and the agent's entry stream. Pure, streaming, bounded; both sides are untrusted.

The tar that leaves here is written by us from checked entries: relative names without `..`, files, directories and
links only. The tar that comes in is read header by header; what it may not hold is refused before the guest sees it.
"""

import struct
import tarfile
from collections.abc import Iterator
from typing import NamedTuple

from yurt.drivers.agent.wire import GuestMisbehaved
from yurt.errors import Invalid, Unsupported
from yurt.model.names import printable
from yurt.model.process import FileStat

BLOCK = 512
MAX_NAME = 4096
_EXTENSION_LIMIT = 1 << 20
_HEAD = struct.Struct("<cIIIqIQIIB")
_KINDS = {b"f": "file", b"d": "directory", b"l": "symlink", b"o": "other"}
_EXTENSIONS = (
    tarfile.XHDTYPE,
    tarfile.XGLTYPE,
    tarfile.SOLARIS_XHDTYPE,
    tarfile.GNUTYPE_LONGNAME,
    tarfile.GNUTYPE_LONGLINK,
)
_TAR_TYPES = {b"f": tarfile.REGTYPE, b"d": tarfile.DIRTYPE, b"l": tarfile.SYMTYPE}


class Entry(NamedTuple):
    """One member: kind is a byte such as `f`; `size` counts the content that follows."""

    kind: bytes
    mode: int
    uid: int
    gid: int
    mtime: int
    mtime_ns: int
    size: int
    name: str
    target: str


END = Entry(b"e", 0, 0, 0, 0, 0, 0, "", "")


def is_safe(name: str) -> bool:
    """Whether a member's name stays below the place it is unpacked to. `.` is that place itself."""
    if name == ".":
        return True
    return (
        0 < len(name) <= MAX_NAME
        and "\0" not in name
        and all(p not in ("", ".", "..") for p in name.split("/"))
    )


def encode_entry(entry: Entry) -> bytes:
    """Encode a member's head as the agent reads it."""
    name, target = (text.encode("utf-8", "surrogateescape") for text in (entry.name, entry.target))
    head = (*entry[:7], len(name), len(target), 0)
    return _HEAD.pack(*head) + name + target


class EntryReader:
    """Reads the agent's entry stream: `feed` yields an Entry, then its content as bytes. Raises GuestMisbehaved."""

    def __init__(self) -> None:
        self.ended = False
        self._kept = bytearray()
        self._left = 0

    def feed(self, data: bytes) -> Iterator[Entry | bytes]:
        """Take the next bytes of the stream; the iterator must be used up."""
        self._kept += data
        while self._kept:
            if self.ended:
                raise GuestMisbehaved(what="bytes after the end of an archive")
            if self._left:
                part = bytes(self._kept[: self._left])
                del self._kept[: len(part)]
                self._left -= len(part)
                yield part
                continue
            if (entry := self._entry()) is None:
                return
            self._left = entry.size
            self.ended = entry.kind == b"e"
            yield entry

    def _entry(self) -> Entry | None:
        kept = self._kept
        if len(kept) < _HEAD.size:
            return None
        kind, mode, uid, gid, mtime, mtime_ns, size, name_size, target_size, zero = _HEAD.unpack_from(kept)
        if (
            max(name_size, target_size) > MAX_NAME
            or zero
            or mtime_ns >= 10**9
            or kind not in b"fdlhoe"
            or mode > 0o7777
        ):
            raise GuestMisbehaved(what="a malformed archive entry")
        if size >= 1 << 63 or (size and kind != b"f") or abs(mtime) > 1 << 40:
            raise GuestMisbehaved(what="an archive entry of impossible size or time")
        end = _HEAD.size + name_size + target_size
        if len(kept) < end:
            return None
        name = kept[_HEAD.size : _HEAD.size + name_size].decode("utf-8", "surrogateescape")
        target = kept[_HEAD.size + name_size : end].decode("utf-8", "surrogateescape")
        del kept[:end]
        return Entry(kind, mode, uid, gid, mtime, mtime_ns, size, name, target)


class TarWriter:
    """Turns an entry stream from a guest into a tar (pax) stream. Raises GuestMisbehaved for names that escape."""

    def __init__(self) -> None:
        self._reader = EntryReader()
        self._padding = 0
        self._left = 0

    @property
    def ended(self) -> bool:
        return self._reader.ended

    def feed(self, data: bytes) -> bytes:
        """Take bytes of the entry stream, return bytes of the tar."""
        out = bytearray()
        for item in self._reader.feed(data):
            if isinstance(item, bytes):
                out += item
                self._left -= len(item)
                if self._left == 0:
                    out += bytes(self._padding)
            elif item.kind == b"e":
                out += bytes(2 * BLOCK)
            else:
                out += self._header(item)
        return bytes(out)

    def _header(self, entry: Entry) -> bytes:
        if not is_safe(entry.name) or entry.kind not in _TAR_TYPES or "\0" in entry.target:
            raise GuestMisbehaved(what="an archive entry with an unsafe name")
        info = tarfile.TarInfo(entry.name)
        info.type, info.mode, info.uid, info.gid = _TAR_TYPES[entry.kind], entry.mode, entry.uid, entry.gid
        info.size, info.linkname = entry.size, entry.target
        info.mtime = entry.mtime + entry.mtime_ns / 1e9 if entry.mtime_ns else entry.mtime
        self._left, self._padding = entry.size, -entry.size % BLOCK
        return info.tobuf(tarfile.PAX_FORMAT, "utf-8", "surrogateescape")


class TarReader:
    """Turns a tar stream from a client into the agent's entry stream. Raises Invalid and Unsupported."""

    def __init__(self) -> None:
        self.ended = False
        self._kept = bytearray()
        self._content = 0  # bytes of the current member still to pass on
        self._skip = 0  # padding still to drop
        self._extension = b""  # type of an extension header whose body comes next
        self._extension_size = 0
        self._pax: dict[str, str] = {}

    def feed(self, data: bytes) -> bytes:
        """Take bytes of the tar, return bytes of the entry stream."""
        if self.ended:
            return b""  # the rest of the last record is padding
        self._kept += data
        out = bytearray()
        while not self.ended and self._step(out):
            pass
        return bytes(out)

    def close(self) -> bytes:
        """Say that the tar has ended; returns the end of the entry stream. Raises Invalid when it was cut off."""
        clean = not (self._kept or self._content or self._skip or self._extension or self._pax)
        if not self.ended and not clean:
            raise Invalid("the archive ends in the middle of a member")
        return encode_entry(END)

    def _take(self, size: int) -> bytes:
        part = bytes(self._kept[:size])
        del self._kept[:size]
        return part

    def _step(self, out: bytearray) -> bool:
        """Make one step; False when more bytes are needed."""
        if self._content and self._kept:
            part = self._take(self._content)
            self._content -= len(part)
            out += part
        elif self._content == 0 and self._extension:
            if len(self._kept) < self._extension_size:
                return False
            self._end_extension(self._take(self._extension_size))
        elif self._content == 0 and self._skip and self._kept:
            self._skip -= len(self._take(self._skip))
        elif self._content == 0 and self._skip == 0 and len(self._kept) >= BLOCK:
            self._header(self._take(BLOCK), out)
        else:
            return False
        return True

    def _header(self, block: bytes, out: bytearray) -> None:
        if not any(block):
            self.ended = True
            self._kept.clear()
            return
        try:
            info = tarfile.TarInfo.frombuf(block, "utf-8", "surrogateescape")
        except tarfile.HeaderError as error:
            raise Invalid("this is no tar archive, or it is damaged") from error
        if info.size < 0 or info.size >= 1 << 62:
            raise Invalid("the archive holds a member of impossible size")
        if info.type in _EXTENSIONS:
            self._begin_extension(info)
        else:
            out += encode_entry(self._member(info))
            self._pax = {}

    def _begin_extension(self, info: tarfile.TarInfo) -> None:
        if info.size > _EXTENSION_LIMIT:
            raise Invalid("the archive holds an extended header that is too long")
        self._extension, self._extension_size, self._skip = info.type, info.size, -info.size % BLOCK
        if info.size == 0:
            self._extension = b""

    def _end_extension(self, body: bytes) -> None:
        kind, self._extension = self._extension, b""
        if kind == tarfile.GNUTYPE_LONGNAME:
            self._pax["path"] = body.rstrip(b"\0").decode("utf-8", "surrogateescape")
        elif kind == tarfile.GNUTYPE_LONGLINK:
            self._pax["linkpath"] = body.rstrip(b"\0").decode("utf-8", "surrogateescape")
        elif kind != tarfile.XGLTYPE:  # global headers carry comments, nothing that a member needs
            self._pax.update(parse_pax(body))

    def _member(self, info: tarfile.TarInfo) -> Entry:
        pax = self._pax
        name = clean_name(pax.get("path", info.name))
        if any(key.startswith("GNU.sparse.") for key in pax) or info.type == tarfile.GNUTYPE_SPARSE:
            raise Unsupported(
                f"`{printable(name)}` is stored as a sparse file", hint="make the archive without `--sparse`"
            )
        kind = _entry_kind(info, name)
        size = _number(pax.get("size", info.size)) if kind == b"f" else 0
        uid, gid = _number(pax.get("uid", info.uid)), _number(pax.get("gid", info.gid))
        if max(uid, gid) >= 2**32 - 1 or size >= 1 << 62:
            raise Invalid(f"`{printable(name)}` in the archive has an impossible owner or size")
        target = pax.get("linkpath", info.linkname) if kind in (b"l", b"h") else ""
        if kind == b"h":
            target = clean_name(target)
        if (
            "\0" in target
            or len(target.encode("utf-8", "surrogateescape")) > MAX_NAME - 1
            or (kind == b"l" and not target)
        ):
            raise Invalid(f"`{printable(name)}` in the archive has an impossible link target")
        self._content, self._skip = size, -size % BLOCK
        mtime, mtime_ns = _time(pax.get("mtime", info.mtime))
        return Entry(kind, info.mode & 0o7777, uid, gid, mtime, mtime_ns, size, name, target)


def clean_name(name: str) -> str:
    """Strip what tar adds to names (`./` in front, `/` behind). Raises Invalid for one that could escape."""
    while name.startswith("./"):
        name = name[2:].lstrip("/")
    short = name.rstrip("/") if not name.startswith("/") else name
    short = short or "."
    if not is_safe(short) or len(short.encode("utf-8", "surrogateescape")) >= MAX_NAME:
        raise Invalid(f"the archive holds an unsafe name: `{printable(name)}`")
    return short


def parse_pax(body: bytes) -> dict[str, str]:
    """Read the records `LENGTH KEY=VALUE\\n` of a pax header. Raises Invalid."""
    found, at = {}, 0
    while at < len(body) and body[at] != 0:
        space = body.find(b" ", at, at + 12)
        digits = body[at:space] if space > at else b""
        length = int(digits) if digits.isdigit() else 0
        record = body[space + 1 : at + length]
        key, equals, value = record[:-1].partition(b"=")
        if length < 5 or at + length > len(body) or not equals or record[-1:] != b"\n":
            raise Invalid("the archive holds a malformed extended header")
        found[key.decode("utf-8", "replace")] = value.decode("utf-8", "surrogateescape")
        at += length
    return found


def _entry_kind(info: tarfile.TarInfo, name: str) -> bytes:
    if info.type == tarfile.SYMTYPE:
        return b"l"
    if info.type == tarfile.LNKTYPE:
        return b"h"
    if info.isdir():
        return b"d"
    if info.type in (tarfile.REGTYPE, tarfile.AREGTYPE, tarfile.CONTTYPE):
        return b"f"
    raise Invalid(
        f"`{printable(name)}` in the archive is a device or a pipe",
        hint="copy files, directories and links only",
    )


def _number(value: object) -> int:
    try:
        number = int(str(value))
    except ValueError:
        number = -1
    if number < 0:
        raise Invalid("the archive holds a malformed number")
    return number


def _time(value: object) -> tuple[int, int]:
    """Seconds and nanoseconds of a pax time such as `1700000000.25`."""
    whole, _, part = str(value).partition(".")
    if not whole.lstrip("-").isdecimal() or (part and not part.isdecimal()) or len(whole) > 12:
        raise Invalid("the archive holds a malformed time")
    return int(whole), int((part + "000000000")[:9])


def decode_stat(path: str, data: bytes) -> FileStat:
    """Read the agent's answer about one file. Raises GuestMisbehaved."""
    items = list(EntryReader().feed(data))
    # a file's size stands in the head, but no content follows here
    if len(items) != 1 or not isinstance(items[0], Entry) or items[0].kind not in _KINDS:
        raise GuestMisbehaved(what="a malformed answer about a file")
    entry = items[0]
    return FileStat(
        path=path,
        kind=_KINDS[entry.kind],
        size_bytes=entry.size,
        mode=entry.mode,
        uid=entry.uid,
        gid=entry.gid,
        modified_at=entry.mtime + entry.mtime_ns / 1e9,
        target=entry.target,
    )
