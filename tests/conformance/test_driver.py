"""What every Driver must do, fakes and real ones alike. A driver joins by a module `drivers_NAME.py` beside this one."""

import asyncio
import importlib
import os
import shutil
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace
from tests.conformance.drivers_base import DriverUnderTest, Factory

from yurt.drivers.base import (
    Adjusted,
    Driver,
    DriverEvent,
    SupportsAdjust,
    SupportsAgent,
    SupportsBalloon,
    SupportsHotplug,
    SupportsUsage,
    VolumeAttachment,
    decode_launched,
)
from yurt.errors import NotFound, Timeout, Unavailable, WrongState, YurtError
from yurt.host import layout
from yurt.host.proc import process_start
from yurt.model.image import DiskFormat
from yurt.model.instance import Phase

DEADLINE_S = 120  # met only by a driver that hangs


def _factories() -> Iterator[Any]:
    for path in sorted(Path(__file__).parent.glob("drivers_*.py")):
        if path.stem == "drivers_base":
            continue
        module = importlib.import_module(f"tests.conformance.{path.stem}")
        for name, factory in module.FACTORIES.items():
            yield pytest.param(factory, id=name, marks=[pytest.mark.slow] if name in module.SLOW else [])


@pytest.fixture(params=_factories())
def under_test(request: pytest.FixtureRequest) -> Iterator[DriverUnderTest]:
    factory: Factory = request.param
    directory = Path(tempfile.mkdtemp(prefix="yc-", dir="/tmp"))
    directory.chmod(0o711)
    try:
        yield factory(directory)
    finally:
        shutil.rmtree(directory)


@asynccontextmanager
async def started(test: DriverUnderTest) -> AsyncIterator[tuple[Driver, int]]:
    """A running guest that is gone afterwards, whatever happens."""
    driver = test.new_driver()
    try:
        launched = await driver.start(test.instance, test.attachments)
        yield driver, launched.pid
    finally:
        await driver.cleanup(test.run_dir)
        assert test.leftovers() == []


def on(test: DriverUnderTest, story: Callable[[], Awaitable[None]]) -> None:
    async def run() -> None:
        async with asyncio.timeout(DEADLINE_S):
            await story()

    asyncio.run(run())


async def until_exited(driver: Driver, test: DriverUnderTest) -> list[DriverEvent]:
    return [event async for event in driver.events(test.run_dir)]


def gone(pid: int) -> bool:
    return process_start(pid) is None


# --- before a start ----------------------------------------------------------------------------------------------


def test_its_own_spec_passes_the_check(under_test: DriverUnderTest) -> None:
    driver = under_test.new_driver()
    capabilities = driver.capabilities(under_test.facts)
    assert capabilities.available, capabilities.reason
    assert under_test.instance.spec.kind in capabilities.kinds
    driver.check(under_test.instance.spec, capabilities)


def test_what_it_cannot_start_is_refused_in_words(under_test: DriverUnderTest) -> None:
    driver = under_test.new_driver()
    capabilities = driver.capabilities(under_test.facts)
    for spec, error in under_test.refused:
        with pytest.raises(error) as refused:
            driver.check(spec, capabilities)
        assert refused.value.message
    with pytest.raises(YurtError):
        driver.check(under_test.instance.spec, replace(capabilities, available=False, reason="not here"))


def test_where_nothing_was_started_there_is_nothing(under_test: DriverUnderTest) -> None:
    async def story() -> None:
        driver = under_test.new_driver()
        assert (await driver.observe(under_test.run_dir)).phase is Phase.STOPPED
        await driver.stop(under_test.run_dir, timeout_s=1)
        await driver.kill(under_test.run_dir)
        await driver.cleanup(under_test.run_dir)
        assert [e.type for e in await until_exited(driver, under_test)] == ["exited"]
        for verb in (driver.pause, driver.resume):
            with pytest.raises(NotFound):
                await verb(under_test.run_dir)

    on(under_test, story)


# --- one life ----------------------------------------------------------------------------------------------------


