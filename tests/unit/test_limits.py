"""Limits in the kernel's words, for version 1 (hybrid alike) and 2; what a group does where the kernel says no."""

import errno
import struct
from pathlib import Path

import pytest
from msgspec.structs import replace
from tests.unit.test_cgroup import layout_below, put
from tests.unit.test_resolve import FACTS
from tests.unit.test_settings import instance

from yurt.drivers.container.adjust import first_limits, io_limits, processors
from yurt.drivers.container.powers import check_powers
from yurt.drivers.qemu.limits import asked_limits, make_group, memory_limit, overhead_bytes, rlimit_words
from yurt.engine.limitcheck import parse_processors
from yurt.errors import Exhausted, Invalid, Unsupported
from yurt.host import cgroup, cgroup_tree
from yurt.host.blockdev import ext4_bytes, whole_disk
from yurt.host.cgroup import Group, Limits
from yurt.host.cgroup_limits import (
    IoLimits,
    Put,
    cpu_puts,
    io_puts,
    lacking_controllers,
    memory_puts,
    pids_puts,
    pin_puts,
)
from yurt.model.instance import GIB, MIB, Kind
from yurt.model.limits import Limits as Wish


def words(puts: list[Put]) -> list[str]:
    return [f"{put.controller}: {put.name} = {put.value}" for put in puts]


def test_processor_time_and_weight() -> None:
    wish = Limits(cpus=1.5, shares=50)
    assert words(cpu_puts(1, wish)) == [
        "cpu: cpu.cfs_period_us = 100000",
        "cpu: cpu.cfs_quota_us = 150000",
        "cpu: cpu.shares = 512",
    ]
    assert words(cpu_puts(2, wish)) == ["cpu: cpu.max = 150000 100000", "cpu: cpu.weight = 50"]
    assert cpu_puts(1, Limits()) == cpu_puts(2, Limits()) == []


def test_taking_processor_limits_away() -> None:
    gone = Limits(cpus=0, shares=0)
    assert words(cpu_puts(1, gone))[1:] == ["cpu: cpu.cfs_quota_us = -1", "cpu: cpu.shares = 1024"]
    assert words(cpu_puts(2, gone)) == ["cpu: cpu.max = max 100000", "cpu: cpu.weight = 100"]


def test_weights_stay_within_what_the_kernel_takes() -> None:
    assert words(cpu_puts(1, Limits(shares=1)))[-1] == "cpu: cpu.shares = 10"
    assert words(cpu_puts(1, Limits(shares=10000)))[-1] == "cpu: cpu.shares = 102400"
    assert words(cpu_puts(2, Limits(shares=10000)))[-1] == "cpu: cpu.weight = 10000"


def test_pins() -> None:
    assert words(pin_puts(1, Limits(pin="0,2"), "0-3")) == ["cpuset: cpuset.cpus = 0,2"]
    assert words(pin_puts(1, Limits(pin=""), "0-3")) == ["cpuset: cpuset.cpus = 0-3"]
    assert words(pin_puts(2, Limits(pin=""), "")) == ["cpuset: cpuset.cpus = \n"]
    assert pin_puts(2, Limits(), "0-3") == []


def test_memory_and_processes() -> None:
    wish = Limits(memory_bytes=GIB, pids=100)
    assert words(memory_puts(1, wish) + pids_puts(1, wish)) == [
        "memory: memory.memsw.limit_in_bytes = 1073741824",
        "memory: memory.limit_in_bytes = 1073741824",
        "pids: pids.max = 100",
    ]
    assert words(memory_puts(2, wish)) == ["memory: memory.swap.max = 0", "memory: memory.max = 1073741824"]
    gone = Limits(memory_bytes=0, pids=0)
    assert [put.value for put in memory_puts(1, gone)] == ["-1", "-1"]
    assert [put.value for put in memory_puts(2, gone) + pids_puts(2, gone)] == ["max", "max", "max"]


