"""Real guests under TCG that are changed while they run; each change is looked at from inside the guest."""

import asyncio
import os
import shutil
import subprocess
import tempfile
from collections.abc import Awaitable, Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import pytest
from msgspec.structs import replace
from tests.conformance.drivers_base import DriverUnderTest, make_attachments, make_instance, make_spec
from tests.conformance.drivers_fake import built_agent, host_facts
from tests.conformance.drivers_qemu import TCG, boot_config, micro

from yurt.drivers.agent.client import AgentClient
from yurt.drivers.agent.config import BootConfig, encode_config
from yurt.drivers.base import Adjusted, DiskAttachment, NicAttachment, VolumeAttachment
from yurt.drivers.qemu.driver import QemuDriver
from yurt.drivers.qemu.full import FullDriver
from yurt.errors import Busy, Unsupported
from yurt.host.layout import Layout
from yurt.host.tap import make_tap, open_tap
from yurt.images.kernel import KernelStore
from yurt.images.store import ImageStore
from yurt.model.image import DiskFormat
from yurt.model.instance import GIB, MIB, Kind, ResolvedSpec
from yurt.model.limits import Limits
from yurt.model.process import ExecRequest
from yurt.storage import gpt
from yurt.storage.qcow2 import create_overlay

pytestmark = [pytest.mark.slow, pytest.mark.root, pytest.mark.needs("qemu-system-x86_64", "qemu-img")]
BOOT_S, STEP_S = 120, 60  # only a guest that hangs meets them


@dataclass
class Guest:
    """A guest that runs, its driver and its agent, and the loop that they live in."""

    runner: asyncio.Runner
    driver: QemuDriver
    run_dir: Path
    place: Path
    spec: ResolvedSpec
    client: AgentClient

    def do(self, story: Callable[[], Awaitable[None]]) -> None:
        async def run() -> None:
            async with asyncio.timeout(STEP_S):
                await story()

        self.runner.run(run())

    async def sh(self, script: str) -> str:
        session = await self.client.exec(ExecRequest(argv=("/bin/sh", "-c", script)))
        out = b""
        while (item := await session.read()) is not None:
            out += item[1]
        code = await session.wait()
        await session.close()
        assert code == 0, out
        return out.decode().strip()

    async def adjust(self, **fields: object) -> Adjusted:
        after = replace(self.spec, **fields)
        done = await self.driver.adjust(self.run_dir, self.spec, after)
        self.spec = after
        return done

    async def free_kib(self) -> int:
        return int(await self.sh("grep MemFree /proc/meminfo | tr -dc 0-9"))


def started(test: DriverUnderTest, place: Path) -> Iterator[Guest]:
    driver = test.new_driver()
    assert isinstance(driver, QemuDriver)
    with asyncio.Runner() as runner:

        async def boot() -> AgentClient:
            async with asyncio.timeout(BOOT_S):
                await driver.start(test.instance, test.attachments)
                client = await driver.agent(test.run_dir)
                await client.wait_ready()
                return client

        async def end() -> None:
            with suppress(NameError):
                await client.close()
            await driver.cleanup(test.run_dir)

        try:
            client = runner.run(boot())
            yield Guest(runner, driver, test.run_dir, place, test.instance.spec, client)
        finally:
            runner.run(end())
    assert test.leftovers() == []


@pytest.fixture(scope="module")
def directory() -> Iterator[Path]:
    path = Path(tempfile.mkdtemp(prefix="yh-", dir="/tmp"))
    path.chmod(0o711)
    yield path
    shutil.rmtree(path)


async def vm_disk(cache: Path, agent: Path) -> Path:
    """The image `tiny` as a disk that a PC boots."""
    layout = Layout(cache / "state", cache / "run")
    images, kernels = ImageStore(layout), KernelStore(layout)
    image = await images.get("tiny:latest")

    def report(text: str, fraction: float | None) -> None: ...

    told = BootConfig(mode="vm", hostname="", init=image.config.init, root_device="LABEL=root")
    kernel = await kernels.generic(report)
    return await images.boot_disk(image, kernel, kernels, agent, encode_config(told), report)


