"""Opens files beneath a directory descriptor so that no name and no link can lead out of it: openat2(2).

Whoever writes or reads in a tree that somebody else made goes through here, clients and daemon alike; so this is on the
command line's path and uses nothing but the standard library. Paths are text with `surrogateescape`, as in `os`.
Source: openat2(2), Linux 5.6.
"""

import ctypes
import errno
import os
import stat
from contextlib import suppress

RESOLVE_NO_XDEV, RESOLVE_NO_MAGICLINKS, RESOLVE_NO_SYMLINKS, RESOLVE_BENEATH, RESOLVE_IN_ROOT = 1, 2, 4, 8, 16
INSIDE = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS | RESOLVE_NO_XDEV
SYS_OPENAT2 = 437  # the same on every architecture
DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
NEW_FILE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
MAX_PART = 255

_libc = ctypes.CDLL(None, use_errno=True)
_libc.syscall.restype = ctypes.c_long


class _OpenHow(ctypes.Structure):
    _fields_ = (("flags", ctypes.c_uint64), ("mode", ctypes.c_uint64), ("resolve", ctypes.c_uint64))


def open_beneath(directory: int, path: str, flags: int, mode: int = 0, *, resolve: int = INSIDE) -> int:
    """Open a relative path; by default no symbolic link, no `..` out, no mount is crossed on the way.

    Raises OSError: ELOOP for a link, EXDEV for what leads out, ENOSYS on kernels before 5.6.
    """
    how = _OpenHow(flags | os.O_CLOEXEC, mode, resolve)
    name = os.fsencode(path)
    if b"\0" in name:
        raise OSError(errno.EINVAL, "a name with a zero byte", path)
    for _ in range(8):
        got = _libc.syscall(SYS_OPENAT2, directory, name, ctypes.byref(how), ctypes.sizeof(how))
        if got >= 0:
            return int(got)
        number = ctypes.get_errno()
        if number not in (errno.EAGAIN, errno.EINTR):  # a rename somewhere made the kernel unsure: once more
            break
    raise OSError(number, os.strerror(number), path)


def inner_parts(name: str) -> "tuple[str, ...] | None":
    """Split a member's name into parts; None for one that leads elsewhere or that no file can have. A first `/` goes."""
    parts = tuple(part for part in name.split("/") if part not in ("", "."))
    if ".." in parts or any(len(os.fsencode(part)) > MAX_PART for part in parts):
        return None
    return None if "\0" in name else parts


class Tree:
    """A directory that is written beneath. Keeps the directory used last open, as archives come sorted. Close it."""

    def __init__(self, root: int) -> None:
        self.root = root
        self._last: tuple[tuple[str, ...], int] | None = None

    def close(self) -> None:
        """Let go of the directory used last; `root` stays the caller's. Safe to repeat."""
        if self._last is not None:
            os.close(self._last[1])
            self._last = None

    def folder(self, parts: "tuple[str, ...]", *, make: bool = False) -> int:
        """A descriptor of a directory below the root, this object's own, valid until the next call.

        `make` makes those that are missing, with mode 0755. Raises OSError; ENOTDIR or ELOOP where something else is.
        """
        if not parts:
            return self.root
        if self._last is not None and self._last[0] == parts:
            return self._last[1]
        try:
            found = open_beneath(self.root, "/".join(parts), DIRECTORY)
        except FileNotFoundError:
            if not make:
                raise
            found = self._make(parts)
        self.close()
        self._last = (parts, found)
        return found

    def _make(self, parts: "tuple[str, ...]") -> int:
        current = os.dup(self.root)
        try:
            for part in parts:
                with suppress(FileExistsError):
                    os.mkdir(part, 0o755, dir_fd=current)
                below = open_beneath(current, part, DIRECTORY)
                os.close(current)
                current = below
        except BaseException:
            os.close(current)
            raise
        return current

    def is_directory(self, folder: int, name: str) -> bool:
        """Whether there is a directory of this name; a link to one is none."""
        try:
            return stat.S_ISDIR(os.stat(name, dir_fd=folder, follow_symlinks=False).st_mode)
        except FileNotFoundError:
            return False

    def remove(self, folder: int, name: str) -> None:
        """Remove whatever has this name, with all that is in it; nothing there is fine. Follows no link."""
        try:
            os.unlink(name, dir_fd=folder)
        except FileNotFoundError:
            return
        except (IsADirectoryError, PermissionError):
            if not self.is_directory(folder, name):
                raise
            if self._last is not None and self._last[1] != folder:
                self.close()  # it could lie in what goes away now
            _empty(folder, name)
            os.rmdir(name, dir_fd=folder)


def _empty(folder: int, name: str) -> None:
    """Remove what is in a directory. Goes down with one descriptor per level, never by path."""
    inner = open_beneath(folder, name, DIRECTORY)
    try:
        with os.scandir(inner) as entries:
            found = [(entry.name, entry.is_dir(follow_symlinks=False)) for entry in entries]
        for each, is_directory in found:
            if is_directory:
                _empty(inner, each)
                os.rmdir(each, dir_fd=inner)
            else:
                os.unlink(each, dir_fd=inner)
    finally:
        os.close(inner)


def write_content(descriptor: int, data: "bytes | memoryview") -> None:
    """Write all of it."""
    view = memoryview(data)
    while view:
        view = view[os.write(descriptor, view) :]
