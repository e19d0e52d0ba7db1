"""What the daemon does by itself, with guests that are only remembered and a clock that the test moves."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from tests.still import Still, still

from yurt.engine import verbs
from yurt.errors import Denied, Exhausted
from yurt.model.instance import Init, InstanceSpec, Kind, Phase
from yurt.model.operation import Operation
from yurt.model.policy import Policy, RestartPolicy, TtlAction
from yurt.model.settings import AdmissionSettings, Settings

ALWAYS = Policy(restart=RestartPolicy.ALWAYS)
ON_FAILURE = Policy(restart=RestartPolicy.ON_FAILURE)


def run(body: Callable[[Still], Awaitable[None]], **how: Any) -> None:
    async def inside() -> None:
        async with asyncio.timeout(60), still(**how) as daemon:
            await body(daemon)

    asyncio.run(inside())


async def fails(daemon: Still, name: str) -> None:
    """Let a guest crash, and return when that is recorded."""
    daemon.driver.end(daemon.get(name).id, reason="panic")
    await daemon.until(lambda: daemon.get(name).phase is Phase.CRASHED and not daemon.get(name).operation)


def test_a_guest_that_fails_comes_back_after_growing_pauses() -> None:
    async def body(daemon: Still) -> None:
        await daemon.add("one", ON_FAILURE)
        await daemon.start("one")
        for count, pause in enumerate((1, 2, 4), start=1):
            await fails(daemon, "one")
            assert daemon.get("one").next_restart_at == daemon.clock.now() + pause
            daemon.clock.move(pause - 0.1)
            await asyncio.sleep(0.02)
            assert daemon.get("one").phase is Phase.CRASHED, "not before its time"
            daemon.clock.move(0.1)
            await daemon.until(lambda: daemon.get("one").phase is Phase.RUNNING)
            assert daemon.get("one").restarts == count
        daemon.driver.end(daemon.get("one").id)  # it powers itself off
        await daemon.until(lambda: daemon.get("one").phase is Phase.STOPPED)
        assert daemon.get("one").next_restart_at is None

    run(body)


def test_the_next_daemon_restarts_at_the_moment_that_the_last_one_wrote_down() -> None:
    async def body(daemon: Still) -> None:
        await daemon.add("one", ALWAYS)
        await daemon.start("one")
        await fails(daemon, "one")
        await daemon.again()
        assert daemon.get("one").phase is Phase.CRASHED
        daemon.clock.move(1)
        await daemon.until(lambda: daemon.get("one").phase is Phase.RUNNING)

    run(body)


def test_a_guest_that_ends_while_no_daemon_is_there_has_failed() -> None:
    async def body(daemon: Still) -> None:
        for name, policy in (("again", ON_FAILURE), ("not", Policy())):
            await daemon.add(name, policy)
            await daemon.start(name)
        await daemon.end()
        daemon.driver.guests.clear()
        await daemon.begin(boot_id="")
        await daemon.until(lambda: daemon.get("again").next_restart_at)
        daemon.clock.move(2)
        await daemon.until(lambda: daemon.get("again").phase is Phase.RUNNING)
        assert daemon.get("not").phase is Phase.STOPPED

    run(body)


def test_stop_ends_the_waiting_and_nothing_comes_back() -> None:
    async def body(daemon: Still) -> None:
        await daemon.add("one", ALWAYS)
        await daemon.start("one")
        await fails(daemon, "one")
        for _ in range(2):  # one that waits, then one that runs
            operation = await daemon.engine.stop("one")
            await daemon.engine.wait_operation(operation.id, 10)
            daemon.clock.move(1000)
            await asyncio.sleep(0.02)
            assert daemon.get("one").phase is Phase.STOPPED
            await daemon.start("one")
        assert not [wake for wake in daemon.clock.wakes if wake.at < daemon.clock.now() + 3000]

    run(body)


def test_a_restart_that_fails_or_does_not_fit_is_tried_again_later() -> None:
    async def body(daemon: Still) -> None:
        await daemon.add("one", ALWAYS)
        await daemon.start("one")
        await fails(daemon, "one")
        daemon.driver.broken = True
        daemon.clock.move(1)
        await daemon.until(lambda: daemon.get("one").restarts == 1 and not daemon.get("one").operation)
        assert daemon.get("one").next_restart_at == daemon.clock.now() + 2
        daemon.driver.broken = False
        for number in range(7):  # and now others take all the room
            await daemon.add(f"other{number}")
            await daemon.start(f"other{number}")
        daemon.clock.move(2)
        await daemon.until(lambda: daemon.get("one").restarts == 2)
        assert daemon.get("one").next_restart_at == daemon.clock.now() + 4
        operation = await daemon.engine.stop("other0")
        await daemon.engine.wait_operation(operation.id, 10)
        daemon.clock.move(4)
        await daemon.until(lambda: daemon.get("one").phase is Phase.RUNNING)

    run(body)


def test_a_main_process_that_fails_makes_the_guest_fail_and_one_that_ends_well_does_not() -> None:
    async def body(daemon: Still) -> None:
        for name, code in (("good", 0), ("bad", 3)):
            await daemon.add(name, ON_FAILURE, init=Init.COMMAND, command=("x",))
            await daemon.start(name)
            daemon.driver.end(daemon.get(name).id, code)
            await daemon.until(lambda name=name: daemon.get(name).phase is Phase.STOPPED)  # type: ignore[misc]
            assert (daemon.get(name).next_restart_at is not None) is (code != 0)

    run(body)


def test_time_over_stops_or_deletes_and_counts_from_the_start() -> None:
    async def body(daemon: Still) -> None:
        await daemon.add("stops", Policy(ttl_s=60, restart=RestartPolicy.ALWAYS))
        await daemon.add("goes", Policy(ttl_s=90, ttl_action=TtlAction.DELETE))
        await daemon.add("rests", Policy(ttl_s=60, ttl_action=TtlAction.DELETE))
        daemon.clock.move(1000)
        for name in ("stops", "goes"):
            await daemon.start(name)
        daemon.clock.move(50)
        await fails(daemon, "stops")
        daemon.clock.move(1)
        await daemon.until(lambda: daemon.get("stops").phase is Phase.RUNNING)
        await daemon.again()
        daemon.clock.move(9)
        await daemon.until(lambda: daemon.get("stops").phase is Phase.STOPPED, "a restart adds no time")
        assert daemon.get("goes").phase is Phase.RUNNING
        daemon.clock.move(30)
        await daemon.until(lambda: "goes" not in daemon.records.names)
        daemon.clock.move(1000)
        await asyncio.sleep(0.02)
        assert daemon.get("rests").phase is Phase.STOPPED, "what was never started has no end"

    run(body)


def test_an_end_that_fails_is_not_tried_again_at_once() -> None:
    async def body(daemon: Still) -> None:
        def stops() -> int:
            return sum(each.verb == "stop" for each in daemon.records.operations.values())

        await daemon.add("one", Policy(ttl_s=10))
        await daemon.start("one")
        daemon.driver.stuck = True
        daemon.clock.move(10)
        await daemon.until(lambda: stops() == 1 and not daemon.get("one").operation)
        await asyncio.sleep(0.1)
        assert (stops(), daemon.get("one").phase) == (1, Phase.RUNNING)
        daemon.driver.stuck = False
        daemon.clock.move(30)
        await daemon.until(lambda: daemon.get("one").phase is Phase.STOPPED)
        assert stops() == 2

    run(body)


def test_a_changed_time_counts_at_once() -> None:
    async def body(daemon: Still) -> None:
        await daemon.add("one", Policy(ttl_s=3600))
        await daemon.start("one")
        operation = await daemon.engine.set("one", {"ttl": "30s"})
        await daemon.engine.wait_operation(operation.id, 10)
        daemon.clock.move(30)
        await daemon.until(lambda: daemon.get("one").phase is Phase.STOPPED)

    run(body)


def test_what_is_protected_stays() -> None:
    async def body(daemon: Still) -> None:
        await daemon.add("one", Policy(protect=True))
        with pytest.raises(Denied, match="protected"):
            await daemon.engine.delete("one", force=True)
        await daemon.engine.set("one", {"protect": "off"})
        await daemon.until(lambda: not daemon.get("one").operation)
        await daemon.engine.delete("one")
        await daemon.until(lambda: not daemon.records.instances)

    run(body)


def test_a_boot_starts_by_order_some_at_once_and_only_once() -> None:
    async def body(daemon: Still) -> None:
        late = Policy(autostart=True, autostart_order=9)
        await daemon.add("late", late)
        for number in range(6):
            await daemon.add(
                f"early{number}", Policy(autostart=True, autostart_order=1, autostart_delay_s=20)
            )
        await daemon.add("ends", Policy(restart=RestartPolicy.ALWAYS))
        await daemon.start("ends")
        await daemon.end()
        daemon.driver.guests.clear()
        daemon.driver.started.clear()
        daemon.driver.slow.clear()
        await daemon.begin(boot_id="next")
        await daemon.until(lambda: daemon.driver.most_starting)
        await asyncio.sleep(0.05)
        daemon.driver.slow.set()
        await daemon.until(lambda: len(daemon.driver.started) == 6)
        await daemon.until(lambda: daemon.engine.keeper.timers.at("autostart"))
        assert daemon.driver.most_starting == 2, "as many as the host has processors"
        assert "late" not in daemon.driver.started, "the delay is not over"
        daemon.clock.move(20)
        await daemon.until(lambda: daemon.get("late").phase is Phase.RUNNING)
        await daemon.until(lambda: daemon.records.boot_id == "next")
        assert daemon.get("ends").phase is Phase.STOPPED, "the host's boot was not its failure"
        operation = await daemon.engine.stop("late")
        await daemon.engine.wait_operation(operation.id, 10)
        await daemon.again(boot_id="next")
        await asyncio.sleep(0.05)
        assert daemon.get("late").phase is Phase.STOPPED, "a daemon that comes again starts nobody"

    run(body)


def test_one_that_cannot_start_does_not_hold_up_the_boot() -> None:
    async def body(daemon: Still) -> None:
        await daemon.add("large", Policy(autostart=True, autostart_order=1), memory_bytes=7 << 30)
        await daemon.add("small", Policy(autostart=True), memory_bytes=256 << 20)
        await daemon.add("larger", Policy(autostart=True, autostart_order=2), memory_bytes=7 << 30)
        await daemon.again(boot_id="next")
        await daemon.until(lambda: daemon.records.boot_id == "next")
        assert {each.name: each.phase for each in daemon.records.instances.values()} == {
            "large": Phase.RUNNING,
            "larger": Phase.STOPPED,
            "small": Phase.RUNNING,
        }

    run(body)


SEVEN = Settings(admission=AdmissionSettings(memory_kept_free="1G"))  # of 8, so that seven of 1 GiB fit


def test_fifty_starts_at_once_never_overshoot() -> None:
    async def body(daemon: Still) -> None:
        for number in range(50):
            await daemon.add(f"n{number}")
        daemon.driver.slow.clear()
        begun = await asyncio.gather(
            *(daemon.engine.start(f"n{number}") for number in range(50)), return_exceptions=True
        )
        daemon.driver.slow.set()
        taken = [each for each in begun if isinstance(each, Operation)]
        refused = [each for each in begun if isinstance(each, Exhausted)]
        assert (len(taken), len(refused)) == (7, 43)
        assert "7G promised to 7 running instances = 8G > 7G" in refused[-1].message
        for each in taken:
            await daemon.engine.wait_operation(each.id, 10)
        assert daemon.driver.most == 7
        # as one goes, one comes
        gone = await daemon.engine.stop(taken[0].target)
        await daemon.engine.wait_operation(gone.id, 10)
        again = await asyncio.gather(
            *(daemon.engine.start(each.name) for each in list(daemon.records.instances.values())),
            return_exceptions=True,
        )
        assert sum(isinstance(each, Operation) for each in again) == 1
        assert daemon.driver.most == 7

    run(body, settings=SEVEN)


def test_fifty_creates_at_once_never_overshoot(monkeypatch: pytest.MonkeyPatch) -> None:
    """A create has reserved its place before there is any record of its instance."""

    async def never(*_: object) -> None:
        await asyncio.Event().wait()

    monkeypatch.setattr(verbs, "ensure_image", never)

    async def body(daemon: Still) -> None:
        def create(number: int, **fields: Any) -> Awaitable[Operation]:
            spec = InstanceSpec(image="tiny", name=f"n{number}", kind=Kind.CONTAINER, **fields)
            return daemon.engine.create(spec, start=True)

        begun = await asyncio.gather(
            *(create(number, memory_bytes=1 << 30) for number in range(50)), return_exceptions=True
        )
        taken = [each for each in begun if isinstance(each, Operation)]
        assert len(taken) == 7
        assert all(isinstance(each, Operation | Exhausted) for each in begun)
        await daemon.engine.cancel_operation(taken[0].id)
        await create(99, memory_bytes=1 << 30)
        with pytest.raises(Exhausted):
            await create(100, memory_bytes=1 << 30)

    run(body, settings=SEVEN)


def test_a_running_guest_grows_only_into_what_is_left() -> None:
    async def body(daemon: Still) -> None:
        for number in range(5):
            await daemon.add(f"n{number}")
            await daemon.start(f"n{number}")
        operation = await daemon.engine.set("n0", {"memory": "3G"})
        with pytest.raises(Exhausted, match="promised to 4 running instances"):
            await daemon.engine.set("n1", {"memory": "4G"})
        with pytest.raises(Exhausted):
            await daemon.engine.set("n1", {"memory": "1100M"})
        await daemon.engine.wait_operation(operation.id, 10)
        operation = await daemon.engine.set("n0", {"memory": "512M"})
        assert (await daemon.engine.wait_operation(operation.id, 10)).error is None
        operation = await daemon.engine.set("n1", {"memory": "1100M"})
        assert (await daemon.engine.wait_operation(operation.id, 10)).error is None

    run(body, settings=SEVEN)
