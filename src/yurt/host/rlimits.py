"""Limits of single processes (rlimits) that run already.

A daemon without CAP_SYS_RESOURCE (in some containers) may still lower the limits of a process as that process's own
user; raising a hard limit then is nobody's to do.
"""

import contextlib
import resource
from collections.abc import Callable
from pathlib import Path

from yurt.errors import Denied, Exhausted, Unsupported
from yurt.host import proc
from yurt.host.confine import confined

FILES, PROCESSES = resource.RLIMIT_NOFILE, resource.RLIMIT_NPROC
_FLAGS = {FILES: "nofile", PROCESSES: "nproc"}
CAP_SYS_RESOURCE = 24
ROUNDS = 16  # a group that forks faster than we look is stopped by its limit of processes


def own_open_files() -> int:
    """How many files the daemon itself may open at most; what it starts can get no more without CAP_SYS_RESOURCE."""
    return min(resource.getrlimit(FILES)[1], 1 << 20)


def check_open_files(wanted: int | None) -> None:
    """Raise Exhausted when a program that we start could not be given so many open files."""
    status = Path("/proc/self/status").read_text()
    bits = next(line.split()[1] for line in status.splitlines() if line.startswith("CapEff:"))
    raises = bool(int(bits, 16) >> CAP_SYS_RESOURCE & 1)
    most = (1 << 20) if raises else own_open_files()
    if wanted is not None and wanted > most:
        raise Exhausted(
            f"{wanted} open files asked for, the daemon itself may have {most}",
            hint="ask for fewer with --open-files, or raise the daemon's own limit",
        )


def own_processes() -> int:
    """The hard limit of processes of one user that we have ourselves; -1 is none."""
    return resource.getrlimit(PROCESSES)[1]


async def limit_process(pid: int, kind: int, value: int, *, soft: int | None = None) -> None:
    """Set one limit of a process: `value` is the hard one, and the soft one where `soft` is left out.

    A process that is gone counts as done. Raises Denied when the daemon may not.
    """
    wanted = (value if soft is None else min(soft, value), value)
    with contextlib.suppress(ProcessLookupError):
        try:
            resource.prlimit(pid, kind, wanted)
        except PermissionError:
            await _limit_as_its_user(pid, kind, wanted)


async def _limit_as_its_user(pid: int, kind: int, wanted: tuple[int, int]) -> None:
    try:
        uid, gid = _owner(pid)
    except FileNotFoundError:
        return
    argv = ("prlimit", f"--pid={pid}", f"--{_FLAGS[kind]}={wanted[0]}:{wanted[1]}")
    done = await proc.run(tuple(confined(argv, uid, gid)), timeout_s=10, check=False)
    if done.status != 0 and proc.process_start(pid) is not None:
        raise Denied(
            "without CAP_SYS_RESOURCE yurt cannot raise what a process may have at most",
            hint="give the daemon that capability, or start the instance anew",
        )


def _owner(pid: int) -> tuple[int, int]:
    """The real user and group of a process, as numbers of this host."""
    fields = dict(
        line.split(":", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines() if ":" in line
    )
    return int(fields["Uid"].split()[0]), int(fields["Gid"].split()[0])


async def limit_all(
    processes: Callable[[], list[int]], kind: int, value: int, *, soft: int | None = None
) -> None:
    """Set one limit of all processes of a group, those that are forked meanwhile included. Raises Denied, Unsupported."""
    done: set[int] = set()
    for _ in range(ROUNDS):
        fresh = [pid for pid in processes() if pid not in done]
        if not fresh:
            return
        for pid in fresh:
            await limit_process(pid, kind, value, soft=soft)
        done.update(fresh)
    raise Unsupported(
        "its programs start others faster than limits can be set", hint="set it while it is paused"
    )
