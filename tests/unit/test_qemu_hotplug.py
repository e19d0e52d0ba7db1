"""What changes while a machine runs, on a QEMU without a guest: order, repeats, refusals, lost answers."""

import asyncio
import os
import shutil
import tempfile
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace
from tests.conformance.drivers_base import make_spec
from tests.doubleqemu import DoubleQemu

from yurt.drivers.base import Adjusted, GuestMemory, NicAttachment, VolumeAttachment
from yurt.drivers.qemu import adjust, balloon, hotplug
from yurt.drivers.qemu.adjust import Change
from yurt.drivers.qemu.monitor import NEWS_KEPT, Monitor
from yurt.drivers.qemu.room import Room
from yurt.drivers.qemu.unplug import unplug
from yurt.errors import Exhausted, Timeout, ToolFailed, Unavailable, Unsupported
from yurt.model.image import DiskFormat
from yurt.model.instance import GIB, MIB, Kind, ResolvedSpec
from yurt.model.limits import Limits

Story = Callable[[Monitor], Awaitable[None]]
ROOM = Room(cpus=4, memory_bytes=8 * GIB, slots=16, ports=4, balloon=True)
SPEC = make_spec(Kind.VM, memory_bytes=GIB, disk_bytes=10 * GIB)


@pytest.fixture
def place() -> Iterator[Path]:
    path = Path(tempfile.mkdtemp(prefix="yu-", dir="/tmp"))
    yield path
    shutil.rmtree(path)


@pytest.fixture
def qemu(place: Path) -> Iterator[DoubleQemu]:
    double = DoubleQemu(place / "qmp")
    yield double
    double.close()


@pytest.fixture
def tell(place: Path, qemu: DoubleQemu) -> Callable[[Story], None]:
    """Run a story over a connection to it."""

    async def run(story: Story) -> None:
        async with asyncio.timeout(30):
            monitor = await Monitor.connect(place / "qmp")
            try:
                await story(monitor)
            finally:
                await monitor.close()

    return lambda story: asyncio.run(run(story))


def volume(
    place: Path, name: str = "data", **fields: Any
) -> VolumeAttachment:  # Any: fields of several types
    path = place / f"{name}.qcow2"
    path.write_bytes(b"this very file")
    return replace(VolumeAttachment(name=name, path=path), **fields)


# --- disks -------------------------------------------------------------------------------------------------------


def test_a_disk_is_handed_over_open_and_named_once(
    place: Path, qemu: DoubleQemu, tell: Callable[[Story], None]
) -> None:
    async def story(monitor: Monitor) -> None:
        for _ in range(2):
            await hotplug.attach_disk(monitor, volume(place))
        assert qemu.names() == ["add-fd", *["blockdev-add"] * 3, "device_add"]
        ((opaque, descriptor),) = qemu.sets.values()
        assert opaque == "vol-data" and os.pread(descriptor, 14, 0) == b"this very file"
        file, form = qemu.nodes["vol-data-file"], qemu.nodes["vol-data"]
        assert (file["filename"], file["driver"]) == ("/dev/fdset/3", "file")
        assert (form["driver"], form["backing"], form["file"]) == ("qcow2", None, "vol-data-file")
        assert qemu.nodes["vol-data-limit"]["throttle-group"] == "disks"
        device = qemu.devices["vol-data"]
        assert (device["drive"], device["serial"], device["bus"]) == ("vol-data-limit", "data", "port0")

    tell(story)


def test_a_raw_read_only_disk_is_written_by_nobody(
    place: Path, qemu: DoubleQemu, tell: Callable[[Story], None]
) -> None:
    async def story(monitor: Monitor) -> None:
        await hotplug.attach_disk(monitor, volume(place, format=DiskFormat.RAW, read_only=True))
        assert "backing" not in qemu.nodes["vol-data"] and "detect-zeroes" not in qemu.nodes["vol-data"]
        assert qemu.nodes["vol-data"]["read-only"] is qemu.nodes["vol-data-file"]["read-only"] is True
        ((_, descriptor),) = qemu.sets.values()
        with pytest.raises(OSError):
            os.write(descriptor, b"x")

    tell(story)


