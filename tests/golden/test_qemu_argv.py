"""Command lines of QEMU, one argument per line. `YURT_GOLDEN=update` rewrites the files: read the diff."""

import json
import os
from pathlib import Path

import pytest
from msgspec.structs import replace

from yurt.drivers.qemu import argv
from yurt.drivers.qemu.argv import Descriptors, MachineSpec
from yurt.drivers.qemu.room import Room, room_for
from yurt.drivers.qemu.volumes import VolumeDisk
from yurt.errors import Invalid
from yurt.model.image import DiskFormat
from yurt.model.instance import GIB, MIB, Kind, NetworkMode
from yurt.model.limits import Limits
from yurt.model.names import InstanceId

GOLDEN = Path(__file__).parent / "qemu"
MICRO = Descriptors(qmp=10, agent=11, console=12, disk=13, base=14, network=17, lifeline=18)
FULL = Descriptors(qmp=10, agent=11, console=12, disk=13, base=14, network=17)


def machine(kind: Kind, accelerator: str, network: NetworkMode = NetworkMode.USER) -> MachineSpec:
    micro = kind is Kind.MICROVM
    return MachineSpec(
        qemu="qemu-system-x86_64",
        id=InstanceId("0123456789ab"),
        kind=kind,
        cpus=2,
        memory_bytes=512 * MIB,
        network=network,
        accelerator=accelerator,
        tsc_khz=2_600_000,
        descriptors=MICRO if micro else FULL,
        base_format=DiskFormat.RAW if micro else DiskFormat.QCOW2,
        kernel="/boot/kernel" if micro else "",
        initrd="/boot/initrd" if micro else "",
    )


def without_base(kind: Kind) -> MachineSpec:
    descriptors = Descriptors(qmp=10, agent=11, console=12, disk=13)
    return MachineSpec(
        qemu="qemu-system-x86_64",
        id=InstanceId("0123456789ab"),
        kind=kind,
        cpus=1,
        memory_bytes=100_000_000,
        network=NetworkMode.NONE,
        accelerator="tcg",
        tsc_khz=0,
        descriptors=descriptors,
        disk_format=DiskFormat.RAW,
        kernel="/boot/kernel",
        initrd="/boot/initrd",
        kernel_words=("debug",),
    )


def with_room(kind: Kind) -> MachineSpec:
    """As it is started on a host with 8 CPUs and 16 GiB, with limits of its disks' rates."""
    return replace(
        machine(kind, "kvm", NetworkMode.NONE),
        room=room_for(kind, 2, 512 * MIB, 8, 16 * GIB),
        virtio_disk=True,
        limits=Limits(disk_read_iops=200, disk_write_bps=10 * MIB),
    )


def with_volumes(kind: Kind) -> MachineSpec:
    disks = (
        VolumeDisk(name="data", descriptor=20),
        VolumeDisk(name="a-name-of-20-letters", descriptor=21, read_only=True),
    )
    return replace(machine(kind, "tcg", NetworkMode.NONE), volumes=disks)


CASES = {
    "microvm-room-limits": with_room(Kind.MICROVM),
    "vm-room-limits": with_room(Kind.VM),
    "microvm-tcg-user": machine(Kind.MICROVM, "tcg"),
    "microvm-kvm-user": machine(Kind.MICROVM, "kvm"),
    "microvm-tcg-none": machine(Kind.MICROVM, "tcg", NetworkMode.NONE),
    "microvm-raw-disk-odd-memory": without_base(Kind.MICROVM),
    "vm-tcg-user": machine(Kind.VM, "tcg"),
    "vm-kvm-user": machine(Kind.VM, "kvm"),
    "vm-tcg-none": machine(Kind.VM, "tcg", NetworkMode.NONE),
    "microvm-tcg-volumes": with_volumes(Kind.MICROVM),
    "vm-tcg-volumes": with_volumes(Kind.VM),
}


@pytest.mark.parametrize("name", CASES)
def test_the_command_line_is_as_written_down(name: str) -> None:
    path = GOLDEN / f"{name}.txt"
    text = "\n".join(argv.machine_argv(CASES[name])) + "\n"
    if os.environ.get("YURT_GOLDEN") == "update":
        path.write_text(text)
    assert text == path.read_text()


def test_every_golden_file_has_its_case() -> None:
    assert {path.stem for path in GOLDEN.glob("*.txt")} == set(CASES)


@pytest.mark.parametrize("name", CASES)
def test_every_json_option_is_json_and_ids_are_not_used_twice(name: str) -> None:
    words = argv.machine_argv(CASES[name])
    documents = [json.loads(word) for word in words if word.startswith("{")]
    assert documents
    for key in ("id", "node-name"):  # a device may have the name of its block node: QEMU keeps them apart
        names = [document[key] for document in documents if key in document]
        assert len(names) == len(set(names))


@pytest.mark.parametrize("word", ["", "two words", "a\nb", "tab\there", "é"])
def test_an_extra_kernel_word_is_one_word(word: str) -> None:
    spec = machine(Kind.MICROVM, "tcg")
    with pytest.raises(Invalid):
        argv.kernel_words(
            MachineSpec(**{**{f: getattr(spec, f) for f in spec.__struct_fields__}, "kernel_words": (word,)})
        )


def test_only_the_descriptors_that_are_there_are_inherited() -> None:
    assert MICRO.all() == (10, 11, 12, 13, 14, 17, 18)
    assert FULL.all() == (10, 11, 12, 13, 14, 17)


@pytest.mark.parametrize(
    ("cpus", "host_cpus", "most"), [(1, 1, 4), (1, 2, 4), (6, 2, 6), (2, 16, 16), (2, 128, 32), (64, 128, 64)]
)
def test_a_vm_has_room_for_as_many_vcpus_as_the_host_has(cpus: int, host_cpus: int, most: int) -> None:
    assert room_for(Kind.VM, cpus, GIB, host_cpus, 64 * GIB).cpus == most


def test_a_vms_memory_can_grow_by_what_the_host_has_and_a_microvms_not_at_all() -> None:
    assert room_for(Kind.VM, 1, GIB, 1, 16 * GIB + 5).memory_bytes == 17 * GIB
    assert room_for(Kind.VM, 1, GIB, 1, 500 * MIB).memory_bytes == 2 * GIB
    assert room_for(Kind.MICROVM, 3, GIB + 1, 8, 16 * GIB) == Room(
        cpus=3, memory_bytes=GIB + 2 * MIB, balloon=True
    )
