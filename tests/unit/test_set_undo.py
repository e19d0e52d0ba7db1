"""`set` on guests that are only remembered: what is applied, what is put back when a part fails, what stays pending."""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

from tests.still import Still, still

from yurt.drivers.base import Adjusted
from yurt.errors import ToolFailed
from yurt.model.instance import GIB, PendingSetting, ResolvedSpec
from yurt.model.limits import Limits

Call = tuple[ResolvedSpec, ResolvedSpec]


class Adjusting:
    """Answers a driver's `adjust`; remembers what it was asked."""

    def __init__(self) -> None:
        self.calls: list[Call] = []
        self.answer = Adjusted()
        self.failures = 0

    async def __call__(
        self, run_dir: Path, before: ResolvedSpec, after: ResolvedSpec, *, dry_run: bool = False
    ) -> Adjusted:
        if not dry_run:
            self.calls.append((before, after))
            if self.failures:
                self.failures -= 1
                raise ToolFailed(argv=("kernel",), status="status 1")
        return self.answer


def run(body: Callable[[Still, Adjusting], Awaitable[None]]) -> None:
    async def inside() -> None:
        async with asyncio.timeout(30), still() as daemon:
            adjusting = Adjusting()
            daemon.driver.adjust = adjusting  # type: ignore[attr-defined]  # makes it a SupportsAdjust
            await daemon.add("one", limits=Limits(pids=100))
            await daemon.start("one")
            await body(daemon, adjusting)

    asyncio.run(inside())


def test_a_change_that_fails_is_taken_back_and_the_record_stays() -> None:
    async def body(daemon: Still, adjusting: Adjusting) -> None:
        adjusting.failures = 1
        begun = await daemon.engine.set("one", {"pids": "200", "memory": "2G"})
        ended = await daemon.engine.wait_operation(begun.id, 10)
        assert ended.error is not None and ended.error.code == "tool_failed"
        (before, after), (back_from, back_to) = adjusting.calls
        assert (before, after) == (back_to, back_from)
        assert (after.limits.pids, after.memory_bytes) == (200, 2 * GIB)
        record = daemon.get("one")
        assert (record.spec.limits.pids, record.spec.memory_bytes) == (100, GIB)
        assert record.pending == {} and record.operation is None
        begun = await daemon.engine.set("one", {"pids": "200"})  # it is free again
        assert (await daemon.engine.wait_operation(begun.id, 10)).error is None

    run(body)


def test_what_waits_is_recorded_shown_and_gone_after_the_next_start() -> None:
    async def body(daemon: Still, adjusting: Adjusting) -> None:
        adjusting.answer = Adjusted(applied=("pids",), pending={"memory": "no slot"})
        begun = await daemon.engine.set("one", {"pids": "200", "memory": "2G"})
        ended = await daemon.engine.wait_operation(begun.id, 10)
        told = ended.result["changes"]
        assert isinstance(told, list)
        assert [(each["setting"], each["when"], each["why"]) for each in told] == [
            ("memory", "next-start", "no slot"),
            ("pids", "now", ""),
        ]
        assert daemon.get("one").pending == {"memory": PendingSetting(now="1G", why="no slot")}
        await daemon.again()  # the next daemon still knows
        assert daemon.get("one").pending == {"memory": PendingSetting(now="1G", why="no slot")}
        for act in (daemon.engine.stop, daemon.engine.start):
            await daemon.engine.wait_operation((await act("one")).id, 10)
        record = daemon.get("one")
        assert record.pending == {} and record.spec.memory_bytes == 2 * GIB

    run(body)


def test_a_rehearsal_changes_nothing() -> None:
    async def body(daemon: Still, adjusting: Adjusting) -> None:
        adjusting.answer = Adjusted(applied=("pids",))
        rehearsed = await daemon.engine.set("one", {"pids": "200"}, dry_run=True)
        assert rehearsed.id == "dry-run" and rehearsed.status.ended
        assert rehearsed.result["changes"] == [
            {"setting": "pids", "before": "100", "after": "200", "when": "now", "why": ""}
        ]
        assert adjusting.calls == [] and daemon.get("one").spec.limits.pids == 100

    run(body)


def test_a_guest_at_rest_is_not_touched() -> None:
    async def body(daemon: Still, adjusting: Adjusting) -> None:
        await daemon.engine.wait_operation((await daemon.engine.stop("one")).id, 10)
        begun = await daemon.engine.set("one", {"pids": ""})
        ended = await daemon.engine.wait_operation(begun.id, 10)
        assert ended.result["changes"] == [
            {"setting": "pids", "before": "100", "after": "", "when": "next-start", "why": ""}
        ]
        assert adjusting.calls == [] and daemon.get("one").spec.limits.pids is None

    run(body)
