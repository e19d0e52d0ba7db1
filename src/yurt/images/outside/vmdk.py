"""Checks a VMDK image: only one file that holds everything (monolithicSparse, streamOptimized).

A VMDK's descriptor is text that can name any other file as extent or as parent. QEMU reads it at sector 1 whatever the
header says, and takes the whole header again from a stream-optimised image's end; so both are looked at here.
Source: VMware's "Virtual Disk Format 5.0"; QEMU's block/vmdk.c.
"""

import re

from yurt.images.outside.reader import SECTOR, Refused, Window, require

MAGIC = b"KDMV"
TEXT_MAGIC = b"# Disk DescriptorFile"
ESX_MAGIC = b"COWD"
_KINDS = {b"monolithicsparse", b"streamoptimized"}
_AT_END = (1 << 64) - 1
_DESCRIPTOR_SECTORS = 20
_HEADER = "<4sIIQQQQIQQQ"
_EXTENT = re.compile(rb"^\s*(?:RW|RDONLY|NOACCESS)\s", re.IGNORECASE)
_ONE_FILE = re.compile(rb'^\s*RW\s+(\d+)\s+SPARSE\s+"([^"/\\:]*)"\s*$', re.IGNORECASE)


def check(window: Window) -> int:
    """Return the virtual size in bytes. Raises Refused."""
    sectors, descriptor_at, directory_at = _header(window, 0)
    if directory_at == _AT_END:
        require(window.size >= 2048 and window.size % SECTOR == 0, "the image's end is missing")
        footer = window.size - 2 * SECTOR
        again = _header(window, footer)
        require(again[:2] == (sectors, descriptor_at), "the image's two headers differ")
        require(again[2] != _AT_END, "the image's second header is malformed")
        directory_at = again[2]
    require(window.holds(directory_at * SECTOR, SECTOR), "the image's grain directory is outside of the file")
    for at in {1, descriptor_at}:
        _descriptor(window, at * SECTOR, sectors)
    return sectors * SECTOR


def _header(window: Window, at: int) -> tuple[int, int, int]:
    """Check one header; returns capacity, place of the descriptor, place of the grain directory, all in sectors."""
    words = window.unpack("<4xIIQQQQIQQQ", at, "VMDK header")
    version, _, capacity, grain, where, length, entries, redundant, directory, overhead = words
    require(window.read(at, 4) == MAGIC, "the image's second header is missing")
    require(1 <= version <= 3, f"VMDK version {version} is not known")
    require(0 < capacity <= 1 << 53, "the image's capacity is impossible")
    require(8 <= grain <= 128 and not grain & (grain - 1), "the image's grains are of impossible size")
    require(where == 1 and 0 < length <= 2048, "the image's descriptor is not where it should be")
    require(window.holds(where * SECTOR, length * SECTOR), "the image's descriptor is outside of the file")
    require(entries == 512, "the image's grain tables are of impossible size")
    require(overhead * SECTOR <= window.size, "the image's overhead is larger than the file")
    require(
        redundant in (0, _AT_END) or window.holds(redundant * SECTOR, SECTOR),
        "the image's second grain directory is outside of the file",
    )
    return capacity, where, directory


def _descriptor(window: Window, at: int, sectors: int) -> None:
    """Check the text: one extent, in this file, of the right size; no parent."""
    raw = window.read(at, _DESCRIPTOR_SECTORS * SECTOR)
    text = raw.split(b"\0", 1)[0]
    require(not raw[len(text) :].strip(b"\0") or b"parentFileName" not in raw, "the image names a parent")
    require(all(32 <= byte < 127 or byte in b"\t\r\n" for byte in text), "the image's descriptor is no text")
    require(text.lstrip().startswith(TEXT_MAGIC), "the image's descriptor is missing")
    keys: dict[bytes, bytes] = {}
    extents = []
    for line in text.splitlines():
        key, equals, value = line.partition(b"=")
        if _EXTENT.match(line):
            extents.append(line)
        elif equals and not line.lstrip().startswith(b"#"):
            name = key.strip().lower()
            require(name not in keys or name.startswith(b"ddb."), "the image's descriptor repeats a line")
            keys[name] = value.strip().strip(b'"')
    require(b"parentfilenamehint" not in text.lower(), "the image needs another file (a parent)")
    require(
        keys.get(b"parentcid", b"ffffffff").lower() == b"ffffffff", "the image needs another file (a parent)"
    )
    kind = keys.get(b"createtype", b"").lower()
    if kind not in _KINDS:
        raise Refused("only VMDK images of type `monolithicSparse` and `streamOptimized` can be imported")
    found = _ONE_FILE.match(extents[0]) if len(extents) == 1 else None
    require(found is not None, "the image spreads over other files")
    assert found is not None
    require(
        len(found[1]) < 20 and int(found[1]) == sectors, "the image's extent is not as large as the image"
    )
