"""The files of volumes: blank or not, growing, and what a crash leaves."""

import asyncio
import os
import struct
from pathlib import Path

import pytest

from yurt.errors import Invalid, Unavailable
from yurt.storage import volumes
from yurt.storage.qcow2 import CLUSTER, volume_header

MIB, GIB, TIB = 1 << 20, 1 << 30, 1 << 40


def made(tmp_path: Path, size: int = GIB) -> Path:
    asyncio.run(volumes.create_block(tmp_path / "v", size))
    return tmp_path / "v" / volumes.IMAGE


def test_a_new_volume_is_private_blank_and_small(tmp_path: Path) -> None:
    image = made(tmp_path)
    assert image.parent.stat().st_mode & 0o777 == 0o700
    assert image.stat().st_mode & 0o777 == 0o600
    assert image.stat().st_blocks * 512 < 64 << 10
    assert volumes.block_size(image) == GIB
    assert volumes.is_blank(image)


@pytest.mark.parametrize("size", [16 * MIB, GIB, 16 * TIB])
def test_there_is_room_for_the_largest_size_from_the_start(size: int) -> None:
    data = volume_header(size)
    entries, offset = struct.unpack_from(">IQ", data, 36)
    assert entries * (CLUSTER // 16) * CLUSTER >= 16 * TIB
    assert offset + entries * 8 == len(data)


def test_larger_than_the_table_covers_is_refused() -> None:
    with pytest.raises(Invalid):
        volume_header(16 * TIB + 512)


def test_growing_writes_one_number_and_never_shrinks(tmp_path: Path) -> None:
    image = made(tmp_path)
    before = image.read_bytes()
    asyncio.run(volumes.grow_block(image, 2 * GIB))
    after = image.read_bytes()
    assert volumes.block_size(image) == 2 * GIB
    assert before[:24] + before[32:] == after[:24] + after[32:]
    asyncio.run(volumes.grow_block(image, GIB))
    assert volumes.block_size(image) == 2 * GIB
    assert volumes.is_blank(image)


def test_one_entry_of_the_table_makes_a_volume_used(tmp_path: Path) -> None:
    image = made(tmp_path)
    with image.open("r+b") as file:
        os.pwrite(file.fileno(), struct.pack(">Q", 5 * CLUSTER), 3 * CLUSTER + 8 * 7)
    assert not volumes.is_blank(image)


@pytest.mark.parametrize(("at", "form", "value"), [(8, ">Q", 4096), (60, ">I", 1), (36, ">I", CLUSTER)])
def test_what_is_not_ours_is_never_blank(tmp_path: Path, at: int, form: str, value: int) -> None:
    image = made(tmp_path)
    with image.open("r+b") as file:
        os.pwrite(file.fileno(), struct.pack(form, value), at)
    assert not volumes.is_blank(image)


def test_a_damaged_header_is_refused(tmp_path: Path) -> None:
    image = made(tmp_path)
    with image.open("r+b") as file:
        os.pwrite(file.fileno(), b"JUNK", 0)
    with pytest.raises(Unavailable):
        volumes.is_blank(image)
    with pytest.raises(Unavailable):
        volumes.block_size(image)


def test_removing_and_making_again_are_safe_to_repeat(tmp_path: Path) -> None:
    image = made(tmp_path)
    (image.parent / ".disk.qcow2.1234.tmp").write_bytes(b"half")
    assert made(tmp_path) == image  # what a crash had left is gone
    assert [path.name for path in image.parent.iterdir()] == [volumes.IMAGE]
    asyncio.run(volumes.remove(image.parent))
    asyncio.run(volumes.remove(image.parent))
    assert list(tmp_path.iterdir()) == []


def test_a_tree_without_a_limit_is_a_directory(tmp_path: Path) -> None:
    asyncio.run(volumes.create_tree(tmp_path / "t", 0))
    assert (tmp_path / "t" / volumes.TREE).is_dir()
    assert volumes.used_bytes(tmp_path / "t") == 0
    asyncio.run(volumes.settle_tree(tmp_path / "t"))
