"""Checks VHD (fixed and dynamic) and VHDX images; those that only hold differences to another file are refused.

Sources: Microsoft, "Virtual Hard Disk Image Format Specification" and "[MS-VHDX]"; QEMU's block/vpc.c and block/vhdx.c.
"""

import itertools
import struct
import uuid

from yurt.images.outside.reader import SECTOR, Window, require

VHD_MAGIC, VHD_DYNAMIC, VHDX_MAGIC = b"conectix", b"cxsparse", b"vhdxfile"
_FIXED, _DYNAMIC = 2, 3
_MAX_TABLE = 16 << 20
_KIB, _MIB = 1 << 10, 1 << 20
_NIL = bytes(16)
_BAT = uuid.UUID("2dc27766-f623-4200-9d64-115e9bfd4a08").bytes_le
_METADATA = uuid.UUID("8b7ca206-4790-4b9a-b8fe-575f050f886e").bytes_le
_FILE_PARAMETERS = uuid.UUID("caa16737-fa36-4d43-b3b6-33f0aa44e76b").bytes_le
_DISK_SIZE = uuid.UUID("2fa54224-cd1b-4876-b211-5dbed83bf4b8").bytes_le
_SECTOR_SIZE = uuid.UUID("8141bf1d-a96f-4709-ba47-f233a8faab5f").bytes_le
_PARENT = uuid.UUID("a8d35f2d-b30b-454d-abf7-d3d84834ab0c").bytes_le


def check_vhd(window: Window) -> int:
    """Return the virtual size in bytes. Raises Refused."""
    footer = window.need(max(0, window.size - SECTOR), SECTOR, "VHD footer")
    require(footer[:8] == VHD_MAGIC, "the VHD image's footer is missing")
    size, kind = _footer(footer)
    if kind == _FIXED:
        require(window.size == size + SECTOR, "the VHD image is not as long as it says")
        return size
    require(window.need(0, SECTOR, "VHD header") == footer, "the VHD image's two footers differ")
    (at,) = struct.unpack_from(">Q", footer, 16)
    header = window.need(at, 1024, "VHD header")
    require(at >= SECTOR and header[:8] == VHD_DYNAMIC, "the VHD image's header is missing")
    require(_checksum(header, 36), "the VHD image's header is damaged")
    table, _, entries, block = struct.unpack_from(">QIII", header, 16)
    require(header[40:56] == _NIL and not any(header[64:576]), "the image needs another file (a parent)")
    require(not any(header[576:768]), "the image needs another file (a parent)")
    fine = 512 <= block <= 1 << 28 and not block & (block - 1)
    require(fine, "the VHD image's blocks are of impossible size")
    require(
        entries * 4 <= _MAX_TABLE and entries * block >= size, "the VHD image's table is of impossible size"
    )
    require(
        table >= SECTOR and window.holds(table, entries * 4), "the VHD image's table is outside of the file"
    )
    return size


def _footer(footer: bytes) -> tuple[int, int]:
    (kind,) = struct.unpack_from(">I", footer, 60)
    version, size = struct.unpack_from(">I", footer, 12)[0], struct.unpack_from(">Q", footer, 48)[0]
    require(_checksum(footer, 64), "the VHD image's footer is damaged")
    require(version == 0x10000, "this version of VHD is not known")
    require(kind in (_FIXED, _DYNAMIC), "the image needs another file, or is of a kind that is not known")
    require(0 < size <= 1 << 62 and size % SECTOR == 0, "the image's size is no number of sectors")
    cylinders, heads, sectors = struct.unpack_from(">HBB", footer, 56)
    # QEMU takes the size from the geometry of some makers' images: it may say less, never more
    require(cylinders * heads * sectors * SECTOR <= size, "the image's geometry is larger than the image")
    return size, kind


def _checksum(data: bytes, at: int) -> bool:
    (said,) = struct.unpack_from(">I", data, at)
    return bool(said == ~(sum(data) - sum(data[at : at + 4])) & 0xFFFF_FFFF)


