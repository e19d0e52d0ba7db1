"""Does by itself what policies ask for: starts guests again, ends them when their time is over, starts them with the host.

What is due follows from the records alone (`engine/policy.py`), so a daemon that comes up again finds its timers where
the last one left them. Every change of a record arms that instance's timers anew.
"""

import asyncio
import logging
from collections.abc import Coroutine
from functools import partial

from msgspec.structs import replace

from yurt.engine.core import Core
from yurt.engine.policy import RESTING, Due, after_failed_restart, autostart_orders, due
from yurt.engine.records import Writes, put_boot, put_instance
from yurt.engine.timers import Timers
from yurt.errors import Busy, NotFound, WrongState, YurtError
from yurt.model.instance import Instance
from yurt.model.operation import Operation, OperationStatus

log = logging.getLogger("yurt.keeper")
STOP_TIMEOUT_S = 30.0
AGAIN_S = 30.0  # before what failed is tried again
MOST_AT_ONCE = 4


class Keeper:
    """Keeps policies. `begin` comes once, when records and guests agree."""

    def __init__(self, core: Core) -> None:
        self.core = core
        self.timers = Timers(core.clock)
        self._tasks: set[asyncio.Task[None]] = set()
        self._not_before: dict[str, float] = {}
        self._armed: dict[str, set[str]] = {}

    def begin(self) -> None:
        """Arm the timers of all instances, follow their records from now on, and start who starts with the host."""
        self.core.records.watchers.append(self.arm)
        if self.core.new_boot:
            self._task(self._boot(), "autostart")
        else:
            self._arm_all()

    def _arm_all(self) -> None:
        for instance in list(self.core.records.instances.values()):
            self.arm(instance.id, instance)

    async def close(self) -> None:
        """Let go: the records keep what is due."""
        if self.arm in self.core.records.watchers:
            self.core.records.watchers.remove(self.arm)
        self.timers.close()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def arm(self, instance_id: str, instance: Instance | None) -> None:
        """Set what is due for an instance by its record, and forget what is not any more."""
        wanted = due(instance) if instance is not None else ()
        keys = {f"{instance_id}/{each.what}": each for each in wanted}
        for key in self._armed.pop(instance_id, set()) - set(keys):
            self.timers.cancel(key)
        if instance is None:
            for what in ("stop", "delete"):
                self._not_before.pop(f"{instance_id}/{what}", None)
        if keys:
            self._armed[instance_id] = set(keys)
        for key, each in keys.items():
            at = max(each.at, self._not_before.get(key, 0.0))
            self.timers.set(key, at, partial(self._fire, instance_id, each))

    def _fire(self, instance_id: str, what: Due) -> None:
        self._task(self._act(instance_id, what), f"{what.what} of {instance_id}")

    def _task(self, work: Coroutine[None, None, None], name: str) -> None:
        task = asyncio.create_task(work, name=name)
        self._tasks.add(task)
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("%s: %s", task.get_name(), error, exc_info=error)

    async def _act(self, instance_id: str, what: Due) -> None:
        instance = self.core.records.instances.get(instance_id)
        if instance is None or what not in due(instance):
            return  # somebody was quicker
        key = f"{instance_id}/{what.what}"
        if what.what != "restart":
            # should it fail, its record is armed anew before we hear of it: then not at once again
            self._not_before[key] = self.core.clock.now() + AGAIN_S
        try:
            operation = await self._begin(instance, what)
        except (Busy, NotFound, WrongState) as error:
            # when whoever holds it lets go, its record changes and this is armed again
            log.debug("%s of %s: %s", what.what, instance.name, error)
            self.arm(instance_id, self.core.records.instances.get(instance_id))
        except YurtError as error:
            await self._could_not(instance, what, error)
        else:
            ended = await self.core.operations.wait(operation.id, 86400.0)
            if ended.status is OperationStatus.DONE:
                self._not_before.pop(key, None)

    async def _begin(self, instance: Instance, what: Due) -> Operation:
        arguments: dict[str, object] = {
            "name": str(instance.name),
            "slot": instance.slot,
            "by": "restart policy" if what.what == "restart" else "ttl",
        }
        if what.what == "restart":
            self.core.note(instance, f"restart {instance.restarts + 1} by its policy")
            verb, arguments = "start", arguments | {"automatic": True}
        else:
            self.core.note(instance, f"its time is over: {what.what}")
            verb = what.what
            if verb == "stop":
                arguments |= {"timeout_s": STOP_TIMEOUT_S, "force": False}
            else:
                arguments |= {"force": True}
        return await self.core.operations.begin(verb, instance.name, instance.id, arguments)

    async def _could_not(self, instance: Instance, what: Due, error: YurtError) -> None:
        log.warning("%s of %s: %s", what.what, instance.name, error.message)
        self.core.note(instance, f"could not {what.what} it: {error.message}")
        if what.what != "restart":
            self.arm(instance.id, self.core.records.instances.get(instance.id))
            return
        now = self.core.clock.now()

        def later() -> Writes:
            current = self.core.records.instances.get(instance.id)
            if current is None or current.operation is not None or current.next_restart_at is None:
                return []
            return [put_instance(after_failed_restart(current, now=now))]

        await self.core.records.write(later)

    # with the host

    async def _boot(self) -> None:
        """Begin afresh after a boot of the host: nobody waits for a restart any more, `autostart` decides who runs."""
        for instance in list(self.core.records.instances.values()):
            if instance.next_restart_at is not None and instance.operation is None:
                await self.core.records.write(partial(_without_restart, instance))
        self._arm_all()
        await self._autostart()

    async def _autostart(self) -> None:
        """Start who starts with the host, order by order, some at once; then write down that this boot has been served."""
        at_once = asyncio.Semaphore(max(1, min(MOST_AT_ONCE, self.core.facts.cpus)))
        for group in autostart_orders(self.core.records.instances.values()):
            await asyncio.gather(*(self._start_with_host(each, at_once) for each in group))
            if delay := max(each.spec.policy.autostart_delay_s for each in group):
                await self._sleep(delay)
        await self.core.records.write(lambda: [put_boot(self.core.facts.boot_id)])

    async def _start_with_host(self, instance: Instance, at_once: asyncio.Semaphore) -> None:
        async with at_once:
            await self._settled(instance)
            current = self.core.records.instances.get(instance.id)
            if current is None or current.phase not in RESTING:
                return
            self.core.note(current, "started with the host")
            try:
                operation = await self.core.operations.begin(
                    "start",
                    current.name,
                    current.id,
                    {"name": str(current.name), "slot": current.slot, "by": "autostart"},
                )
                ended = await self.core.operations.wait(operation.id, 86400.0)
            except YurtError as error:
                log.warning("autostart of %s: %s", current.name, error.message)
                self.core.note(current, f"could not be started with the host: {error.message}")
                return
            if ended.error is not None:
                log.warning("autostart of %s: %s", current.name, ended.error.message)
                self.core.note(current, f"could not be started with the host: {ended.error.message}")

    async def _settled(self, instance: Instance) -> None:
        """Wait until whoever holds the instance has let go: its end before the boot may still be being recorded."""
        current = self.core.records.instances.get(instance.id)
        while current is not None and current.operation is not None:
            await self.core.operations.wait(current.operation, 86400.0)
            seen, current = current, self.core.records.instances.get(instance.id)
            if current is not None and current.operation == seen.operation:
                current = replace(current, operation=None)  # ended, and could not say so

    async def _sleep(self, delay_s: float) -> None:
        awake = asyncio.Event()
        self.timers.set("autostart", self.core.clock.now() + delay_s, awake.set)
        await awake.wait()


def _without_restart(instance: Instance) -> Writes:
    return [put_instance(replace(instance, next_restart_at=None))]