@pytest.fixture(scope="module")
def vm(directory: Path, image_cache: Path) -> Iterator[Guest]:
    base, place = asyncio.run(vm_disk(image_cache, built_agent())), directory / "vm"
    given, overlay, facts = make_attachments(place, accelerator=TCG), place / "disk.qcow2", host_facts()
    asyncio.run(create_overlay(overlay, base, DiskFormat.QCOW2, 10 * GIB))
    disk = DiskAttachment(
        path=overlay, format=DiskFormat.QCOW2, base=base, base_format=DiskFormat.QCOW2, virtio=True
    )
    given = replace(given, disk=disk)
    spec = make_spec(Kind.VM, memory_bytes=512 * MIB, disk_bytes=10 * GIB)
    test = DriverUnderTest(
        facts=facts,
        instance=make_instance(spec),
        attachments=given,
        new_driver=lambda: FullDriver(facts),
        broken=given,
    )
    yield from started(test, place)


@pytest.fixture(scope="module")
def microvm(directory: Path) -> Iterator[Guest]:
    place = directory / "micro"
    place.mkdir(mode=0o711)
    yield from started(micro(place, boot_config()), place)


# --- a VM --------------------------------------------------------------------------------------------------------


def test_a_second_vcpu_comes_and_works(vm: Guest) -> None:
    async def story() -> None:
        assert await vm.sh("nproc") == "1"
        assert await vm.adjust(cpus=2) == Adjusted(applied=("cpus",))
        await vm.client.grow(cpus=2)
        assert await vm.sh("nproc") == "2"
        assert "hardware assistance" in (await vm.adjust(cpus=1)).pending["cpus"]
        refused = await vm.adjust(cpus=200)
        assert refused.applied == () and "room for" in refused.pending["cpus"]
        vm.spec = replace(vm.spec, cpus=2)

    vm.do(story)


def test_memory_comes_and_goes(vm: Guest) -> None:
    async def story() -> None:
        before = await vm.free_kib()
        assert await vm.adjust(memory_bytes=768 * MIB) == Adjusted(applied=("memory",))
        await vm.client.grow(memory_bytes=(await vm.driver.memory(vm.run_dir)).total_bytes)
        grown = await vm.free_kib()
        assert grown - before > 200 * 1024
        assert await vm.adjust(memory_bytes=512 * MIB) == Adjusted(applied=("memory",))
        assert grown - await vm.free_kib() > 200 * 1024
        assert (await vm.driver.memory(vm.run_dir)).given_bytes == 512 * MIB
        assert await vm.adjust(memory_bytes=768 * MIB) == Adjusted(applied=("memory",))
        memory = await vm.driver.memory(vm.run_dir)
        assert (memory.total_bytes, memory.given_bytes) == (768 * MIB, 768 * MIB)

    vm.do(story)


def test_the_balloon_takes_memory_and_gives_it_back(vm: Guest) -> None:
    async def story() -> None:
        await vm.sh("dd if=/dev/zero of=/dev/shm/used bs=1M count=200 2>/dev/null; rm /dev/shm/used")
        before, free = await vm.driver.memory(vm.run_dir), await vm.free_kib()
        lent, resident = before.given_bytes - 448 * MIB, (await vm.driver.usage(vm.run_dir)).memory_bytes
        assert await vm.driver.set_balloon(vm.run_dir, lent) == lent
        assert free - await vm.free_kib() > 400 * 1024
        usage = await vm.driver.usage(vm.run_dir)
        assert usage.balloon_bytes == before.total_bytes - lent
        assert resident - usage.memory_bytes > 100 * MIB, "the host really has it"
        assert await vm.driver.set_balloon(vm.run_dir, before.given_bytes) == before.given_bytes
        assert abs(await vm.free_kib() - free) < 64 * 1024

    vm.do(story)


