"""Enlarges a GUID partition table when the disk under it has grown. Pure: bytes in, bytes out.

Source: UEFI specification, chapter 5, "GUID Partition Table Disk Layout".
"""

import struct
import zlib
from dataclasses import dataclass

from yurt.errors import Invalid

SECTOR = 512
HEAD_BYTES = 34 * SECTOR  # protective MBR, header, 128 entries of 128 bytes: what `enlarge` wants to read
_SIGNATURE = b"EFI PART"
_HEADER = struct.Struct("<8sIIIIQQQQ16sQIII")
_PROTECTIVE, _FIRST_MBR_ENTRY = 0xEE, 446


@dataclass(frozen=True, slots=True)
class Write:
    """Bytes, and the offset on the disk where they belong."""

    offset: int
    data: bytes


def enlarge(head: bytes, old_bytes: int, new_bytes: int) -> tuple[Write, ...]:
    """Return what to write so that the last partition ends at the end of a disk grown from `old_bytes` to `new_bytes`.

    `head` is the disk's first 34 sectors. Nothing to write when the size stays. The order is safe: the second table
    at the new end first, the first table last. Raises Invalid for a damaged or foreign table, or a smaller disk.
    """
    if new_bytes % SECTOR or old_bytes % SECTOR or len(head) != HEAD_BYTES:
        raise Invalid("a disk's size must be whole sectors")
    if new_bytes < old_bytes:
        raise Invalid("a disk cannot be made smaller")
    if new_bytes == old_bytes:
        return ()
    header, entries = _parse(head)
    (_, revision, size, _, _, _, backup, first, last, guid, _, count, entry_size, _) = header
    if backup != old_bytes // SECTOR - 1:
        raise Invalid("the partition table is not that of a disk of this size")
    sectors = new_bytes // SECTOR
    table_sectors = -(-count * entry_size // SECTOR)
    gap = backup - table_sectors - 1 - last  # room kept free before the second table
    new_last = sectors - table_sectors - 2 - gap
    if new_last < last:
        raise Invalid("the partition table leaves no room")
    grown = _grow_last(entries, entry_size, _usable_end(entries, entry_size), new_last)
    checksum = zlib.crc32(grown)

    def made(own: int, other: int, table: int) -> bytes:
        fields = (own, other, first, new_last, guid, table, count, entry_size, checksum)
        plain = _HEADER.pack(_SIGNATURE, revision, size, 0, 0, *fields)
        crc = zlib.crc32(plain[:size])
        return _HEADER.pack(_SIGNATURE, revision, size, crc, 0, *fields).ljust(SECTOR, b"\0")

    second_table = sectors - 1 - table_sectors
    padded = grown.ljust(table_sectors * SECTOR, b"\0")
    return (
        Write(second_table * SECTOR, padded + made(sectors - 1, 1, second_table)),
        Write(2 * SECTOR, padded),
        Write(SECTOR, made(1, sectors - 1, 2)),
        Write(0, _protective(head[:SECTOR], sectors)),
    )


def _parse(
    head: bytes,
) -> tuple[tuple[bytes, int, int, int, int, int, int, int, int, bytes, int, int, int, int], bytes]:
    header = _HEADER.unpack_from(head, SECTOR)
    signature, size, checksum = header[0], header[2], header[3]
    if signature != _SIGNATURE or size != _HEADER.size:
        raise Invalid("the disk has no partition table of the kind that can be enlarged (GPT)")
    plain = bytearray(head[SECTOR : SECTOR + size])
    plain[16:20] = bytes(4)
    table, count, entry_size = header[10], header[11], header[12]
    entries = head[2 * SECTOR : 2 * SECTOR + count * entry_size]
    if zlib.crc32(plain) != checksum or table != 2 or entry_size < 128 or len(entries) != count * entry_size:
        raise Invalid("the disk's partition table is damaged")
    if zlib.crc32(entries) != header[13]:
        raise Invalid("the disk's list of partitions is damaged")
    return header, entries


def _usable_end(entries: bytes, entry_size: int) -> int:
    """The last sector of the partition that lies furthest back."""
    ends = [
        struct.unpack_from("<Q", entries, at + 40)[0]
        for at in range(0, len(entries), entry_size)
        if any(entries[at : at + 16])
    ]
    if not ends:
        raise Invalid("the disk has no partitions")
    return int(max(ends))


def _grow_last(entries: bytes, entry_size: int, end: int, new_end: int) -> bytes:
    grown = bytearray(entries)
    for at in range(0, len(entries), entry_size):
        if any(entries[at : at + 16]) and struct.unpack_from("<Q", entries, at + 40)[0] == end:
            struct.pack_into("<Q", grown, at + 40, new_end)
    return bytes(grown)


def _protective(sector: bytes, sectors: int) -> bytes:
    """The first sector, boot code kept, its one entry covering the grown disk as far as 32 bits reach."""
    changed = bytearray(sector)
    if changed[_FIRST_MBR_ENTRY + 4] == _PROTECTIVE:
        struct.pack_into("<I", changed, _FIRST_MBR_ENTRY + 12, min(sectors - 1, 0xFFFFFFFF))
    return bytes(changed)
