"""Tells what a disk image from outside is, and whether any program may open it.

Exactly one format may match, it must be the one that was named, and its header must pass that format's own checks
(images/outside/). Nothing here writes, starts a program or believes a file's name. A raw disk matches nothing; one that
looks like something else is refused, unless it is plainly a partitioned disk that also boots from CD (an isohybrid).
"""

from collections.abc import Callable
from enum import StrEnum
from pathlib import Path

import msgspec

from yurt.images.outside import microsoft, qcow2, simple, vmdk
from yurt.images.outside.reader import SECTOR, Opened, Refused, Window, require
from yurt.units import format_size

GPT_MAGIC = b"EFI PART"


class Format(StrEnum):
    """What a client may name. The values are those that users write; `qemu_name` is QEMU's word."""

    RAW = "raw"
    QCOW2 = "qcow2"
    VMDK = "vmdk"
    VHD = "vhd"
    VHDX = "vhdx"
    VDI = "vdi"
    PARALLELS = "parallels"
    ISO = "iso"

    @property
    def qemu_name(self) -> str:
        return {"vhd": "vpc", "iso": "raw"}.get(self.value, self.value)


class Inspection(msgspec.Struct, frozen=True, kw_only=True):
    """What passed: the format, and the size in bytes of the disk that the image stands for."""

    format: Format
    virtual_bytes: int
    file_bytes: int


CHECKS: dict[Format, Callable[[Window], int]] = {
    Format.QCOW2: qcow2.check,
    Format.VMDK: vmdk.check,
    Format.VHD: microsoft.check_vhd,
    Format.VHDX: microsoft.check_vhdx,
    Format.VDI: simple.check_vdi,
    Format.PARALLELS: simple.check_parallels,
    Format.ISO: simple.check_iso,
}
# known by their first bytes, and never taken: what they are, and what to do
BANNED: tuple[tuple[bytes, str], ...] = (
    (b"QED\0", "QED, a format that QEMU itself has given up"),
    (vmdk.TEXT_MAGIC, "a VMDK descriptor that only names other files"),
    (vmdk.ESX_MAGIC, "a VMDK of an ESX server, split over several files"),
    (b"LUKS\xba\xbe", "encrypted (LUKS)"),
    (b"Bochs Virtual HD Image", "a Bochs image"),
    (b"#!/bin/sh\n#V2.0 Format", "a compressed loop image"),
    (b"\x1f\x8b\x08", "compressed with gzip"),
    (b"\xfd7zXZ\0", "compressed with xz"),
    (b"\x28\xb5\x2f\xfd", "compressed with zstd"),
    (b"BZh", "compressed with bzip2"),
    (b"PK\x03\x04", "a ZIP archive"),
    (b"7z\xbc\xaf\x27\x1c", "a 7z archive"),
)
_TAIL_BANNED = ((b"koly", "an Apple disk image"),)


def matches(window: Window) -> set[Format]:
    """All formats whose signature the file bears, wherever a program would look for it. Raises Refused for banned ones."""
    head = window.read(0, 2048)
    tail = window.read(max(0, window.size - SECTOR), SECTOR)
    for magic, what in BANNED:
        require(
            not head.lstrip().startswith(magic) if magic.startswith(b"#") else not head.startswith(magic),
            _is(what),
        )
    for magic, what in _TAIL_BANNED:
        require(not tail.startswith(magic), _is(what))
    require(window.read(257, 5) != b"ustar", _is("a tar archive"))
    found = set[Format]()
    for form, magics in _HEAD_MAGICS.items():
        if head.startswith(magics):
            found.add(form)
    # only the last 511 or 512 bytes are the footer, and old tools cut the last byte off
    if microsoft.VHD_MAGIC in (head[:8], tail[:8], window.read(max(0, window.size - 511), 8)):
        found.add(Format.VHD)
    if int.from_bytes(head[simple.VDI_AT : simple.VDI_AT + 4], "little") == simple.VDI_SIGNATURE:
        found.add(Format.VDI)
    if any(window.read(simple.ISO_AT + 2048 * number, 5) == simple.ISO_MAGIC for number in range(16)):
        found.add(Format.ISO)
    return found


_HEAD_MAGICS: dict[Format, tuple[bytes, ...]] = {
    Format.QCOW2: (qcow2.MAGIC,),
    Format.VMDK: (vmdk.MAGIC,),
    Format.VHDX: (microsoft.VHDX_MAGIC,),
    Format.PARALLELS: simple.PARALLELS_MAGICS,
}


def _is(what: str) -> str:
    return f"the file is {what}, which cannot be imported as a disk"


def is_partitioned(window: Window) -> bool:
    """Whether the file begins like a disk with an MBR or GPT partition table that fits it."""
    head = window.read(0, 2 * SECTOR)
    if head[510:512] != b"\x55\xaa":
        return False
    if head[SECTOR : SECTOR + 8] == GPT_MAGIC:
        return True
    used = 0
    for at in range(446, 510, 16):
        entry = head[at : at + 16]
        start, sectors = int.from_bytes(entry[8:12], "little"), int.from_bytes(entry[12:16], "little")
        if entry[0] not in (0, 0x80):
            return False
        if entry[4]:
            used += 1
            # a GPT's protective entry may be larger than its disk
            if not sectors or (entry[4] != 0xEE and (start + sectors) * SECTOR > window.size):
                return False
    return used > 0


def inspect_window(window: Window, declared: Format, *, max_virtual_bytes: int) -> Inspection:
    """Check an image against the format that was named for it. Raises Refused."""
    require(window.size > 0, "the file is empty")
    found = matches(window)
    if declared is Format.RAW:
        virtual = _raw(window, found)
    else:
        if declared not in found:
            raise Refused(
                f"the file is not a {declared} image",
                hint=f"name its format: it looks like {_listed(found)}" if found else "",
            )
        others = found - {declared}
        require(not others, f"the file looks like {declared} and like {_listed(others)} at once")
        virtual = CHECKS[declared](window)
    if virtual > max_virtual_bytes:
        raise Refused(
            f"the image's disk has {format_size(virtual)}, more than the {format_size(max_virtual_bytes)} allowed here",
            hint="the host's owner can allow more: `disk_bytes` under `[imports]` in yurt.toml",
        )
    return Inspection(format=declared, virtual_bytes=virtual, file_bytes=window.size)


def _raw(window: Window, found: set[Format]) -> int:
    if found and not (found == {Format.ISO} and is_partitioned(window)):
        raise Refused(
            f"the file was named raw but looks like {_listed(found)}",
            hint="name its real format; for a raw disk that holds such bytes, wipe its first and last sectors",
        )
    return -(-window.size // SECTOR) * SECTOR


def _listed(found: set[Format]) -> str:
    return " and ".join(sorted(found))


def inspect_file(path: Path, declared: Format, *, max_virtual_bytes: int) -> Inspection:
    """Check a file. Blocking, but bounded: it reads 48 MiB at most. Raises Refused, NotFound by way of OSError."""
    with Opened(path) as window:
        return inspect_window(window, declared, max_virtual_bytes=max_virtual_bytes)
