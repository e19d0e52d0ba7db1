"""Mounts by system call: bind, idmapped bind, overlay, loop devices; and private mount namespaces for one thread.

Whatever yurt mounts, it mounts in a private namespace: it is never seen on the host and goes with the last process
that lives there, so nothing is left behind when the daemon dies. `run_in_private_mounts` gives a thread such a
namespace; programs started from it are born into it.
"""

import ctypes
import errno
import fcntl
import os
import struct
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from yurt.errors import Busy, Denied, Exhausted, Internal, NotFound, Unsupported, YurtError
from yurt.host.visit import in_own_thread

T = TypeVar("T")
MS_RDONLY, MS_NOSUID, MS_NODEV, MS_NOEXEC, MS_REMOUNT = 1, 2, 4, 8, 32
MS_BIND, MS_REC, MS_PRIVATE, MS_SLAVE = 4096, 16384, 1 << 18, 1 << 19
MNT_DETACH = 2
CLONE_NEWNS = 0x00020000
SYS_OPEN_TREE, SYS_MOVE_MOUNT, SYS_MOUNT_SETATTR = 428, 429, 442  # the same on every architecture
OPEN_TREE_CLONE, MOVE_MOUNT_F_EMPTY_PATH, AT_EMPTY_PATH, AT_FDCWD = 1, 4, 0x1000, -100
MOUNT_ATTR_RDONLY, MOUNT_ATTR_NOSUID, MOUNT_ATTR_NODEV, MOUNT_ATTR_IDMAP = 0x1, 0x2, 0x4, 0x00100000
LOOP_CTL_GET_FREE, LOOP_CONFIGURE = 0x4C82, 0x4C0A
LO_FLAGS_AUTOCLEAR = 4

_libc = ctypes.CDLL(None, use_errno=True)
_libc.mount.argtypes = (ctypes.c_char_p, ctypes.c_char_p, ctypes.c_char_p, ctypes.c_ulong, ctypes.c_char_p)
_libc.syscall.restype = ctypes.c_long


class _MountAttr(ctypes.Structure):
    _fields_ = (
        ("attr_set", ctypes.c_uint64),
        ("attr_clr", ctypes.c_uint64),
        ("propagation", ctypes.c_uint64),
        ("userns_fd", ctypes.c_uint64),
    )


def mount(source: str, target: Path, fstype: str, flags: int = 0, data: str = "") -> None:
    """mount(2). Raises a YurtError that names the target and the kernel's reason."""
    words = (os.fsencode(source), os.fsencode(target), fstype.encode() or None)
    _check(
        _libc.mount(*words, flags, os.fsencode(data) or None), f"mounting {fstype or 'a bind'} on `{target}`"
    )


def unmount(target: Path, *, lazy: bool = False) -> None:
    """umount2(2); not being mounted is no error, so it is safe to repeat."""
    if _libc.umount2(os.fsencode(target), MNT_DETACH if lazy else 0) != 0:
        number = ctypes.get_errno()
        if number not in (errno.EINVAL, errno.ENOENT):
            raise _error(number, f"unmounting `{target}`")


def overlay_options(lower: Path, upper: Path, work: Path, *, own_namespace: bool = False) -> str:
    """The option string of an overlay; the characters that mean something in it are escaped. Pure."""

    def shown(path: Path) -> str:
        return "".join("\\" + c if c in "\\:," else c for c in str(path))

    own = ",userxattr" if own_namespace else ""  # its marks go into attributes that we may write
    return f"lowerdir={shown(lower)},upperdir={shown(upper)},workdir={shown(work)}{own}"


def mount_overlay(lower: Path, upper: Path, work: Path, target: Path, *, own_namespace: bool = False) -> None:
    """Mount an overlay without device nodes: those that an image brings along do not open.

    `own_namespace`: we are root only in a user namespace of our own.
    """
    options = overlay_options(lower, upper, work, own_namespace=own_namespace)
    mount("overlay", target, "overlay", MS_NODEV, options)


def mount_idmapped(source: Path, target: Path, userns: int) -> None:
    """Mount `source` read-only on `target` with its owners seen through a user namespace's map.

    `userns` is a descriptor of that namespace. Raises Unsupported where the file system cannot do it.
    Source: mount_setattr(2).
    """
    flags = MOUNT_ATTR_RDONLY | MOUNT_ATTR_NODEV
    descriptor = os.open(source, os.O_PATH | os.O_CLOEXEC)
    try:
        mount_clone(descriptor, target, userns, flags, f"idmapped mount of `{source}`")
    finally:
        os.close(descriptor)


def mount_clone(source: int, target: Path, userns: int, flags: int, what: str) -> None:
    """Mount what is behind a descriptor, but nothing mounted below it, idmapped and with these MOUNT_ATTR flags."""
    tree = clone_tree(source, userns, flags, what)
    try:
        place_tree(tree, target)
    finally:
        os.close(tree)