def test_disk_rates() -> None:
    wish = Limits(io=IoLimits(device="254:0", read_bps=MIB, write_iops=300))
    assert words(io_puts(1, wish)) == [
        "blkio: blkio.throttle.read_bps_device = 254:0 1048576",
        "blkio: blkio.throttle.write_bps_device = 254:0 0",
        "blkio: blkio.throttle.read_iops_device = 254:0 0",
        "blkio: blkio.throttle.write_iops_device = 254:0 300",
    ]
    assert words(io_puts(2, wish)) == ["io: io.max = 254:0 rbps=1048576 wbps=max riops=max wiops=300"]
    assert io_puts(2, Limits()) == []


def test_a_new_group_of_version_1_gets_the_processors_and_memory_nodes_of_its_parent(tmp_path: Path) -> None:
    put(tmp_path, cpuset__cpus="0-3\n", cpuset__mems="0\n")
    inner = tmp_path / "g"
    inner.mkdir()
    put(inner, cpuset__cpus="\n", cpuset__mems="\n")
    cgroup_tree.inherit_cpuset(inner)
    assert (inner / "cpuset.cpus").read_text() == "0-3"
    (inner / "cpuset.cpus").write_text("1\n")  # a pin that is there stays
    cgroup_tree.inherit_cpuset(inner)
    assert (inner / "cpuset.cpus").read_text() == "1\n"


