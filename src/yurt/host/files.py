"""Files that are complete or absent: atomic writes, locks, sparse files, and careful removal."""

import contextlib
import fcntl
import os
import secrets
import shutil
from collections.abc import Iterator
from pathlib import Path

from yurt.errors import Busy


def sync_directory(path: Path) -> None:
    """Make the names in a directory durable."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_atomic(path: Path, data: bytes, *, mode: int = 0o600, durable: bool = True) -> None:
    """Write a whole file so that a reader or a crash sees the old one or the new one, never a part."""
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}.tmp")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
    try:
        try:
            view = memoryview(data)
            while view:
                view = view[os.write(descriptor, view) :]
            if durable:
                os.fsync(descriptor)
        finally:
            os.close(descriptor)
        temporary.rename(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    if durable:
        sync_directory(path.parent)


def publish(built: Path, target: Path) -> None:
    """Give something built aside its name: written through (a file; a tree must be so already), renamed, name durable."""
    if built.is_file():
        with built.open("rb") as file:
            os.fsync(file.fileno())
    built.rename(target)
    sync_directory(target.parent)


@contextlib.contextmanager
def temporary_sibling(path: Path) -> Iterator[Path]:
    """Give a name beside `path` to build in; on success it is fsynced and renamed to `path`, else removed."""
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}.tmp")
    try:
        yield temporary
        publish(temporary, path)
    except BaseException:
        remove_tree(temporary)
        raise


def remove_tree(path: Path) -> None:
    """Remove a file or a directory tree if it is there. Never crosses into a mounted file system."""
    if path.is_symlink() or path.is_file():
        path.unlink(missing_ok=True)
    elif path.is_dir():
        if mounts := mounts_below(path):
            raise Busy(f"`{path}` holds a mount: {mounts[0]}", hint="unmount it, then try again")
        shutil.rmtree(path)


def mounts_below(path: Path) -> list[str]:
    """List mount points at or below `path`, innermost first."""
    wanted = str(path.resolve())
    found = []
    for line in Path("/proc/self/mountinfo").read_text(errors="surrogateescape").splitlines():
        point = line.split()[4].encode().decode("unicode_escape")
        if point == wanted or point.startswith(wanted + "/"):
            found.append(point)
    return found[::-1]


def lock_file(path: Path) -> int | None:
    """Take an exclusive lock for as long as the returned descriptor stays open; None when somebody has it."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        return None
    return descriptor


def make_sparse(path: Path, size_bytes: int, *, mode: int = 0o600) -> None:
    """Make a file of this size that takes no space yet. Raises FileExistsError."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
    try:
        os.ftruncate(descriptor, size_bytes)
    finally:
        os.close(descriptor)
