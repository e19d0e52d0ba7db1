"""Files and directories into and out of a guest, as tar streams that are never held in memory.

What comes out of a guest is hostile: members are written one by one beneath a directory descriptor, no symbolic link is
followed, no name leads outside, devices and set-user-id bits stay behind. Only what `receive` was pointed at changes.
"""

import os
import stat as modes
import tarfile

from yurt.beneath import DIRECTORY, NEW_FILE, Tree, inner_parts
from yurt.client import requests
from yurt.client.operations import as_document
from yurt.client.transport import nonsense
from yurt.errors import Invalid, NotFound, YurtError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from yurt.client.transport import Transport, Upload

CHUNK = 256 << 10


def contents_meant(path: str) -> bool:
    """Whether a path ends in `/.` (or is `.`): what is in the directory, not the directory itself."""
    return path == "." or path.endswith("/.")


def last_part(path: str) -> str:
    """The name at the end of a path; empty for `/` and for paths that mean contents."""
    return "" if contents_meant(path) else os.path.basename(path.rstrip("/"))  # noqa: PTH119 a guest's path is text


def parent_of(path: str) -> "tuple[str, str]":
    """Split a path into the directory it lies in and its name there."""
    directory, _, name = path.rstrip("/").rpartition("/")
    return directory or ("/" if path.startswith("/") else "."), name


# --- into a guest


class _Stopped(Exception):
    """The server stopped reading."""


class _Body:
    """The file object that a tar stream is written to."""

    def __init__(self, upload: "Upload") -> None:
        self._upload = upload
        self.dead = False

    def write(self, data: bytes) -> int:
        if self.dead:  # tarfile flushes once more while it is thrown away
            return len(data)
        self._upload.write(data)
        if self._upload.refused:
            self.dead = True
            raise _Stopped
        return len(data)


def is_guest_directory(transport: "Transport", name: str, path: str) -> bool:
    """Whether a path in the guest is a directory, or a link to one."""
    inside = path.rstrip("/") + "/."
    try:
        found = as_document(transport.call(requests.stat(name, inside)))
    except NotFound:
        as_document(transport.call(requests.get_instance(name)))  # an unknown instance is an error of its own
        return False
    except YurtError as error:
        if error.code in ("invalid", "tool_failed", "wrong_state"):
            as_document(transport.call(requests.get_instance(name)))
            return False
        raise
    return found.get("kind") == "directory"


def send(
    transport: "Transport",
    name: str,
    local: str,
    remote: str,
    *,
    skipped: "Callable[[str], None] | None" = None,
) -> None:
    """Copy a local file or directory to `remote` in the guest: into it when it is a directory, else under that name.

    `skipped` hears of sockets, pipes and devices, which are left out. Raises NotFound, Invalid, Denied.
    """
    os.lstat(local)
    if is_guest_directory(transport, name, remote):
        directory, arcname = remote, last_part(os.path.abspath(local) if not contents_meant(local) else local)  # noqa: PTH100
    elif remote.endswith("/"):
        raise NotFound(
            f"the guest has no directory `{remote}`", hint="make it first, or leave out the last `/`"
        )
    else:
        directory, arcname = parent_of(remote)
    upload = transport.upload(requests.put_archive(name, directory))
    body = _Body(upload)
    try:
        _pack(body, local, arcname, skipped)
    except _Stopped:
        pass
    except BaseException:
        body.dead = True
        upload.abort()
        raise
    upload.finish()


def _pack(body: _Body, local: str, arcname: str, skipped: "Callable[[str], None] | None") -> None:
    def chosen(info: tarfile.TarInfo) -> "tarfile.TarInfo | None":
        if not (info.isreg() or info.isdir() or info.issym() or info.islnk()):
            if skipped is not None:
                skipped(info.name)
            return None
        info.uname = info.gname = ""  # numbers are what a guest understands
        return info

    # the body is no real file object, but a stream needs only its write()
    with tarfile.open(  # type: ignore[call-overload]
        fileobj=body,
        mode="w|",
        format=tarfile.PAX_FORMAT,
        bufsize=CHUNK,
        encoding="utf-8",
        errors="surrogateescape",
    ) as tar:
        try:
            if arcname:
                tar.add(local, arcname, filter=chosen)
            else:
                for entry in sorted(os.listdir(local)):  # noqa: PTH208
                    tar.add(os.path.join(local, entry), entry, filter=chosen)  # noqa: PTH118
        except OSError as error:
            if error.filename is None:
                raise Invalid(f"`{local}` changed while it was read: {error}", hint="try again") from error
            raise


# --- out of a guest


class _Stream:
    """A file object over chunks, for tarfile."""

    def __init__(self, chunks: "Iterator[bytes]") -> None:
        self._chunks = chunks
        self._kept = b""

    def read(self, size: int) -> bytes:
        parts, have = [self._kept], len(self._kept)
        while have < size and (chunk := next(self._chunks, b"")):
            parts.append(chunk)
            have += len(chunk)
        data = b"".join(parts)
        self._kept = data[size:]
        return data[:size]


def receive(transport: "Transport", name: str, remote: str, local: str, *, follow: bool = False) -> None:
    """Copy a file or directory of the guest to `local`: into it when it is a directory, else under that name.

    Owners are kept when we are root. Raises NotFound, Denied, Invalid, and Unavailable when the transfer is cut off
    (what had come by then stays).
    """
    if os.path.isdir(local):  # noqa: PTH112
        directory, rename = local, last_part(remote)
    elif local.endswith("/"):
        raise NotFound(f"there is no directory `{local}`", hint="make it first, or leave out the last `/`")
    else:
        directory, rename = parent_of(local)
    path = remote[:-1].rstrip("/") or "/" if contents_meant(remote) else remote
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        chunks = transport.stream(requests.get_archive(name, path, follow=follow))
        unpack(chunks, descriptor, rename)
    finally:
        os.close(descriptor)


