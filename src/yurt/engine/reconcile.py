"""Wish against reality at start-up: adopt what runs, finish or undo what was begun, record what has ended.

A missing row never leads to deleted data: directories without a record are reported, not removed.
"""

import asyncio
import logging

from msgspec.structs import replace

from yurt.drivers.base import Observed
from yurt.engine.core import ACTIVE, Core
from yurt.engine.networking import keep_up
from yurt.engine.records import put_instance
from yurt.errors import YurtError
from yurt.model.instance import Instance, Phase

log = logging.getLogger("yurt.reconcile")


async def reconcile(core: Core) -> None:
    """Bring records and guests together. Comes once, after the records are loaded. Repeatable."""
    seen = dict(
        zip(
            core.records.instances,
            await asyncio.gather(*(observe(core, i) for i in core.records.instances.values())),
            strict=True,
        )
    )
    for instance_id, observed in seen.items():
        if observed.phase in (Phase.RUNNING, Phase.PAUSED):
            core.adopt(core.records.instances[instance_id])
    # first the walls: what is finished or undone next may take its time, and changes the firewall of those it is about
    running = [core.records.instances[live] for live in core.lives if live in core.records.instances]
    await keep_up(core, running)
    held = {op.target_id for op in core.records.operations.values() if not op.status.ended}
    await core.operations.recover()
    for instance_id, observed in seen.items():
        if instance_id in core.records.instances:
            instance = core.records.instances[instance_id]
            if instance_id in held:  # finishing or undoing has changed what is there
                observed = await observe(core, instance)
            await _agree(core, instance, observed)
    for path in orphans(core):
        log.warning("left alone: %s belongs to no instance of ours", path)


async def observe(core: Core, instance: Instance) -> Observed:
    """What is there of an instance; what cannot be read is BROKEN with the reason."""
    try:
        return await core.driver(instance).observe(core.run_dir(instance.id))
    except (YurtError, OSError) as error:
        return Observed(phase=Phase.BROKEN, reason=str(error))


async def _agree(core: Core, instance: Instance, observed: Observed) -> None:
    holder = core.records.operations.get(instance.operation or "")
    if holder is not None and not holder.status.ended:
        return
    if instance.operation is not None:
        await _write(core, replace(instance, operation=None))
        instance = core.records.instances[instance.id]
    if observed.phase in (Phase.RUNNING, Phase.PAUSED):
        if instance.phase is not observed.phase:
            await _write(core, replace(instance, phase=observed.phase, pid=observed.pid))
        core.note(instance, "re-adopted")
        log.info("adopted %s, pid %s", instance.name, observed.pid)
    elif observed.phase is Phase.BROKEN:
        await _write(core, replace(instance, phase=Phase.BROKEN, reason=observed.reason))
    elif instance.phase in ACTIVE:
        await core.operations.begin(
            "settle",
            instance.name,
            instance.id,
            {
                "exit_code": observed.exit_code,
                "crashed": observed.phase is Phase.CRASHED,
                "reason": observed.reason or "ended while no daemon was there",
                "name": instance.name,
                "seen": False,
                "host_booted": core.new_boot,
            },
        )


async def _write(core: Core, instance: Instance) -> None:
    await core.records.write(lambda: [put_instance(instance)])


def orphans(core: Core) -> list[str]:
    """State directories that no record names."""
    directory = core.layout.instances_state
    if not directory.is_dir():
        return []
    return sorted(
        str(path)
        for path in directory.iterdir()
        if path.name not in core.records.instances and not path.name.startswith(".")
    )