@pytest.mark.parametrize("command", ["add-fd", "blockdev-add", "device_add"])
def test_a_disk_that_is_refused_leaves_nothing(
    place: Path, qemu: DoubleQemu, tell: Callable[[Story], None], command: str
) -> None:
    async def story(monitor: Monitor) -> None:
        nodes, devices = dict(qemu.nodes), dict(qemu.devices)
        qemu.refuse[command] = "no"
        with pytest.raises(ToolFailed, match=command):
            await hotplug.attach_disk(monitor, volume(place))
        assert (qemu.nodes, qemu.devices, qemu.sets) == (nodes, devices, {})

    tell(story)


@pytest.mark.parametrize("command", ["add-fd", "blockdev-add", "device_add"])
def test_a_disk_whose_answer_was_lost_is_there_once_after_the_next_try(
    place: Path, qemu: DoubleQemu, command: str
) -> None:
    async def story() -> None:
        qemu.deaf = command
        monitor = await Monitor.connect(place / "qmp")
        with pytest.raises(Unavailable):
            await hotplug.attach_disk(monitor, volume(place))
        await monitor.close()
        qemu.deaf = ""
        monitor = await Monitor.connect(place / "qmp")
        await hotplug.attach_disk(monitor, volume(place))
        assert len(qemu.sets) == 1 and "vol-data" in qemu.devices
        await hotplug.detach_disk(monitor, "data")
        assert not qemu.sets and set(qemu.nodes) == {"root-limit"} and "vol-data" not in qemu.devices
        await monitor.close()

    asyncio.run(asyncio.wait_for(story(), 30))


def test_a_disk_goes_with_all_that_belongs_to_it(
    place: Path, qemu: DoubleQemu, tell: Callable[[Story], None]
) -> None:
    async def story(monitor: Monitor) -> None:
        before = set(qemu.devices)
        await hotplug.attach_disk(monitor, volume(place))
        for _ in range(2):
            await hotplug.detach_disk(monitor, "data")
            assert set(qemu.nodes) == {"root-limit"} and not qemu.sets and set(qemu.devices) == before

    tell(story)


def test_when_all_ports_are_taken_that_is_said(
    place: Path, qemu: DoubleQemu, tell: Callable[[Story], None]
) -> None:
    async def story(monitor: Monitor) -> None:
        for index in range(4):
            await hotplug.attach_disk(monitor, volume(place, f"data{index}"))
        assert {qemu.devices[f"vol-data{index}"]["bus"] for index in range(4)} == {
            f"port{i}" for i in range(4)
        }
        with pytest.raises(Exhausted, match="4 places"):
            await hotplug.attach_disk(monitor, volume(place, "data4"))
        await hotplug.detach_disk(monitor, "data2")
        await hotplug.attach_disk(monitor, volume(place, "data4"))
        assert qemu.devices["vol-data4"]["bus"] == "port2"

    tell(story)


# --- letting go --------------------------------------------------------------------------------------------------


def test_a_guest_that_refuses_keeps_its_disk(
    place: Path, qemu: DoubleQemu, tell: Callable[[Story], None]
) -> None:
    async def story(monitor: Monitor) -> None:
        await hotplug.attach_disk(monitor, volume(place))
        qemu.guest = lambda device: [("DEVICE_UNPLUG_GUEST_ERROR", {"device": device, "path": "x"})]
        with pytest.raises(ToolFailed, match="does not let go"):
            await hotplug.detach_disk(monitor, "data")
        assert "vol-data" in qemu.devices and "vol-data" in qemu.nodes and qemu.sets

    tell(story)


def test_a_guest_that_is_silent_is_given_up_on_and_may_still_do_it(
    place: Path, qemu: DoubleQemu, tell: Callable[[Story], None]
) -> None:
    async def story(monitor: Monitor) -> None:
        await hotplug.attach_disk(monitor, volume(place))
        qemu.guest = lambda device: []
        with pytest.raises(Timeout) as failed:
            await unplug(monitor, "vol-data", timeout_s=0.05)
        assert "booting" in failed.value.hint
        qemu.devices.pop("vol-data")  # it does it later, unheard
        await hotplug.detach_disk(monitor, "data")
        assert not qemu.sets and "vol-data" not in qemu.nodes

    tell(story)