def test_a_pin_is_lifted_on_version_2_though_the_kernel_takes_no_empty_list(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    group = Group(layout_below(tmp_path, 2), "g")
    directory = group.directories[""]
    directory.mkdir()
    put(directory, cpuset__cpus="1\n")
    put(directory.parent, cpuset__cpus__effective="0-3\n")

    def as_the_kernel_does(path: Path, value: str) -> None:
        if path.name == "cpuset.cpus" and not value.strip():
            raise OSError(errno.ENOSPC, "a group with processes")
        cgroup_tree.put_text(path, value)

    monkeypatch.setattr(cgroup, "put_text", as_the_kernel_does)
    group.limit(Limits(pin=""))
    assert (directory / "cpuset.cpus").read_text().startswith("0-3")


def test_limits_without_their_controller_are_refused_before_they_are_written_down() -> None:
    user = replace(FACTS, cgroups=replace(FACTS.cgroups, version=2, controllers=("cpu", "memory", "pids")))
    check_powers(instance(Kind.CONTAINER, limits=Wish(cpu_quota=0.5, pids=50)).spec, user)
    for wish, lacking in ((Wish(cpu_pin="0"), "cpuset"), (Wish(disk_read_bps=MIB), "io")):
        with pytest.raises(Unsupported) as refused:
            check_powers(instance(Kind.CONTAINER, limits=wish).spec, user)
        assert f"`{lacking}`" in refused.value.message and "Delegate=" in refused.value.hint
    assert lacking_controllers(asked_limits(instance(limits=Wish(cpu_pin="0")).spec), user.cgroups) == [
        "cpuset"
    ]
    older = replace(user.cgroups, version=1, controllers=("blkio", "cpu", "memory", "pids"))
    assert lacking_controllers(Limits(cpus=1), older, rates=True) == []


def test_memory_below_what_is_in_use_is_refused_on_version_2_before_anything_is_ended(tmp_path: Path) -> None:
    group = Group(layout_below(tmp_path, 2), "g")
    directory = group.directories[""]
    directory.mkdir()
    put(
        directory,
        memory__max="max\n",
        memory__high="max\n",
        memory__current="9000000\n",
        memory__swap__max="",
    )
    with pytest.raises(Exhausted) as refused:
        group.limit(Limits(memory_bytes=4 * MIB))
    assert "8.6M" in refused.value.message
    assert (directory / "memory.max").read_text() == "max\n"
    assert (directory / "memory.high").read_text().startswith("max"), "the pressure is taken off again"
    put(directory, memory__current="1000\n")
    group.limit(Limits(memory_bytes=4 * MIB))
    assert (directory / "memory.max").read_text() == str(4 * MIB)


def test_containers_and_machines_are_limited_each_in_its_way() -> None:
    wish = Wish(cpu_quota=0.5, cpu_shares=200, cpu_pin="1", pids=300, disk_read_bps=MIB)
    container = instance(Kind.CONTAINER, cpus=2, memory_bytes=GIB, limits=wish).spec
    assert processors(container) == 0.5
    assert first_limits(container) == Limits(cpus=0.5, shares=200, pin="1", memory_bytes=GIB, pids=300)
    assert io_limits(container, "7:3") == IoLimits(device="7:3", read_bps=MIB)
    plain = instance(Kind.CONTAINER, cpus=2, memory_bytes=GIB).spec
    assert first_limits(plain) == Limits(cpus=2, memory_bytes=GIB, pids=4096)
    machine = instance(cpus=2, memory_bytes=GIB, limits=Wish(cpu_quota=1.5, pids=300)).spec
    assert asked_limits(machine) == Limits(cpus=1.5, pids=300)
    room = memory_limit(machine, "tcg").memory_bytes or 0
    assert GIB < room == GIB + overhead_bytes(machine, "tcg") < 3 * GIB
    assert overhead_bytes(machine, "kvm") < overhead_bytes(machine, "tcg")


def test_rlimits_of_a_machine_stand_before_its_command() -> None:
    assert rlimit_words(instance().spec) == []
    limited = instance(limits=Wish(open_files=1000, processes=300)).spec
    assert rlimit_words(limited) == ["prlimit", "--nofile=1000:1000", "--nproc=300:300"]


def test_lists_of_processors() -> None:
    assert parse_processors("0-2,5") == (0, 1, 2, 5)
    for wrong in ("", "a", "3-1", "1-", "-1", "1,,2", "99999"):
        with pytest.raises(Invalid):
            parse_processors(wrong)


def test_rates_are_counted_by_the_whole_disk(tmp_path: Path) -> None:
    disk, part = tmp_path / "block" / "vda", tmp_path / "block" / "vda" / "vda1"
    part.mkdir(parents=True)
    (disk / "dev").write_text("254:0\n")
    (part / "partition").write_text("1\n")
    devices = tmp_path / "dev"
    devices.mkdir()
    (devices / "254:0").symlink_to(disk)
    (devices / "254:1").symlink_to(part)
    assert whole_disk(254, 0, Path("/x"), devices=devices) == "254:0"
    assert whole_disk(254, 1, Path("/x"), devices=devices) == "254:0"
    for nowhere in ((0, 45), (8, 0)):
        with pytest.raises(Unsupported):
            whole_disk(*nowhere, Path("/x"), devices=devices)


def test_an_ext4_says_how_large_it_is(tmp_path: Path) -> None:
    image = tmp_path / "image"
    block = bytearray(1024)
    struct.pack_into("<I", block, 0x4, 25600)
    struct.pack_into("<I", block, 0x18, 2)
    struct.pack_into("<H", block, 0x38, 0xEF53)
    image.write_bytes(bytes(1024) + block)
    assert ext4_bytes(image) == 100 * MIB
    struct.pack_into("<I", block, 0x60, 0x80)
    struct.pack_into("<I", block, 0x150, 1)
    image.write_bytes(bytes(1024) + block)
    assert ext4_bytes(image) == (1 << 44) + 100 * MIB
    image.write_bytes(bytes(4096))
    with pytest.raises(Invalid):
        ext4_bytes(image)


@pytest.mark.parametrize("limits", [Wish(pids=100), Wish(cpu_quota=0.5), Wish(disk_read_bps=MIB)])
def test_a_host_without_control_groups_of_ours_refuses_what_only_they_can_hold(limits: Wish) -> None:
    bare = replace(FACTS, cgroups=replace(FACTS.cgroups, version=0))
    check_powers(instance(Kind.CONTAINER).spec, bare)
    check_powers(instance(Kind.CONTAINER, limits=Wish(open_files=100)).spec, bare)
    with pytest.raises(Unsupported):
        check_powers(instance(Kind.CONTAINER, limits=limits).spec, bare)
    group = Group(bare.cgroups, "yurt/ab12")
    with pytest.raises(Unsupported):
        make_group(group, instance(limits=Wish(cpu_quota=0.5)).spec, "tcg")
