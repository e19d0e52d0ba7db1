"""Unpacks a tar stream beneath a directory, member by member: the one extractor for whatever becomes an image.

Trusts nothing: names and links stay below the root (yurt/beneath.py), every number is held against a quota before it
is acted on, and hard links lead only to what this very archive brought. Owner, mode (set-user-id bits too: they count
inside guests only), time, file capabilities and `user.*` attributes are kept. Device nodes below `dev/` are left out,
as guests get a /dev of their own; anywhere else they are refused. The standard library alone: it runs in a cell.
"""

import os
import stat
import tarfile
import time
from dataclasses import dataclass
from typing import IO, Protocol

from yurt.beneath import DIRECTORY, NEW_FILE, Tree, inner_parts, open_beneath, write_content
from yurt.errors import Exhausted, Invalid, Timeout
from yurt.model.names import printable

WHITEOUT, OPAQUE = ".wh.", ".wh..wh..opq"
MEMBER_BYTES = 4096  # what a member takes on disk besides its content, or thereabouts
RATIO_FREE_BYTES = 64 << 20  # unpacked bytes below which no ratio is held against an archive
MAX_TARGET = 4095
_MAX_ID = (1 << 32) - 2  # one more means "leave the owner as it is"
_XATTR = "SCHILY.xattr."
_CHUNK = 1 << 20
_MAX_XATTR_BYTES = 64 << 10


