"""What one process uses, from /proc."""

import os
from pathlib import Path

from yurt.errors import NotFound

_TICKS = os.sysconf("SC_CLK_TCK")
_PAGE = os.sysconf("SC_PAGE_SIZE")


def parse_stat(text: str) -> tuple[float, int]:
    """CPU seconds (user and system, all threads) and resident bytes from the text of /proc/PID/stat. Pure."""
    fields = text.rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICKS, int(fields[21]) * _PAGE


def process_usage(pid: int) -> tuple[float, int]:
    """CPU seconds and resident bytes of a process now. Raises NotFound when it is gone."""
    try:
        return parse_stat(Path(f"/proc/{pid}/stat").read_text(errors="replace"))
    except (FileNotFoundError, ProcessLookupError) as error:
        raise NotFound(kind="process", name=pid) from error
