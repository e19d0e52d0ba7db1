"""Overlay disks: a qcow2 file that holds one instance's changes over a shared, read-only base.

The file is written directly, in constant time, without starting a program. Clusters are 128 KiB with subclusters
of 4 KiB (`extended_l2`), which makes first writes cheap. The backing file's format is always written down.
Source: QEMU's "Qcow2 Image File Format", version 3.
"""

import asyncio
import os
import struct
from pathlib import Path

from yurt.errors import Invalid, ToolFailed
from yurt.host import proc
from yurt.host.files import remove_tree, sync_directory, temporary_sibling
from yurt.model.image import DiskFormat
from yurt.storage import gpt

CLUSTER_BITS = 17
CLUSTER = 1 << CLUSTER_BITS
HEADER_LENGTH = 112
MAX_BACKING_NAME = 1023
_EXTENDED_L2 = 1 << 4
_BACKING_FORMAT = 0xE2792ACA
_L2_ENTRY_BYTES = 16
_REFCOUNT_ORDER = 4  # 16 bits each
COVERED = CLUSTER // _L2_ENTRY_BYTES * CLUSTER  # bytes of the disk that one L2 table, one entry of L1, covers


def overlay_header(base: str, base_format: DiskFormat, size_bytes: int) -> bytes:
    """The whole of an empty overlay: header, one refcount table and block, an empty L1 table. Pure.

    `base` is what the overlay names as its backing file. Raises Invalid for sizes and names qcow2 cannot hold.
    """
    name = os.fsencode(base)
    if not name or len(name) > MAX_BACKING_NAME:
        raise Invalid(f"the path of a base image must have 1 to {MAX_BACKING_NAME} bytes")
    form = str(base_format).encode()
    extension = struct.pack(">II", _BACKING_FORMAT, len(form)) + form + bytes(-len(form) % 8)
    return _empty(size_bytes, -(-size_bytes // COVERED), extension, name)


def volume_header(size_bytes: int) -> bytes:
    """The whole of an empty image that lies over nothing. Pure.

    Its L1 table has room for 16 TiB from the start, so that growing it means writing one number.
    """
    return _empty(size_bytes, CLUSTER // 8, b"", b"")


def _empty(size_bytes: int, l1_entries: int, extension: bytes, name: bytes) -> bytes:
    if size_bytes <= 0 or size_bytes % gpt.SECTOR:
        raise Invalid("a disk's size must be whole sectors")
    l1_clusters = -(-l1_entries * 8 // CLUSTER)
    clusters = 3 + l1_clusters  # header, refcount table, refcount block, L1
    if clusters > CLUSTER * 8 >> _REFCOUNT_ORDER or size_bytes > l1_entries * COVERED:
        raise Invalid(f"a disk of {size_bytes} bytes is larger than yurt's disks can be")
    extension += bytes(8)
    name_offset = HEADER_LENGTH + len(extension) if name else 0
    header = struct.pack(
        ">4sIQIIQIIQQIIQQQQII",
        *(b"QFI\xfb", 3, name_offset, len(name), CLUSTER_BITS, size_bytes, 0),
        *(l1_entries, 3 * CLUSTER, CLUSTER, 1, 0, 0),
        *(_EXTENDED_L2, 0, 0, _REFCOUNT_ORDER, HEADER_LENGTH),
    ).ljust(HEADER_LENGTH, b"\0")
    out = bytearray(clusters * CLUSTER)
    head = header + extension + name
    out[: len(head)] = head
    struct.pack_into(">Q", out, CLUSTER, 2 * CLUSTER)
    struct.pack_into(f">{clusters}H", out, 2 * CLUSTER, *([1] * clusters))
    return bytes(out)


async def create_overlay(path: Path, base: Path, base_format: DiskFormat, size_bytes: int) -> None:
    """Make an empty overlay of `size_bytes` (virtual) over `base`; mode 0600, complete or absent.

    Takes constant time and half a megabyte or less. Raises FileExistsError, Invalid.
    """
    data = overlay_header(str(base), base_format, size_bytes)
    await asyncio.to_thread(write_sparse, path, data)


def write_sparse(path: Path, data: bytes) -> None:
    """Write a new file, mode 0600, complete or absent; what is zero takes no space. Raises FileExistsError."""
    if path.exists():
        raise FileExistsError(path)
    with temporary_sibling(path) as temporary:
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            os.truncate(descriptor, len(data))
            for offset in range(0, len(data), 4096):  # what is zero stays a hole
                block = data[offset : offset + 4096]
                if block.count(0) != len(block):
                    os.pwrite(descriptor, block, offset)
        finally:
            os.close(descriptor)
    sync_directory(path.parent)


async def virtual_size(path: Path, form: DiskFormat) -> int:
    """The size in bytes of the disk that an image file stands for. Raises Invalid when it is not of this format."""
    return await asyncio.to_thread(_virtual_size, path, form)


def _virtual_size(path: Path, form: DiskFormat) -> int:
    if form is DiskFormat.RAW:
        return path.stat().st_size
    with path.open("rb") as file:
        head = file.read(32)
    if len(head) < 32 or head[:4] != b"QFI\xfb":
        raise Invalid(f"`{path}` is not a qcow2 image")
    return int(struct.unpack_from(">Q", head, 24)[0])


async def resize_overlay(overlay: Path, size_bytes: int) -> None:
    """Let an overlay that nobody uses stand for a larger disk. Safe to repeat. Raises ToolFailed."""
    argv = ["qemu-img", "resize", "-q", "-f", "qcow2", str(overlay.absolute()), str(size_bytes)]
    await proc.run(argv, timeout_s=60)


async def grow_gpt(overlay: Path, new_size: int, old_size: int) -> None:
    """Let the last partition on an overlay of `new_size` bytes reach its end; it had `old_size` bytes before.

    Its guest must rest. Raises Invalid when the partition table on it cannot be enlarged, or is not that of a disk of
    `old_size`.
    """
    scratch = overlay.with_name(f".{overlay.name}.gpt")
    await asyncio.to_thread(_fresh, scratch)
    try:
        head = scratch / "head"
        count = gpt.HEAD_BYTES // gpt.SECTOR
        words = ["-f", "qcow2", "-O", "raw", f"bs={gpt.SECTOR}", f"count={count}"]
        await proc.run(["qemu-img", "dd", *words, f"if={overlay}", f"of={head}"], timeout_s=60)
        writes = gpt.enlarge(await asyncio.to_thread(head.read_bytes), old_size, new_size)
        if writes:
            await _apply(overlay, writes, scratch)
    finally:
        await asyncio.to_thread(remove_tree, scratch)


def _fresh(scratch: Path) -> None:
    remove_tree(scratch)
    scratch.mkdir(mode=0o700)


async def _apply(overlay: Path, writes: tuple[gpt.Write, ...], scratch: Path) -> None:
    argv = ["qemu-io", "-f", "qcow2"]
    for number, write in enumerate(writes):
        (scratch / str(number)).write_bytes(write.data)
        argv += ["-c", f"write -s {number} {write.offset} {len(write.data)}"]
    argv.append(str(overlay.absolute()))
    done = await proc.run(argv, timeout_s=60, cwd=scratch)
    if done.stdout.count(b"wrote ") != len(writes):  # its status does not tell of every failed command
        raise ToolFailed(
            argv=tuple(argv), status="not all written", stderr=done.stderr.decode(errors="replace")
        )
