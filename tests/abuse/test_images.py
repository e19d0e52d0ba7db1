"""Hostile disk images against the import of disks: no canary, no connection, nothing left, and no program where it shows."""

import asyncio
import json
import struct
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.abuse.image_cases import Disk, all_cases, references
from tests.abuse.oracles import Listener, World, holds, nothing_outside

from yurt.errors import YurtError
from yurt.images.inspect import Format, inspect_file
from yurt.images.outside import disk
from yurt.images.outside.cell import Cell, lend, run_in_cell
from yurt.images.outside.disk import DiskQuotas, import_disk
from yurt.model.image import DiskFormat
from yurt.storage import qcow2

CASES = all_cases()
NAMING = {case.name for case in references() if case.declared == "qcow2"}
QUOTAS = DiskQuotas(virtual_bytes=1 << 40, seconds=20)
MIB = 1 << 20
pytestmark = [pytest.mark.root, pytest.mark.needs("qemu-img")]


@pytest.fixture(scope="session")
def bases(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, bytes]]:
    """One valid image of each format, small."""
    folder = tmp_path_factory.mktemp("bases")
    raw = folder / "raw"
    raw.write_bytes(b"begin" + bytes(2 * MIB - 10) + b"ended")
    found = {"raw": raw.read_bytes()}
    options = {
        "qcow2": ("qcow2", ""),
        "qcow2_2": ("qcow2", "compat=0.10"),
        "vmdk": ("vmdk", ""),
        "vmdk_stream": ("vmdk", "subformat=streamOptimized"),
        "vhd": ("vpc", ""),
        "vdi": ("vdi", ""),
        "parallels": ("parallels", ""),
    }
    for name, (form, words) in options.items():
        target = folder / name
        extra = ["-o", words] if words else []
        subprocess.run(
            ["qemu-img", "convert", "-f", "raw", "-O", form, *extra, str(raw), str(target)], check=True
        )
        found[name] = target.read_bytes()
    gpt = bytearray(found["raw"])
    gpt[510:520] = b"\x55\xaaEFI PART"
    found["raw_gpt"] = bytes(gpt)
    iso = bytearray(64 << 10)
    iso[32768:32775] = b"\1CD001\1"
    struct.pack_into("<I", iso, 32768 + 80, 32)
    struct.pack_into(">I", iso, 32768 + 84, 32)
    struct.pack_into("<H", iso, 32768 + 128, 2048)
    found["iso"] = bytes(iso)
    yield found


def quiet(text: str, fraction: float | None) -> None:
    """Nobody listens."""


def test_there_are_enough_of_them() -> None:
    names = [case.name for case in CASES]
    assert len(set(names)) == len(names)
    assert sum(case.refused for case in CASES) >= 250


@pytest.mark.parametrize("case", CASES, ids=[case.name for case in CASES])
def test_a_hostile_image_is_refused_or_flattened(
    case: Disk, bases: dict[str, bytes], world: World, listener: Listener, monkeypatch: pytest.MonkeyPatch
) -> None:
    started = 0

    async def counted(*args: object, **more: object) -> object:
        nonlocal started
        started += 1
        return await run_in_cell(*args, **more)  # type: ignore[arg-type]

    monkeypatch.setattr(disk, "run_in_cell", counted)
    source, heard = world.root / "image", listener.heard
    source.write_bytes(case.make(bases, world, listener.port))
    result = world.target / "disk.qcow2"
    with nothing_outside(world):
        try:
            asyncio.run(import_disk(source, Format(case.declared), result, QUOTAS, quiet))
        except YurtError as error:
            assert error.code in ("invalid", "exhausted", "timeout"), error.message
            assert not result.exists()
            assert not case.name.endswith("-plain"), error.message
        else:
            assert not case.refused, "was taken"
        assert started == 0 or not case.refused, "a program saw it"
        assert [path.name for path in world.target.iterdir()] in ([], ["disk.qcow2"])
    assert listener.heard == heard


