"""The forms boot: tiny's file system under the cloud kernel, tiny's own disk through a PC's firmware.

Only QEMU and the forms, no driver: what is typed at the console is answered, and the machine powers off.
"""

import asyncio
import os
import select
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from yurt.drivers.agent.build import agent_binary, source_dir
from yurt.drivers.agent.config import BootConfig, encode_config
from yurt.host.layout import Layout
from yurt.host.tsc import find_tsc_khz
from yurt.images.kernel import KernelStore, write_instance_initrd
from yurt.images.store import ImageStore
from yurt.model.image import DiskFormat
from yurt.storage.qcow2 import create_overlay, grow_gpt, virtual_size

pytestmark = [
    pytest.mark.root,
    pytest.mark.slow,
    pytest.mark.needs("qemu-system-x86_64", "busybox", "mke2fs", "zstd"),
]
GIB = 1 << 30
BOOT_S = 180  # far more than it takes; a loaded machine boots ten times slower under TCG
PLAIN = (
    "-accel",
    "tcg",
    "-cpu",
    "qemu64",
    "-nodefaults",
    "-no-user-config",
    "-display",
    "none",
    "-no-reboot",
)


def quiet(text: str, fraction: float | None) -> None:
    assert text


class Machine:
    """A QEMU whose serial console is its standard input and output."""

    def __init__(self, *argv: str) -> None:
        words = ["qemu-system-x86_64", *PLAIN, "-serial", "stdio", *argv]
        self.process = subprocess.Popen(
            words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
        )
        self.seen = b""

    def expect(self, text: bytes) -> None:
        """Read the console until `text` has appeared since the last time."""
        assert self.process.stdout
        deadline = time.monotonic() + BOOT_S
        while text not in self.seen:
            left = deadline - time.monotonic()
            assert left > 0 and select.select([self.process.stdout], [], [], left)[0], self.seen[-3000:]
            data = os.read(self.process.stdout.fileno(), 65536)
            assert data, self.seen[-3000:]
            self.seen += data
        self.seen = self.seen.partition(text)[2]

    def type(self, text: str) -> None:
        assert self.process.stdin
        self.process.stdin.write(text.encode())
        self.process.stdin.flush()

    def close(self) -> None:
        self.process.kill()
        self.process.communicate()


@pytest.fixture(scope="module")
def layout(tmp_path_factory: pytest.TempPathFactory) -> Layout:
    home = tmp_path_factory.mktemp("boot")
    return Layout(home / "state", home / "run")


@pytest.fixture(scope="module")
def agent(layout: Layout) -> Path:
    return asyncio.run(agent_binary(layout.agents, source_dir(), "x86_64"))


@pytest.fixture
def machines() -> Iterator[list[Machine]]:
    started: list[Machine] = []
    yield started
    for machine in started:
        machine.close()


def assert_usable(machine: Machine, disk_gib: int) -> None:
    """A shell answers on the console, the root has grown to its disk, and `poweroff` ends the machine."""
    machine.expect(b"built-in shell")
    machine.type(
        "echo size=$(($(df -k / | awk 'END {print $2}') / 1048576)) user=$(id -un)=; . /etc/os-release; echo id=$ID=\n"
    )
    machine.expect(b"size=")
    machine.expect(f"size={disk_gib - 1} user=root=".encode())
    machine.expect(b"id=yurt-tiny=")
    machine.type("poweroff\n")
    assert machine.process.wait(BOOT_S) == 0


def test_the_file_system_boots_under_the_cloud_kernel(
    layout: Layout, agent: Path, machines: list[Machine], tmp_path: Path
) -> None:
    images, kernels = ImageStore(layout), KernelStore(layout)
    initrd, disk = tmp_path / "initrd", tmp_path / "disk.qcow2"
    config = BootConfig(mode="microvm", hostname="boots", init="/sbin/init", root_device="/dev/vda")

    async def prepare() -> Path:
        kernel = await kernels.cloud(quiet)
        base = await images.root_disk(await images.build("tiny", quiet), quiet)
        await create_overlay(disk, base, DiskFormat.RAW, 12 * GIB)
        write_instance_initrd(await kernels.initrd(kernel, agent, "micro"), encode_config(config), initrd)
        return kernel.vmlinux

    vmlinux = asyncio.run(prepare())
    words = f"console=ttyS0 quiet tsc_early_khz={find_tsc_khz()} tsc=reliable"
    machine = Machine(
        *("-M", "microvm", "-m", "256", "-kernel", str(vmlinux), "-initrd", str(initrd), "-append", words),
        *("-drive", f"id=d,file={disk},format=qcow2,if=none", "-device", "virtio-blk-device,drive=d"),
        *("-device", "virtio-rng-device"),
    )
    machines.append(machine)
    assert_usable(machine, 12)


@pytest.mark.needs("mcopy", "mkfs.vfat", "syslinux", "/usr/lib/syslinux/mbr/gptmbr.bin", "sfdisk", "qemu-io")
def test_the_bootable_disk_boots_through_the_firmware(
    layout: Layout, agent: Path, machines: list[Machine], tmp_path: Path
) -> None:
    images, kernels = ImageStore(layout), KernelStore(layout)
    disk = tmp_path / "disk.qcow2"
    config = encode_config(BootConfig(mode="vm", hostname="", init="/sbin/init", root_device="LABEL=root"))

    async def prepare() -> None:
        image = await images.build("tiny", quiet)
        kernel = await kernels.generic(quiet)
        base = await images.boot_disk(image, kernel, kernels, agent, config, quiet)
        await create_overlay(disk, base, DiskFormat.QCOW2, 20 * GIB)
        await grow_gpt(disk, 20 * GIB, await virtual_size(base, DiskFormat.QCOW2))

    asyncio.run(prepare())
    machine = Machine(
        *(
            "-M",
            "q35",
            "-m",
            "512",
            "-drive",
            f"id=d,file={disk},format=qcow2,if=none",
            "-device",
            "ide-hd,drive=d",
        ),
    )
    machines.append(machine)
    machine.expect(b"SYSLINUX")
    assert_usable(machine, 20)