def test_a_disk_comes_is_written_and_goes_and_comes_again(vm: Guest) -> None:
    image = vm.place / "volume.qcow2"
    subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", str(image), "64M"], check=True)
    volume = VolumeAttachment(name="data", path=image)

    async def story() -> None:
        assert isinstance(vm.driver, FullDriver)
        for turn in range(2):
            await vm.driver.attach_disk(vm.run_dir, volume)
            await vm.driver.attach_disk(vm.run_dir, volume)
            name = await until(vm, "grep -lx data /sys/class/block/*/serial | cut -d/ -f5 | grep .")
            if turn == 0:
                await vm.sh(f"printf hello | dd of=/dev/{name} conv=fsync 2>/dev/null")
            assert await vm.sh(f"head -c 5 /dev/{name}") == "hello"
            await vm.driver.detach_disk(vm.run_dir, "data")
            await vm.driver.detach_disk(vm.run_dir, "data")
            assert await vm.sh("ls /sys/class/block/*/serial | wc -l") == "1"
        monitor = await (await vm.driver._get(vm.run_dir)).qmp()
        assert "vol-data" not in str(await monitor.execute("query-named-block-nodes", {"flat": True}))
        assert "vol-data" not in str(await monitor.execute("query-fdsets"))
        with pytest.raises(Unsupported):
            from yurt.drivers.qemu.unplug import unplug

            await unplug(monitor, "disk0")

    vm.do(story)
    assert b"hello" in image.read_bytes()


async def until(guest: Guest, script: str) -> str:
    """What a script says once it says something: the guest finds a new device a moment after QEMU has it."""
    return await guest.sh(f"for i in $(seq 50); do {script} && break; sleep 0.1; done")


@pytest.fixture
def tap() -> Iterator[str]:
    """A tap that is on no bridge and down."""
    name = "yt-hotplug0"
    make_tap(name)
    yield name
    subprocess.run(["ip", "link", "delete", name], check=True)


def test_a_nic_comes_and_goes(vm: Guest, tap: str) -> None:
    nic = NicAttachment(index=3, device=tap, mac="52:54:00:0a:0b:0c", mtu=1400)

    async def story() -> None:
        assert isinstance(vm.driver, FullDriver)
        for _ in range(2):
            await vm.driver.attach_nic(vm.run_dir, nic)
            await vm.driver.attach_nic(vm.run_dir, nic)
            found = await until(vm, f"grep -l {nic.mac} /sys/class/net/*/address | cut -d/ -f5 | grep .")
            assert await vm.sh(f"cat /sys/class/net/{found}/mtu") == "1400"
            with pytest.raises(Busy):
                open_tap(tap)
            await vm.driver.detach_nic(vm.run_dir, 3)
            await vm.driver.detach_nic(vm.run_dir, 3)
            assert nic.mac not in await vm.sh("cat /sys/class/net/*/address")
            os.close(open_tap(tap))

    vm.do(story)


async def write_rate_mib(guest: Guest) -> float:
    """MiB a second, of 4 MiB written through to the disk."""
    said = await guest.sh(
        "dd if=/dev/zero of=/root/rate bs=1M count=4 2>/dev/null; "
        "a=$(cut -d' ' -f1 /proc/uptime); sync; echo $a $(cut -d' ' -f1 /proc/uptime)"
    )
    begin, end = (float(word) for word in said.split())
    return 4 / max(end - begin, 0.01)


def check_throttle(guest: Guest) -> None:
    async def story() -> None:
        limits = Limits(disk_write_bps=MIB)
        assert await guest.adjust(limits=limits) == Adjusted(applied=("disk-write-bps",))
        assert await write_rate_mib(guest) < 1.7
        assert await guest.adjust(limits=Limits()) == Adjusted(applied=("disk-write-bps",))
        assert await write_rate_mib(guest) > 3

    guest.do(story)