def clone_tree(source: int, userns: int, flags: int, what: str) -> int:
    """A copy of the mount behind a descriptor, attached to nothing yet, with these MOUNT_ATTR flags.

    Idmapped unless `userns` is -1. `source` has to be open in the calling thread's mount namespace.
    Returns a descriptor of the copy.
    """
    tree = int(_libc.syscall(SYS_OPEN_TREE, source, b"", OPEN_TREE_CLONE | AT_EMPTY_PATH | os.O_CLOEXEC))
    _check(tree, what)
    try:
        attr = (
            _MountAttr(flags | MOUNT_ATTR_IDMAP, 0, 0, userns) if userns >= 0 else _MountAttr(flags, 0, 0, 0)
        )
        size = ctypes.sizeof(attr)
        _check(_libc.syscall(SYS_MOUNT_SETATTR, tree, b"", AT_EMPTY_PATH, ctypes.byref(attr), size), what)
    except BaseException:
        os.close(tree)
        raise
    return tree


def place_tree(tree: int, target: Path) -> None:
    """Attach such a copy to a place in the calling thread's mount namespace. Once."""
    place = os.fsencode(target)
    moved = _libc.syscall(SYS_MOVE_MOUNT, tree, b"", AT_FDCWD, place, MOVE_MOUNT_F_EMPTY_PATH)
    _check(moved, f"mounting on `{target}`")


def become_root(directory: Path) -> None:
    """Make a mount the root of this thread's mount namespace, and let go of all that was there before."""
    os.chdir(directory)
    _check(_libc.pivot_root(b".", b"."), "changing the root")  # the old root then lies on top of the new one
    _check(_libc.umount2(b".", MNT_DETACH), "leaving the old root")
    os.chdir("/")


def unshare(flags: int) -> None:
    """Give the calling *thread* namespaces of its own (CLONE_NEW*); only for threads that end soon after."""
    _check(_libc.unshare(flags), "making namespaces")


def mount_loop(image: Path, target: Path, fstype: str) -> None:
    """Mount a file that holds a file system; its loop device frees itself when the mount is gone."""
    device = attach_loop(image)
    try:
        mount(f"/proc/self/fd/{device}", target, fstype, MS_NODEV | MS_NOSUID)
    finally:
        os.close(device)


def attach_loop(image: Path) -> int:
    """Attach a file to a free loop device; returns a descriptor of it. The device goes with its last user."""
    try:
        control = os.open("/dev/loop-control", os.O_RDWR | os.O_CLOEXEC)
    except OSError as error:
        raise Unsupported(
            "this host has no loop devices", hint="`modprobe loop`, or leave out `--disk`"
        ) from error
    backing = os.open(image, os.O_RDWR | os.O_CLOEXEC)
    try:
        for _ in range(16):
            device = os.open(f"/dev/loop{fcntl.ioctl(control, LOOP_CTL_GET_FREE)}", os.O_RDWR | os.O_CLOEXEC)
            try:
                fcntl.ioctl(device, LOOP_CONFIGURE, loop_config(backing))
                return device
            except OSError as error:
                os.close(device)
                if error.errno != errno.EBUSY:  # else a neighbour took it between the two calls
                    raise _error(error.errno or 0, f"attaching `{image}` to a loop device") from error
        raise Exhausted("no free loop device")
    finally:
        os.close(backing)
        os.close(control)


def loop_config(backing: int) -> bytes:
    """`struct loop_config` (304 bytes): the backing descriptor, block size 0 (default), self-clearing. Pure."""
    info = struct.pack("=5Q4I", 0, 0, 0, 0, 0, 0, 0, 0, LO_FLAGS_AUTOCLEAR).ljust(232, b"\0")
    return struct.pack("=II", backing, 0) + info + bytes(64)


def enter_private_mounts() -> None:
    """Give the calling *thread* a mount namespace of its own; mounts of the host still arrive, none go out.

    Only for threads that end soon after: they cannot come back.
    """
    _check(_libc.unshare(CLONE_NEWNS), "making a private mount namespace")
    mount("none", Path("/"), "", MS_REC | MS_SLAVE)


def run_in_private_mounts(work: Callable[[], T]) -> T:
    """Call `work` in a new thread with a private mount namespace and return what it returns. Blocks."""

    def visit() -> T:
        enter_private_mounts()
        return work()

    return in_own_thread("private-mounts", visit)


def _check(result: int, what: str) -> None:
    if result < 0:
        raise _error(ctypes.get_errno(), what)


def _error(number: int, what: str) -> YurtError:
    """Translate an errno of a mount call."""
    text = f"{what}: {os.strerror(number)}"
    if number in (errno.EPERM, errno.EACCES):
        return Denied(text, hint="containers need root and CAP_SYS_ADMIN")
    if number in (errno.ENOSYS, errno.EINVAL, errno.EOPNOTSUPP, errno.ENODEV):
        return Unsupported(text)
    if number in (errno.ENOSPC, errno.ENOMEM, errno.EMFILE, errno.ENFILE):
        return Exhausted(text)
    if number == errno.EBUSY:
        return Busy(text)
    if number == errno.ENOENT:
        return NotFound(text)
    return Internal(text)
