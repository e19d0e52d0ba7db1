"""What one process uses, from /proc."""

import os
from pathlib import Path

from yurt.errors import NotFound
from yurt.host.cgroup import GroupUsage

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


def namespace_usage(pid: int) -> GroupUsage:
    """What all processes in the pid namespace of `pid` use together, for hosts without control groups.

    Processes that have ended are not counted. Raises NotFound when it is gone.
    """
    try:
        wanted = os.readlink(f"/proc/{pid}/ns/pid")  # noqa: PTH115
    except OSError as error:
        raise NotFound(kind="process", name=pid) from error
    cpu_s, memory, pids = 0.0, 0, 0
    for entry in Path("/proc").iterdir():
        try:
            if not entry.name.isdecimal() or os.readlink(entry / "ns/pid") != wanted:  # noqa: PTH115
                continue
            used, resident = process_usage(int(entry.name))
        except (OSError, NotFound):
            continue
        cpu_s, memory, pids = cpu_s + used, memory + resident, pids + 1
    return GroupUsage(cpu_s=cpu_s, memory_bytes=memory, pids=pids)