# typeshed does not know them
_DAMAGED: tuple[type[Exception], ...] = (
    getattr(tarfile, "InvalidHeaderError"),  # noqa: B009
    getattr(tarfile, "TruncatedHeaderError"),  # noqa: B009
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Quotas:
    """What one archive may cost. Sizes in bytes, `seconds` of wall time, `ratio` unpacked to packed."""

    tree_bytes: int = 32 << 30
    members: int = 1_000_000
    depth: int = 128
    name_bytes: int = 4095
    ratio: int = 200
    seconds: float = 1800.0
    odd_names: bool = (
        False  # whether control bytes may stand in names: only in layers that we packed ourselves
    )


@dataclass(slots=True)
class Unpacked:
    """What an archive brought: members and bytes in the tree, and device nodes that were left out."""

    members: int = 0
    tree_bytes: int = 0
    devices: int = 0


class StrictHeader(tarfile.TarInfo):
    """tarfile takes a damaged header in the middle for the archive's end; we do not."""

    @classmethod
    def frombuf(cls, buf: bytes | bytearray, encoding: str, errors: str) -> "StrictHeader":
        try:
            return super().frombuf(buf, encoding, errors)
        except _DAMAGED as error:
            raise Invalid(f"this is no tar archive, or it is damaged: {error}") from error


class Readable(Protocol):
    """Anything with `read`."""

    def read(self, size: int = -1, /) -> bytes: ...


class Meter:
    """Reads through to a stream; holds time, and unpacked against packed bytes, to their quotas."""

    def __init__(self, source: Readable, quotas: Quotas, packed_bytes: int) -> None:
        self._source, self._quotas, self._packed = source, quotas, packed_bytes
        self._end = time.monotonic() + quotas.seconds
        self.bytes = 0

    def read(self, size: int = -1, /) -> bytes:
        data = self._source.read(size if 0 <= size <= _CHUNK else _CHUNK)
        self.bytes += len(data)
        if self.bytes > max(RATIO_FREE_BYTES, self._packed * self._quotas.ratio):
            raise Invalid("the archive unpacks to far more than its size: it is made to fill disks")
        if self.bytes > 2 * self._quotas.tree_bytes + RATIO_FREE_BYTES:
            raise _too_large(self._quotas)
        self.check_time()
        return data

    def check_time(self) -> None:
        if time.monotonic() > self._end:
            raise Timeout(what="the archive to be unpacked", timeout_s=self._quotas.seconds)

    def drain(self) -> None:
        """Read on to the end."""
        while self.read(_CHUNK):
            pass


def unpack_stream(
    source: Readable, root: int, quotas: Quotas, *, packed_bytes: int = 1 << 62, layer: bool = True
) -> Unpacked:
    """Unpack a plain tar stream beneath the directory `root`, over what is there.

    `layer`: members that take away what lower layers brought (whiteouts) are obeyed; otherwise they are refused.
    Raises Invalid for what is damaged or steps out of line, Exhausted and Timeout for quotas; the tree is then
    half-filled and to be removed by the caller.
    """
    meter = Meter(source, quotas, packed_bytes)
    run = _Run(root, quotas, meter, layer=layer)
    try:
        run.all()
    except (tarfile.TarError, EOFError, ValueError, OverflowError, RecursionError, MemoryError) as error:
        raise Invalid(f"the archive is damaged: {printable(str(error)) or type(error).__name__}") from error
    finally:
        run.tree.close()
    meter.drain()
    return run.done


class _Run:
    """One run over one archive. `_late` holds directories, whose times and modes are set when all is in."""

    def __init__(self, root: int, quotas: Quotas, meter: Meter, *, layer: bool) -> None:
        self.tree, self.done = Tree(root), Unpacked()
        self._quotas, self._meter, self._layer = quotas, meter, layer
        self._late: dict[str, tarfile.TarInfo] = {}
        self._brought: set[str] = set()  # every path of this archive, and the directories above

    def all(self) -> None:
        with tarfile.open(  # type: ignore[call-overload]
            fileobj=self._meter,
            mode="r|",
            errorlevel=2,
            encoding="utf-8",
            errors="surrogateescape",
            tarinfo=StrictHeader,
        ) as archive:
            for member in archive:
                archive.members = []  # tarfile would keep every header for ever
                self._member(archive, member)
        for path, member in reversed(self._late.items()):
            try:
                folder = self.tree.folder(tuple(path.split("/")) if path else ())
            except OSError:
                continue  # a later member put something else there
            os.fchmod(folder, member.mode & 0o7777)
            os.utime(folder, ns=_times(member))

    def _member(self, archive: tarfile.TarFile, member: tarfile.TarInfo) -> None:
        parts = self._checked(member)
        if not parts:
            if not member.isdir():
                raise Invalid("the archive's root is no directory")
            self._late[""] = member
            os.fchown(self.tree.root, member.uid, member.gid)
            return
        *above, name = parts
        try:
            folder = self.tree.folder(tuple(above), make=True)
        except OSError as error:
            raise _through(member, error) from error
        if name.startswith(WHITEOUT):
            self._whiteout(folder, tuple(above), name)
        elif member.ischr() or member.isblk():
            self._device(member, parts)
        else:
            self._make(archive, member, folder, parts)

    def _checked(self, member: tarfile.TarInfo) -> tuple[str, ...]:
        """The parts of the member's name, once everything it says about itself is within bounds."""
        parts, shown = safe_parts(member.name), printable(member.name)
        if not self._quotas.odd_names and any(
            ord(letter) < 32 or ord(letter) == 127 for letter in member.name
        ):
            raise Invalid(f"the archive holds a name with control bytes: `{shown}`")
        if len(parts) > self._quotas.depth or len(os.fsencode(member.name)) > self._quotas.name_bytes:
            raise Invalid(f"the archive holds a path that is too long or too deep: `{shown}`")
        if not (0 <= member.uid <= _MAX_ID and 0 <= member.gid <= _MAX_ID):
            raise Invalid(f"`{shown}` in the archive has an impossible owner")
        if member.size < 0 or (member.size and not member.isreg()):
            raise Invalid(f"`{shown}` in the archive has an impossible size")
        if member.issparse() or any(key.startswith("GNU.sparse.") for key in member.pax_headers):
            raise Invalid(f"`{shown}` is stored as a sparse file", hint="make the archive without `--sparse`")
        self.done.members += 1
        self.done.tree_bytes += member.size + MEMBER_BYTES
        if self.done.members > self._quotas.members:
            raise Exhausted(
                f"the archive has more than {self._quotas.members} members, the most allowed here"
            )
        if self.done.tree_bytes > self._quotas.tree_bytes:
            raise _too_large(self._quotas)
        self._meter.check_time()
        return parts

    def _whiteout(self, folder: int, above: tuple[str, ...], name: str) -> None:
        hidden = safe_parts(name.removeprefix(WHITEOUT))
        if not self._layer or len(hidden) != 1 or (hidden[0].startswith(WHITEOUT) and name != OPAQUE):
            raise Invalid(f"the archive holds a name that only layers may have: `{printable(name)}`")
        if name == OPAQUE:
            self._clear(folder, above)
            return
        self.tree.remove(folder, hidden[0])

    def _clear(self, folder: int, above: tuple[str, ...]) -> None:
        """An opaque directory hides what lower layers put there, but nothing of this layer."""
        for name in os.listdir(folder):
            if "/".join((*above, name)) not in self._brought:
                self.tree.remove(folder, name)

    def _device(self, member: tarfile.TarInfo, parts: tuple[str, ...]) -> None:
        if parts[0] != "dev" or (member.devmajor, member.devminor) == (0, 0):
            raise Invalid(f"the archive holds a device node: `{printable(member.name)}`")
        self.done.devices += 1

    def _make(
        self, archive: tarfile.TarFile, member: tarfile.TarInfo, folder: int, parts: tuple[str, ...]
    ) -> None:
        path, name = "/".join(parts), parts[-1]
        for count in range(1, len(parts) + 1):
            self._brought.add("/".join(parts[:count]))
        if member.isdir():
            self._directory(member, folder, name, path)
            return
        self.tree.remove(folder, name)
        if member.isreg():
            data = archive.extractfile(member)
            assert data is not None  # it is a regular file
            self._regular(member, data, folder, name)
        elif member.issym():
            _check_target(member)
            os.symlink(member.linkname, name, dir_fd=folder)
            os.chown(name, member.uid, member.gid, dir_fd=folder, follow_symlinks=False)
            os.utime(name, ns=_times(member), dir_fd=folder, follow_symlinks=False)
        elif member.islnk():
            self._hard_link(member, folder, parts)
        elif member.isfifo():
            os.mkfifo(name, 0o600, dir_fd=folder)
            os.chown(name, member.uid, member.gid, dir_fd=folder, follow_symlinks=False)
            os.chmod(name, member.mode & 0o7777, dir_fd=folder)  # just made here, where nobody else writes
            os.utime(name, ns=_times(member), dir_fd=folder, follow_symlinks=False)
        else:
            raise Invalid(f"the archive holds an unknown kind of file: `{printable(member.name)}`")

    def _directory(self, member: tarfile.TarInfo, folder: int, name: str, path: str) -> None:
        if not self.tree.is_directory(folder, name):
            self.tree.remove(folder, name)
            os.mkdir(name, 0o700, dir_fd=folder)
        made = open_beneath(folder, name, DIRECTORY)
        try:
            os.fchown(made, member.uid, member.gid)
            _set_xattrs(made, member)
        finally:
            os.close(made)
        self._late.pop(path, None)
        self._late[path] = member

    def _regular(self, member: tarfile.TarInfo, data: IO[bytes], folder: int, name: str) -> None:
        made = os.open(name, NEW_FILE, 0o600, dir_fd=folder)
        try:
            left = member.size
            while left:
                chunk = data.read(min(left, _CHUNK))
                if not chunk:
                    raise Invalid("the archive is cut off")
                write_content(made, chunk)
                left -= len(chunk)
            os.fchown(made, member.uid, member.gid)
            os.fchmod(made, member.mode & 0o7777)
            _set_xattrs(made, member)
            os.utime(made, ns=_times(member))
        finally:
            os.close(made)

    def _hard_link(self, member: tarfile.TarInfo, folder: int, parts: tuple[str, ...]) -> None:
        source = safe_parts(member.linkname)
        shown = printable(member.name)
        if "/".join(source) not in self._brought or source == parts:
            raise Invalid(f"the archive links to something that it did not bring: `{shown}`")
        # the folder of the new name may be the one that is kept open: hold it while the other is looked for
        held = os.dup(folder)
        try:
            origin = self.tree.folder(source[:-1])
            found = os.stat(source[-1], dir_fd=origin, follow_symlinks=False)
            if stat.S_ISDIR(found.st_mode):
                raise Invalid(f"the archive links to a directory: `{shown}`")
            os.link(source[-1], parts[-1], src_dir_fd=origin, dst_dir_fd=held, follow_symlinks=False)
        except OSError as error:
            raise _through(member, error) from error
        finally:
            os.close(held)


def safe_parts(name: str) -> tuple[str, ...]:
    """Split a member's name. Raises Invalid for `..` and what no file name may be; a leading `/` goes."""
    parts = inner_parts(name)
    if parts is None:
        raise Invalid(f"the archive holds a path that leads elsewhere: `{printable(name)}`")
    return parts


def _check_target(member: tarfile.TarInfo) -> None:
    target = os.fsencode(member.linkname)
    if not target or b"\0" in target or len(target) > MAX_TARGET:
        raise Invalid(f"`{printable(member.name)}` in the archive has an impossible link target")


def _through(member: tarfile.TarInfo, error: OSError) -> Exception:
    if isinstance(error, OSError) and error.errno in (28, 122):  # no room: not the archive's fault
        return error
    return Invalid(
        f"the archive goes through something that is no directory, or is not there: `{printable(member.name)}`"
    )


def _too_large(quotas: Quotas) -> Exhausted:
    return Exhausted(
        f"the archive unpacks to more than {quotas.tree_bytes} bytes, the most allowed here",
        hint="the host's owner can allow more: `tree_bytes` under `[imports]` in yurt.toml",
    )


def _times(member: tarfile.TarInfo) -> tuple[int, int]:
    moment = int(member.mtime * 1_000_000_000)
    if not -(1 << 62) < moment < 1 << 62:
        raise Invalid(f"`{printable(member.name)}` in the archive has an impossible time")
    return moment, moment


def _set_xattrs(descriptor: int, member: tarfile.TarInfo) -> None:
    for key, value in member.pax_headers.items():
        name = key.removeprefix(_XATTR)
        if name == key or not (name == "security.capability" or name.startswith("user.")):
            continue
        data = value.encode("utf-8", "surrogateescape")
        try:
            if len(data) > _MAX_XATTR_BYTES or "\0" in name:
                raise OSError(22, "too long")
            os.setxattr(descriptor, name, data)
        except OSError as error:
            if error.errno in (28, 122):
                raise
            raise Invalid(
                f"`{printable(member.name)}` in the archive has an attribute that cannot be set"
            ) from error
