"""Takes a bzImage apart: finds the compressed kernel inside and says how to unpack it. Pure.

QEMU starts the unpacked ELF kernel through its PVH entry, which saves the guest from unpacking itself
(half a second under TCG). Source: the kernel's documentation of the x86 boot protocol, and its list of
payload formats.
"""

import bz2
import lzma
import struct
import zlib

from yurt.errors import Unsupported

ELF_MAGIC = b"\x7fELF"
# how each payload begins, its name, and the program that unpacks it where Python's own library cannot
FORMATS: tuple[tuple[bytes, str, tuple[str, ...]], ...] = (
    (b"\x02\x21\x4c\x18", "lz4", ("lz4", "-q", "-d", "-f")),
    (b"\x28\xb5\x2f\xfd", "zstd", ("zstd", "-q", "-d", "-f", "-o")),
    (b"\x1f\x8b", "gzip", ()),
    (b"\xfd7zXZ\0", "xz", ()),
    (b"BZh", "bzip2", ()),
    (b"\x5d\0\0", "lzma", ()),
    (ELF_MAGIC, "elf", ()),
)
_SETUP_SECTORS, _MAGIC, _VERSION, _PAYLOAD = 0x1F1, 0x202, 0x206, 0x248
_SIZE_TRAILER = frozenset({"lz4", "zstd", "gzip", "xz", "bzip2", "lzma"})


def find_payload(image: bytes) -> tuple[str, bytes]:
    """Return the format's name and the compressed kernel of a bzImage. Raises Unsupported."""
    if len(image) < 0x260 or image[_MAGIC : _MAGIC + 4] != b"HdrS":
        raise Unsupported("this kernel is not a bzImage")
    if struct.unpack_from("<H", image, _VERSION)[0] < 0x208:
        raise Unsupported("this kernel's boot protocol is older than 2.08")
    offset, length = struct.unpack_from("<II", image, _PAYLOAD)
    begin = ((image[_SETUP_SECTORS] or 4) + 1) * 512 + offset
    payload = image[begin : begin + length]
    if len(payload) != length or length < 8:
        raise Unsupported("this kernel image is cut off")
    for magic, name, _ in FORMATS:
        if payload.startswith(magic):
            # the build appends the unpacked size, four bytes; only gzip has it as part of its own format
            return name, payload[:-4] if name in _SIZE_TRAILER - {"gzip"} else payload
    raise Unsupported(f"this kernel is packed in an unknown format ({payload[:4].hex()})")


def unpack_program(name: str) -> tuple[str, ...]:
    """The program and options that unpack this format, to be followed by names; empty when `unpack` can."""
    return next(argv for _, known, argv in FORMATS if known == name)


def unpack(name: str, payload: bytes) -> bytes:
    """Unpack a payload of a format that needs no program. Raises Unsupported when it is damaged."""
    try:
        match name:
            case "elf":
                return payload
            case "gzip":
                return zlib.decompressobj(wbits=31).decompress(payload)
            case "xz" | "lzma":
                return lzma.LZMADecompressor().decompress(payload)
            case "bzip2":
                return bz2.BZ2Decompressor().decompress(payload)
    except (zlib.error, lzma.LZMAError, OSError) as error:
        raise Unsupported(f"this kernel's {name} payload is damaged: {error}") from error
    raise ValueError(f"needs a program: {name}")


def has_pvh_entry(elf: bytes) -> bool:
    """Whether an ELF kernel carries the note (owner `Xen`, type 18) that names its PVH entry point."""
    if elf[:6] != ELF_MAGIC + b"\x02\x01" or len(elf) < 64:
        return False
    table, size, count = struct.unpack_from("<Q", elf, 32)[0], *struct.unpack_from("<HH", elf, 54)
    for index in range(count):
        at = table + index * size
        if at + 56 > len(elf) or struct.unpack_from("<I", elf, at)[0] != 4:  # PT_NOTE
            continue
        offset, _, _, length = struct.unpack_from("<QQQQ", elf, at + 8)
        notes = elf[offset : offset + length]
        while len(notes) >= 12:
            name_size, data_size, kind = struct.unpack_from("<III", notes)
            if kind == 18 and notes[12 : 12 + name_size] == b"Xen\0":
                return True
            notes = notes[12 + (name_size + 3 & ~3) + (data_size + 3 & ~3) :]
    return False
