"""Memory goes to a host that runs short and comes back: who acts on the rule, with guests that are only remembered."""

import asyncio
import contextlib
import logging
import os
import socket
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest
from tests.still import Still, StillDriver, still

from yurt.drivers.base import GuestMemory
from yurt.engine import reclaim
from yurt.engine.reclaim import Reclaimer
from yurt.errors import Unavailable
from yurt.host import layout as names
from yurt.model.instance import GIB, MIB, Kind, Usage
from yurt.model.policy import Policy

KEEP = 512 * MIB  # the setting's default


class BallooningDriver(StillDriver):
    """Guests of 1 GiB whose balloons do what they are told, unless they are `stubborn`."""

    def __init__(self) -> None:
        super().__init__()
        self.given: dict[str, int] = {}
        self.looked = 0
        self.stubborn: set[str] = set()

    async def memory(self, run_dir: Path) -> GuestMemory:
        self.looked += 1
        return GuestMemory(total_bytes=GIB, given_bytes=self.given.get(run_dir.name, GIB), balloon=True)

    async def set_balloon(self, run_dir: Path, given_bytes: int) -> int:
        if run_dir.name in self.stubborn:
            raise Unavailable("it does not answer")
        self.given[run_dir.name] = given_bytes
        return given_bytes

    async def usage(self, run_dir: Path) -> Usage:
        return Usage(
            name=run_dir.name,
            kind=Kind.VM,
            at=time.monotonic(),
            cpu_s=0.0,
            memory_bytes=0,
            memory_limit_bytes=GIB,
            read_bytes=0,
            write_bytes=0,
            pids=1,
        )


class Host:
    """A host whose free memory and pressure a test decides."""

    def __init__(self) -> None:
        self.free = 20 * GIB
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._sender = socket.create_connection(self._listener.getsockname())
        self._receiver, _ = self._listener.accept()

    def available(self) -> int:
        return self.free

    def trigger(self) -> int:
        """Urgent data of a socket is told as a pressure trigger's firing is: by POLLPRI."""
        return os.dup(self._receiver.fileno())

    def press(self) -> None:
        self._sender.send(b"!", socket.MSG_OOB)

    def close(self) -> None:
        for each in (self._sender, self._receiver, self._listener):
            each.close()


@contextlib.asynccontextmanager
async def reclaiming(
    daemon: Still, host: Host, trigger: Callable[[], int] | None = None
) -> AsyncIterator[Reclaimer]:
    reclaimer = Reclaimer(daemon.engine.core, available=host.available, trigger=trigger or host.trigger)
    reclaimer.begin()
    try:
        yield reclaimer
    finally:
        await reclaimer.close()


def on(story: Callable[[Still, BallooningDriver, Host], Awaitable[None]]) -> None:
    async def run() -> None:
        host = Host()
        try:
            async with asyncio.timeout(30), still() as daemon:
                driver = daemon.driver = BallooningDriver()
                daemon.engine.core.drivers = dict.fromkeys(Kind, driver)
                await story(daemon, driver, host)
        finally:
            host.close()

    asyncio.run(run())


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reclaim, "AGAIN_S", 0.02)


def test_a_short_host_borrows_and_gives_back_and_then_nobody_looks_any_more() -> None:
    async def story(daemon: Still, driver: BallooningDriver, host: Host) -> None:
        made = await daemon.add("web")
        proud = await daemon.add("proud", Policy(reclaim=False))
        await daemon.start("web")
        await daemon.start("proud")
        async with reclaiming(daemon, host):
            core = daemon.engine.core
            host.free = 0
            host.press()
            await daemon.until(
                lambda: driver.given.get(made.id, GIB) <= 272 * MIB, "it lends all but a quarter"
            )
            shown = await daemon.engine.instance("web")
            assert shown.lent_bytes == GIB - driver.given[made.id]
            assert proud.id not in driver.given
            host.free = 20 * GIB
            await daemon.until(lambda: driver.given[made.id] == GIB and not core.lent, "it has all again")
            await asyncio.sleep(0.1)
            looked = driver.looked
            await asyncio.sleep(0.1)
            assert driver.looked == looked, "with nothing lent nobody looks"
            log = (core.layout.instance_state(made.id) / names.LIFECYCLE_LOG).read_text()
            assert (
                "lends memory to the host" in log and "gets memory back from the host: it has 1G of 1G" in log
            )

    on(story)


def test_who_changes_its_mind_gets_all_back_while_the_host_is_short() -> None:
    async def story(daemon: Still, driver: BallooningDriver, host: Host) -> None:
        made = await daemon.add("web")
        await daemon.start("web")
        async with reclaiming(daemon, host):
            host.free = 0
            host.press()
            await daemon.until(lambda: driver.given.get(made.id, GIB) < GIB, "it lends")
            done = await daemon.engine.wait_operation(
                (await daemon.engine.set("web", {"reclaim": "off"})).id, 10
            )
            assert done.error is None
            await daemon.until(lambda: driver.given[made.id] == GIB, "it has all again")

    on(story)


def test_the_next_daemon_gives_back_what_the_last_one_borrowed() -> None:
    async def story(daemon: Still, driver: BallooningDriver, host: Host) -> None:
        made = await daemon.add("web")
        await daemon.start("web")
        driver.given[made.id] = 300 * MIB
        async with reclaiming(daemon, host):
            await daemon.until(lambda: driver.given[made.id] == GIB, "it has all again")

    on(story)


def test_one_that_does_not_answer_holds_up_nobody() -> None:
    async def story(daemon: Still, driver: BallooningDriver, host: Host) -> None:
        bad, good = await daemon.add("a-bad"), await daemon.add("b-good")
        await daemon.start("a-bad")
        await daemon.start("b-good")
        driver.stubborn.add(bad.id)
        async with reclaiming(daemon, host):
            host.free = 0
            host.press()
            await daemon.until(lambda: driver.given.get(good.id, GIB) < GIB, "the other lends")
            assert bad.id not in driver.given

    on(story)


def test_without_word_of_pressure_a_start_and_the_clock_are_what_there_is(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reclaim, "SLOW_S", 0.05)

    def no_trigger() -> int:
        raise FileNotFoundError(2, "No such file or directory", "/proc/pressure/memory")

    async def story(daemon: Still, driver: BallooningDriver, host: Host) -> None:
        made = await daemon.add("web")
        async with reclaiming(daemon, host, no_trigger):
            await daemon.start("web")
            host.free = KEEP // 2
            await daemon.until(lambda: driver.given.get(made.id, GIB) < GIB, "it lends")

    with caplog.at_level(logging.INFO, "yurt.reclaim"):
        on(story)
    assert any("no word of memory pressure" in record.getMessage() for record in caplog.records)
