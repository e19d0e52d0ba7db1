"""Command lines of QEMU, one argument per line. `YURT_GOLDEN=update` rewrites the files: read the diff."""

import json
import os
from pathlib import Path

import pytest

from yurt.drivers.qemu import argv
from yurt.drivers.qemu.argv import Descriptors, MachineSpec
from yurt.errors import Invalid
from yurt.model.image import DiskFormat
from yurt.model.instance import MIB, Kind, NetworkMode
from yurt.model.names import InstanceId

GOLDEN = Path(__file__).parent / "qemu"
MICRO = Descriptors(qmp=10, agent=11, console=12, disk=13, base=14, kernel=15, initrd=16)
FULL = Descriptors(qmp=10, agent=11, console=12, disk=13, base=14)


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
    )


def without_base(kind: Kind) -> MachineSpec:
    descriptors = Descriptors(qmp=10, agent=11, console=12, disk=13, kernel=15, initrd=16)
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
        kernel_words=("debug",),
    )


CASES = {
    "microvm-tcg-user": machine(Kind.MICROVM, "tcg"),
    "microvm-kvm-user": machine(Kind.MICROVM, "kvm"),
    "microvm-tcg-none": machine(Kind.MICROVM, "tcg", NetworkMode.NONE),
    "microvm-raw-disk-odd-memory": without_base(Kind.MICROVM),
    "vm-tcg-user": machine(Kind.VM, "tcg"),
    "vm-kvm-user": machine(Kind.VM, "kvm"),
    "vm-tcg-none": machine(Kind.VM, "tcg", NetworkMode.NONE),
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
    ids = [d.get("id") or d.get("node-name") for d in documents if d.get("id") or d.get("node-name")]
    assert len(ids) == len(set(ids))


@pytest.mark.parametrize("word", ["", "two words", "a\nb", "tab\there", "é"])
def test_an_extra_kernel_word_is_one_word(word: str) -> None:
    spec = machine(Kind.MICROVM, "tcg")
    with pytest.raises(Invalid):
        argv.kernel_words(
            MachineSpec(**{**{f: getattr(spec, f) for f in spec.__struct_fields__}, "kernel_words": (word,)})
        )


def test_only_the_descriptors_that_are_there_are_inherited() -> None:
    assert MICRO.all() == (10, 11, 12, 13, 14, 15, 16)
    assert FULL.all() == (10, 11, 12, 13, 14)