def test_a_device_that_is_gone_without_a_word_is_gone(
    place: Path, qemu: DoubleQemu, tell: Callable[[Story], None]
) -> None:
    def silently(device: str) -> list[tuple[str, dict[str, Any]]]:
        qemu.devices.pop(device)
        return []

    async def story(monitor: Monitor) -> None:
        await hotplug.attach_disk(monitor, volume(place))
        qemu.guest = silently
        await unplug(monitor, "vol-data", timeout_s=0.05)

    tell(story)


def test_news_of_others_is_nobodys_business_and_a_flood_is_bounded(
    place: Path, qemu: DoubleQemu, tell: Callable[[Story], None]
) -> None:
    def floods(device: str) -> list[tuple[str, dict[str, Any]]]:
        noise: list[tuple[str, dict[str, Any]]] = [
            ("ACPI_DEVICE_OST", {"info": {"device": "other", "source": 3, "status": 1}})
        ] * (3 * NEWS_KEPT)
        return noise + qemu.lets_go(device)

    async def story(monitor: Monitor) -> None:
        await hotplug.attach_disk(monitor, volume(place))
        qemu.guest = floods
        await hotplug.detach_disk(monitor, "data")
        assert not monitor._listeners

    tell(story)


def test_what_was_there_from_the_start_stays(qemu: DoubleQemu, tell: Callable[[Story], None]) -> None:
    async def story(monitor: Monitor) -> None:
        with pytest.raises(Unsupported, match="since the start"):
            await unplug(monitor, "disk0")

    tell(story)


# --- NICs --------------------------------------------------------------------------------------------------------


def test_a_nic_comes_with_its_tap_open_and_goes_whole(
    qemu: DoubleQemu, tell: Callable[[Story], None]
) -> None:
    nic = NicAttachment(index=2, device="tap2", mac="52:54:00:00:00:02", mtu=1400)

    async def story(monitor: Monitor) -> None:
        before = set(qemu.devices)
        tap = os.memfd_create("tap")
        for refused in ("getfd", "netdev_add", "device_add"):
            qemu.refuse = {refused: "no"}
            with pytest.raises(ToolFailed, match=refused):
                await hotplug.attach_nic(monitor, nic, tap)
            assert not qemu.named and not qemu.backends and set(qemu.devices) == before
        qemu.refuse = {}
        await hotplug.attach_nic(monitor, nic, tap)
        os.close(tap)
        assert qemu.backends["net2"] == {"type": "tap", "id": "net2", "fd": "net2"}
        device = qemu.devices["nic2"]
        assert (device["mac"], device["host_mtu"], device["bus"]) == (nic.mac, 1400, "port0")
        assert await hotplug.has_nic(monitor, 2) and not await hotplug.has_nic(monitor, 1)
        for _ in range(2):
            await hotplug.detach_nic(monitor, 2)
            assert not qemu.backends and set(qemu.devices) == before

    tell(story)


# --- sizes -------------------------------------------------------------------------------------------------------


def change(
    after: dict[str, object],
    *,
    before: ResolvedSpec = SPEC,
    accelerator: str = "kvm",
    dry_run: bool = False,
    virtio_disk: bool = True,
) -> Change:
    return Change(
        before=before,
        after=replace(before, **after),
        room=ROOM,
        virtio_disk=virtio_disk,
        accelerator=accelerator,
        dry_run=dry_run,
    )


def test_vcpus_come_in_order_and_go_in_reverse(qemu: DoubleQemu, tell: Callable[[Story], None]) -> None:
    def ejects(device: str) -> list[tuple[str, dict[str, Any]]]:
        qemu.devices.pop(device)  # as QEMU 7.2: it tells of a part of the vCPU, and of the guest's deed
        return [
            ("ACPI_DEVICE_OST", {"info": {"device": device, "source": 3, "status": 0x84, "slot": "1"}}),
            ("DEVICE_DELETED", {"path": f"/machine/peripheral/{device}/lapic"}),
        ]

    async def story(monitor: Monitor) -> None:
        qemu.guest = ejects
        assert await adjust.adjust(monitor, change({"cpus": 3})) == Adjusted(applied=("cpus",))
        assert [name for name in qemu.devices if name.startswith("cpu-")] == ["cpu-1-0-0", "cpu-2-0-0"]
        assert (qemu.devices["cpu-1-0-0"]["core-id"], qemu.devices["cpu-1-0-0"]["driver"]) == (
            1,
            "qemu64-x86_64-cpu",
        )
        three = replace(SPEC, cpus=3)
        await adjust.adjust(monitor, change({"cpus": 3}, before=SPEC))
        assert len([name for name in qemu.names() if name == "device_add"]) == 2
        assert await adjust.adjust(monitor, change({"cpus": 2}, before=three)) == Adjusted(applied=("cpus",))
        assert "cpu-2-0-0" not in qemu.devices and "cpu-1-0-0" in qemu.devices

    tell(story)


