"""Overlay headers and the small functions around them, without QEMU."""

import asyncio
import struct
from pathlib import Path

import pytest

from yurt.errors import Exhausted, Invalid
from yurt.model.image import DiskFormat
from yurt.storage.qcow2 import CLUSTER, create_overlay, overlay_header, virtual_size
from yurt.storage.space import require

GIB = 1 << 30


def test_the_header_names_size_base_and_format() -> None:
    data = overlay_header("/some/base.ext4", DiskFormat.RAW, 10 * GIB)
    magic, version, name_at, name_size, bits, size = struct.unpack_from(">4sIQIIQ", data)
    assert (magic, version, 1 << bits, size) == (b"QFI\xfb", 3, CLUSTER, 10 * GIB)
    assert data[name_at : name_at + name_size] == b"/some/base.ext4"
    kind, length = struct.unpack_from(">II", data, 112)
    assert (kind, data[120 : 120 + length]) == (0xE2792ACA, b"raw")
    assert len(data) % CLUSTER == 0


@pytest.mark.parametrize("size", [512, GIB, 10 * GIB, 64 << 40])
def test_every_cluster_of_the_file_is_counted(size: int) -> None:
    data = overlay_header("/b", DiskFormat.QCOW2, size)
    l1_entries, l1_at, table_at, tables = struct.unpack_from(">IQQI", data, 36)
    (block_at,) = struct.unpack_from(">Q", data, table_at)
    counts = struct.unpack_from(f">{CLUSTER // 2}H", data, block_at)
    assert tables == 1
    assert sum(counts) == len(data) // CLUSTER
    assert set(counts[: len(data) // CLUSTER]) == {1}
    assert l1_entries * (CLUSTER // 16) * CLUSTER >= size
    assert l1_at + l1_entries * 8 <= len(data)
    assert not any(data[l1_at:])


@pytest.mark.parametrize("size", [0, -512, 513])
def test_sizes_out_of_form_are_refused(size: int) -> None:
    with pytest.raises(Invalid):
        overlay_header("/b", DiskFormat.RAW, size)


def test_names_qcow2_cannot_hold_are_refused() -> None:
    for name in ("", "/" + "x" * 1023):
        with pytest.raises(Invalid):
            overlay_header(name, DiskFormat.RAW, GIB)
    assert overlay_header("/" + "x" * 1022, DiskFormat.RAW, GIB)


def test_an_overlay_is_private_whole_and_small(tmp_path: Path) -> None:
    path = tmp_path / "disk.qcow2"
    asyncio.run(create_overlay(path, tmp_path / "base", DiskFormat.RAW, 10 * GIB))
    assert path.read_bytes() == overlay_header(str(tmp_path / "base"), DiskFormat.RAW, 10 * GIB)
    assert path.stat().st_mode & 0o777 == 0o600
    assert path.stat().st_blocks * 512 <= 128 << 10
    assert [each.name for each in tmp_path.iterdir()] == ["disk.qcow2"]


def test_an_overlay_that_is_there_is_not_replaced(tmp_path: Path) -> None:
    path = tmp_path / "disk.qcow2"
    path.write_bytes(b"somebody's work")
    with pytest.raises(FileExistsError):
        asyncio.run(create_overlay(path, tmp_path / "base", DiskFormat.RAW, GIB))
    assert path.read_bytes() == b"somebody's work"


def test_the_virtual_size_is_read_as_the_format_says(tmp_path: Path) -> None:
    path = tmp_path / "disk"
    path.write_bytes(overlay_header("/b", DiskFormat.RAW, 3 * GIB))
    assert asyncio.run(virtual_size(path, DiskFormat.QCOW2)) == 3 * GIB
    assert asyncio.run(virtual_size(path, DiskFormat.RAW)) == path.stat().st_size
    path.write_bytes(b"QFI")
    with pytest.raises(Invalid):
        asyncio.run(virtual_size(path, DiskFormat.QCOW2))


def test_what_does_not_fit_is_refused_with_the_sum(tmp_path: Path) -> None:
    require(tmp_path / "not" / "there" / "yet", 1, "a little")
    with pytest.raises(Exhausted, match="1024T for a lot"):
        require(tmp_path, 1 << 50, "a lot")