# before the file system grows, as the guest then writes its new tables for a while
def test_a_disks_rate_changes(vm: Guest) -> None:
    check_throttle(vm)


def test_the_root_disk_and_its_file_system_grow(vm: Guest) -> None:
    async def story() -> None:
        before = int(await vm.sh("df -k / | tail -1 | awk '{print $2}'"))
        for size in (11 * GIB, 14 * GIB):
            assert await vm.adjust(disk_bytes=size) == Adjusted(applied=("disk",))
            await vm.client.grow(disk_bytes=size)
        after = int(await vm.sh("df -k / | tail -1 | awk '{print $2}'"))
        assert after - before > 3.5 * (1 << 20)
        await vm.sh("echo kept > /root/mark; sync; echo 3 > /proc/sys/vm/drop_caches; grep kept /root/mark")
        table = await vm.sh("dd if=/dev/vda bs=512 count=34 2>/dev/null | od -An -v -tx1 | tr -d ' \\n'")
        head = bytes.fromhex(table)
        assert gpt.enlarge(head, 14 * GIB, 14 * GIB + 512)  # the host takes it for a sound table of this size

    vm.do(story)


def test_a_new_daemon_goes_on_with_what_the_last_one_plugged_in(vm: Guest) -> None:
    image = vm.place / "volume.qcow2"

    async def story() -> None:
        assert isinstance(vm.driver, FullDriver)
        await vm.driver.attach_disk(vm.run_dir, VolumeAttachment(name="data", path=image))
        await vm.driver.detach()
        again = FullDriver(vm.driver.facts)
        try:
            await again.attach_disk(vm.run_dir, VolumeAttachment(name="data", path=image))
            await again.detach_disk(vm.run_dir, "data")
            assert await vm.sh("ls /sys/class/block/*/serial | wc -l") == "1"
        finally:
            await again.detach()

    vm.do(story)


# --- a microVM ---------------------------------------------------------------------------------------------------


def test_a_microvm_says_what_it_cannot(microvm: Guest) -> None:
    async def story() -> None:
        before = microvm.spec
        said = await microvm.adjust(cpus=2, memory_bytes=before.memory_bytes + 256 * MIB)
        assert said.applied == ()
        assert set(said.pending.values()) == {"a microvm's machine has no hot-plugging"}
        microvm.spec = before

    microvm.do(story)


def test_a_microvms_disk_grows(microvm: Guest) -> None:
    async def story() -> None:
        before = int(await microvm.sh("busybox df -k / | busybox tail -1 | busybox awk '{print $2}'"))
        assert await microvm.adjust(disk_bytes=256 * MIB) == Adjusted(applied=("disk",))
        await microvm.client.grow(disk_bytes=256 * MIB)
        after = int(await microvm.sh("busybox df -k / | busybox tail -1 | busybox awk '{print $2}'"))
        assert after - before > 150 * 1024

    microvm.do(story)


def test_a_microvms_balloon_takes_memory_and_gives_it_back(microvm: Guest) -> None:
    async def story() -> None:
        free = int(await microvm.sh("busybox grep MemFree /proc/meminfo | busybox tr -dc 0-9"))
        assert await microvm.adjust(memory_bytes=128 * MIB) == Adjusted(applied=("memory",))
        low = int(await microvm.sh("busybox grep MemFree /proc/meminfo | busybox tr -dc 0-9"))
        assert free - low > 100 * 1024
        assert await microvm.adjust(memory_bytes=256 * MIB) == Adjusted(applied=("memory",))

    microvm.do(story)


def test_a_microvms_disk_rate_changes(microvm: Guest) -> None:
    async def story() -> None:
        await microvm.sh("ln -sf busybox /bin/dd; ln -sf busybox /bin/cut; ln -sf busybox /bin/sync")

    microvm.do(story)
    check_throttle(microvm)