def test_a_guest_runs_is_recorded_and_is_killed(under_test: DriverUnderTest) -> None:
    async def story() -> None:
        async with started(under_test) as (driver, pid):
            seen = await driver.observe(under_test.run_dir)
            assert (seen.phase, seen.pid) == (Phase.RUNNING, pid)
            record = decode_launched((under_test.run_dir / layout.LAUNCHED).read_bytes())
            assert (record.pid, record.process_start) == (pid, process_start(pid))
            assert (record.driver, record.spec) == (driver.name, under_test.instance.spec)
            assert record.attachments == under_test.attachments
            exited = asyncio.create_task(until_exited(driver, under_test))
            await driver.kill(under_test.run_dir)
            assert gone(pid)
            assert (await exited)[-1].type == "exited"
            assert (await driver.observe(under_test.run_dir)).phase is Phase.STOPPED
            await driver.kill(under_test.run_dir)

    on(under_test, story)


def test_sockets_and_record_are_for_us_alone(under_test: DriverUnderTest) -> None:
    async def story() -> None:
        async with started(under_test):
            files = list(under_test.run_dir.rglob("*"))
            assert any(path.name == layout.LAUNCHED for path in files)
            for path in files:
                if path.is_socket() or path.name == layout.LAUNCHED:
                    assert path.stat().st_mode & 0o077 == 0, path

    on(under_test, story)


def test_cleanup_leaves_an_empty_run_directory_and_can_be_repeated(under_test: DriverUnderTest) -> None:
    async def story() -> None:
        async with started(under_test) as (driver, pid):
            await driver.cleanup(under_test.run_dir)
            assert gone(pid)
            left = {path.name for path in under_test.run_dir.iterdir()}
            assert left <= {layout.MACHINE_LOG}, left
            await driver.cleanup(under_test.run_dir)
            assert (await driver.observe(under_test.run_dir)).phase is Phase.STOPPED

    on(under_test, story)


def test_a_second_start_is_refused_and_harms_nothing(under_test: DriverUnderTest) -> None:
    async def story() -> None:
        async with started(under_test) as (driver, pid):
            for other in (driver, under_test.new_driver()):
                with pytest.raises(WrongState):
                    await other.start(under_test.instance, under_test.attachments)
            assert not gone(pid)
            assert (await driver.observe(under_test.run_dir)).phase is Phase.RUNNING

    on(under_test, story)


def test_it_can_be_started_again_after_its_end(under_test: DriverUnderTest) -> None:
    async def story() -> None:
        async with started(under_test) as (driver, first):
            await driver.kill(under_test.run_dir)
            await driver.cleanup(under_test.run_dir)
            again = await driver.start(under_test.instance, under_test.attachments)
            assert again.pid != first
            assert (await driver.observe(under_test.run_dir)).pid == again.pid

    on(under_test, story)


def test_pause_and_resume_are_seen_told_and_repeatable(under_test: DriverUnderTest) -> None:
    async def story() -> None:
        async with started(under_test) as (driver, pid):
            told = asyncio.create_task(until_exited(driver, under_test))
            for _ in range(2):
                await driver.pause(under_test.run_dir)
                seen = await driver.observe(under_test.run_dir)
                assert (seen.phase, seen.pid) == (Phase.PAUSED, pid)
            for _ in range(2):
                await driver.resume(under_test.run_dir)
                assert (await driver.observe(under_test.run_dir)).phase is Phase.RUNNING
            await driver.kill(under_test.run_dir)
            assert [event.type for event in await told] == ["paused", "running", "exited"]

    on(under_test, story)


def test_a_paused_guest_does_not_stop_but_can_be_killed(under_test: DriverUnderTest) -> None:
    async def story() -> None:
        async with started(under_test) as (driver, pid):
            await driver.pause(under_test.run_dir)
            with pytest.raises(Timeout):
                await driver.stop(under_test.run_dir, timeout_s=0.3)
            assert (await driver.observe(under_test.run_dir)).phase is Phase.PAUSED
            await driver.kill(under_test.run_dir)
            assert gone(pid)

    on(under_test, story)


