"""Directories of the host inside guests: opened once, by descriptor, and mounted with their owners mapped.

A share's own owner shows as the guest's root, and back: what root in the guest makes belongs to that owner on the
host. The guest's other users are, on the host, users of the instance's private range; other users of the host show as
`nobody`. So a guest can do to the files of a share what their owner could do, and nothing as anybody else.

What lies on file systems mounted below the directory is not shared.
"""

import ctypes
import errno
import os
from collections.abc import Sequence
from pathlib import Path

from yurt.errors import Denied, Invalid, NotFound, Unsupported, YurtError
from yurt.host import mounts

SYS_OPENAT2 = 437
RESOLVE_NO_MAGICLINKS = 2
AT_FDCWD = -100
KERNEL_OWN = (
    "proc",
    "sysfs",
    "cgroup",
    "cgroup2",
    "devpts",
    "devtmpfs",
    "securityfs",
    "debugfs",
    "tracefs",
    "bpf",
)


class _OpenHow(ctypes.Structure):
    _fields_ = (("flags", ctypes.c_uint64), ("mode", ctypes.c_uint64), ("resolve", ctypes.c_uint64))


def open_source(path: Path, kept: Sequence[Path] = ()) -> int:
    """Open a directory to be shared; all that follows goes by this descriptor, whatever becomes of its name.

    `kept`: directories that no guest may see: neither they, nor what is in them, nor what they lie in.
    Raises NotFound, Invalid, Denied.
    """
    how = _OpenHow(os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC, 0, RESOLVE_NO_MAGICLINKS)
    libc = ctypes.CDLL(None, use_errno=True)
    libc.syscall.restype = ctypes.c_long
    found = libc.syscall(SYS_OPENAT2, AT_FDCWD, os.fsencode(path), ctypes.byref(how), ctypes.sizeof(how))
    if found < 0:
        raise _cannot_open(path, ctypes.get_errno())
    descriptor = int(found)
    try:
        check_place(Path(f"/proc/self/fd/{descriptor}").readlink(), kept)
        check_file_system(path, descriptor)
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


def _cannot_open(path: Path, number: int) -> YurtError:
    if number == errno.ENOENT:
        return NotFound(kind="directory", name=str(path), hint="make it first")
    if number == errno.ENOTDIR:
        return Invalid(f"`{path}` is not a directory", hint="share the directory it is in")
    if number == errno.ELOOP:
        return Invalid(f"`{path}` leads through a link of the kernel's, which is not followed")
    return Denied(f"cannot open `{path}`: {os.strerror(number)}")


def check_place(real: Path, kept: Sequence[Path]) -> None:
    """Refuse the host's root and whatever overlaps with a directory that is kept. Raises Invalid. Pure but for `kept`."""
    if real == Path("/"):
        raise Invalid("the host's whole root cannot be shared", hint="share a directory below it")
    for each in kept:
        own = each.resolve()
        if real == own or own in real.parents or real in own.parents:
            raise Invalid(
                f"`{real}` cannot be shared: yurt's own files are {'in it' if real in own.parents else 'there'}",
                hint="share another directory",
            )


def check_file_system(path: Path, descriptor: int) -> None:
    """Refuse what is no file system of files but a face of the kernel. Raises Invalid."""
    device = os.fstat(descriptor).st_dev
    wanted = f"{os.major(device)}:{os.minor(device)}"
    for line in Path("/proc/self/mountinfo").read_text(errors="surrogateescape").splitlines():
        before, _, after = line.partition(" - ")
        if before.split()[2] == wanted and after.split()[0] in KERNEL_OWN:
            raise Invalid(
                f"`{path}` belongs to the host's kernel and cannot be shared",
                hint="share a directory of files, such as one in your home",
            )


def owner_map(owner: int, base: int, count: int) -> str:
    """A map for an idmapped mount: `owner` on disk is `base` (the guest's root), the rest of the range is itself. Pure.

    Raises Unsupported when the owner is one of the range's own users.
    """
    if base <= owner < base + count:
        raise Unsupported(
            "the directory belongs to a user of a guest", hint="share the directory above it, or `chown` it"
        )
    return f"{owner} {base} 1\n{base + 1} {base + 1} {count - 1}\n"


def clone_source(source: int, userns: int, *, read_only: bool, nosuid: bool, shown: Path) -> int:
    """A mount of the directory behind a descriptor, attached to nothing yet, owners seen through a namespace's map.

    Call it in the mount namespace that `source` was opened in. Raises Unsupported, with the reason, where the file
    system cannot do it.
    """
    flags = mounts.MOUNT_ATTR_NODEV
    flags |= mounts.MOUNT_ATTR_RDONLY if read_only else 0
    flags |= mounts.MOUNT_ATTR_NOSUID if nosuid else 0
    try:
        return mounts.clone_tree(source, userns, flags, f"idmapped mount of `{shown}`")
    except Denied as error:
        raise Denied(
            f"the owners of `{shown}` cannot be mapped without root",
            hint="directories and file-system volumes are for root's daemon; see docs/volumes.md",
        ) from error
    except Unsupported as error:
        raise Unsupported(
            f"the file system that `{shown}` lies on cannot map owners ({error.message})",
            hint="share a directory on ext4, xfs, btrfs or tmpfs",
        ) from error
