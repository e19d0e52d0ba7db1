"""Imports a disk image: looked at, flattened by qemu-img in a cell, compared with its source, and only then given its name.

What comes out is always a qcow2 file of our own making that needs no other file. The only path that qemu-img can see
besides the system's programs is the image itself; the format is always named, a backing file is ruled out once more.
"""

import asyncio
import json
import os
import secrets
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import msgspec

from yurt.errors import Exhausted, Internal, Invalid, Timeout
from yurt.host.files import publish, remove_tree
from yurt.host.space import RESERVE_BYTES, check_space, free_bytes
from yurt.images.inspect import Format, Inspection, inspect_file
from yurt.images.outside.cell import Cell, last_words, lend, run_in_cell, why_it_ended
from yurt.model.image import DiskFormat
from yurt.model.names import printable
from yurt.model.operation import Progress

SOURCE, SCRATCH, OUTPUT = "/disk", "/out", "disk.qcow2"
OUTPUT_OPTIONS = (
    "compat=1.1,cluster_size=128k,extended_l2=on"  # as for instances' own disks (storage/qcow2.py)
)
METADATA_SHARE = 64  # qcow2's tables take less than this part of what they describe
ROUND_BYTES = 8 << 20
PROGRESS_S = 0.3


class DiskQuotas(msgspec.Struct, frozen=True, kw_only=True):
    """What one image may cost. Sizes in bytes, `seconds` of wall time for converting and comparing together."""

    virtual_bytes: int = 2 << 40
    seconds: float = 3600.0
    memory_bytes: int = 2 << 30


class ImportedDisk(msgspec.Struct, frozen=True, kw_only=True):
    """What lies at the destination: always qcow2. `virtual_bytes` is the disk's size, `stored_bytes` what it takes."""

    format: DiskFormat
    virtual_bytes: int
    stored_bytes: int


async def import_disk(
    source: Path, declared: Format, destination: Path, quotas: DiskQuotas, report: Progress
) -> ImportedDisk:
    """Write what the image at `source` stands for to `destination`, a qcow2 file, mode 0600, complete or absent.

    `source` is a file of ours that nobody else can change; its owner changes. An existing destination is replaced.
    Raises Refused (Invalid), Exhausted, Timeout, ToolFailed when the host lacks a program. May be cancelled.
    """
    found = await asyncio.to_thread(inspect_file, source, declared, max_virtual_bytes=quotas.virtual_bytes)
    content = await asyncio.to_thread(_content_bytes, source, found)
    check_space(destination.parent, {"the imported disk": content})
    end = time.monotonic() + quotas.seconds
    await asyncio.to_thread(lend, source)
    async with _scratch(destination) as scratch:
        cell = _cell(source, scratch, found, quotas, free_bytes(destination.parent))
        wanted = [*("qemu-img", "convert", "-O", "qcow2", "-o", OUTPUT_OPTIONS), *source_words(declared)]
        watcher = asyncio.create_task(_watch(scratch / OUTPUT, content, report))
        try:
            await _run(cell, [*wanted, f"{SCRATCH}/{OUTPUT}"], end)
        finally:
            watcher.cancel()
        report("comparing it with the original", None)
        await _run(
            cell,
            [*("qemu-img", "compare", "-q"), *source_words(declared), _json("qcow2", f"{SCRATCH}/{OUTPUT}")],
            end,
        )
        return await asyncio.to_thread(_take, scratch / OUTPUT, destination, found)


def source_words(declared: Format) -> list[str]:
    """How qemu-img is told of the image: its driver by name, and that it has no backing file. Constant text."""
    return [_json(declared.qemu_name, SOURCE)]


def _json(driver: str, path: str) -> str:
    options: dict[str, object] = {"driver": driver, "file": {"driver": "file", "filename": path}}
    if driver == "qcow2":
        options["backing"] = None
    return "json:" + json.dumps(options)


def _cell(source: Path, scratch: Path, found: Inspection, quotas: DiskQuotas, free: int) -> Cell:
    room = found.virtual_bytes + found.virtual_bytes // METADATA_SHARE + ROUND_BYTES
    return Cell(
        read=((source, SOURCE),),
        write=((scratch, SCRATCH),),
        memory_bytes=quotas.memory_bytes,
        file_bytes=min(room, max(free - RESERVE_BYTES, ROUND_BYTES)),
        cpu_s=int(quotas.seconds),
    )


def _content_bytes(source: Path, found: Inspection) -> int:
    """What the result will take, as far as one can tell: compressed images may take more, up to its whole size."""
    return min(source.stat().st_blocks * 512, found.virtual_bytes)


@asynccontextmanager
async def _scratch(destination: Path) -> AsyncIterator[Path]:
    """A directory beside the destination that the cell's user may write in; gone afterwards."""
    scratch = destination.with_name(f".{destination.name}.{secrets.token_hex(4)}.tmp")
    await asyncio.to_thread(scratch.mkdir, 0o700)
    try:
        await asyncio.to_thread(lend, scratch)
        yield scratch
    finally:
        await asyncio.to_thread(remove_tree, scratch)


async def _run(cell: Cell, argv: list[str], end: float) -> None:
    """Run qemu-img. It speaks of the image's faults in free text, which is passed on as one harmless line."""
    left = end - time.monotonic()
    if left <= 0:
        raise Timeout(what="the image to be imported", timeout_s=0.0)
    done = await run_in_cell(cell, argv, timeout_s=left)
    if done.status == 0:
        return
    words = done.stderr.decode(errors="replace")
    limit = why_it_ended(done)
    if "No space left" in words or "File too large" in words:
        raise Exhausted("the disk became full, or the image unpacks to more than it says")
    if limit:
        raise Invalid(f"the image cannot be imported within its limits ({limit})")
    raise Invalid(
        f"the image is damaged: `qemu-img {argv[1]}`: {printable(last_words(done), 160)}",
        hint="check it where it was made, with `qemu-img check`",
    )


async def _watch(output: Path, content: int, report: Progress) -> None:
    """Tell how much has been written, until cancelled."""
    while True:
        try:
            written = output.stat().st_blocks * 512
        except FileNotFoundError:
            written = 0
        report("converting", min(0.95, written / content) if content else None)
        await asyncio.sleep(PROGRESS_S)


def _take(output: Path, destination: Path, found: Inspection) -> ImportedDisk:
    """Check what the cell left, as it is only now ours, and give it its name."""
    made = inspect_file(output, Format.QCOW2, max_virtual_bytes=1 << 62)
    # QEMU rounds the sizes of some makers' VHD images down to their geometry
    if made.virtual_bytes != found.virtual_bytes and (
        found.format is not Format.VHD or made.virtual_bytes > found.virtual_bytes
    ):
        raise Internal(f"the image of {found.virtual_bytes} bytes became one of {made.virtual_bytes}")
    os.chown(output, os.geteuid(), os.getegid())
    output.chmod(0o600)
    publish(output, destination)
    stored = destination.stat().st_blocks * 512
    return ImportedDisk(format=DiskFormat.QCOW2, virtual_bytes=made.virtual_bytes, stored_bytes=stored)