@pytest.mark.parametrize(
    "case",
    [case for case in CASES if case.name in NAMING],
    ids=lambda case: case.name,
)
def test_the_second_wall_stands_without_the_first(
    case: Disk, bases: dict[str, bytes], world: World, listener: Listener
) -> None:
    """Were the inspector wrong, qemu-img would still see neither files nor servers in its cell."""
    source, out, heard = world.root / "image", world.target / "out", listener.heard
    source.write_bytes(case.make(bases, world, listener.port))
    out.mkdir(mode=0o700)
    lend(source)
    lend(out)
    cell = Cell(read=((source, "/disk"),), write=((out, "/out"),), file_bytes=16 << 20, cpu_s=4)
    # as careless as can be: no word about the backing file, and raw output, in which a canary would show
    argv = ["qemu-img", "convert", "-f", "qcow2", "-O", "raw", "/disk", "/out/disk.raw"]
    with nothing_outside(world):
        asyncio.run(run_in_cell(cell, argv, timeout_s=5))
    assert holds(out, world.canary) == []
    assert holds(out, b"root:") == []
    assert listener.heard == heard


def test_a_guest_that_writes_a_header_to_its_raw_disk_gains_nothing(
    bases: dict[str, bytes], world: World, listener: Listener
) -> None:
    """A disk's stored format is the only truth, whatever its first bytes say: sizes, overlays and growing."""
    backing = next(case for case in CASES if case.name == "qcow2-backing-path")
    raw, overlay = world.target / "root.raw", world.target / "disk.qcow2"
    raw.write_bytes(backing.make(bases, world, listener.port).ljust(4 * MIB, b"\0"))
    with nothing_outside(world):

        async def verbs() -> None:
            assert await qcow2.virtual_size(raw, DiskFormat.RAW) == 4 * MIB
            await qcow2.create_overlay(overlay, raw, DiskFormat.RAW, 8 * MIB)
            assert await qcow2.virtual_size(overlay, DiskFormat.QCOW2) == 8 * MIB
            try:
                await qcow2.grow_gpt(overlay, 8 * MIB, 4 * MIB)
            except YurtError as error:
                assert error.code == "invalid"

        asyncio.run(verbs())
        read = subprocess.run(
            [
                "qemu-img",
                "dd",
                "-f",
                "qcow2",
                "-O",
                "raw",
                "bs=512",
                "count=64",
                f"if={overlay}",
                f"of={world.target}/head",
            ],
            check=True,
            capture_output=True,
        )
        assert read.returncode == 0
        assert (world.target / "head").read_bytes()[
            :4
        ] == b"QFI\xfb"  # the guest's own bytes, and nothing behind them


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_a_mutated_header_is_refused_or_agrees_with_qemu(
    bases: dict[str, bytes], tmp_path: Path, data: st.DataObject
) -> None:
    """What passes stands for a disk of just the size that QEMU finds, and needs no other file."""
    name = data.draw(st.sampled_from(["qcow2", "qcow2_2", "vmdk", "vdi", "parallels", "vhd"]))
    image = bytearray(bases[name])
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, 1100))
        image[at] = data.draw(st.integers(0, 255))
    path = tmp_path / "image"
    path.write_bytes(image)
    declared = Format(name.partition("_")[0])
    try:
        found = inspect_file(path, declared, max_virtual_bytes=1 << 50)
    except YurtError as error:
        assert error.code == "invalid"
        return
    argv = ["qemu-img", "info", "--output=json", "-f", declared.qemu_name, str(path)]
    told = subprocess.run(argv, capture_output=True, timeout=10, check=False)
    if told.returncode == 0:
        document = json.loads(told.stdout)
        assert "backing-filename" not in document
        size = document["virtual-size"]
        assert size <= found.virtual_bytes if declared is Format.VHD else size == found.virtual_bytes
