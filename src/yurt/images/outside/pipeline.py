"""Unpacks an archive in two cells: one decompresses, as nobody; the other parses and writes the tree."""

import asyncio
import json
import logging
import os
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import msgspec

from yurt.errors import Internal, Invalid, YurtError, from_document
from yurt.host import proc
from yurt.host.space import RESERVE_BYTES, free_bytes
from yurt.images.outside.cell import (
    Cell,
    last_words,
    python_in_cell,
    run_in_cell,
    why_it_ended,
)
from yurt.model.names import printable
from yurt.model.operation import Progress
from yurt.units import format_size

log = logging.getLogger("yurt.import")

# first bytes -> what zstd, which reads all of these, calls the format
COMPRESSIONS: tuple[tuple[bytes, str], ...] = (
    (b"\x28\xb5\x2f\xfd", "zstd"),
    (b"\x1f\x8b", "gzip"),
    (b"\xfd7zXZ\0", "xz"),
)
DECOMPRESS_BYTES = 320 << 20  # of memory: an archive that needs a larger dictionary is refused
PARSE_BYTES = 1 << 30
_REFUSALS = {"invalid", "exhausted", "timeout", "unsupported"}
A = TypeVar("A", bound=msgspec.Struct)


class Answer(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a worker says, before anything of it is believed."""

    done: msgspec.Raw = msgspec.Raw()
    error: "Failure | None" = None


class Failure(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Why a worker refused."""

    code: str
    message: str
    hint: str = ""


class Unpacked(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One archive in the tree: the digest of the plain stream, and what it brought."""

    digest: str
    members: int
    tree_bytes: int
    devices: int


class Surveyed(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What an archive is."""

    kind: str


def compression_of(head: bytes) -> str:
    """zstd's word for the compression of a file that begins like this; empty for none. Raises Invalid for unknown ones."""
    for magic, name in COMPRESSIONS:
        if head.startswith(magic):
            return name
    if head.startswith((b"BZh", b"PK\x03\x04", b"7z\xbc\xaf", b"\x04\x22\x4d\x18")):
        raise Invalid("archives may be plain tar, or compressed with gzip, xz or zstd")
    return ""


async def ask(
    task: dict[str, object],
    answer: type[A],
    *,
    archive: int | None = None,
    read: tuple[tuple[Path, str], ...] = (),
    write: tuple[tuple[Path, str], ...] = (),
    timeout_s: float,
    report: Progress | None = None,
) -> A:
    """Let a worker do one task, with the plain bytes of the open file `archive` on its standard input.

    Raises what it refuses with. Cancelling it kills both programs.
    """
    command, seen = python_in_cell("yurt.images.outside.worker")
    room = max(64 << 20, free_bytes(write[0][0]) - RESERVE_BYTES) if write else 1 << 20
    cell = Cell(read=(*seen, *read), write=write, owners=True, memory_bytes=PARSE_BYTES, file_bytes=room)
    argv = [*command, json.dumps(task)]
    on_line = None if report is None else _teller(report)
    if archive is None:
        return _believe(await run_in_cell(cell, argv, timeout_s=timeout_s), None, answer)
    form, first = compression_of(os.pread(archive, 16, 0)), None
    os.lseek(archive, 0, os.SEEK_SET)
    if form:
        done, first = await _decompressed(cell, argv, archive, form, timeout_s, on_line)
    else:
        done = await run_in_cell(cell, argv, timeout_s=timeout_s, input_fd=archive, on_stderr=on_line)
    return _believe(done, first, answer)


async def _decompressed(
    cell: Cell,
    argv: list[str],
    source: int,
    form: str,
    timeout_s: float,
    on_line: Callable[[str], None] | None,
) -> tuple[proc.Finished, proc.Finished]:
    """Run both programs. Each end of the pipe is closed here with the program that has it, so the other one notices."""
    reading, writing = os.pipe2(os.O_CLOEXEC)

    async def unpack() -> proc.Finished:
        try:
            return await run_in_cell(cell, argv, timeout_s=timeout_s, input_fd=reading, on_stderr=on_line)
        finally:
            os.close(reading)

    async def decompress() -> proc.Finished:
        bare = Cell(memory_bytes=DECOMPRESS_BYTES, file_bytes=0)
        command = ["zstd", "-q", "-d", "-c", f"--format={form}"]
        try:
            return await run_in_cell(bare, command, timeout_s=timeout_s, input_fd=source, output_fd=writing)
        finally:
            os.close(writing)

    try:
        async with asyncio.TaskGroup() as group:
            second, first = group.create_task(unpack()), group.create_task(decompress())
    except BaseExceptionGroup as errors:
        raise errors.exceptions[0] from errors
    return second.result(), first.result()


def _believe(done: proc.Finished, before: proc.Finished | None, answer: type[A]) -> A:
    """Check a worker's answer. Raises what it refuses with; for anything that is no answer, what ended it."""
    limit = why_it_ended(done)
    if done.status != 0:
        log.warning(
            "a worker ended with %s: %s", proc.describe_status(done.status), printable(last_words(done), 200)
        )
        raise Invalid(f"the archive cannot be unpacked within its limits ({limit or 'the program failed'})")
    try:
        said = msgspec.json.decode(done.stdout, type=Answer)
        if said.error is None and bytes(said.done):
            result = msgspec.json.decode(said.done, type=answer)
            if before is not None and before.status != 0 and answer is not Surveyed:
                raise Invalid(f"the archive's compression is damaged: {printable(last_words(before), 120)}")
            return result
    except msgspec.DecodeError as error:
        raise Internal("the program that unpacks archives gave no proper answer") from error
    raise _refusal(said.error)


def _refusal(failure: Failure | None) -> YurtError:
    if failure is None or failure.code not in _REFUSALS:
        text = "" if failure is None else printable(failure.message, 200)
        return Internal(f"the program that unpacks archives failed: {text}")
    return from_document(
        {
            "code": failure.code,
            "message": printable(failure.message, 300),
            "hint": printable(failure.hint, 200),
        }
    )


def _teller(report: Progress) -> Callable[[str], None]:
    def tell(line: str) -> None:
        if line.isdecimal() and len(line) < 16:
            report(f"unpacking: {format_size(int(line))}", None)

    return tell
