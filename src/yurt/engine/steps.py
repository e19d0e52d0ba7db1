"""Steps that several verbs share: launching a guest, asking it to stop, ending it, taking its files away."""

import asyncio
import contextlib
import logging
from pathlib import Path

from yurt.drivers.base import Launched, SupportsAgent
from yurt.engine import networking, traffic
from yurt.engine.attach import attachments
from yurt.engine.capacity import verdict_on_start
from yurt.engine.core import Core
from yurt.engine.networking import free_addresses
from yurt.engine.operation import Plan, Step
from yurt.engine.rates import shape_nics, shape_started, unshape
from yurt.engine.records import Writes
from yurt.engine.volumeclaims import release_all
from yurt.errors import Timeout, YurtError
from yurt.host.files import remove_tree
from yurt.model.instance import Instance, Phase
from yurt.state.base import Delete

log = logging.getLogger("yurt.steps")
POWER_OFF_GRACE_S = 5.0
ASK_AGAIN_S = 3.0


class InstancePlan(Plan):
    """A plan whose target is one instance."""

    def __init__(self, core: Core, instance_id: str, arguments: dict[str, object]) -> None:
        self.core, self.instance_id, self.arguments = core, instance_id, arguments

    @property
    def instance(self) -> Instance:
        return self.core.records.instances[self.instance_id]

    @property
    def run_dir(self) -> Path:
        return self.core.run_dir(self.instance_id)

    def forget_writes(self) -> Writes:
        """The writes after which the instance is no more: name, slot, addresses, volumes and record are free again."""
        instance = self.core.records.instances.get(self.instance_id)
        name = instance.name if instance is not None else str(self.arguments["name"])
        slot = instance.slot if instance is not None else int(str(self.arguments["slot"]))
        writes: Writes = [Delete(f"names/{name}"), Delete(f"slots/{slot}")]
        if instance is not None:
            writes += [Delete(f"instances/{self.instance_id}"), *free_addresses(instance.spec.nics)]
        records = self.core.records
        return [*writes, *release_all(records, self.instance_id), *traffic.release(records, self.instance_id)]

    def removal(self) -> Step:
        """The step that deletes the instance's files."""
        return Step(name="files", text="deleting its files", do=self.remove_files)

    async def remove_files(self) -> None:
        """Take away disk and logs: renamed first, so that a crash leaves no half of them under their name."""
        self.core.forget(self.instance_id)
        if (instance := self.core.records.instances.get(self.instance_id)) is not None:
            networking.forget(self.core, instance)
        directory = self.core.layout.instance_state(self.instance_id)
        trash = directory.with_name(f".{self.instance_id}.trash")
        if directory.is_dir():
            directory.rename(trash)
        await asyncio.to_thread(remove_tree, trash)


class Launching:
    """The launch step and its undo."""

    def __init__(self, plan: InstancePlan) -> None:
        self.plan, self.core = plan, plan.core
        self.launched: Launched | None = None

    def step(self) -> Step:
        return Step(name="launch", text="starting the guest", do=self.launch, undo=self.undo)

    async def launch(self) -> None:
        instance, run_dir = self.plan.instance, self.plan.run_dir
        driver = self.core.driver(instance)
        driver.check(instance.spec, driver.capabilities(self.core.facts))
        if (await driver.observe(run_dir)).phase in (Phase.RUNNING, Phase.PAUSED):
            # an earlier daemon died right after this step: nobody has the guest it started, so begin anew
            await take_down(self.core, instance.id, instance)
        # once more, now that images are built and disks are there: what counts is what is, not what was asked for
        verdict_on_start(self.core, instance.spec, besides=instance.id).require()
        run_dir.mkdir(mode=0o711, parents=True, exist_ok=True)
        given = await attachments(self.core, instance, self.plan.report)
        self.plan.report("starting the guest", None)
        await shape_nics(instance.spec)
        self.launched = await driver.start(instance, given)
        await shape_started(self.core, instance)
        self.core.note(instance, f"started, pid {self.launched.pid}")
        self.core.adopt(instance)

    async def undo(self) -> None:
        await take_down(self.core, self.plan.instance_id, self.plan.instance)


async def take_down(core: Core, instance_id: str, instance: Instance) -> None:
    """End a guest now and take away everything of it that lives on the host. Safe to repeat."""
    driver, run_dir = core.driver(instance), core.run_dir(instance_id)
    with contextlib.suppress(FileNotFoundError):
        await driver.kill(run_dir)
    await core.let_go(instance_id)
    await driver.cleanup(run_dir)
    await unshape(instance)
    await networking.unplug(core, instance)
    await asyncio.to_thread(remove_tree, run_dir)


class Stopping:
    """The steps that bring a guest down: ask, end, cleanup."""

    def __init__(self, plan: InstancePlan, *, timeout_s: float, force: bool) -> None:
        self.plan, self.core = plan, plan.core
        self.timeout_s, self.force = timeout_s, force
        self.escalated = False
        self.ending: dict[str, object] = {}

    def steps(self) -> list[Step]:
        asked = [] if self.force else [Step(name="ask", text="asking the guest to stop", do=self.ask)]
        return [
            *asked,
            Step(name="end", text="ending the guest", do=self.end),
            Step(name="cleanup", text="taking down the machine", do=self.cleanup),
        ]

    async def ask(self) -> None:
        """Ask through the agent, else through the machine; wait; leave the rest to `end`."""
        instance, run_dir = self.plan.instance, self.plan.run_dir
        driver = self.core.driver(instance)
        observed = await driver.observe(run_dir)
        if observed.phase not in (Phase.RUNNING, Phase.PAUSED):
            return
        if observed.phase is Phase.PAUSED:
            await driver.resume(run_dir)
        self.core.note(instance, "asked to stop")
        try:
            async with asyncio.timeout(self.timeout_s):
                await self._ask_until_gone(instance, run_dir)
        except (TimeoutError, Timeout):
            self.escalated = True
            self.core.note(instance, f"did not stop within {self.timeout_s:g} s")

    async def _ask_until_gone(self, instance: Instance, run_dir: Path) -> None:
        live = self.core.lives.get(instance.id)
        driver = self.core.driver(instance)
        while live is not None and await self._ask_agent(instance):
            # an init that has only just begun does not hear the first request: ask again
            await asyncio.wait([live.exited], timeout=ASK_AGAIN_S)
            if live.exited.done():
                return
        await driver.stop(run_dir, timeout_s=self.timeout_s)
        if live is not None:
            await asyncio.wait([live.exited])

    async def _ask_agent(self, instance: Instance) -> bool:
        live = self.core.lives.get(instance.id)
        if live is None or not isinstance(live.driver, SupportsAgent):
            return False
        try:
            client = await live.agent(timeout_s=min(2.0, self.timeout_s / 4))
            await client.shutdown("poweroff")
        except (YurtError, OSError, EOFError) as error:
            log.debug("agent of %s could not be asked to stop: %s", instance.name, error)
            return False
        return True

    async def end(self) -> None:
        if self.escalated:
            self.plan.report(f"did not stop within {self.timeout_s:g} s: ending it", None)
        live = self.core.lives.get(self.plan.instance_id)
        with contextlib.suppress(FileNotFoundError):
            await self.core.driver(self.plan.instance).kill(self.plan.run_dir)
        if live is not None:
            await asyncio.wait([live.exited], timeout=POWER_OFF_GRACE_S)
            if live.main is not None and live.main.done.done():
                self.ending["exit_code"] = live.main.done.result()

    async def cleanup(self) -> None:
        await take_down(self.core, self.plan.instance_id, self.plan.instance)
