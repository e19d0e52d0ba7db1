"""A guest takes up what its machine was given, or the change waits; a guest without our agent is left alone."""

import asyncio
from collections.abc import Awaitable, Callable
from types import SimpleNamespace
from typing import Any, cast

from msgspec.structs import replace
from tests.still import Still, still
from tests.unit.test_reclaim import BallooningDriver

from yurt.drivers.base import Adjusted
from yurt.engine.core import Core
from yurt.engine.takeup import take_up
from yurt.errors import ToolFailed
from yurt.model.instance import GIB, Instance, Kind, ResolvedSpec


class GrowingAgent:
    """Says what it is, and keeps what it is asked for."""

    def __init__(self, mode: str, refuses: str = "") -> None:
        self.mode, self.refuses = mode, refuses
        self.asked: list[dict[str, int]] = []

    async def wait_ready(self) -> SimpleNamespace:
        return SimpleNamespace(mode=self.mode)

    async def grow(self, **wish: int) -> None:
        self.asked.append(wish)
        if self.refuses in wish:
            raise ToolFailed("the guest's kernel has not found all vCPUs")


DONE = Adjusted(applied=("cpus", "memory", "disk", "disk-read-iops"), pending={"pids": "later"})


def with_agent(
    agent: GrowingAgent | None, check: Callable[[Core, Instance, ResolvedSpec], Awaitable[None]]
) -> None:
    async def run() -> None:
        async with still() as daemon:
            await story(daemon)

    async def story(daemon: Still) -> None:
        driver = daemon.driver = BallooningDriver()
        core = daemon.engine.core
        core.drivers = dict.fromkeys(Kind, driver)
        await daemon.add("web")
        await daemon.start("web")
        instance = daemon.get("web")
        live = core.lives[instance.id]
        if agent is not None:
            live.client = cast(Any, agent)
            live.agent_ready.set()
        await check(core, instance, replace(instance.spec, cpus=2, disk_bytes=20 * GIB))

    asyncio.run(asyncio.wait_for(run(), 30))


def test_each_size_is_asked_for_in_whole() -> None:
    agent = GrowingAgent("vm")

    async def check(core: Core, instance: Instance, after: ResolvedSpec) -> None:
        assert await take_up(core, instance, after, DONE) == DONE
        assert agent.asked == [{"cpus": 2}, {"memory_bytes": GIB}, {"disk_bytes": 20 * GIB}]
        agent.asked.clear()
        rates = Adjusted(applied=("disk-read-iops",))
        assert await take_up(core, instance, after, rates) == rates and not agent.asked

    with_agent(agent, check)


def test_what_the_guest_does_not_take_up_waits_and_the_rest_stands() -> None:
    async def check(core: Core, instance: Instance, after: ResolvedSpec) -> None:
        done = await take_up(core, instance, after, DONE)
        assert done.applied == ("memory", "disk", "disk-read-iops")
        assert "not found all vCPUs" in done.pending["cpus"] and done.pending["pids"] == "later"

    with_agent(GrowingAgent("microvm", refuses="cpus"), check)


def test_without_an_agent_of_a_machine_the_change_stands() -> None:
    other = GrowingAgent("container")

    async def check(core: Core, instance: Instance, after: ResolvedSpec) -> None:
        assert await take_up(core, instance, after, DONE) == DONE

    with_agent(None, check)
    with_agent(other, check)
    assert not other.asked