def check_vhdx(window: Window) -> int:
    """Return the virtual size in bytes. Raises Refused."""
    heads = [window.need(at * _KIB, 80, "VHDX header") for at in (64, 128)]
    valid = [head for head in heads if head[:4] == b"head"]
    require(bool(valid), "the VHDX image's header is missing")
    for head in valid:
        version, log_bytes, log_at = struct.unpack_from("<HIQ", head, 66)
        require(version == 1, "this version of VHDX is not known")
        require(head[48:64] == _NIL, "the VHDX image was not closed properly: its log has to be replayed")
        require(log_bytes % _MIB == 0 and log_at % _MIB == 0, "the VHDX image's log is malformed")
        require(window.holds(log_at, log_bytes), "the VHDX image's log is outside of the file")
    tables = [_regions(window, at * _KIB) for at in (192, 256)]
    require(tables[0] == tables[1], "the VHDX image's two region tables differ")
    regions = tables[0]
    require({_BAT, _METADATA} == set(regions), "the VHDX image's regions are not those that are known")
    size, block = _metadata(window, *regions[_METADATA])
    entries = -(-size // block)
    room = regions[_BAT][1] // 8
    require(entries + entries // 4 <= room * 2 and entries <= room, "the VHDX image's table is too short")
    return size


def _regions(window: Window, at: int) -> dict[bytes, tuple[int, int]]:
    data = window.need(at, 64 * _KIB, "VHDX region table")
    signature, _, count, _ = struct.unpack_from("<4sIII", data)
    require(signature == b"regi" and 0 < count <= 2, "the VHDX image's region table is malformed")
    found: dict[bytes, tuple[int, int]] = {}
    for number in range(count):
        name, offset, length, _ = struct.unpack_from("<16sQII", data, 16 + 32 * number)
        fine = offset >= _MIB and offset % _MIB == 0 and 0 < length <= 256 * _MIB and name not in found
        require(fine and window.holds(offset, length), "a region of the VHDX image is outside of the file")
        found[name] = (offset, length)
    spans = sorted(found.values())
    require(
        all(a + size <= b for (a, size), (b, _) in itertools.pairwise(spans)),
        "the VHDX image's regions overlap",
    )
    return found


def _metadata(window: Window, at: int, length: int) -> tuple[int, int]:
    table = window.need(at, 64 * _KIB, "VHDX metadata")
    signature, _, count = struct.unpack_from("<8sHH", table)
    require(signature == b"metadata" and 0 < count <= 2047, "the VHDX image's metadata is malformed")
    items: dict[bytes, bytes] = {}
    for number in range(count):
        name, offset, size, _, _ = struct.unpack_from("<16sIIII", table, 32 + 32 * number)
        require(name not in items and name != _PARENT, "the image needs another file, or repeats an entry")
        fine = offset >= 64 * _KIB and offset + size <= length and size <= _MIB
        require(fine, "an entry of the VHDX image's metadata is outside of its region")
        items[name] = window.need(at + offset, min(size, 16), "VHDX metadata")
    wanted = ((_FILE_PARAMETERS, 8), (_DISK_SIZE, 8), (_SECTOR_SIZE, 4))
    fine = all(len(items.get(name, b"")) >= size for name, size in wanted)
    require(fine, "the VHDX image's metadata is incomplete")
    block, flags = struct.unpack_from("<II", items[_FILE_PARAMETERS])
    (size,) = struct.unpack_from("<Q", items[_DISK_SIZE])
    (sector,) = struct.unpack_from("<I", items[_SECTOR_SIZE])
    require(not flags & 2, "the image needs another file (a parent)")
    require(_MIB <= block <= 256 * _MIB and not block & (block - 1), "the VHDX image's blocks are impossible")
    require(sector in (512, 4096), "the VHDX image's sectors are of impossible size")
    require(0 < size <= 64 << 40 and size % sector == 0, "the image's size is no number of sectors")
    return size, block
