"""A container's root file system: the image's tree, shared and read-only, under a layer of its own.

The image's tree is mounted with its owners shifted into the container's id range (an idmapped mount: nothing is
copied), an overlay puts the instance's layer on top. Where the kernel or the file system cannot do that, the tree
is copied and its owners are changed, once per instance. All mounts are made in the calling thread's private mount
namespace (host/mounts.py).
"""

import asyncio
import logging
import os
import shutil
import stat
import struct
from pathlib import Path

from yurt.drivers.base import RootfsAttachment
from yurt.errors import Exhausted, Unsupported
from yurt.host import files, mounts, proc
from yurt.host.blockdev import ext4_bytes
from yurt.units import format_size

log = logging.getLogger("yurt.rootfs")
COPY_TIMEOUT_S = 3600.0
MOUNT_POINTS = (
    "cgroup",
    "data",
    "lower",
    "rootfs",
    "net",
)  # in the run directory; empty outside private namespaces
DISK_IMAGE = "disk.ext4"  # inside RootfsAttachment.data, when its size is limited
LAYERS = ("upper", "work", "copy")  # what `mount_root` makes where the layer lies
EXT4_BLOCK = 4096  # its size is a whole number of blocks
CAPABILITY = "security.capability"
VFS_CAP_REVISION_3 = 0x03000000


async def prepare_data(rootfs: RootfsAttachment, run_dir: Path) -> None:
    """Make what the instance's layer lies on: a directory, or a file that holds a file system of the wanted size.

    A file that is smaller than wanted grows with its file system. A layer that lay in the directory until now moves
    onto the fresh file system. Safe to repeat. Raises ToolFailed; Exhausted when that layer does not fit.
    """
    rootfs.data.mkdir(mode=0o700, exist_ok=True)
    if not rootfs.size_bytes:
        return
    image = rootfs.data / DISK_IMAGE
    if not image.exists():
        with files.temporary_sibling(image) as fresh:
            files.make_sparse(fresh, rootfs.size_bytes)
            await proc.run(["mkfs.ext4", "-q", "-F", "-m", "0", str(fresh)], timeout_s=600)
            await _copy_layer(rootfs, fresh, run_dir)
        await asyncio.to_thread(_remove_layer, rootfs.data)
    elif ext4_bytes(image) < rootfs.size_bytes // EXT4_BLOCK * EXT4_BLOCK:  # the file may have grown already
        if image.stat().st_size < rootfs.size_bytes:
            os.truncate(image, rootfs.size_bytes)
        await proc.run(["e2fsck", "-f", "-p", str(image)], timeout_s=COPY_TIMEOUT_S, check=False)
        await proc.run(["resize2fs", str(image)], timeout_s=COPY_TIMEOUT_S)


async def _copy_layer(rootfs: RootfsAttachment, image: Path, run_dir: Path) -> None:
    """Copy a container's layer from a directory onto a file system in a file, for one that gets a disk only now."""
    layers = [rootfs.data / name for name in LAYERS if (rootfs.data / name).is_dir()]
    if not layers:
        return
    place = _place(run_dir, "data")

    def start() -> proc.Process:
        mounts.mount_loop(image, place, "ext4")
        return proc.spawn(("cp", "-a", "--", *map(str, layers), str(place)))

    process = await asyncio.to_thread(mounts.run_in_private_mounts, start)
    try:
        async with asyncio.timeout(COPY_TIMEOUT_S):
            status = await process.wait()
    finally:
        await process.end(grace_s=0)
        process.close()
    if status != 0:
        raise Exhausted(
            f"the container's files do not fit on a disk of {format_size(rootfs.size_bytes)}",
            hint="give it a larger one with `yurt set NAME disk=SIZE`",
        )


def _remove_layer(data: Path) -> None:
    """Remove a layer that is on the disk by now; also what a crash left of that."""
    for name in LAYERS:
        files.remove_tree(data / name)


