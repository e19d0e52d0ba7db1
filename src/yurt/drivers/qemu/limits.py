"""Limits of a machine that the host holds around QEMU: its control group and its own rlimits.

They hold for QEMU as a whole: its vCPUs, its other threads, the guest's memory and what emulating it takes. Disk rates
are QEMU's own business.
"""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Sequence

from yurt.drivers.base import Adjusted
from yurt.errors import Denied, Exhausted, Unsupported
from yurt.host import rlimits
from yurt.host.cgroup import Group, Limits
from yurt.model.instance import MIB, ResolvedSpec

# what a machine may take beside the guest's memory: QEMU itself, its caches and buffers, page tables; under TCG the
# translated code, too. Well above what was ever seen, as QEMU is ended when it needs more.
OVERHEAD, PER_CPU, TRANSLATED = 384 * MIB, 16 * MIB, 512 * MIB


def overhead_bytes(spec: ResolvedSpec, accelerator: str) -> int:
    """The memory that a machine may need beside its guest's. Pure."""
    translated = 0 if accelerator == "kvm" else TRANSLATED
    return OVERHEAD + spec.cpus * PER_CPU + spec.memory_bytes // 64 + translated


def asked_limits(spec: ResolvedSpec) -> Limits:
    """What the user asks of the group; nothing where nothing was asked. Pure."""
    limits = spec.limits
    return Limits(cpus=limits.cpu_quota, shares=limits.cpu_shares, pin=limits.cpu_pin, pids=limits.pids)


def memory_limit(spec: ResolvedSpec, accelerator: str) -> Limits:
    """The guest's memory with room for the machine around it. Pure."""
    return Limits(memory_bytes=spec.memory_bytes + overhead_bytes(spec, accelerator))


def make_group(group: Group, spec: ResolvedSpec, accelerator: str) -> None:
    """Make QEMU's control group with its limits. Raises Unsupported for one that was asked for and cannot be had.

    The memory limit only guards the host against a QEMU gone wrong, so a host that has none goes without.
    """
    group.create(asked_limits(spec))
    with contextlib.suppress(Unsupported):
        group.limit(memory_limit(spec, accelerator))


def rlimit_words(spec: ResolvedSpec) -> list[str]:
    """The words before QEMU's command that give it its own limits; none where none were asked for. Pure."""
    asked = (("nofile", spec.limits.open_files), ("nproc", spec.limits.processes))
    words = [f"--{name}={value}:{value}" for name, value in asked if value is not None]
    return ["prlimit", *words] if words else []


async def adjust_around(
    group: Group,
    pid: int,
    before: ResolvedSpec,
    after: ResolvedSpec,
    accelerator: str,
    *,
    dry_run: bool = False,
) -> Adjusted:
    """Change the limits around a running QEMU; see SupportsAdjust. Call it before the guest's memory grows."""
    applied: list[str] = []
    pending: dict[str, str] = {}
    old, new = before.limits, after.limits

    async def change(key: str, field: str, work: Callable[[], Awaitable[None]]) -> None:
        if getattr(old, field) == getattr(new, field):
            return
        try:
            if not dry_run:
                await work()
        except (Denied, Exhausted, Unsupported) as error:
            pending[key] = error.message
        else:
            applied.append(key)

    def limit(limits: Limits) -> Callable[[], Awaitable[None]]:
        return lambda: asyncio.to_thread(group.limit, limits)

    def rlimit(kind: int, value: int) -> Callable[[], Awaitable[None]]:
        return lambda: rlimits.limit_process(pid, kind, value)

    await change("cpu-quota", "cpu_quota", limit(Limits(cpus=new.cpu_quota or 0)))
    await change("cpu-shares", "cpu_shares", limit(Limits(shares=new.cpu_shares or 0)))
    await change("cpu-pin", "cpu_pin", limit(Limits(pin=new.cpu_pin or "")))
    await change("pids", "pids", limit(Limits(pids=new.pids or 0)))
    files, processes = new.open_files or rlimits.own_open_files(), new.processes or rlimits.own_processes()
    await change("open-files", "open_files", rlimit(rlimits.FILES, files))
    await change("processes", "processes", rlimit(rlimits.PROCESSES, processes))
    if after.memory_bytes > before.memory_bytes and not dry_run:
        with contextlib.suppress(Unsupported):
            await asyncio.to_thread(group.limit, memory_limit(after, accelerator))
    return Adjusted(applied=tuple(applied), pending=pending)


def merged(parts: Sequence[Adjusted]) -> Adjusted:
    """Several answers as one. Pure."""
    return Adjusted(
        applied=tuple(key for part in parts for key in part.applied),
        pending={key: why for part in parts for key, why in part.pending.items()},
        notes={key: why for part in parts for key, why in part.notes.items()},
    )
