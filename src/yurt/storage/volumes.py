"""The files of volumes: a qcow2 image (block), or a tree, bare or inside an ext4 image (filesystem).

Each volume has a directory of its own, mode 0700. What a guest has written into an image is never interpreted here,
but for two numbers at fixed places: an image's size, and whether anything was ever written to it.
"""

import asyncio
import contextlib
import os
import struct
from pathlib import Path

from yurt.errors import Invalid, Unavailable
from yurt.host import files, proc
from yurt.storage.qcow2 import CLUSTER, volume_header, write_sparse

IMAGE = "disk.qcow2"
TREE = "tree"
TREE_IMAGE = "tree.ext4"
TOOL_TIMEOUT_S = 3600.0
MKFS = ("mkfs.ext4", "-q", "-F", "-m", "0", "-E", "lazy_itable_init=1,lazy_journal_init=1,nodiscard")
_SIZE_AT, _L1_AT, _SNAPSHOTS_AT = 24, 36, 60
_HEADER_BYTES = 128
_UNCHANGED = ((0, 48), (60, 128))  # around the refcount table's place and length
_SUPER_AT, _SUPER_BYTES, _EXT4_MAGIC = 1024, 1024, 0xEF53


async def create_block(directory: Path, size_bytes: int) -> None:
    """Make an empty block volume; takes constant time and no room to speak of. Safe to repeat."""
    data = volume_header(size_bytes)

    def make() -> None:
        _fresh(directory)
        write_sparse(directory / IMAGE, data)

    await asyncio.to_thread(make)


async def create_tree(directory: Path, size_bytes: int) -> None:
    """Make an empty file-system volume: a directory, or with a size an ext4 image of that size. Safe to repeat."""
    await asyncio.to_thread(_fresh, directory)
    if not size_bytes:
        await asyncio.to_thread((directory / TREE).mkdir, 0o755)
        return
    with files.temporary_sibling(directory / TREE_IMAGE) as fresh:
        await asyncio.to_thread(files.make_sparse, fresh, size_bytes)
        await proc.run([*MKFS, str(fresh)], timeout_s=TOOL_TIMEOUT_S)


def _fresh(directory: Path) -> None:
    files.remove_tree(directory)
    directory.mkdir(mode=0o700, parents=True)


def is_blank(image: Path) -> bool:
    """Whether nothing was ever written to a block volume: its table of tables is all zero, and it has no snapshots.

    A guest cannot make a written volume look so: QEMU never takes an entry out of that table.
    """
    with image.open("rb") as file:
        head = file.read(CLUSTER)
        if len(head) < 112 or head[:4] != b"QFI\xfb":
            raise Unavailable(f"`{image}` is not a volume's image any more")
        entries, offset = struct.unpack_from(">IQ", head, _L1_AT)
        backing, snapshots = (
            struct.unpack_from(">Q", head, 8)[0],
            struct.unpack_from(">I", head, _SNAPSHOTS_AT)[0],
        )
        if backing or snapshots or entries * 8 > CLUSTER:
            return False
        table = os.pread(file.fileno(), entries * 8, offset)
    return len(table) == entries * 8 and not any(table)


def check_ours(image: Path, size_bytes: int) -> None:
    """Raise Unavailable unless an image that somebody else has filled still is one that `create_block` makes.

    That is: of this size, over nothing, without a file beside it, encryption or snapshots, its tables where they were.
    """
    with image.open("rb") as file:
        found = file.read(_HEADER_BYTES)
    wanted = volume_header(size_bytes)[:_HEADER_BYTES]
    # the refcount table may have moved and grown; everything else is as it was
    if len(found) < _HEADER_BYTES or any(found[a:b] != wanted[a:b] for a, b in _UNCHANGED):
        raise Unavailable(f"`{image}` is not what was made")


async def format_blank(image: Path) -> bool:
    """Put an ext4 file system on a block volume that was never written to; False, and nothing done, for any other.

    The file system is made on an empty file of ours and copied in aside, so a crash leaves the blank volume.
    """
    if not await asyncio.to_thread(is_blank, image):
        return False
    await asyncio.to_thread(_sweep, image.parent)
    size = await asyncio.to_thread(block_size, image)
    plain = image.with_name(f".{image.name}.raw.tmp")
    try:
        await asyncio.to_thread(files.make_sparse, plain, size)
        await proc.run([*MKFS, str(plain)], timeout_s=TOOL_TIMEOUT_S)
        with files.temporary_sibling(image) as fresh:
            await asyncio.to_thread(write_sparse, fresh, volume_header(size))
            await fill(plain, "raw", fresh)
    finally:
        await asyncio.to_thread(plain.unlink, True)
    return True


