"""Carries out what `lending.py` decides: takes memory from idle machines when the host runs short, and gives it back.

It waits for the kernel's word of memory pressure and for starts of machines, and looks at a clock only while memory is
lent. Where this kernel tells nothing (no /proc/pressure), it looks once a minute while machines run, and says so.
"""

import asyncio
import logging
import time
from collections.abc import Callable

from yurt.drivers.base import SupportsBalloon, SupportsUsage
from yurt.engine.core import Core
from yurt.engine.lending import LEAST_STEP, Borrower, Lender, targets
from yurt.errors import YurtError
from yurt.host.memory import available_bytes
from yurt.host.pressure import open_trigger, pressure_events
from yurt.model.instance import Instance, Phase
from yurt.units import format_size

log = logging.getLogger("yurt.reclaim")
AGAIN_S = 10.0  # between two looks while memory is lent or missing
PAGE = 2 << 20  # a machine's memory is a whole number of these
SLOW_S = 60.0  # between two looks where nobody tells of pressure


class Reclaimer:
    """One per daemon. `begin` once, `close` at its end; `look` whenever a machine has started or changed."""

    def __init__(
        self,
        core: Core,
        *,
        available: Callable[[], int] = available_bytes,
        trigger: Callable[[], int] = open_trigger,
    ) -> None:
        self.core = core
        self._available, self._trigger = available, trigger
        self._wake = asyncio.Event()
        self._busy: dict[
            str, tuple[float, float]
        ] = {}  # by instance: CPU seconds, and when they were counted
        self._task: asyncio.Task[None] | None = None
        self._first = True

    def begin(self) -> None:
        """Begin to wait. A daemon that comes up again looks once, for what the last one has left lent."""
        self.core.on_machine = self.look
        self._wake.set()
        self._task = asyncio.create_task(self._run(), name="reclaim")

    async def close(self) -> None:
        """Let go; what is lent stays so until a daemon gives it back."""
        self.core.on_machine = None
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    def look(self) -> None:
        """Have a look soon."""
        self._wake.set()

    async def _run(self) -> None:
        try:
            descriptor = self._trigger()
        except OSError as error:
            log.info(
                "no word of memory pressure here (%s): looking every %g s while machines run", error, SLOW_S
            )
            await self._follow(None)
            return
        async with pressure_events(descriptor) as fired:
            await self._follow(fired)

    async def _follow(self, fired: asyncio.Event | None) -> None:
        while True:
            try:
                unsettled = await self._look_once(pressed=fired is not None and fired.is_set())
            except (YurtError, OSError) as error:
                log.warning("cannot see to the host's memory: %s", error)
                unsettled = False
            if fired is not None:
                fired.clear()
            self._wake.clear()
            slow = SLOW_S if fired is None and self._machines() else None
            await self._wait(fired, AGAIN_S if unsettled else slow)

    async def _wait(self, fired: asyncio.Event | None, timeout_s: float | None) -> None:
        waiting = [asyncio.ensure_future(self._wake.wait())]
        if fired is not None:
            waiting.append(asyncio.ensure_future(fired.wait()))
        try:
            await asyncio.wait(waiting, timeout=timeout_s, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for each in waiting:
                each.cancel()

    def _machines(self) -> list[Instance]:
        """Those that run and have balloons, also where the verb that starts them has not ended yet."""
        found = (self.core.records.instances.get(key) for key in self.core.lives)
        return [
            instance
            for instance in found
            if instance is not None
            and instance.phase in (Phase.STARTING, Phase.RUNNING)
            and isinstance(self.core.driver(instance), SupportsBalloon)
        ]

    async def _look_once(self, *, pressed: bool) -> bool:
        """Look at host and machines, and act. Returns whether another look is due without anybody asking."""
        keep = self.core.settings.admission.memory_kept_free_bytes
        host = Borrower(available_bytes=self._available(), keep_bytes=keep, pressed=pressed)
        machines: dict[str, Instance] = {instance.id: instance for instance in self._machines()}
        for gone in set(self.core.lent) - set(machines):
            del self.core.lent[gone]
        first, self._first = self._first, False
        if not machines or not (host.short or self.core.lent or first):
            return False
        found = await asyncio.gather(*(self._lender(each) for each in machines.values()))
        lenders = {each.id: each for each in found if each is not None}
        changes = targets(host, tuple(lenders.values()))
        await asyncio.gather(*(self._set(machines[key], lenders[key], size) for key, size in changes.items()))
        for each in lenders.values():
            if each.id not in changes:
                self._keep_book(each.id, each.lent_bytes)
        return host.short or bool(self.core.lent)

    async def _lender(self, instance: Instance) -> Lender | None:
        """A machine as the decision sees it; None for one that has no balloon, or does not answer."""
        driver, run_dir = self.core.driver(instance), self.core.run_dir(instance.id)
        if not isinstance(driver, SupportsBalloon):
            return None
        try:
            memory = await driver.memory(run_dir)
            busy = await self._busy_share(instance)
        except (YurtError, OSError) as error:
            log.debug("memory of %s: %s", instance.name, error)
            return None
        own = min(memory.total_bytes, -(-instance.spec.memory_bytes // PAGE) * PAGE)
        willing = memory.balloon and instance.spec.policy.reclaim
        return Lender(
            id=instance.id, own_bytes=own, given_bytes=memory.given_bytes, busy=busy, willing=willing
        )

    async def _busy_share(self, instance: Instance) -> float:
        """CPU seconds a second since the last look; since its start where there was none."""
        driver = self.core.driver(instance)
        if not isinstance(driver, SupportsUsage):
            return 0.0
        usage = await driver.usage(self.core.run_dir(instance.id))
        up = max(1.0, time.time() - (instance.started_at or 0.0))
        cpu_s, at = self._busy.get(instance.id, (0.0, usage.at - up))
        self._busy[instance.id] = (usage.cpu_s, usage.at)
        return max(0.0, usage.cpu_s - cpu_s) / max(0.1, usage.at - at)

    async def _set(self, instance: Instance, lender: Lender, size_bytes: int) -> None:
        """Set one balloon and write down what came of it. A machine that ends meanwhile is none of ours any more."""
        driver = self.core.driver(instance)
        assert isinstance(driver, SupportsBalloon)
        try:
            given = await driver.set_balloon(self.core.run_dir(instance.id), size_bytes)
        except (YurtError, OSError) as error:
            log.debug("balloon of %s: %s", instance.name, error)
            return
        self._keep_book(instance.id, max(0, lender.own_bytes - given))
        if abs(given - lender.given_bytes) < LEAST_STEP:
            return
        deed = "lends memory to the host" if given < lender.given_bytes else "gets memory back from the host"
        self.core.note(instance, f"{deed}: it has {format_size(given)} of {format_size(lender.own_bytes)}")
        data: dict[str, object] = {"given_bytes": given, "own_bytes": lender.own_bytes}
        self.core.bus.publish("instance.memory", instance.name, target_id=instance.id, data=data)

    def _keep_book(self, instance_id: str, lent_bytes: int) -> None:
        if lent_bytes >= LEAST_STEP:
            self.core.lent[instance_id] = lent_bytes
        else:
            self.core.lent.pop(instance_id, None)
