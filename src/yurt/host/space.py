"""Room on a file system: what is free, and a refusal before work that cannot fit."""

import contextlib
import errno
import os
from collections.abc import Iterator, Mapping
from pathlib import Path

from yurt.errors import Exhausted, ToolFailed
from yurt.units import format_size

RESERVE_BYTES = 256 << 20  # left alone, so that the host and its logs can go on
FULL_BYTES = 1 << 20  # below this, a program that failed without saying why failed for want of room


def free_bytes(path: Path) -> int:
    """Bytes an unprivileged writer can still use on the file system that holds `path` (or its nearest parent)."""
    return total_and_free_bytes(path)[1]


def total_and_free_bytes(path: Path) -> tuple[int, int]:
    """Size of the file system that holds `path` (or its nearest parent), and what an unprivileged writer can still use."""
    while not path.exists():
        path = path.parent
    numbers = os.statvfs(path)
    return numbers.f_blocks * numbers.f_frsize, numbers.f_bavail * numbers.f_frsize


def check_space(path: Path, wanted: Mapping[str, int], *, reserve_bytes: int = RESERVE_BYTES) -> None:
    """Raise Exhausted with the sum unless everything `wanted` (what for -> bytes) fits beside the reserve."""
    free, total = free_bytes(path), sum(wanted.values())
    if total + reserve_bytes <= free:
        return
    parts = " + ".join(f"{format_size(size)} for {what}" for what, size in wanted.items())
    raise Exhausted(
        f"not enough room below `{path}`: {parts} and {format_size(reserve_bytes)} kept back, "
        f"but only {format_size(free)} are free",
        hint="free some room, for example with `yurt image prune`, or delete instances",
    )


@contextlib.contextmanager
def full_disk_told(path: Path, doing: str) -> Iterator[None]:
    """Turn "no space left", from a system call or in a program's words, into Exhausted that says what was being done."""
    try:
        yield
    except (OSError, ToolFailed) as error:
        by_number = isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT)
        in_words = isinstance(error, ToolFailed) and (
            "No space left on device" in error.stderr or free_bytes(path) < FULL_BYTES
        )
        if not by_number and not in_words:
            raise
        raise Exhausted(
            f"the disk below `{path}` became full while {doing}; {format_size(free_bytes(path))} are free now",
            hint="free some room, for example with `yurt image prune`, or delete instances",
        ) from error
