"""Both QEMU drivers in the conformance suite, with guests small enough to boot in a second or two.

The microVM is the distribution's kernel, yurt's own initrd and a busybox on ext4. The VM is a boot sector of 51 bytes
that echoes its serial port, so that SeaBIOS, AHCI and the console are real while nothing has to be installed.
"""

import asyncio
import functools
import os
import shutil
from pathlib import Path

import pytest
from msgspec.structs import replace
from tests.conformance.drivers_base import (
    INSTANCE_ID,
    MIB,
    PARTS,
    DriverUnderTest,
    Factory,
    make_attachments,
    make_instance,
    make_spec,
)
from tests.conformance.drivers_fake import built_agent, host_facts

from yurt.drivers.agent.config import BootConfig, encode_config
from yurt.drivers.base import DiskAttachment, KernelAttachment
from yurt.drivers.qemu.full import FullDriver
from yurt.drivers.qemu.micro import MicroDriver
from yurt.errors import Invalid, Unsupported, YurtError
from yurt.host import proc
from yurt.host.cgroup import Group
from yurt.host.layout import Layout
from yurt.images.kernel import Kernel, KernelStore, write_instance_initrd
from yurt.model.host import Accelerator
from yurt.model.image import DiskFormat
from yurt.model.instance import Kind
from yurt.storage.qcow2 import create_overlay

CACHE = PARTS / "kernels"
TCG = Accelerator(name="tcg", reason="tests run on what every host has", probed=False)
# writes `UP` to the serial port, then echoes it; `r` resets by the keyboard controller, `o` powers off by ACPI
BOOT_SECTOR = bytes.fromhex(
    "31c08ed8"  # xor %ax,%ax; mov %ax,%ds
    "baf803b055eeb050ee"  # mov $0x3f8,%dx; 'U' and 'P' to it
    "bafd03eca80174fb"  # next: mov $0x3fd,%dx; wait for a byte
    "baf803ec"  # take it
    "3c7274073c6f7409"  # 'r' -> reset, 'o' -> off
    "eeebe9"  # echo; jmp next
    "b0fee664ebfa"  # reset: 0xfe to port 0x64
    "ba0406b80020efebf7"  # off: 0x2000 to port 0x604
)


def _needs(*programs: str) -> None:
    path = os.environ["PATH"] + ":/usr/sbin:/sbin"
    if absent := [program for program in programs if shutil.which(program, path=path) is None]:
        pytest.skip(f"needs {', '.join(absent)}")


@functools.cache
def kernel_and_initrd() -> tuple[Kernel, Path]:
    """The cloud kernel, downloaded once per machine, and the initrd with this tree's agent."""
    _needs("apt-get", "dpkg-deb", "depmod", "lz4")
    agent, store = built_agent(), KernelStore(Layout(CACHE, CACHE / "run"))

    async def get() -> tuple[Kernel, Path]:
        kernel = await store.cloud(lambda text, fraction: None)
        return kernel, await store.initrd(kernel, agent, "micro")

    try:
        return asyncio.run(get())
    except YurtError as error:
        pytest.skip(f"needs a guest kernel, and {error.message}")


def make_root(directory: Path) -> Path:
    """A root file system of one busybox, with `/bin/sh`."""
    busybox = shutil.which("busybox") or "/usr/bin/busybox"
    tree = directory / "tree"
    for name in ("bin", "dev", "proc", "sys", "tmp", "run", "etc", "root"):
        (tree / name).mkdir(parents=True)
    shutil.copy(busybox, tree / "bin" / "busybox")
    for name in ("sh", "sleep", "cat", "true", "echo", "mount", "uname", "poweroff"):
        (tree / "bin" / name).symlink_to("busybox")
    image = directory / "root.ext4"
    argv = ["mkfs.ext4", "-q", "-F", "-d", str(tree), str(image), "32M"]
    asyncio.run(proc.run(argv, timeout_s=60))
    shutil.rmtree(tree)
    return image


def leftovers() -> list[str]:
    """Control groups of the suite's instance."""
    group = Group(host_facts().cgroups, f"yurt/{INSTANCE_ID}")
    return [str(path) for path in group.directories.values() if path.exists()]


def boot_config(**fields: object) -> BootConfig:
    """A guest whose main process waits for its end."""
    plain = BootConfig(
        mode="microvm", hostname="conformance", command=("/bin/sh", "-c", "trap : TERM; sleep 1000 & wait")
    )
    return replace(plain, **fields)


def micro(directory: Path, config: BootConfig | None = None) -> DriverUnderTest:
    """A microVM that boots to its agent."""
    _needs("qemu-system-x86_64", "setpriv", "mkfs.ext4", "busybox")
    if os.geteuid() != 0:
        pytest.skip("needs root")
    facts = host_facts()
    kernel, initrd = kernel_and_initrd()
    given = make_attachments(directory, accelerator=TCG)
    base, overlay, own = make_root(directory), directory / "disk.qcow2", directory / "initrd"
    asyncio.run(create_overlay(overlay, base, DiskFormat.RAW, 64 * MIB))
    write_instance_initrd(initrd, encode_config(config or boot_config()), own)
    os.chown(own, given.uid, given.gid)
    disk = DiskAttachment(path=overlay, format=DiskFormat.QCOW2, base=base, base_format=DiskFormat.RAW)
    boot = KernelAttachment(kernel=kernel.vmlinux, initrd=own, version=kernel.version)
    given = replace(given, disk=disk, kernel=boot)
    spec = make_spec(Kind.MICROVM)
    return DriverUnderTest(
        facts=facts,
        instance=make_instance(spec),
        attachments=given,
        new_driver=lambda: MicroDriver(facts),
        broken=replace(
            given, disk=replace(disk, format=DiskFormat.RAW, path=base, base_format=DiskFormat.QCOW2)
        ),
        leftovers=leftovers,
        refused=[
            (replace(spec, memory_bytes=32 * MIB), Invalid),
            (replace(spec, disk_bytes=0), Invalid),
            (replace(spec, kind=Kind.CONTAINER), Unsupported),
            (replace(spec, kind=Kind.VM), Unsupported),
        ],
    )


def full(directory: Path) -> DriverUnderTest:
    """A whole PC that boots a boot sector."""
    _needs("qemu-system-x86_64", "setpriv")
    if os.geteuid() != 0:
        pytest.skip("needs root")
    facts = host_facts()
    disk = directory / "disk.raw"
    disk.write_bytes(BOOT_SECTOR.ljust(510, b"\0") + b"\x55\xaa" + bytes(MIB - 512))
    given = make_attachments(
        directory, accelerator=TCG, disk=DiskAttachment(path=disk, format=DiskFormat.RAW)
    )
    spec = make_spec(Kind.VM)
    return DriverUnderTest(
        facts=facts,
        instance=make_instance(spec),
        attachments=given,
        new_driver=lambda: FullDriver(facts),
        broken=replace(given, disk=DiskAttachment(path=disk, format=DiskFormat.QCOW2)),
        leftovers=leftovers,
        refused=[
            (replace(spec, memory_bytes=32 * MIB), Invalid),
            (replace(spec, kind=Kind.MICROVM), Unsupported),
        ],
        has_agent=False,
    )


FACTORIES: dict[str, Factory] = {"qemu-micro": micro, "qemu-full": full}
SLOW = set(FACTORIES)
