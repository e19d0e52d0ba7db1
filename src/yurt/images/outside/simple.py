"""Checks formats with a single short header: VDI, Parallels, ISO 9660. Sources: QEMU's block/vdi.c and block/parallels.c;
ECMA-119."""

import struct

from yurt.images.outside.reader import SECTOR, Window, require

VDI_SIGNATURE, VDI_AT = 0xBEDA107F, 0x40
PARALLELS_MAGICS = (b"WithoutFreeSpace", b"WithouFreSpacExt")
ISO_MAGIC, ISO_AT = b"CD001", 32769
_VDI_DYNAMIC, _VDI_STATIC = 1, 2
_VDI_BLOCK = 1 << 20
_MAX_TABLE = 16 << 20


def check_vdi(window: Window) -> int:
    """Return the virtual size in bytes. Raises Refused."""
    version, header, kind, flags = window.unpack("<IIII", 0x44, "VDI header")
    require(version == 0x00010001, "this version of VDI is not known")
    require(header >= 0x180 and not flags, "the VDI image's header is malformed")
    require(
        kind in (_VDI_DYNAMIC, _VDI_STATIC), "the image needs another file, or is of a kind that is not known"
    )
    table, data = window.unpack("<II", 0x154, "VDI header")
    sector, _, size, block, extra, blocks, allocated = window.unpack("<IIQIIII", 0x168, "VDI header")
    links = window.need(0x1A8, 32, "VDI header")
    require(not any(links), "the image needs another file (a parent)")
    require(sector == SECTOR and block == _VDI_BLOCK and not extra, "the VDI image's blocks are impossible")
    require(0 < size <= 1 << 50 and size % SECTOR == 0, "the image's size is no number of sectors")
    require(
        blocks * 4 <= _MAX_TABLE and blocks * block >= size, "the VDI image's table is of impossible size"
    )
    fine = table >= 0x200 and table % SECTOR == 0 and window.holds(table, blocks * 4)
    require(fine, "the VDI image's table is outside of the file")
    require(data % SECTOR == 0 and data >= table + blocks * 4, "the VDI image's tables overlap")
    require(
        allocated <= blocks and data + allocated * block <= window.size + block, "the VDI image is cut off"
    )
    return size


def check_parallels(window: Window) -> int:
    """Return the virtual size in bytes. Raises Refused."""
    magic = window.need(0, 16, "Parallels header")
    words = window.unpack("<IIIIIQIIIQ", 16, "Parallels header")
    version, _, _, tracks, entries, sectors, in_use, data, _, extension = words
    require(version == 2, "this version of Parallels images is not known")
    require(not in_use, "the Parallels image was not closed properly")
    require(not extension, "the Parallels image has extensions that are not known here")
    require(0 < tracks <= (1 << 31) // SECTOR, "the Parallels image's blocks are impossible")
    if magic == PARALLELS_MAGICS[0]:
        sectors &= 0xFFFF_FFFF
    require(0 < sectors <= 1 << 44, "the image's size is impossible")
    fine = 0 < entries * 4 <= _MAX_TABLE and entries * tracks >= sectors
    require(fine and window.holds(64, entries * 4), "the Parallels image's table is of impossible size")
    require(data * SECTOR <= window.size, "the Parallels image's data is outside of the file")
    for entry in struct.unpack(f"<{entries}I", window.need(64, entries * 4, "Parallels table")):
        place = entry * (1 if magic == PARALLELS_MAGICS[0] else tracks) * SECTOR
        require(place <= window.size, "the Parallels image's table points outside of the file")
    return sectors * SECTOR


def check_iso(window: Window) -> int:
    """Return the size in bytes. Raises Refused."""
    kind, version = window.unpack("<BxxxxxB", ISO_AT - 1, "ISO 9660 descriptor")
    little, big = window.unpack("<I", ISO_AT + 79, "ISO 9660 descriptor") + window.unpack(
        ">I", ISO_AT + 83, "ISO 9660 descriptor"
    )
    block = window.unpack("<H", ISO_AT + 127, "ISO 9660 descriptor")[0]
    require(kind == 1 and version == 1, "the ISO 9660 image's first descriptor is not a primary one")
    require(little == big and block in (512, 1024, 2048), "the ISO 9660 image's descriptor is malformed")
    require(0 < little * block <= window.size, "the ISO 9660 image is cut off")
    return window.size
