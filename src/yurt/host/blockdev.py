"""Block devices under files: which one can be throttled, which loop device shows a file, and growing that one.

Growing needs no unmounting: the kernel enlarges a mounted ext4 by one ioctl. A container's disk is mounted where only
the container lives, so the same device is mounted once more for a moment, in a private namespace.
"""

import errno
import fcntl
import os
import struct
from pathlib import Path

from yurt.errors import Denied, Exhausted, Invalid, NotFound, Unsupported
from yurt.host import mounts

LOOP_SET_CAPACITY = 0x4C07
EXT4_IOC_RESIZE_FS = 0x40086610
EXT4_MAGIC, EXT4_64BIT = 0xEF53, 0x80
SYS_BLOCK, SYS_DEVICES = Path("/sys/block"), Path("/sys/dev/block")


def throttled_device(path: Path) -> str:
    """The whole disk, as `254:0`, under the file system that a path lies on: what control groups count rates by.

    Raises Unsupported where there is no one disk: overlay, tmpfs, btrfs, network file systems.
    """
    number = path.stat().st_dev
    return whole_disk(os.major(number), os.minor(number), path)


def whole_disk(major: int, minor: int, path: Path, *, devices: Path = SYS_DEVICES) -> str:
    """The disk of a device number, which may be a partition's. Raises Unsupported."""
    known = devices / f"{major}:{minor}"
    if major == 0 or not known.exists():
        raise Unsupported(
            f"the file system of `{path}` does not lie on one disk, so its rates cannot be limited",
            hint="put yurt's state directory on ext4 or xfs, or give the container a disk with --disk",
        )
    if (known / "partition").exists():
        return (known.resolve().parent / "dev").read_text().strip()
    return f"{major}:{minor}"


def loop_device(image: Path) -> str:
    """The loop device, such as `loop3`, that shows a file now. Raises NotFound."""
    wanted = image.stat()
    for backing in SYS_BLOCK.glob("loop*/loop/backing_file"):
        try:
            status = Path(backing.read_text().rstrip("\n")).stat()
        except OSError:
            continue  # freed in between, or its file is elsewhere by now
        if (status.st_dev, status.st_ino) == (wanted.st_dev, wanted.st_ino):
            return backing.parent.parent.name
    raise NotFound(kind="loop device of", name=image)


def loop_number(image: Path) -> str:
    """The device number, as `7:3`, of the loop device that shows a file. Raises NotFound."""
    return (SYS_BLOCK / loop_device(image) / "dev").read_text().strip()


def ext4_bytes(image: Path) -> int:
    """How large the ext4 in a file is by its own account; the file may be larger. Raises Invalid when it is none."""
    with image.open("rb") as file:
        file.seek(1024)
        block = file.read(1024)
    if len(block) < 1024 or struct.unpack_from("<H", block, 0x38)[0] != EXT4_MAGIC:
        raise Invalid(f"`{image}` holds no ext4 file system")
    low, shift = struct.unpack_from("<I", block, 0x4)[0], struct.unpack_from("<I", block, 0x18)[0]
    wide = struct.unpack_from("<I", block, 0x60)[0] & EXT4_64BIT
    high = struct.unpack_from("<I", block, 0x150)[0] if wide else 0
    return int((high << 32 | low) << (10 + shift))


def grow_mounted(image: Path, size_bytes: int, place: Path) -> None:
    """Let a mounted ext4 in a loop-mounted file grow to `size_bytes`. Safe to repeat; never shrinks. Blocks.

    `place` is an empty directory for the moment's mount. Raises NotFound when it is not mounted, Exhausted without room.
    """
    if image.stat().st_size < size_bytes:
        os.truncate(image, size_bytes)
    device = f"/dev/{loop_device(image)}"
    descriptor = os.open(device, os.O_RDWR | os.O_CLOEXEC)
    try:
        fcntl.ioctl(descriptor, LOOP_SET_CAPACITY)
    finally:
        os.close(descriptor)
    mounts.run_in_private_mounts(lambda: _resize(device, size_bytes, place))


def _resize(device: str, size_bytes: int, place: Path) -> None:
    mounts.mount(device, place, "ext4", mounts.MS_NODEV | mounts.MS_NOSUID)
    root = os.open(place, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        block_bytes = os.fstatvfs(root).f_bsize
        fcntl.ioctl(root, EXT4_IOC_RESIZE_FS, struct.pack("=Q", size_bytes // block_bytes))
    except OSError as error:
        if error.errno == errno.EPERM:
            raise Denied("without CAP_SYS_RESOURCE yurt cannot grow a file system that is mounted") from error
        if error.errno == errno.ENOSPC:
            raise Exhausted("no room on the host for a larger disk") from error
        raise Unsupported(f"this file system cannot grow while it is mounted: {error.strerror}") from error
    finally:
        os.close(root)
        mounts.unmount(place)
