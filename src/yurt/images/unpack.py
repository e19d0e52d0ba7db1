"""Packs a directory tree into a layer and unpacks layers again, member by member.

Unpacking trusts nothing in the archive: every path is walked from a descriptor of the target directory, one
component at a time and never through a symbolic link, so no member can land outside. Owner, mode, time and
file capabilities are kept. Device nodes are refused; other extended attributes than `security.capability` and
`user.*` are dropped. Source: OCI image format specification, "Image Layer Filesystem Changeset".
"""

import asyncio
import contextlib
import hashlib
import os
import stat
import tarfile
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import IO, Protocol

from yurt.errors import Internal, Invalid
from yurt.host import proc
from yurt.host.files import remove_tree
from yurt.images.blobs import LAYER, Descriptor, hash_file
from yurt.model.names import printable

WHITEOUT, OPAQUE = ".wh.", ".wh..wh..opq"
MAX_MEMBERS = 4_000_000
_XATTR = "SCHILY.xattr."
# zstd reads gzip as well
_DECOMPRESSORS = {LAYER + kind: ("zstd", "-q", "-f", "-d") for kind in ("+zstd", "+gzip")}
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


class Readable(Protocol):
    """Anything with `read`."""

    def read(self, size: int = -1, /) -> bytes: ...


async def pack(tree: Path, work: Path) -> tuple[Path, str]:
    """Pack a tree as a zstd layer in `work`. Returns the layer and its diff id (the digest of the plain archive)."""
    plain, packed = work / "layer.tar", work / "layer.tar.zst"
    options = ("--format=posix", "--sort=name", "--numeric-owner", "--xattrs", "--xattrs-include=*")
    await proc.run(
        [
            "tar",
            "--create",
            f"--file={plain}",
            *options,
            "--pax-option=delete=atime,delete=ctime",
            "-C",
            str(tree),
            ".",
        ],
        timeout_s=1800,
    )
    async with asyncio.TaskGroup() as group:
        digest = group.create_task(asyncio.to_thread(hash_file, plain))
        group.create_task(proc.run(["zstd", "-q", "-f", "-3", str(plain), "-o", str(packed)], timeout_s=1800))
    plain.unlink()
    return packed, digest.result()


async def unpack_layer(blob: Path, descriptor: Descriptor, diff_id: str, target: Path, work: Path) -> None:
    """Unpack one layer over `target`, which exists; `work` is for scratch files.

    Raises Invalid for an archive that is damaged or steps out of line, Internal when its content is not what its
    digest says; `target` is then half-filled and to be removed by the caller.
    """
    plain = blob
    if descriptor.media_type != LAYER:
        command = _DECOMPRESSORS.get(descriptor.media_type)
        if command is None:
            raise Invalid(f"layers of type `{printable(descriptor.media_type)}` are not known here")
        plain = work / "layer.tar"
        await proc.run([*command, str(blob), "-o", str(plain)], timeout_s=1800)
    try:
        await asyncio.to_thread(_unpack_plain, plain, descriptor, diff_id, target)
    finally:
        if plain != blob:
            plain.unlink(missing_ok=True)


def _unpack_plain(plain: Path, descriptor: Descriptor, diff_id: str, target: Path) -> None:
    with plain.open("rb") as file:
        hashed = _Hashed(file)
        extract(hashed, target)
        hashed.drain()
    if hashed.digest() != diff_id:
        hint = "delete the image, build it again"
        raise Internal(f"layer {descriptor.digest} does not hold what its image says", hint=hint)


class _Hashed:
    """Reads through to a stream and digests what passes."""

    def __init__(self, source: Readable) -> None:
        self._source, self._hasher = source, hashlib.sha256()

    def read(self, size: int = -1, /) -> bytes:
        data = self._source.read(size)
        self._hasher.update(data)
        return data

    def drain(self) -> None:
        while self.read(1 << 20):
            pass

    def digest(self) -> str:
        return "sha256:" + self._hasher.hexdigest()


def extract(source: Readable, target: Path) -> None:
    """Unpack a plain tar stream over `target`. Raises Invalid; see the module for what is kept and refused."""
    root = os.open(target, _DIRECTORY)
    try:
        _Extraction(root).run(source)
    except (tarfile.TarError, EOFError, ValueError, UnicodeError) as error:
        raise Invalid(f"the layer is damaged: {printable(str(error))}") from error
    finally:
        os.close(root)


