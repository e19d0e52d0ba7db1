"""Has a running guest use what its machine was given: more vCPUs, more memory, a larger disk."""

from msgspec.structs import replace

from yurt.drivers.base import Adjusted, SupportsBalloon
from yurt.engine.core import Core
from yurt.errors import YurtError
from yurt.model.instance import Instance, ResolvedSpec

GROWS = ("cpus", "memory", "disk")
MODES = ("vm", "microvm")  # of agents whose guest is a machine


async def take_up(core: Core, instance: Instance, after: ResolvedSpec, done: Adjusted) -> Adjusted:
    """The change with what the guest did not take up moved to `pending`. Safe to repeat.

    Where no agent answers, the change stands and the guest is left to itself: any system but ours has its own ways.
    """
    grown = [setting for setting in GROWS if setting in done.applied]
    live = core.lives.get(instance.id)
    client = live.client if live is not None and live.agent_ready.is_set() else None
    if not grown or client is None or (await client.wait_ready()).mode not in MODES:
        return done
    pending = dict(done.pending)
    for setting in grown:
        try:
            await client.grow(**await _wanted(core, instance, after, setting))
        except YurtError as error:
            pending[setting] = f"the guest does not take it up: {error.message}"
    return replace(done, applied=tuple(name for name in done.applied if name not in pending), pending=pending)


async def _wanted(core: Core, instance: Instance, after: ResolvedSpec, setting: str) -> dict[str, int]:
    if setting == "cpus":
        return {"cpus": after.cpus}
    if setting == "disk":
        return {"disk_bytes": after.disk_bytes}
    driver = core.driver(instance)
    if not isinstance(driver, SupportsBalloon):
        return {"memory_bytes": after.memory_bytes}
    return {"memory_bytes": (await driver.memory(core.run_dir(instance.id))).total_bytes}