@pytest.mark.parametrize(
    ("after", "accelerator", "why"),
    [
        ({"cpus": 5}, "kvm", "room for 4 vCPUs"),
        ({"cpus": 1}, "kvm", "the 2 vCPUs it was started with"),
        ({"memory_bytes": 9 * GIB}, "kvm", "room for 8G"),
    ],
)
def test_what_does_not_fit_waits_with_the_reason_and_changes_nothing(
    qemu: DoubleQemu, tell: Callable[[Story], None], after: dict[str, object], accelerator: str, why: str
) -> None:
    async def story(monitor: Monitor) -> None:
        qemu.cpus = 2
        said = await adjust.adjust(
            monitor, change(after, before=replace(SPEC, cpus=2), accelerator=accelerator)
        )
        assert said.applied == () and why in next(iter(said.pending.values()))
        assert not [name for name in qemu.names() if name in ("device_add", "object-add", "balloon")]

    tell(story)


def test_under_emulation_no_vcpu_is_taken_away(qemu: DoubleQemu, tell: Callable[[Story], None]) -> None:
    async def story(monitor: Monitor) -> None:
        await adjust.adjust(monitor, change({"cpus": 2}, accelerator="tcg"))
        before = replace(SPEC, cpus=2)
        said = await adjust.adjust(monitor, change({"cpus": 1}, before=before, accelerator="tcg"))
        assert "hardware assistance" in said.pending["cpus"] and "device_del" not in qemu.names()

    tell(story)


def test_a_guest_that_keeps_its_vcpu_is_pending(qemu: DoubleQemu, tell: Callable[[Story], None]) -> None:
    async def story(monitor: Monitor) -> None:
        await adjust.adjust(monitor, change({"cpus": 2}))
        qemu.guest = lambda device: [
            ("ACPI_DEVICE_OST", {"info": {"device": device, "source": 3, "status": 1, "slot": "1"}})
        ]
        said = await adjust.adjust(monitor, change({"cpus": 1}, before=replace(SPEC, cpus=2)))
        assert "does not let go" in said.pending["cpus"]

    tell(story)


def test_memory_is_plugged_in_whole_blocks_and_the_balloon_holds_the_rest(
    qemu: DoubleQemu, tell: Callable[[Story], None]
) -> None:
    async def story(monitor: Monitor) -> None:
        after = GIB + 200 * MIB
        said = await adjust.adjust(monitor, change({"memory_bytes": after}))
        assert said == Adjusted(applied=("memory",))
        assert qemu.objects["dimm0-ram"]["size"] == 256 * MIB
        assert await balloon.get_memory(monitor) == GuestMemory(
            total_bytes=GIB + 256 * MIB, given_bytes=after, balloon=True
        )
        larger = replace(SPEC, memory_bytes=after)
        said = await adjust.adjust(monitor, change({"memory_bytes": GIB + 250 * MIB}, before=larger))
        assert said.applied == ("memory",) and "dimm1" not in qemu.devices

    tell(story)


def test_memory_that_qemu_refuses_is_pending_and_leaves_no_backend(
    qemu: DoubleQemu, tell: Callable[[Story], None]
) -> None:
    async def story(monitor: Monitor) -> None:
        qemu.refuse["device_add"] = "no slot is free"
        said = await adjust.adjust(monitor, change({"memory_bytes": 2 * GIB}))
        assert "no slot is free" in said.pending["memory"] and set(qemu.objects) == {"disks"}
        qemu.refuse.clear()
        assert (await adjust.adjust(monitor, change({"memory_bytes": 2 * GIB}))).applied == ("memory",)

    tell(story)