class _Extraction:
    """One run over one archive. `_late` holds directories, whose times and modes are set when all is in."""

    def __init__(self, root: int) -> None:
        self._root = root
        self._late: dict[str, tarfile.TarInfo] = {}
        self._written: set[str] = set()

    def run(self, source: Readable) -> None:
        with tarfile.open(fileobj=source, mode="r|", errorlevel=2) as archive:  # type: ignore[call-overload]
            for count, member in enumerate(archive):
                if count > MAX_MEMBERS:
                    raise Invalid("the layer has too many members")
                self._member(archive, member)
        for path, member in reversed(self._late.items()):
            with self._opened(PurePosixPath(path).parts) as folder:
                os.fchmod(folder, member.mode & 0o7777)
                os.utime(folder, ns=_times(member))

    def _member(self, archive: tarfile.TarFile, member: tarfile.TarInfo) -> None:
        parts = safe_parts(member.name)
        if not parts:
            self._late["."] = member
            os.fchown(self._root, member.uid, member.gid)
            return
        *above, name = parts
        with self._opened(above, make=True) as folder:
            if name == OPAQUE:
                self._clear(folder, "/".join(above))
            elif name.startswith(WHITEOUT):
                self._remove(folder, safe_parts(name.removeprefix(WHITEOUT))[0])
            else:
                self._make(archive, member, folder, name, "/".join(parts))

    def _make(
        self, archive: tarfile.TarFile, member: tarfile.TarInfo, folder: int, name: str, path: str
    ) -> None:
        self._written.add(path)
        if member.isdir():
            self._directory(member, folder, name, path)
            return
        self._late.pop(path, None)
        self._remove(folder, name)
        if member.isreg():
            data = archive.extractfile(member)
            assert data is not None  # it is a regular file
            self._regular(member, data, folder, name)
        elif member.issym():
            os.symlink(member.linkname, name, dir_fd=folder)
            os.chown(name, member.uid, member.gid, dir_fd=folder, follow_symlinks=False)
            os.utime(name, ns=_times(member), dir_fd=folder, follow_symlinks=False)
        elif member.islnk():
            self._hard_link(member, folder, name)
        elif member.isfifo():
            os.mkfifo(name, 0o600, dir_fd=folder)
            os.chown(name, member.uid, member.gid, dir_fd=folder, follow_symlinks=False)
            os.chmod(name, member.mode & 0o7777, dir_fd=folder)
        else:
            raise Invalid(
                f"the layer holds a device node or an unknown kind of file: `{printable(member.name)}`"
            )

    def _directory(self, member: tarfile.TarInfo, folder: int, name: str, path: str) -> None:
        if not _is_directory(folder, name):
            self._remove(folder, name)
            os.mkdir(name, 0o700, dir_fd=folder)
        with _closing(os.open(name, _DIRECTORY, dir_fd=folder)) as made:
            os.fchown(made, member.uid, member.gid)
            _set_xattrs(made, member)
        self._late.pop(path, None)
        self._late[path] = member

    def _regular(self, member: tarfile.TarInfo, data: IO[bytes], folder: int, name: str) -> None:
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        with _closing(os.open(name, flags, 0o600, dir_fd=folder)) as made:
            left = member.size
            while left:
                chunk = data.read(min(left, 1 << 20))
                if not chunk:
                    raise Invalid("the layer is cut off")
                view = memoryview(chunk)
                while view:
                    view = view[os.write(made, view) :]
                left -= len(chunk)
            os.fchown(made, member.uid, member.gid)
            os.fchmod(made, member.mode & 0o7777)
            _set_xattrs(made, member)
            os.utime(made, ns=_times(member))

    def _hard_link(self, member: tarfile.TarInfo, folder: int, name: str) -> None:
        *above, source = safe_parts(member.linkname) or ("",)
        with self._opened(above) as origin:
            if not source or stat.S_ISDIR(os.stat(source, dir_fd=origin, follow_symlinks=False).st_mode):
                raise Invalid(f"the layer links to a directory: `{printable(member.name)}`")
            os.link(source, name, src_dir_fd=origin, dst_dir_fd=folder, follow_symlinks=False)

    @contextlib.contextmanager
    def _opened(self, parts: "tuple[str, ...] | list[str]", *, make: bool = False) -> Iterator[int]:
        """A descriptor of a directory below the root, reached without following any link."""
        current = os.dup(self._root)
        try:
            for part in parts:
                if make and not _is_directory(current, part):
                    with contextlib.suppress(FileExistsError):
                        os.mkdir(part, 0o755, dir_fd=current)
                try:
                    following = os.open(part, _DIRECTORY, dir_fd=current)
                except OSError as error:
                    raise Invalid(
                        f"the layer goes through something that is no directory: `{printable(part)}`"
                    ) from error
                os.close(current)
                current = following
            yield current
        finally:
            os.close(current)

    def _remove(self, folder: int, name: str) -> None:
        if _is_directory(folder, name):
            remove_tree(Path(f"/proc/self/fd/{folder}") / name)
        else:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(name, dir_fd=folder)

    def _clear(self, folder: int, path: str) -> None:
        """An opaque directory hides what lower layers put there, but nothing of this layer."""
        for name in os.listdir(folder):
            inside = f"{path}/{name}" if path else name
            if inside not in self._written and not any(
                each.startswith(inside + "/") for each in self._written
            ):
                self._remove(folder, name)


def safe_parts(name: str) -> tuple[str, ...]:
    """Split a member's name. Raises Invalid for `..`, and for bytes no file name may have; a leading `/` is dropped."""
    parts = tuple(part for part in name.split("/") if part not in {"", "."})
    if ".." in parts or "\0" in name or any(len(os.fsencode(part)) > 255 for part in parts):
        raise Invalid(f"the layer holds a path that leads elsewhere: `{printable(name)}`")
    return parts


def _times(member: tarfile.TarInfo) -> tuple[int, int]:
    moment = int(member.mtime * 1_000_000_000)
    return moment, moment


def _set_xattrs(descriptor: int, member: tarfile.TarInfo) -> None:
    for key, value in member.pax_headers.items():
        name = key.removeprefix(_XATTR)
        if name != key and (name == "security.capability" or name.startswith("user.")):
            os.setxattr(descriptor, name, value.encode("utf-8", "surrogateescape"))


def _is_directory(folder: int, name: str) -> bool:
    try:
        return stat.S_ISDIR(os.stat(name, dir_fd=folder, follow_symlinks=False).st_mode)
    except FileNotFoundError:
        return False


@contextlib.contextmanager
def _closing(descriptor: int) -> Iterator[int]:
    try:
        yield descriptor
    finally:
        os.close(descriptor)