def mount_root(rootfs: RootfsAttachment, run_dir: Path, userns: int, base: int) -> Path:
    """Mount the root below `run_dir`, for this thread's namespace only, and return where.

    The first time on a host without idmapped mounts it copies the whole tree, which takes seconds.
    """
    layer = rootfs.data
    if rootfs.size_bytes:
        layer = _place(run_dir, "data")
        mounts.mount_loop(rootfs.data / DISK_IMAGE, layer, "ext4")
    root, copy = _place(run_dir, "rootfs"), layer / "copy"
    if not copy.is_dir():
        lower = _place(run_dir, "lower")
        try:
            if base == 0:  # the container's ids are those of our own namespace: nothing to shift
                mounts.mount(str(rootfs.lower), lower, "", mounts.MS_BIND)
            else:
                mounts.mount_idmapped(rootfs.lower, lower, userns)
        except Unsupported as error:
            log.warning("copying `%s`, which takes longer: %s", rootfs.lower, error)
            with files.temporary_sibling(copy) as fresh:
                copy_shifted(rootfs.lower, fresh, base)
    if copy.is_dir():
        mounts.mount(str(copy), root, "", mounts.MS_BIND)
        mounts.mount("none", root, "", mounts.MS_BIND | mounts.MS_REMOUNT | mounts.MS_NODEV)
        return root
    upper, work = layer / "upper", layer / "work"
    if not upper.is_dir():
        work.mkdir(mode=0o700, exist_ok=True)
        os.chown(work, base, base)
        _make_top(rootfs.lower, upper, base)
    mounts.mount_overlay(lower, upper, work, root, own_namespace=base == 0)
    return root


def copy_shifted(source: Path, target: Path, base: int) -> None:
    """Copy a tree; owners move up by `base`, modes, links, times and file capabilities stay. Skips device nodes."""
    linked: dict[tuple[int, int], Path] = {}
    pending = [(source, target)]
    directories: list[tuple[Path, os.stat_result]] = []
    while pending:
        old, new = pending.pop()
        status = old.lstat()
        if stat.S_ISDIR(status.st_mode):
            new.mkdir(mode=0o700)
            pending += [(child, new / child.name) for child in old.iterdir()]
            directories.append((new, status))
        elif first := linked.get((status.st_dev, status.st_ino)):
            os.link(first, new, follow_symlinks=False)
            continue
        elif stat.S_ISLNK(status.st_mode):
            new.symlink_to(old.readlink())
        elif stat.S_ISREG(status.st_mode):
            shutil.copyfile(old, new)
            if status.st_nlink > 1:
                linked[status.st_dev, status.st_ino] = new
        else:
            continue
        os.lchown(new, base + status.st_uid, base + status.st_gid)
        if not stat.S_ISLNK(status.st_mode):
            _copy_mode(old, new, status, base)
        if not stat.S_ISDIR(status.st_mode):
            os.utime(new, ns=(status.st_atime_ns, status.st_mtime_ns), follow_symlinks=False)
    for new, status in reversed(directories):
        os.utime(new, ns=(status.st_atime_ns, status.st_mtime_ns))


def _copy_mode(old: Path, new: Path, status: os.stat_result, base: int) -> None:
    new.chmod(stat.S_IMODE(status.st_mode))
    for name in os.listxattr(old):
        value = os.getxattr(old, name)
        os.setxattr(new, name, shifted_capability(value, base) if name == CAPABILITY else value)


def shifted_capability(value: bytes, base: int) -> bytes:
    """A file capability (revision 2 or 3) that counts for the user namespace whose root is `base`. Pure."""
    (magic,) = struct.unpack_from("<I", value)
    return struct.pack("<I", VFS_CAP_REVISION_3 | (magic & 1)) + value[4:20] + struct.pack("<I", base)


def _make_top(lower: Path, upper: Path, base: int) -> None:
    """The overlay's top directory shows as `/`: owner and mode are those of the image's root, owner shifted.

    An upper directory of an unmapped owner would make the overlay read-only without a word.
    """
    status = lower.stat()
    fresh = upper.with_name("upper.new")
    fresh.mkdir(exist_ok=True)
    os.chown(fresh, base + status.st_uid, base + status.st_gid)
    fresh.chmod(stat.S_IMODE(status.st_mode))
    fresh.rename(upper)


def _place(run_dir: Path, name: str) -> Path:
    place = run_dir / name
    place.mkdir(mode=0o755, exist_ok=True)
    return place