def unpack(chunks: "Iterator[bytes]", directory: int, rename: str, *, owners: "bool | None" = None) -> None:
    """Write the one file or tree in a tar stream beneath a directory, under the name `rename`.

    With an empty `rename` the tree's contents go right into the directory. Raises Invalid for names that lead outside or
    through a link.
    """
    writer = _Writer(directory, rename, owners=os.geteuid() == 0 if owners is None else owners)
    try:
        with tarfile.open(  # type: ignore[call-overload]
            fileobj=_Stream(chunks), mode="r|", bufsize=CHUNK, encoding="utf-8", errors="surrogateescape"
        ) as tar:
            for info in tar:
                writer.member(tar, info)
                tar.members = []  # tarfile would keep every header for ever
        for _ in chunks:
            pass  # so that a transfer which is cut off in the padding still counts as cut off
        writer.finish()
    except (tarfile.TarError, EOFError, ValueError, OverflowError, RecursionError) as error:
        raise nonsense("not a tar archive") from error
    finally:
        writer.close()


class _Writer:
    def __init__(self, directory: int, rename: str, *, owners: bool) -> None:
        self._rename, self._owners = rename, owners
        self._prefix: list[str] | None = None
        self._later: list[tuple[list[str], tarfile.TarInfo]] = []
        self._tree = Tree(directory)

    def close(self) -> None:
        self._tree.close()

    def member(self, tar: tarfile.TarFile, info: tarfile.TarInfo) -> None:
        parts = self._place(info)
        if info.issparse() or any(key.startswith("GNU.sparse.") for key in info.pax_headers):
            raise nonsense("a sparse archive member")  # a few bytes would stand for a full disk
        if not parts:
            if not info.isdir():
                raise Invalid("what was to be copied is no directory", hint="leave out the `/.` at the end")
            return  # the directory it goes into stays as it is
        if info.isdir():
            self._directory(parts, info)
        elif info.issym():
            parent = self._parent(parts)
            self._make_room(parent, parts)
            if not 0 < len(os.fsencode(info.linkname)) < 4096:
                raise nonsense("a link to nowhere")
            os.symlink(info.linkname, parts[-1], dir_fd=parent)
            if self._owners:
                os.chown(parts[-1], info.uid, info.gid, dir_fd=parent, follow_symlinks=False)
        elif info.isreg():
            self._file(tar, parts, info)
        else:
            raise nonsense("an archive member that is no file, directory or link")

    def _place(self, info: tarfile.TarInfo) -> "list[str]":
        inner = inner_parts(info.name)
        if inner is None or info.name.startswith("/"):
            raise Invalid("the archive holds a name that leads outside")
        parts = list(inner)
        if self._prefix is None:
            self._prefix = parts[:1]
        if parts[: len(self._prefix)] != self._prefix:
            raise Invalid("the archive holds more than was asked for")
        below = parts[len(self._prefix) :]
        return [self._rename, *below] if self._rename else below

    def _parent(self, parts: "list[str]") -> int:
        try:
            return self._tree.folder(tuple(parts[:-1]))
        except OSError as error:
            raise Invalid(f"`{'/'.join(parts[:-1])}` is not a directory, or leads through a link") from error

    def _make_room(self, parent: int, parts: "list[str]") -> None:
        try:
            os.unlink(parts[-1], dir_fd=parent)
        except FileNotFoundError:
            return
        except IsADirectoryError as error:
            raise Invalid(f"`{'/'.join(parts)}` is a directory here and none in the guest") from error

    def _directory(self, parts: "list[str]", info: tarfile.TarInfo) -> None:
        parent = self._parent(parts)
        try:
            os.mkdir(parts[-1], 0o700, dir_fd=parent)
        except FileExistsError as error:
            found = os.stat(parts[-1], dir_fd=parent, follow_symlinks=False)
            if not modes.S_ISDIR(found.st_mode):
                raise Invalid(f"`{'/'.join(parts)}` is no directory here but one in the guest") from error
        self._later.append((parts, info))

    def _file(self, tar: tarfile.TarFile, parts: "list[str]", info: tarfile.TarInfo) -> None:
        parent = self._parent(parts)
        self._make_room(parent, parts)
        content = tar.extractfile(info)
        descriptor = os.open(parts[-1], NEW_FILE, 0o600, dir_fd=parent)
        try:
            while content is not None and (data := content.read(CHUNK)):
                view = memoryview(data)
                while view:
                    view = view[os.write(descriptor, view) :]
            if os.fstat(descriptor).st_size != info.size:
                raise nonsense("an archive that ends within a file")
            self._dress(descriptor, info, 0o777)
        finally:
            os.close(descriptor)

    def _dress(self, descriptor: int, info: tarfile.TarInfo, mask: int) -> None:
        if self._owners:
            os.fchown(descriptor, info.uid, info.gid)
        os.fchmod(descriptor, info.mode & mask)
        os.utime(descriptor, (info.mtime, info.mtime))

    def finish(self) -> None:
        """Give directories their owner, mode and time, which had to wait until all was in them."""
        for parts, info in reversed(self._later):
            descriptor = os.open(parts[-1], DIRECTORY, dir_fd=self._parent(parts))
            try:
                self._dress(descriptor, info, 0o1777)
            finally:
                os.close(descriptor)