def test_a_guest_that_gives_back_only_a_part_is_pending_with_what_it_has(
    qemu: DoubleQemu, tell: Callable[[Story], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(balloon.set_balloon, "__kwdefaults__", {"timeout_s": 0.1})

    async def story(monitor: Monitor) -> None:
        qemu.balloon_limit = 256 * MIB
        said = await adjust.adjust(monitor, change({"memory_bytes": 512 * MIB}))
        assert "all but 768M" in said.pending["memory"]

    tell(story)


def test_a_dry_run_asks_and_does_nothing(qemu: DoubleQemu, tell: Callable[[Story], None]) -> None:
    wishes: dict[str, object] = {
        "cpus": 2,
        "memory_bytes": 2 * GIB,
        "disk_bytes": 20 * GIB,
        "limits": Limits(disk_read_iops=5),
    }

    async def story(monitor: Monitor) -> None:
        said = await adjust.adjust(monitor, change(wishes, dry_run=True))
        assert set(said.applied) == {"cpus", "memory", "disk", "disk-read-iops"} and not said.pending
        assert qemu.names() == []

    tell(story)


def test_the_disk_grows_once_and_never_shrinks(qemu: DoubleQemu, tell: Callable[[Story], None]) -> None:
    async def story(monitor: Monitor) -> None:
        for _ in range(2):
            said = await adjust.adjust(monitor, change({"disk_bytes": 20 * GIB}))
            assert said.applied == ("disk",)
        assert qemu.nodes["root-limit"]["size"] == 20 * GIB
        assert qemu.names().count("block_resize") == 1
        back = await adjust.adjust(
            monitor, change({"disk_bytes": 10 * GIB}, before=replace(SPEC, disk_bytes=20 * GIB))
        )
        assert back.applied == ("disk",) and qemu.nodes["root-limit"]["size"] == 20 * GIB
        sata = await adjust.adjust(monitor, change({"disk_bytes": 30 * GIB}, virtio_disk=False))
        assert "SATA" in sata.pending["disk"]

    tell(story)


def test_rates_are_set_together_and_taken_away_by_zeros(
    qemu: DoubleQemu, tell: Callable[[Story], None]
) -> None:
    async def story(monitor: Monitor) -> None:
        limits = Limits(disk_read_iops=100, disk_write_bps=1 << 50, net_in_bps=5)
        said = await adjust.adjust(monitor, change({"limits": limits}))
        assert said.applied == ("disk-read-iops", "disk-write-bps")
        assert qemu.objects["disks"]["limits"] == {
            "iops-read": 100,
            "iops-write": 0,
            "bps-read": 0,
            "bps-write": 10**15,
        }
        said = await adjust.adjust(monitor, change({"limits": Limits()}, before=replace(SPEC, limits=limits)))
        assert set(qemu.objects["disks"]["limits"].values()) == {0} and len(said.applied) == 2

    tell(story)


def test_a_microvm_waits_for_what_only_hot_plugging_could(
    qemu: DoubleQemu, tell: Callable[[Story], None]
) -> None:
    async def story(monitor: Monitor) -> None:
        micro = make_spec(Kind.MICROVM, memory_bytes=GIB, disk_bytes=10 * GIB)
        small = Change(
            before=micro,
            after=replace(micro, cpus=2, memory_bytes=2 * GIB, disk_bytes=11 * GIB),
            room=Room(cpus=1, memory_bytes=GIB, balloon=True),
            virtio_disk=True,
            accelerator="kvm",
            dry_run=False,
        )
        said = await adjust.adjust(monitor, small)
        assert said.applied == ("disk",) and set(said.pending) == {"cpus", "memory"}
        less = await adjust.adjust(
            monitor, Change(**{**fields(small), "after": replace(micro, memory_bytes=GIB // 2)})
        )
        assert less.applied == ("memory",) and qemu.balloon == GIB // 2
        qemu.devices.pop("balloon0")
        qemu.balloon = 0
        none = await adjust.adjust(
            monitor, Change(**{**fields(small), "after": replace(micro, memory_bytes=GIB // 2)})
        )
        assert "without a balloon" in none.pending["memory"]

    tell(story)


def fields(of: Change) -> dict[str, Any]:  # Any: fields of several types
    return {name: getattr(of, name) for name in of.__struct_fields__}
