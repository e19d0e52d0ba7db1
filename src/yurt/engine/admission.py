"""Decides whether one more instance fits on this host. Pure: what the host has and has promised comes as numbers.

A promise lasts as long as it can be called in: processors and memory while an instance runs (or starts, or stops), a
disk's size as long as the disk is there. `engine/capacity.py` gathers the numbers.
"""

from collections.abc import Iterable

from yurt.model.admission import Capacity, Demand, Promised, Resource, Sum, Verdict
from yurt.model.instance import MIB, Kind
from yurt.model.settings import AdmissionSettings
from yurt.units import format_size

# what a container without a limit of its own counts as: it may take all, but nobody has promised it anything
UNLIMITED_MILLI_CPUS = 10
UNLIMITED_MEMORY_BYTES = 16 * MIB
NEW_INSTANCE_BYTES = 256 * MIB  # room on the file system that a new instance must find
DISK_KEPT_BYTES = 256 * MIB
FLAGS = {Resource.CPU: "--cpus", Resource.MEMORY: "--memory", Resource.DISK: "--disk"}


def demand(
    kind: Kind,
    cpus: int,
    memory_bytes: int,
    disk_bytes: int,
    quota: float | None,
    capacity: Capacity,
) -> Demand:
    """What an instance of this size is promised. A container that may use the whole host is promised next to nothing."""
    milli_cpus = cpus * 1000 if quota is None else min(cpus * 1000, int(quota * 1000))
    container = kind is Kind.CONTAINER
    if container and milli_cpus >= capacity.milli_cpus:
        milli_cpus = UNLIMITED_MILLI_CPUS
    if container and memory_bytes >= capacity.memory_bytes:
        memory_bytes = UNLIMITED_MEMORY_BYTES
    return Demand(
        milli_cpus=milli_cpus,
        memory_bytes=memory_bytes,
        disk_bytes=disk_bytes,
        holds_memory=not container,
    )


def total(running: Iterable[Demand], resting: Iterable[Demand] = ()) -> Demand:
    """Sum up what is promised: to those that run all of it, to those that rest (and to volumes) their disks."""
    cpus = memory = disk = 0
    for each in running:
        cpus, memory, disk = cpus + each.milli_cpus, memory + each.memory_bytes, disk + each.disk_bytes
    disk += sum(each.disk_bytes for each in resting)
    return Demand(milli_cpus=cpus, memory_bytes=memory, disk_bytes=disk)


def negative(given: Demand) -> Demand:
    """What takes a promise out of a sum again."""
    return Demand(
        milli_cpus=-given.milli_cpus, memory_bytes=-given.memory_bytes, disk_bytes=-given.disk_bytes
    )


def largest(one: Demand, other: Demand) -> Demand:
    """What holds while either of two may be called in."""
    return Demand(
        milli_cpus=max(one.milli_cpus, other.milli_cpus),
        memory_bytes=max(one.memory_bytes, other.memory_bytes),
        disk_bytes=max(one.disk_bytes, other.disk_bytes),
        holds_memory=one.holds_memory,
    )


def admit(
    capacity: Capacity,
    settings: AdmissionSettings,
    promised: Promised,
    wish: Demand,
    *,
    measured: bool = True,
) -> Verdict:
    """Say whether `wish` fits beside what is promised, with the sums.

    `measured`: also look at what is unused just now, which programs that are none of ours may have taken.
    """
    given, kept = promised.demand, settings.memory_kept_free_bytes
    available = capacity.memory_available_bytes if measured and wish.holds_memory else None
    free = capacity.disk_free_bytes if measured and wish.disk_bytes else None
    sums = (
        _sum(
            Resource.CPU,
            wish.milli_cpus,
            given.milli_cpus,
            promised.running,
            capacity.milli_cpus,
            0,
            settings.cpu_overcommit,
        ),
        _sum(
            Resource.MEMORY,
            wish.memory_bytes,
            given.memory_bytes,
            promised.running,
            capacity.memory_bytes,
            kept,
            settings.memory_overcommit,
            available,
        ),
        _sum(
            Resource.DISK,
            wish.disk_bytes,
            given.disk_bytes,
            promised.existing,
            capacity.disk_bytes,
            DISK_KEPT_BYTES,
            settings.disk_overcommit,
            free,
        ),
    )
    failed = next((each for each in sums if not each.fits), None)
    if failed is None:
        return Verdict(fits=True, sums=sums)
    message, hint = explain(failed)
    return Verdict(fits=False, sums=sums, message=message, hint=hint)


def _sum(
    resource: Resource,
    asked: int,
    promised: int,
    holders: int,
    total: int,
    kept: int,
    ratio: float,
    available: int | None = None,
) -> Sum:
    limit = int(max(0, total - kept) * ratio)
    if available is not None:
        available = max(0, available - (kept if resource is Resource.DISK else 0))
    # nothing asked for is never refused: what others were promised before is not this one's fault
    fits = asked == 0 or (asked + promised <= limit and not _used_up(resource, asked, ratio, available))
    return Sum(
        resource=resource,
        asked=asked,
        promised=promised,
        holders=holders,
        total=total,
        kept=kept,
        ratio=ratio,
        limit=limit,
        fits=fits,
        available=available,
    )


def _used_up(resource: Resource, asked: int, ratio: float, available: int | None) -> bool:
    """Whether too little is unused just now. Disks and overcommitted memory fill slowly, so not all need be there."""
    if available is None:
        return False
    needed = NEW_INSTANCE_BYTES if resource is Resource.DISK else asked / max(1.0, ratio)
    return needed > available


def amount(resource: Resource, value: int) -> str:
    """A quantity for people: `1.5` processors, `512M`."""
    return f"{value / 1000:g}" if resource is Resource.CPU else format_size(value)


def explain(sum_: Sum) -> tuple[str, str]:
    """Why one sum does not fit, as an error's message and hint."""
    resource = sum_.resource
    what = {Resource.CPU: "processors", Resource.MEMORY: "memory", Resource.DISK: "disk space"}[resource]

    def show(value: int) -> str:
        return amount(resource, value)

    if sum_.asked + sum_.promised <= sum_.limit and sum_.available is not None:
        needed = NEW_INSTANCE_BYTES if resource is Resource.DISK else sum_.asked
        return (
            f"not enough {what}: {show(needed)} needed, but only {show(sum_.available)} of this host's are unused now",
            "stop other instances or programs, or ask for less"
            if resource is Resource.MEMORY
            else "free some room, for example with `yurt image prune`, or delete instances",
        )
    kept = f" - {show(sum_.kept)} kept free" if sum_.kept else ""
    host = f"(host {show(sum_.total)}{kept}, ratio {sum_.ratio:g})"
    if sum_.promised == 0:
        left = f"{show(sum_.asked)} asked"
    else:
        state = "" if resource is Resource.DISK else "running "
        owners = f"{sum_.holders} {state}instance" + ("" if sum_.holders == 1 else "s")
        whole = show(sum_.asked + sum_.promised)
        left = f"{show(sum_.asked)} asked + {show(sum_.promised)} promised to {owners} = {whole}"
    others = "" if sum_.promised == 0 else "delete others, " if resource is Resource.DISK else "stop others, "
    return (
        f"not enough {what}: {left} > {show(sum_.limit)} {host}",
        f"{others}ask for less with {FLAGS[resource]}, or raise {resource}_overcommit in yurt.toml",
    )
