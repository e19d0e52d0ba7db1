"""Limits of containers: those they start with, and changing them while they run.

Processors, memory, processes and disk rates are the control group's; open files and processes of one user are rlimits
of every process in it; a disk grows where it is mounted.
"""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

from yurt.drivers.base import Adjusted, RootfsAttachment
from yurt.drivers.container.bundle import DEFAULT_PIDS, USUAL_SOFT_FILES
from yurt.drivers.container.rootfs import DISK_IMAGE
from yurt.errors import Denied, Exhausted, NotFound, Unsupported
from yurt.host import rlimits
from yurt.host.blockdev import grow_mounted, loop_number, throttled_device
from yurt.host.cgroup import Group, Limits
from yurt.host.cgroup_limits import IoLimits
from yurt.model.instance import ResolvedSpec

RATES = ("disk_read_bps", "disk_write_bps", "disk_read_iops", "disk_write_iops")
BUFFERED = (
    "on control groups of version 1 it holds for direct and synchronous writes, not for those the host caches"
)
NO_DISK = "it has no disk of its own yet, so its files have to move onto it"


def processors(spec: ResolvedSpec) -> float:
    """Processors' worth of time that a container may use: its CPUs, or its quota when that is less. Pure."""
    return min(float(spec.cpus), spec.limits.cpu_quota or float(spec.cpus))


def first_limits(spec: ResolvedSpec) -> Limits:
    """What the group of a fresh container gets; nothing where the kernel's default is what is wanted. Pure."""
    limits = spec.limits
    return Limits(
        cpus=processors(spec),
        shares=limits.cpu_shares,
        pin=limits.cpu_pin,
        memory_bytes=spec.memory_bytes,
        pids=limits.pids or DEFAULT_PIDS,
    )


def io_limits(spec: ResolvedSpec, device: str) -> IoLimits:
    """Disk rates on a device; 0 where there is no limit. Pure."""
    limits = spec.limits
    return IoLimits(
        device=device,
        read_bps=limits.disk_read_bps or 0,
        write_bps=limits.disk_write_bps or 0,
        read_iops=limits.disk_read_iops or 0,
        write_iops=limits.disk_write_iops or 0,
    )


def has_rates(spec: ResolvedSpec) -> bool:
    return any(getattr(spec.limits, name) is not None for name in RATES)


def limit_rates(group: Group, spec: ResolvedSpec, rootfs: RootfsAttachment) -> None:
    """Set the disk rates of a container whose root is mounted. Raises Unsupported where no disk can be told."""
    image = rootfs.data / DISK_IMAGE
    device = loop_number(image) if rootfs.size_bytes else throttled_device(rootfs.data)
    group.limit(Limits(io=io_limits(spec, device)))


class Adjustment:
    """One change of a running container from one spec to another."""

    def __init__(
        self,
        group: Group,
        rootfs: RootfsAttachment,
        run_dir: Path,
        before: ResolvedSpec,
        after: ResolvedSpec,
        *,
        dry_run: bool,
    ) -> None:
        self.group, self.rootfs, self.run_dir = group, rootfs, run_dir
        self.before, self.after, self.dry_run = before, after, dry_run
        self.applied: list[str] = []
        self.pending: dict[str, str] = {}
        self.notes: dict[str, str] = {}

    async def run(self) -> Adjusted:
        """Do all of it. What cannot be done while it runs is pending; other errors go on, with a part done."""
        before, after = self.before, self.after
        limits_before, limits = before.limits, after.limits
        if before.cpus != after.cpus or limits_before.cpu_quota != limits.cpu_quota:
            both = (
                ("cpus", before.cpus != after.cpus),
                ("cpu-quota", limits_before.cpu_quota != limits.cpu_quota),
            )
            await self._limit([key for key, differs in both if differs], Limits(cpus=processors(after)))
        if limits_before.cpu_shares != limits.cpu_shares:
            await self._limit(["cpu-shares"], Limits(shares=limits.cpu_shares or 0))
        if limits_before.cpu_pin != limits.cpu_pin:
            await self._limit(["cpu-pin"], Limits(pin=limits.cpu_pin or ""))
        if before.memory_bytes != after.memory_bytes:
            await self._limit(["memory"], Limits(memory_bytes=after.memory_bytes))
        if limits_before.pids != limits.pids:
            await self._limit(["pids"], Limits(pids=limits.pids or DEFAULT_PIDS))
        await self._rates()
        await self._process_limits()
        if before.disk_bytes != after.disk_bytes:
            await self._do(["disk"], self._grow)
        return Adjusted(applied=tuple(self.applied), pending=self.pending, notes=self.notes)

    async def _do(self, keys: list[str], work: Callable[[], Awaitable[None]]) -> None:
        """Apply one thing; what the running guest cannot take waits for its next start."""
        try:
            if not self.dry_run:
                await work()
        except (Exhausted, Denied, Unsupported) as error:
            self.pending |= dict.fromkeys(keys, error.message)
        else:
            self.applied += keys

    async def _limit(self, keys: list[str], limits: Limits) -> None:
        await self._do(keys, lambda: asyncio.to_thread(self.group.limit, limits))

    async def _rates(self) -> None:
        old, new = self.before.limits, self.after.limits
        keys = [name.replace("_", "-") for name in RATES if getattr(old, name) != getattr(new, name)]
        if not keys:
            return
        await self._do(keys, lambda: asyncio.to_thread(limit_rates, self.group, self.after, self.rootfs))
        if self.group.version == 1:
            self.notes |= {key: BUFFERED for key in keys if "write" in key and key in self.applied}

    async def _process_limits(self) -> None:
        old, new = self.before.limits, self.after.limits
        if old.open_files != new.open_files:
            value = new.open_files or rlimits.own_open_files()
            soft = value if new.open_files else USUAL_SOFT_FILES
            await self._do(["open-files"], lambda: self._limit_all(rlimits.FILES, value, soft))
        if old.processes != new.processes:
            value = new.processes or rlimits.own_processes()
            await self._do(["processes"], lambda: self._limit_all(rlimits.PROCESSES, value, value))

    async def _limit_all(self, kind: int, value: int, soft: int) -> None:
        await rlimits.limit_all(self.group.processes, kind, value, soft=soft)

    async def _grow(self) -> None:
        if not self.rootfs.size_bytes:
            raise Unsupported(NO_DISK)
        if self.after.disk_bytes < self.before.disk_bytes:
            return  # a change that is taken back: what has grown stays so
        place = self.run_dir / "data"
        place.mkdir(mode=0o755, exist_ok=True)
        image = self.rootfs.data / DISK_IMAGE
        try:
            await asyncio.to_thread(grow_mounted, image, self.after.disk_bytes, place)
        except NotFound as error:
            raise Unsupported("its disk is not where it can grow while it runs") from error
