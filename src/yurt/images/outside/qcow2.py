"""Checks a qcow2 header before any program opens it. Pure but for the window's reads.

What names another file (backing file, external data) is refused, as is what nobody knows (incompatible bits), what no
honest tool writes (tables outside of the file, on the header, or on each other), and what we would not keep anyway
(encryption, internal snapshots). Source: QEMU's "Qcow2 Image File Format"; limits as in QEMU's block/qcow2.h.
"""

import struct

from yurt.images.outside.reader import SECTOR, Refused, Window, require

MAGIC = b"QFI\xfb"
_DIRTY, _CORRUPT, _DATA_FILE, _COMPRESSION, _EXTENDED_L2 = (1 << bit for bit in range(5))
_ACCEPTED = _DIRTY | _COMPRESSION | _EXTENDED_L2
_DATA_FILE_RAW = 1 << 1  # autoclear
_MAX_L1_BYTES, _MAX_REFTABLE_BYTES = 32 << 20, 8 << 20
_MAX_BITMAPS, _MAX_BITMAP_DIRECTORY = 65535, 64 << 20
_ENTRY_OFFSET = 0x00FF_FFFF_FFFF_FE00
_L1_RESERVED = 0x7F00_0000_0000_01FF
_END, _BACKING, _FEATURES, _BITMAPS, _CRYPTO, _DATA_NAME = (
    0,
    0xE2792ACA,
    0x6803F857,
    0x23852875,
    0x0537BE77,
    0x44415441,
)


def check(window: Window) -> int:
    """Return the virtual size in bytes. Raises Refused."""
    (version,) = window.unpack(">I", 4, "qcow2 header")
    if version == 1:
        raise Refused("this is a qcow image of version 1, which nobody should use any longer")
    require(version in (2, 3), f"qcow2 version {version} is not known")
    numbers = window.unpack(">QIIQIIQQIIQ", 8, "qcow2 header")
    backing_at, backing_length, bits, size, crypt = numbers[:5]
    l1_entries, l1_at, table_at, table_clusters, snapshots, _ = numbers[5:]
    require(not backing_at and not backing_length, "the image needs another file (a backing file)")
    require(not crypt, "the image is encrypted")
    require(9 <= bits <= 21, f"the image's clusters are impossible (2^{bits} bytes)")
    cluster = 1 << bits
    require(0 < size <= 1 << 62 and size % SECTOR == 0, "the image's size is no number of sectors")
    require(snapshots == 0, "the image holds snapshots of its own: only its current state can be imported")
    extended, length = _features(window, cluster) if version == 3 else (False, 72)
    require(not extended or bits >= 14, "the image's clusters are too small for subclusters")
    _extensions(window, length, cluster)
    l1 = _Part("L1 table", l1_at, l1_entries * 8)
    _check_l1(l1, l1_entries, size, cluster, extended)
    table = _Part("refcount table", table_at, table_clusters * cluster)
    require(0 < table.size <= _MAX_REFTABLE_BYTES, "the image's refcount table is of impossible size")
    for part in (l1, table):
        part.check(window, cluster)
    require(l1.end <= table.at or table.end <= l1.at, "the image's tables overlap")
    _check_entries(window, l1, table, l1_entries, cluster)
    return size


class _Part:
    """A table somewhere in the file."""

    def __init__(self, name: str, at: int, size: int) -> None:
        self.name, self.at, self.size = name, at, size

    @property
    def end(self) -> int:
        return self.at + self.size

    def check(self, window: Window, cluster: int) -> None:
        require(self.at % cluster == 0, f"the image's {self.name} is not aligned")
        require(self.at >= cluster, f"the image's {self.name} overlaps its header")
        require(window.holds(self.at, self.size), f"the image's {self.name} lies outside of the file")


def _features(window: Window, cluster: int) -> tuple[bool, int]:
    """Check a version 3 header; returns whether L2 entries are extended, and the header's length."""
    incompatible, _, autoclear, order, length = window.unpack(">QQQII", 72, "qcow2 header")
    require(not incompatible & _DATA_FILE, "the image keeps its data in another file")
    require(not incompatible & _CORRUPT, "the image is marked as corrupt")
    unknown = incompatible & ~_ACCEPTED
    require(not unknown, f"the image uses features that are not known here (bits {unknown:#x})")
    require(not autoclear & _DATA_FILE_RAW, "the image keeps its data in another file")
    require(order <= 6, f"the image's refcounts are of impossible width (2^{order} bits)")
    require(104 <= length <= cluster and length % 8 == 0, "the image's header is of impossible length")
    kind = window.need(104, 1, "qcow2 header")[0] if length > 104 else 0
    compressed = bool(incompatible & _COMPRESSION)
    require(kind in (0, 1) and compressed == (kind != 0), "the image's compression is not known")
    return bool(incompatible & _EXTENDED_L2), length


def _extensions(window: Window, at: int, cluster: int) -> None:
    """Walk the header extensions, which must end inside the first cluster."""
    header = window.read(0, cluster)
    seen = set[int]()
    while at + 8 <= len(header):
        kind, length = struct.unpack_from(">II", header, at)
        if kind == _END:
            return
        require(kind not in seen, "the image's header repeats an extension")
        seen.add(kind)
        data = header[at + 8 : at + 8 + length]
        require(len(data) == length, "an extension of the image's header is of impossible length")
        require(kind != _BACKING, "the image names the format of a backing file")
        require(kind != _DATA_NAME, "the image names another file for its data")
        require(kind != _CRYPTO, "the image is encrypted")
        require(kind != _FEATURES or length % 48 == 0, "the image's table of features is malformed")
        if kind == _BITMAPS:
            _check_bitmaps(window, data)
        at += 8 + (length + 7) // 8 * 8
    require(at == len(header), "the image's header does not end")


def _check_bitmaps(window: Window, data: bytes) -> None:
    require(len(data) == 24, "the image's list of bitmaps is malformed")
    count, reserved, size, at = struct.unpack(">IIQQ", data)
    fine = 0 < count <= _MAX_BITMAPS and not reserved and 0 < size <= _MAX_BITMAP_DIRECTORY
    require(fine and window.holds(at, size), "the image's list of bitmaps is malformed")


def _check_l1(l1: _Part, entries: int, size: int, cluster: int, extended: bool) -> None:
    covered = cluster // (16 if extended else 8) * cluster
    needed = -(-size // covered)
    require(l1.size <= _MAX_L1_BYTES, "the image's L1 table is of impossible size")
    require(entries >= needed, "the image's L1 table is too short for its size")


def _check_entries(window: Window, l1: _Part, table: _Part, entries: int, cluster: int) -> None:
    """Every L2 table lies in the file, on nothing else, and is nobody else's."""
    data = window.need(l1.at, l1.size, "L1 table")
    seen = set[int]()
    for entry in struct.unpack(f">{entries}Q", data):
        if not entry:
            continue
        at = entry & _ENTRY_OFFSET
        require(not entry & _L1_RESERVED, "the image's L1 table holds an impossible entry")
        if not at:
            continue
        fine = at % cluster == 0 and at >= cluster and window.holds(at, cluster)
        require(fine, "the image's L1 table points outside of the file or at its header")
        beside = all(at + cluster <= part.at or part.end <= at for part in (l1, table))
        require(beside, "the image's tables overlap")
        require(at not in seen, "two entries of the image's L1 table are the same")
        seen.add(at)
