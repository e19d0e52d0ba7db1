"""A partition table grown with its disk, checked by a reader of the test's own."""

import struct
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from yurt.errors import Invalid
from yurt.storage.gpt import HEAD_BYTES, SECTOR, enlarge

MIB = 1 << 20
Parts = list[tuple[int, int]]


def make_head(disk_bytes: int, parts: Parts, *, last_usable: int | None = None) -> bytes:
    """The first 34 sectors of a disk with these partitions (first and last sector), boot code in the MBR."""
    sectors = disk_bytes // SECTOR
    entries = bytearray(128 * 128)
    for number, (first, last) in enumerate(parts):
        entries[number * 128 : number * 128 + 32] = bytes([number + 1]) * 32
        struct.pack_into("<QQQ", entries, number * 128 + 32, first, last, 4)
    usable = sectors - 34 if last_usable is None else last_usable

    def header(crc: int) -> bytes:
        fields = (1, sectors - 1, 2048, usable, b"D" * 16, 2, 128, 128, zlib.crc32(entries))
        return struct.pack("<8sIIIIQQQQ16sQIII", b"EFI PART", 0x10000, 92, crc, 0, *fields)

    mbr = bytearray(b"\xb0" * 440 + bytes(72))
    mbr[450] = 0xEE
    struct.pack_into("<II", mbr, 454, 1, min(sectors - 1, 0xFFFFFFFF))
    mbr[510:] = b"\x55\xaa"
    return bytes(mbr) + header(zlib.crc32(header(0))).ljust(SECTOR, b"\0") + bytes(entries)


def read_table(disk: dict[int, bytes], at: int) -> tuple[int, int, int, bytes, Parts]:
    """Check one header and its entries: its own place, the other's, the last usable sector, the GUID, the partitions."""
    sector = disk[at]
    size, crc = struct.unpack_from("<II", sector, 12)
    assert zlib.crc32(sector[:16] + bytes(4) + sector[20:size]) == crc
    own, other, _, last = struct.unpack_from("<QQQQ", sector, 24)
    table, count, entry, entries_crc = struct.unpack_from("<QIII", sector, 72)
    entries = b"".join(disk[table + i] for i in range(count * entry // SECTOR))
    assert zlib.crc32(entries) == entries_crc
    parts = []
    for begin in range(0, len(entries), entry):
        if any(entries[begin : begin + 16]):
            parts.append(struct.unpack_from("<QQ", entries, begin + 32))
    return own, other, last, sector[56:72], parts


def applied(head: bytes, old: int, new: int) -> dict[int, bytes]:
    disk = {i: head[i * SECTOR : (i + 1) * SECTOR] for i in range(34)}
    for write in enlarge(head, old, new):
        assert write.offset % SECTOR == 0
        assert write.offset + len(write.data) <= new
        for i in range(0, len(write.data), SECTOR):
            disk[(write.offset + i) // SECTOR] = write.data[i : i + SECTOR]
    return disk


@given(old=st.integers(200, 4000), more=st.integers(1, 1 << 26))
def test_both_tables_describe_the_grown_disk(old: int, more: int) -> None:
    old_bytes, new_bytes = old * MIB, old * MIB + more * SECTOR
    parts = [(2048, 133119), (133120, old_bytes // SECTOR - 2048 - 1)]
    disk = applied(make_head(old_bytes, parts), old_bytes, new_bytes)
    sectors = new_bytes // SECTOR
    first, second = read_table(disk, 1), read_table(disk, sectors - 1)
    assert first[:2] == (1, sectors - 1)
    assert second[:2] == (sectors - 1, 1)
    assert first[2:] == second[2:]
    assert first[3] == b"D" * 16
    assert first[4][0] == (2048, 133119)
    assert first[4][1] == (133120, first[2])
    assert first[2] < sectors - 33
    assert disk[0][:446] == b"\xb0" * 440 + bytes(6)
    assert struct.unpack_from("<II", disk[0], 454) == (1, min(sectors - 1, 0xFFFFFFFF))


def test_the_partition_that_lies_last_grows_wherever_it_is_listed() -> None:
    parts = [(100_000, 400_000), (2048, 4095)]
    disk = applied(make_head(256 * MIB, parts), 256 * MIB, 512 * MIB)
    grown = read_table(disk, 1)[4]
    assert grown[0][1] > 900_000
    assert grown[1] == (2048, 4095)


def test_the_same_size_needs_no_writes() -> None:
    assert enlarge(make_head(256 * MIB, [(2048, 4095)]), 256 * MIB, 256 * MIB) == ()


def test_the_new_end_is_written_before_the_old_table_is_touched() -> None:
    offsets = [write.offset for write in enlarge(make_head(256 * MIB, [(2048, 4095)]), 256 * MIB, 512 * MIB)]
    assert offsets[0] > 256 * MIB
    assert offsets[1:] == [2 * SECTOR, SECTOR, 0]


@pytest.mark.parametrize("at", [SECTOR, SECTOR + 30, 2 * SECTOR + 3])
def test_a_damaged_table_is_refused(at: int) -> None:
    head = bytearray(make_head(256 * MIB, [(2048, 4095)]))
    head[at] ^= 1
    with pytest.raises(Invalid):
        enlarge(bytes(head), 256 * MIB, 512 * MIB)


@pytest.mark.parametrize(
    ("old", "new"),
    [(256 * MIB, 255 * MIB), (256 * MIB, 300 * MIB + 1), (255 * MIB, 300 * MIB), (256 * MIB + 1, 512 * MIB)],
)
def test_sizes_that_cannot_be_are_refused(old: int, new: int) -> None:
    with pytest.raises(Invalid):
        enlarge(make_head(256 * MIB, [(2048, 4095)]), old, new)


def test_an_empty_table_is_refused() -> None:
    with pytest.raises(Invalid, match="no partitions"):
        enlarge(make_head(256 * MIB, []), 256 * MIB, 512 * MIB)
    with pytest.raises(Invalid):
        enlarge(bytes(HEAD_BYTES), 256 * MIB, 512 * MIB)