def test_a_guest_that_is_killed_from_outside_is_seen_to_end(under_test: DriverUnderTest) -> None:
    async def story() -> None:
        async with started(under_test) as (driver, pid):
            told = asyncio.create_task(until_exited(driver, under_test))
            await asyncio.sleep(0)  # let it listen first
            os.kill(pid, 9)
            events = await told
            assert events[-1].type == "exited"
            seen = await driver.observe(under_test.run_dir)
            assert seen.phase in (Phase.STOPPED, Phase.CRASHED) and seen.pid is None

    on(under_test, story)


# --- the daemon's restart ----------------------------------------------------------------------------------------


async def let_go(driver: Driver) -> None:
    """End a driver object as the daemon's end does: guests are not touched."""
    detach = getattr(driver, "detach", None)
    if detach is not None:
        await detach()


def test_a_new_daemon_finds_the_same_guest(under_test: DriverUnderTest) -> None:
    async def story() -> None:
        async with started(under_test) as (first, pid):
            await let_go(first)
            second = under_test.new_driver()
            seen = await second.observe(under_test.run_dir)
            assert (seen.phase, seen.pid) == (Phase.RUNNING, pid)
            told = asyncio.create_task(until_exited(second, under_test))
            await second.pause(under_test.run_dir)
            await let_go(second)
            told.cancel()
            third = under_test.new_driver()
            assert (await third.observe(under_test.run_dir)).phase is Phase.PAUSED
            await third.resume(under_test.run_dir)
            told = asyncio.create_task(until_exited(third, under_test))
            await third.kill(under_test.run_dir)
            assert gone(pid)
            assert (await told)[-1].type == "exited"
            await third.cleanup(under_test.run_dir)

    on(under_test, story)


def test_a_guest_that_ended_meanwhile_is_not_mistaken_for_another(under_test: DriverUnderTest) -> None:
    async def story() -> None:
        async with started(under_test) as (first, pid):
            await let_go(first)
            path = under_test.run_dir / layout.LAUNCHED
            record = decode_launched(path.read_bytes())
            os.kill(pid, 9)
            await asyncio.to_thread(_wait_gone, pid)
            path.write_bytes(path.read_bytes().replace(b'"pid":%d' % record.pid, b'"pid":%d' % os.getpid()))
            second = under_test.new_driver()
            assert (await second.observe(under_test.run_dir)).phase is not Phase.RUNNING
            await second.kill(under_test.run_dir)  # must not end this very process
            assert (await until_exited(second, under_test))[-1].type == "exited"
            await second.cleanup(under_test.run_dir)

    on(under_test, story)


def _wait_gone(pid: int) -> None:
    import select

    try:
        descriptor = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    select.select([descriptor], [], [], 10)
    os.close(descriptor)


# --- failures ----------------------------------------------------------------------------------------------------


def test_a_start_that_fails_leaves_nothing(under_test: DriverUnderTest) -> None:
    async def story() -> None:
        driver = under_test.new_driver()
        with pytest.raises(YurtError) as failed:
            await driver.start(under_test.instance, under_test.broken)
        assert failed.value.message
        assert (await driver.observe(under_test.run_dir)).phase is Phase.STOPPED
        left = {path.name for path in under_test.run_dir.iterdir()}
        assert left <= {layout.MACHINE_LOG}, left
        assert under_test.leftovers() == []
        await driver.start(under_test.instance, under_test.attachments)  # and stands in nobody's way
        await driver.cleanup(under_test.run_dir)

    on(under_test, story)


# --- what some drivers can do besides ----------------------------------------------------------------------------


def test_usage_counts_up(under_test: DriverUnderTest) -> None:
    async def story() -> None:
        async with started(under_test) as (driver, _):
            if not isinstance(driver, SupportsUsage):
                pytest.skip("this driver does not count")
            for _ in range(500):  # a process that is just becoming another program has no memory to count
                first = await driver.usage(under_test.run_dir)
                if first.memory_bytes:
                    break
                await asyncio.sleep(0.01)
            second = await driver.usage(under_test.run_dir)
            assert first.memory_bytes > 0 and first.pids >= 1
            assert second.cpu_s >= first.cpu_s and second.at > first.at
            await driver.kill(under_test.run_dir)
            with pytest.raises(NotFound):
                await driver.usage(under_test.run_dir)

    on(under_test, story)


