"""The engine's small parts: events that resume, logs that stay bounded, operations that undo."""

import asyncio
from functools import partial
from pathlib import Path

import pytest

from yurt.engine.events import HISTORY, EventBus
from yurt.engine.logs import BoundedLog, lifecycle_line, read_tail
from yurt.engine.operation import Operations, Plan, Step
from yurt.engine.records import FORGET_AT_ONCE, KEEP_OPERATIONS, Records, Writes, put_operation
from yurt.errors import Exhausted, WrongState
from yurt.model.operation import Operation, OperationStatus
from yurt.state.base import Delete, Put
from yurt.state.sqlite import SqliteStore


def test_a_reader_resumes_where_it_left() -> None:
    async def body() -> None:
        bus = EventBus()
        sent = [bus.publish("a", str(number)) for number in range(5)]
        seen = []
        async for event in bus.subscribe(sent[2].sequence):
            seen.append(event.target)
            if len(seen) == 3:
                bus.publish("a", "5")
            if len(seen) == 4:
                bus.close()
        assert seen == ["2", "3", "4", "5"]

    asyncio.run(body())


def test_history_is_bounded_and_a_gap_shows_in_the_numbers() -> None:
    async def body() -> None:
        bus = EventBus()
        first = bus.publish("a", "first").sequence
        for _ in range(HISTORY):
            bus.publish("a", "x")
        bus.close()
        seen = [event.sequence async for event in bus.subscribe(first)]
        assert len(seen) == HISTORY
        assert seen[0] == first + 1

    asyncio.run(body())


def test_a_log_never_takes_more_than_twice_its_limit(tmp_path: Path) -> None:
    log = BoundedLog(tmp_path / "log", 1000)
    for number in range(500):
        log.append(b"%04d" % number * 5)
    log.append(b"z" * 5000)
    log.close()
    assert sum(path.stat().st_size for path in tmp_path.iterdir()) <= 2000
    assert read_tail(tmp_path / "log", 10) == b"z" * 10
    assert read_tail(tmp_path / "none", 10) == b""


def test_a_follower_sees_all_over_a_change_of_generation(tmp_path: Path) -> None:
    async def body() -> bytes:
        log = BoundedLog(tmp_path / "log", 100)
        seen = bytearray()

        async def follow() -> None:
            async for chunk in log.follow():
                seen.extend(chunk)

        task = asyncio.create_task(follow())
        await asyncio.sleep(0)
        for number in range(30):
            log.append(b"%09d\n" % number)
            while len(seen) < 10 * (number + 1):  # noqa: ASYNC110 the log has no event for a test
                await asyncio.sleep(0.001)
        log.close()
        await task
        return bytes(seen)

    assert asyncio.run(body()) == b"".join(b"%09d\n" % number for number in range(30))


def test_a_lifecycle_line_is_one_line() -> None:
    assert lifecycle_line("started", 0) == b"1970-01-01T00:00:00Z started\n"


class Trial(Plan):
    """Two steps; the second does what the test wants."""

    verb = "trial"

    def __init__(self, story: list[str], wanted: object) -> None:
        self.story, self.wanted = story, wanted

    def begin(self) -> list[object]:  # type: ignore[override]
        return []

    def steps(self) -> list[Step]:
        return [
            Step(name="one", text="one", do=self.one, undo=self.undo_one),
            Step(name="two", text="two", do=self.two, undo=self.undo_two),
        ]

    async def one(self) -> None:
        self.story.append("one")

    async def undo_one(self) -> None:
        self.story.append("undo one")

    async def two(self) -> None:
        self.story.append("two")
        if isinstance(self.wanted, Exception):
            raise self.wanted
        if self.wanted == "wait":
            await asyncio.Event().wait()

    async def undo_two(self) -> None:
        self.story.append("undo two")


async def run(tmp_path: Path, wanted: object, *, cancel: bool = False) -> tuple[list[str], Operation]:
    store = await SqliteStore.open(tmp_path / "db")
    records, story = Records(store), list[str]()
    await records.load()
    operations = Operations(records, EventBus(), {"trial": lambda op: Trial(story, wanted)}, tmp_path)
    begun = await operations.begin("trial", "x", "x", {})
    if cancel:
        while "two" not in story:  # noqa: ASYNC110 the step has no event for a test
            await asyncio.sleep(0.001)
        await operations.cancel(begun.id)
    ended = await operations.wait(begun.id, 10)
    fresh = Records(store)
    await fresh.load()
    assert fresh.operations[begun.id].status is ended.status, "what is shown is what is stored"
    await operations.close()
    await store.close()
    return story, ended


def test_an_operation_runs_its_steps_in_order(tmp_path: Path) -> None:
    story, ended = asyncio.run(run(tmp_path, None))
    assert (story, ended.status) == (["one", "two"], OperationStatus.DONE)
    assert ended.journal == ("one:begun", "one:done", "two:begun", "two:done")