async def fill(source: Path, form: str, image: Path) -> None:
    """Copy a disk that is our own, or was checked, into an empty image of at least its size; zeroes stay holes."""
    words = ["-n", "--target-is-zero", "-f", form, "-O", "qcow2", str(source), str(image)]
    await proc.run(["qemu-img", "convert", *words], timeout_s=TOOL_TIMEOUT_S)


def _sweep(directory: Path) -> None:
    """Remove what a crash has left of an earlier try."""
    for path in directory.glob(".*.tmp"):
        path.unlink(missing_ok=True)


def block_size(image: Path) -> int:
    """The size in bytes that a block volume has for its guest."""
    with image.open("rb") as file:
        head = file.read(32)
    if len(head) < 32 or head[:4] != b"QFI\xfb":
        raise Unavailable(f"`{image}` is not a volume's image any more")
    return int(struct.unpack_from(">Q", head, _SIZE_AT)[0])


async def grow_block(image: Path, size_bytes: int) -> None:
    """Let a block volume that nobody uses have this size; one that has it, or more, stays. Safe to repeat."""
    await asyncio.to_thread(_grow_block, image, size_bytes)


def _grow_block(image: Path, size_bytes: int) -> None:
    if size_bytes % 512:
        raise Invalid("a disk's size must be whole sectors")
    if block_size(image) >= size_bytes:
        return
    descriptor = os.open(image, os.O_RDWR | os.O_CLOEXEC)
    try:
        os.pwrite(
            descriptor, struct.pack(">Q", size_bytes), _SIZE_AT
        )  # eight bytes of one sector: old or new
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def enlarge_tree(directory: Path, size_bytes: int) -> None:
    """Give the image of a file-system volume this size; its file system follows when nobody uses it. Safe to repeat."""
    image = directory / TREE_IMAGE
    if image.stat().st_size < size_bytes:
        os.truncate(image, size_bytes)


async def settle_tree(directory: Path) -> None:
    """Let the file system of a volume that nobody uses fill its image. Safe to repeat."""
    image = directory / TREE_IMAGE
    if not await asyncio.to_thread(_lags, image):
        return
    await proc.run(["e2fsck", "-f", "-p", str(image)], timeout_s=TOOL_TIMEOUT_S, check=False)
    await proc.run(["resize2fs", str(image)], timeout_s=TOOL_TIMEOUT_S)


def _lags(image: Path) -> bool:
    """Whether an image has room that its file system does not use yet."""
    try:
        with image.open("rb") as file:
            above = os.pread(file.fileno(), _SUPER_BYTES, _SUPER_AT)
            size = os.fstat(file.fileno()).st_size
    except FileNotFoundError:
        return False
    if len(above) < _SUPER_BYTES or struct.unpack_from("<H", above, 56)[0] != _EXT4_MAGIC:
        raise Unavailable(f"`{image}` holds no file system any more")
    low, block_bits, high = *struct.unpack_from("<I", above, 4), *struct.unpack_from("<I", above, 24), 0
    if struct.unpack_from("<I", above, 96)[0] & 0x80:
        high = struct.unpack_from("<I", above, 336)[0]
    blocks, block = low | high << 32, 1024 << block_bits
    return bool(size // block > blocks)


async def remove(directory: Path) -> None:
    """Delete a volume's files: renamed first, so that a crash leaves no half of them under their name. Safe to repeat."""

    def work() -> None:
        trash = directory.with_name(f".{directory.name}.trash")
        with contextlib.suppress(FileNotFoundError):
            directory.rename(trash)
        files.remove_tree(trash)

    await asyncio.to_thread(work)


def used_bytes(directory: Path) -> int:
    """What a volume takes on the host's disk; a bare tree is not walked and counts as 0."""
    for name in (IMAGE, TREE_IMAGE):
        with contextlib.suppress(OSError):
            return (directory / name).stat().st_blocks * 512
    return 0