def test_the_agent_answers_again_after_a_restart_and_ends_the_guest(under_test: DriverUnderTest) -> None:
    if not under_test.has_agent:
        pytest.skip("this guest carries no agent")

    async def story() -> None:
        async with started(under_test) as (first, pid):
            assert isinstance(first, SupportsAgent)
            client = await first.agent(under_test.run_dir)
            await client.wait_ready()
            await client.close()
            await let_go(first)
            second = under_test.new_driver()
            assert isinstance(second, SupportsAgent)
            told = asyncio.create_task(until_exited(second, under_test))
            client = await second.agent(under_test.run_dir)
            await client.wait_ready()
            await client.shutdown("poweroff", grace_s=5)
            assert (await told)[-1].type == "exited"
            await client.close()
            assert gone(pid)
            await second.stop(under_test.run_dir, timeout_s=1)
            assert (await second.observe(under_test.run_dir)).phase is Phase.STOPPED
            await second.cleanup(under_test.run_dir)

    on(under_test, story)


def test_a_change_of_settings_says_of_each_what_became_of_it(under_test: DriverUnderTest) -> None:
    async def story() -> None:
        spec = under_test.instance.spec
        wish = replace(spec, cpus=2, memory_bytes=spec.memory_bytes + (128 << 20))
        async with started(under_test) as (driver, _):
            if not isinstance(driver, SupportsAdjust):
                pytest.skip("this driver changes nothing while a guest runs")
            assert await driver.adjust(under_test.run_dir, spec, spec) == Adjusted()
            rehearsed = await driver.adjust(under_test.run_dir, spec, wish, dry_run=True)
            for before, after in ((spec, wish), (spec, wish), (wish, spec)):
                done = await driver.adjust(under_test.run_dir, before, after)
                assert {*done.applied, *done.pending} == {"cpus", "memory"}
                assert not set(done.applied) & set(done.pending) and all(done.pending.values())
                if after == wish:
                    assert done.applied == rehearsed.applied
            await driver.kill(under_test.run_dir)
            with pytest.raises(NotFound):
                await driver.adjust(under_test.run_dir, spec, wish)

    on(under_test, story)


def test_memory_that_is_lent_is_counted(under_test: DriverUnderTest) -> None:
    async def story() -> None:
        async with started(under_test) as (driver, _):
            if not isinstance(driver, SupportsBalloon):
                pytest.skip("this driver has no balloons")
            memory = await driver.memory(under_test.run_dir)
            assert memory.total_bytes >= under_test.instance.spec.memory_bytes
            assert memory.given_bytes == memory.total_bytes
            await driver.kill(under_test.run_dir)
            with pytest.raises(NotFound):
                await driver.memory(under_test.run_dir)

    on(under_test, story)


def test_a_disk_that_is_plugged_in_is_there_once_also_for_the_next_daemon(
    under_test: DriverUnderTest,
) -> None:
    image = under_test.run_dir.parent.parent / "volume.raw"
    image.write_bytes(bytes(1 << 20))
    volume = VolumeAttachment(name="data", path=image, format=DiskFormat.RAW)

    async def story() -> None:
        async with started(under_test) as (first, _):
            if not isinstance(first, SupportsHotplug):
                pytest.skip("this driver has no hot-plugging")
            await first.detach_disk(under_test.run_dir, "data")
            await first.detach_nic(under_test.run_dir, 7)
            with pytest.raises(Unavailable):
                await first.attach_disk(under_test.run_dir, replace(volume, path=image.with_name("absent")))
            await first.attach_disk(under_test.run_dir, volume)
            await let_go(first)
            second = under_test.new_driver()
            assert isinstance(second, SupportsHotplug)
            await second.attach_disk(under_test.run_dir, volume)
            if under_test.has_agent:  # else nobody is there to let go of it
                await second.detach_disk(under_test.run_dir, "data")
            await second.kill(under_test.run_dir)
            with pytest.raises(NotFound):
                await second.attach_disk(under_test.run_dir, volume)
            await second.cleanup(under_test.run_dir)

    on(under_test, story)