def test_a_failure_undoes_backwards_and_keeps_the_first_error(tmp_path: Path) -> None:
    story, ended = asyncio.run(run(tmp_path, Exhausted("no room", hint="make some")))
    assert story == ["one", "two", "undo two", "undo one"]
    assert ended.error is not None
    assert (ended.status, ended.error.code, ended.error.hint) == (
        OperationStatus.FAILED,
        "exhausted",
        "make some",
    )


def test_a_bug_in_a_step_is_an_internal_error_and_undone(tmp_path: Path) -> None:
    story, ended = asyncio.run(run(tmp_path, ValueError("oops")))
    assert story[-1] == "undo one"
    assert ended.error is not None
    assert ended.error.code == "internal"


def test_a_cancelled_operation_is_undone(tmp_path: Path) -> None:
    story, ended = asyncio.run(run(tmp_path, "wait", cancel=True))
    assert story == ["one", "two", "undo two", "undo one"]
    assert ended.status is OperationStatus.CANCELLED


def _one(operation: Operation) -> Writes:
    return [put_operation(operation)]


def test_a_cancelled_write_leaves_mirror_and_store_agreed(tmp_path: Path) -> None:
    """The store finishes a transaction that nobody waits for any more, so the mirror has to hear of it."""

    async def body() -> None:
        store = await SqliteStore.open(tmp_path / "db")
        records = Records(store)
        await records.load()
        for number in range(20):
            operation = Operation(id="a" * 12, verb="trial", target="x", created_at=float(number))
            writing = asyncio.create_task(records.write(partial(_one, operation)))
            await asyncio.sleep(0)
            await asyncio.sleep(0)
            writing.cancel()
            with pytest.raises(asyncio.CancelledError):
                await writing
        await records.write(lambda: [put_operation(operation)])  # raised Conflict, for ever
        fresh = Records(store)
        await fresh.load()
        assert fresh.operations == records.operations
        await store.close()

    asyncio.run(body())


def test_what_has_ended_cannot_be_cancelled(tmp_path: Path) -> None:
    async def body() -> None:
        store = await SqliteStore.open(tmp_path / "db")
        records = Records(store)
        operations = Operations(records, EventBus(), {"trial": lambda op: Trial([], None)}, tmp_path)
        begun = await operations.begin("trial", "x", "x", {})
        await operations.wait(begun.id, 10)
        with pytest.raises(WrongState):
            await operations.cancel(begun.id)
        await store.close()

    asyncio.run(body())


def test_old_operations_are_forgotten_however_many_there_were(tmp_path: Path) -> None:
    async def body() -> None:
        store = await SqliteStore.open(tmp_path / "db")
        records = Records(store)
        operations = Operations(records, EventBus(), {"trial": lambda op: Trial([], None)}, tmp_path)
        last = ""
        for _ in range(3 * KEEP_OPERATIONS):
            last = (await operations.begin("trial", "x", "x", {})).id
            await operations.wait(last, 10)
        assert KEEP_OPERATIONS <= len(records.operations) <= KEEP_OPERATIONS + FORGET_AT_ONCE
        assert last in records.operations
        fresh = Records(store)
        await fresh.load()
        assert fresh.operations.keys() == records.operations.keys()
        await operations.close()
        await store.close()

    asyncio.run(body())


def test_a_daemon_that_finds_too_many_operations_still_works(tmp_path: Path) -> None:
    """As left by a version that forgot them all at once, and so at last none."""

    async def body() -> None:
        store = await SqliteStore.open(tmp_path / "db")
        for number in range(3 * KEEP_OPERATIONS):
            old = Operation(id=f"{number:012x}", verb="trial", target="x", status=OperationStatus.DONE)
            await store.txn([], [put_operation(old)])
        records = Records(store)
        await records.load()
        operations = Operations(records, EventBus(), {"trial": lambda op: Trial([], None)}, tmp_path)
        for _ in range(20):
            begun = await operations.begin("trial", "x", "x", {})
            assert (await operations.wait(begun.id, 10)).status is OperationStatus.DONE
        assert len(records.operations) <= KEEP_OPERATIONS + FORGET_AT_ONCE
        await operations.close()
        await store.close()

    asyncio.run(body())


def test_the_lowest_slot_is_found_again_when_it_was_given_back(tmp_path: Path) -> None:
    async def run() -> list[int]:
        store = await SqliteStore.open(tmp_path / "yurt.db")
        records, found = Records(store), list[int]()
        for change in (Put("slots/1", b"a"), Put("slots/2", b"b"), Put("slots/3", b"c"), Delete("slots/2")):
            await records.write(lambda change=change: [change])  # type: ignore[misc]
            found.append(records.free_slot())
        await records.write(lambda: [Put("slots/2", b"d")])
        found.append(records.free_slot())
        await store.close()
        return found

    assert asyncio.run(run()) == [2, 3, 4, 2, 4]
