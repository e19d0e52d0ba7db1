"""Derived forms of an image: an ext4 file system for microVMs, a bootable disk for whole PCs.

Built from a directory tree with ordinary tools on ordinary files: no loop device, no mount. Equal input gives
equal file systems: identifiers come from the image's digest, times from a constant.
"""

import asyncio
import uuid
from dataclasses import dataclass
from pathlib import Path

from yurt.errors import Invalid
from yurt.host import proc
from yurt.host.files import make_sparse
from yurt.images import service
from yurt.images.blobs import digest_hex
from yurt.images.kernel import Kernel, write_instance_initrd
from yurt.model.operation import Progress

MIB = 1 << 20
SECTOR = 512
DEFAULT_DISK_BYTES = 10 << 30
ESP_START, ESP_BYTES = MIB, 64 * MIB
ROOT_START = ESP_START + ESP_BYTES
TAIL_BYTES = MIB  # behind the root partition, for the second partition table
BOOT_CODE = Path("/usr/lib/syslinux/mbr/gptmbr.bin")
BOOT_CODE_BYTES = 440
# no bounce buffers: every device of a VM reaches all of its memory, and room for more memory would cost it 64 MiB
KERNEL_WORDS = ("console=tty0", "console=ttyS0,115200", "quiet", "swiotlb=noforce")
_MOMENT = "1700000000"


@dataclass(frozen=True, slots=True)
class BootParts:
    """What a bootable disk needs besides the image: kernel, shared initrd, agent, and the initrd's configuration."""

    kernel: Kernel
    initrd: Path
    agent: Path
    config: bytes


def file_system_argv(tree: Path, target: Path, identity: uuid.UUID, offset: int, size: int) -> list[str]:
    """The command that fills `size` bytes of `target`, from `offset` on, with an ext4 file system of `tree`.

    Inode tables and journal are left unwritten: a fresh sparse file reads as zeros, and mke2fs notes that, so
    that neither it nor the guest spends time on wiping.
    """
    extended = [f"hash_seed={identity}", "lazy_itable_init=1", "lazy_journal_init=1", "root_owner=0:0"]
    if offset:
        extended.append(f"offset={offset}")
    return [
        *("mke2fs", "-q", "-F", "-t", "ext4", "-L", "root", "-m", "1", "-U", str(identity)),
        *("-E", ",".join(extended), "-d", str(tree), str(target), f"{size // 1024}k"),
    ]


def identity(digest: str, purpose: str) -> uuid.UUID:
    """An identifier that follows from an image's digest and what it is for."""
    return uuid.uuid5(uuid.NAMESPACE_OID, f"yurt:{digest_hex(digest)}:{purpose}")


async def make_root_disk(digest: str, tree: Path, target: Path, size: int) -> None:
    """Write a raw ext4 file system of `size` bytes (virtual) to `target`, which must not exist."""
    await _make_file_system(digest, tree, target, 0, size, new=True)


async def _make_file_system(
    digest: str, tree: Path, target: Path, offset: int, size: int, *, new: bool
) -> None:
    if new:
        await asyncio.to_thread(make_sparse, target, size, mode=0o644)
    argv = file_system_argv(tree, target, identity(digest, "root"), offset, size)
    await proc.run(argv, timeout_s=1800, env={"E2FSPROGS_FAKE_TIME": _MOMENT})


def partition_script(digest: str, size: int) -> str:
    """The partition table, as sfdisk reads it: a boot partition that the firmware's boot code finds, and the root."""
    root_bytes = size - ROOT_START - TAIL_BYTES
    return (
        f"label: gpt\nlabel-id: {identity(digest, 'disk')}\nfirst-lba: 2048\n"
        f"start={ESP_START // SECTOR}, size={ESP_BYTES // SECTOR}, type=uefi, name=ESP, "
        f"uuid={identity(digest, 'esp')}, attrs=LegacyBIOSBootable\n"
        f"start={ROOT_START // SECTOR}, size={root_bytes // SECTOR}, type=linux, name=root, "
        f"uuid={identity(digest, 'partition')}\n"
    )


def boot_menu(version: str) -> str:
    """syslinux.cfg: boots at once, and also speaks on the serial line."""
    return (
        "SERIAL 0 115200\nDEFAULT yurt\nPROMPT 0\nTIMEOUT 0\n"
        f"LABEL yurt\n  MENU LABEL Linux {version}\n  KERNEL /vmlinuz\n  INITRD /initrd.img\n"
        f"  APPEND root=LABEL=root {' '.join(KERNEL_WORDS)}\n"
    )


