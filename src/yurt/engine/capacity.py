"""Gathers what this host has, what it has promised and what is unused, and asks `admission` for its verdict."""

import os

import msgspec

from yurt.engine.admission import admit, demand, largest, negative, total
from yurt.engine.core import ACTIVE, Core
from yurt.engine.resolve import kind_of, sizes
from yurt.engine.settable import effective
from yurt.host.memory import available_bytes
from yurt.host.space import total_and_free_bytes
from yurt.model.admission import Capacity, Demand, Promised, Resource, Verdict
from yurt.model.instance import Instance, InstanceSpec, ResolvedSpec


def capacity(core: Core) -> Capacity:
    """Measure the host. Costs three small reads."""
    disk, free = total_and_free_bytes(core.layout.instances_state)
    cpus = core.facts.cpus * 1000
    return Capacity(
        milli_cpus=cpus,
        milli_cpus_used=min(cpus, int(os.getloadavg()[0] * 1000)),
        memory_bytes=core.facts.memory_bytes,
        memory_available_bytes=available_bytes(),
        disk_bytes=disk,
        disk_free_bytes=free,
    )


def demand_of(spec: ResolvedSpec, host: Capacity) -> Demand:
    """What an instance is promised."""
    quota = spec.limits.cpu_quota
    return demand(spec.kind, spec.cpus, spec.memory_bytes, spec.disk_bytes, quota, host)


def demand_of_wish(core: Core, spec: InstanceSpec, host: Capacity) -> Demand:
    """The same for one that is not resolved yet, as its image may still have to be built."""
    cpus, memory, disk = sizes(spec, core.facts)
    return demand(kind_of(spec), cpus, memory, disk, spec.limits.cpu_quota, host)


def held_by(instance: Instance, core: Core, host: Capacity) -> Demand:
    """What an instance is promised now. One that runs may still have the larger size that it gives back at its end."""
    wish = demand_of(instance.spec, host)
    if instance.phase not in ACTIVE or not instance.pending:
        return wish
    return largest(wish, demand_of(effective(instance, core.facts), host))


def promised(core: Core, host: Capacity, *, besides: str = "") -> Promised:
    """Everything promised now, to all but one instance; creates and changes that are under way have reserved theirs."""
    tally = core.tally
    tally.bring_up_to_date(core.records.instances, lambda each: held_by(each, core, host))
    running, resting = [tally.running], [tally.resting]
    counted, idle = tally.count_running, tally.count_resting
    if (own := tally.entries.get(besides)) is not None:
        chosen = running if own.runs else resting
        chosen.append(negative(own.demand))
        counted, idle = counted - own.runs, idle - (not own.runs)
    for operation in core.records.operations.values():
        if operation.status.ended or operation.target_id == besides:
            continue
        known = core.records.instances.get(operation.target_id)
        reserved, growth = operation.arguments.get("reserved"), operation.arguments.get("growth")
        if reserved is not None and known is None:
            starts = bool(operation.arguments.get("start"))
            (running if starts else resting).append(msgspec.convert(reserved, Demand))
            counted, idle = counted + starts, idle + (not starts)
        elif growth is not None and known is not None:
            (running if known.phase in ACTIVE else resting).append(msgspec.convert(growth, Demand))
    resting += [Demand(disk_bytes=volume.size_bytes) for volume in core.records.volumes.values()]
    idle += len(core.records.volumes)
    return Promised(demand=total(running, resting), running=counted, existing=counted + idle)


def verdict_on_start(core: Core, spec: ResolvedSpec, *, besides: str, measured: bool = True) -> Verdict:
    """Whether an instance that is there can be started now. Its disk is there already, so it asks for none."""
    host = capacity(core)
    wish = msgspec.structs.replace(demand_of(spec, host), disk_bytes=0)
    return admit(
        host, core.settings.admission, promised(core, host, besides=besides), wish, measured=measured
    )


def verdict_on_change(core: Core, instance: Instance, after: ResolvedSpec) -> tuple[Verdict, Demand]:
    """Whether an instance can have other sizes, and by how much it grows. What becomes smaller, or stays, always fits.

    One that rests need only be able to run some day; its next start is looked at by itself.
    """
    host = capacity(core)
    before, wish = demand_of(instance.spec, host), demand_of(after, host)
    given = promised(core, host, besides=instance.id)
    if instance.phase not in ACTIVE:
        alone = Demand(disk_bytes=given.demand.disk_bytes)
        given = Promised(demand=alone, existing=given.existing)
    # the sum shows the whole new size, the reservation only what comes on top of the old one
    grown = Demand(
        milli_cpus=wish.milli_cpus if wish.milli_cpus > before.milli_cpus else 0,
        memory_bytes=wish.memory_bytes if wish.memory_bytes > before.memory_bytes else 0,
        disk_bytes=wish.disk_bytes if wish.disk_bytes > before.disk_bytes else 0,
    )
    growth = Demand(
        milli_cpus=max(0, wish.milli_cpus - before.milli_cpus),
        memory_bytes=max(0, wish.memory_bytes - before.memory_bytes),
        disk_bytes=max(0, wish.disk_bytes - before.disk_bytes),
    )
    return admit(host, core.settings.admission, given, grown, measured=False), growth


def verdict_on_create(core: Core, spec: InstanceSpec, *, start: bool) -> tuple[Verdict, Demand]:
    """Whether an instance can be created (and with `start` started) now, and what it would reserve.

    One that is not started yet need only be able to run some day, so nothing that others have counts against it but
    their disks.
    """
    host, settings = capacity(core), core.settings.admission
    wish = demand_of_wish(core, spec, host)
    given = promised(core, host)
    if not start:
        alone = Promised(demand=Demand(disk_bytes=given.demand.disk_bytes), existing=given.existing)
        verdict = admit(host, settings, alone, msgspec.structs.replace(wish, holds_memory=False))
        return verdict, Demand(disk_bytes=wish.disk_bytes)
    return admit(host, settings, given, wish), wish


def host_resources(core: Core) -> dict[str, object]:
    """What `yurt host info` shows: of each resource what there is, what is used and free just now, what is reserved.

    `limit`: what may be promised in all, `left`: what of that is not promised yet.
    """
    host = capacity(core)
    verdict = admit(host, core.settings.admission, promised(core, host), Demand())
    used = {
        Resource.CPU: host.milli_cpus_used,
        Resource.MEMORY: host.memory_bytes - host.memory_available_bytes,
        Resource.DISK: host.disk_bytes - host.disk_free_bytes,
    }
    shown: dict[str, object] = {}
    for each in verdict.sums:
        numbers = {
            "total": each.total,
            "used": used[each.resource],
            "reserved": each.promised,
            "free": max(0, each.total - used[each.resource]),
            "limit": each.limit,
            "left": max(0, each.limit - each.promised),
        }
        if each.resource is Resource.CPU:
            shown["cpu"] = {name: value / 1000 for name, value in numbers.items()} | {
                "overcommit": each.ratio
            }
        else:
            named = {f"{name}_bytes": value for name, value in numbers.items()}
            shown[each.resource.value] = named | {"kept_bytes": each.kept, "overcommit": each.ratio}
    return shown