async def make_boot_disk(
    digest: str, tree: Path, parts: BootParts, work: Path, target: Path, size: int, progress: Progress
) -> None:
    """Write a bootable qcow2 disk of `size` bytes (virtual) to `target`; `work` is an empty scratch directory.

    Partition table (GPT), boot partition (FAT, syslinux for BIOS), root partition (ext4 of `tree` with the
    agent's service and the kernel's modules added). Raises Invalid when the size is too small.
    """
    if size % MIB or size < ROOT_START + TAIL_BYTES + 64 * MIB:
        raise Invalid(f"a bootable disk of {size} bytes is too small, or no whole number of MiB")
    raw = work / "disk.raw"
    await asyncio.to_thread(make_sparse, raw, size)
    progress("making the boot partition", None)
    esp = await _boot_partition(digest, parts, work)
    await proc.run(
        ["sfdisk", "--quiet", str(raw)], timeout_s=60, stdin=partition_script(digest, size).encode()
    )
    await asyncio.to_thread(_place, raw, esp)
    progress("making the root partition", None)
    await _make_file_system(digest, tree, raw, ROOT_START, size - ROOT_START - TAIL_BYTES, new=False)
    progress("adding kernel modules and the agent", None)
    await _add_to_file_system(tree, parts, work, raw)
    progress("writing the disk image", None)
    await proc.run(["qemu-img", "convert", "-f", "raw", "-O", "qcow2", str(raw), str(target)], timeout_s=1800)
    target.chmod(0o644)


async def _boot_partition(digest: str, parts: BootParts, work: Path) -> Path:
    esp, initrd, menu = work / "esp.img", work / "initrd.img", work / "syslinux.cfg"
    await asyncio.to_thread(write_instance_initrd, parts.initrd, parts.config, initrd)
    menu.write_text(boot_menu(parts.kernel.version))
    make_sparse(esp, ESP_BYTES)
    serial = identity(digest, "esp").hex[:8]
    hidden = str(ESP_START // SECTOR)
    image = ["-i", str(esp)]
    for argv in (
        ["mkfs.vfat", "-F", "16", "-h", hidden, "-n", "ESP", "-i", serial, str(esp)],
        ["mmd", *image, "::/syslinux"],
        ["mcopy", *image, str(parts.kernel.vmlinuz), "::/vmlinuz"],
        ["mcopy", *image, str(initrd), "::/initrd.img"],
        ["mcopy", *image, str(menu), "::/syslinux/syslinux.cfg"],
        ["syslinux", "--install", "--directory", "/syslinux", str(esp)],
    ):
        await proc.run(argv, timeout_s=120, env={"SOURCE_DATE_EPOCH": _MOMENT}, cwd=work)
    return esp


def _place(raw: Path, esp: Path) -> None:
    code = BOOT_CODE.read_bytes()
    if len(code) > BOOT_CODE_BYTES:
        raise Invalid(
            f"`{BOOT_CODE}` is {len(code)} bytes long, a boot sector has room for {BOOT_CODE_BYTES}"
        )
    with raw.open("r+b") as disk, esp.open("rb") as source:
        disk.write(code)
        disk.seek(ESP_START)
        while chunk := source.read(MIB):
            if chunk.count(0) == len(chunk):
                disk.seek(len(chunk), 1)
            else:
                disk.write(chunk)


async def _add_to_file_system(tree: Path, parts: BootParts, work: Path, raw: Path) -> None:
    """Put the agent, its service and the kernel's modules into the root file system, then check all of it."""
    stage = work / "stage"
    await asyncio.to_thread(service.stage, tree, stage, parts.agent, parts.kernel)
    await proc.run(["depmod", "--basedir", str(stage / "usr"), parts.kernel.version], timeout_s=300)
    script = await asyncio.to_thread(service.debugfs_script, tree, stage)
    image = f"{raw}?offset={ROOT_START}"
    argv = ["debugfs", "-w", "-f", "-", image]
    done = await proc.run(argv, timeout_s=600, stdin=script.encode(), cwd=stage)
    complaints = [line for line in done.stderr.decode(errors="replace").splitlines() if line.strip()][1:]
    if complaints:  # the first line is its version; debugfs reports failures in words only
        raise Invalid(f"the root file system cannot take the agent: {complaints[0][:200]}")
    await proc.run(["e2fsck", "-f", "-n", image], timeout_s=600)
