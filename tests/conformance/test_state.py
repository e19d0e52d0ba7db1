"""What every StateStore must do. A store joins by adding a factory to `FACTORIES`; nothing here knows SQLite."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest

from yurt.errors import Invalid, NotFound, Unavailable
from yurt.state.base import Change, Compacted, Compare, Delete, Entry, Put, StateStore, TxnResult
from yurt.state.sqlite import SqliteStore

Open = Callable[[], Awaitable[StateStore]]


def sqlite(directory: Path) -> Open:
    """The store of a single host; `keep` revisions of history are enough for all but the test of compaction."""

    async def open_store() -> StateStore:
        return await SqliteStore.open(directory / "state.db", keep_revisions=500)

    return open_store


FACTORIES: dict[str, Callable[[Path], Open]] = {"sqlite": sqlite}


@pytest.fixture(params=FACTORIES)
def opener(request: pytest.FixtureRequest, tmp_path: Path) -> Open:
    """Opens the store under test; opening it again gives the same documents."""
    return FACTORIES[request.param](tmp_path)


def on(opener: Open, test: Callable[[StateStore], Awaitable[None]]) -> None:
    """Run a test on a fresh store."""

    async def run() -> None:
        async with asyncio.timeout(60):
            store = await opener()
            try:
                await test(store)
            finally:
                await store.close()

    asyncio.run(run())


async def put(store: StateStore, key: str, value: bytes = b"", lease: int = 0) -> int:
    result = await store.txn([], [Put(key, value, lease)])
    assert result.ok
    return result.revision


async def take(changes: AsyncIterator[Change], count: int) -> list[Change]:
    return [await anext(changes) for _ in range(count)]


@contextlib.asynccontextmanager
async def watching(store: StateStore, prefix: str, revision: int) -> AsyncIterator[AsyncIterator[Change]]:
    changes = store.watch(prefix, revision)
    try:
        yield changes
    finally:
        await changes.aclose()  # type: ignore[attr-defined]


def shown(changes: list[Change]) -> list[tuple[str, bytes, bool]]:
    return [(change.entry.key, change.entry.value, change.deleted) for change in changes]


# documents


def test_what_is_not_there_is_none(opener: Open) -> None:
    async def test(store: StateStore) -> None:
        assert await store.get("a") is None
        entries, revision = await store.list("")
        assert entries == [] and revision >= 0

    on(opener, test)


def test_a_document_knows_when_it_was_made_and_changed(opener: Open) -> None:
    async def test(store: StateStore) -> None:
        first = await put(store, "a", b"1")
        assert await store.get("a") == Entry("a", b"1", first, first)
        second = await put(store, "a", b"2")
        assert second == first + 1
        assert await store.get("a") == Entry("a", b"2", first, second)
        third = (await store.txn([], [Delete("a")])).revision
        assert third == second + 1 and await store.get("a") is None
        fourth = await put(store, "a", b"3")
        assert await store.get("a") == Entry("a", b"3", fourth, fourth)

    on(opener, test)


def test_one_transaction_is_one_revision(opener: Open) -> None:
    async def test(store: StateStore) -> None:
        await put(store, "old")
        before = (await store.list(""))[1]
        result = await store.txn([], [Put("b", b"1"), Put("a", b"2"), Delete("old")])
        assert result == TxnResult(ok=True, revision=before + 1)
        entries, revision = await store.list("")
        assert [(each.key, each.modified) for each in entries] == [("a", revision), ("b", revision)]

    on(opener, test)


def test_a_transaction_that_changes_nothing_has_no_revision(opener: Open) -> None:
    async def test(store: StateStore) -> None:
        before = await put(store, "a")
        assert await store.txn([], []) == TxnResult(ok=True, revision=before)
        assert await store.txn([], [Delete("b")]) == TxnResult(ok=True, revision=before)

    on(opener, test)


def test_a_compare_that_fails_stops_everything(opener: Open) -> None:
    async def test(store: StateStore) -> None:
        at = await put(store, "a", b"1")
        for compares in (
            [Compare("a", 0)],
            [Compare("a", at + 1)],
            [Compare("b", at)],
            [Compare("a", at), Compare("b", at)],
        ):
            assert await store.txn(compares, [Put("b", b""), Delete("a")]) == TxnResult(ok=False, revision=at)
        assert [each.key for each in (await store.list(""))[0]] == ["a"]
        assert (await store.txn([Compare("a", at), Compare("b", 0)], [Put("b", b"")])).ok

    on(opener, test)


def test_a_compare_sees_that_a_document_was_made_anew(opener: Open) -> None:
    async def test(store: StateStore) -> None:
        at = await put(store, "a")
        await store.txn([], [Delete("a")])
        assert (await store.txn([Compare("a", 0)], [])).ok
        await put(store, "a")
        assert not (await store.txn([Compare("a", at)], [])).ok

    on(opener, test)


def test_lists_are_by_prefix_and_in_order(opener: Open) -> None:
    async def test(store: StateStore) -> None:
        keys = [
            "a",
            "a/",
            "a/1",
            "a/2",
            "a/é",
            "a/\U0010ffff",
            "a0",
            "b",
            "\ud7ff",
            "\ue000",
            "\U0010ffff\U0010ffff",
        ]
        await store.txn([], [Put(key, key.encode()) for key in reversed(keys)])
        for prefix in ("", "a", "a/", "a/1", "a/\U0010ffff", "\ud7ff", "\U0010ffff", "c"):
            found, _ = await store.list(prefix)
            wanted = sorted((key for key in keys if key.startswith(prefix)), key=str.encode)
            assert [each.key for each in found] == wanted
            assert all(each.value == each.key.encode() for each in found)

    on(opener, test)


def test_any_bytes_are_a_value(opener: Open) -> None:
    async def test(store: StateStore) -> None:
        for value in (b"", b"\x00", bytes(range(256)), b"'; DROP TABLE documents; --", bytes(1 << 20)):
            await put(store, "k%'\"_", value)
            entry = await store.get("k%'\"_")
            assert entry is not None and entry.value == value

    on(opener, test)


@pytest.mark.parametrize(
    "writes",
    [
        [Put("a", b"1"), Put("a", b"2")],
        [Put("a", b"1"), Delete("a")],
        [Delete("a"), Delete("a")],
        [Put("", b"")],
        [Put("a\0b", b"")],
        [Put("\ud800", b"")],
        [Put("k" * 1025, b"")],
        [Put("a", bytes((1 << 20) + 1))],
        [Put(f"{number}", b"") for number in range(129)],
    ],
    ids=[
        "twice",
        "put and delete",
        "deleted twice",
        "no key",
        "nul",
        "surrogate",
        "long key",
        "long value",
        "too many",
    ],
)
def test_what_no_store_takes_is_refused_whole(opener: Open, writes: list[Put | Delete]) -> None:
    async def test(store: StateStore) -> None:
        before = await put(store, "there")
        with pytest.raises(Invalid):
            await store.txn([], [Put("first", b""), *writes])
        entries, revision = await store.list("")
        assert [each.key for each in entries] == ["there"] and revision == before

    on(opener, test)


# many at once


def test_of_fifty_who_claim_a_name_one_wins(opener: Open) -> None:
    async def test(store: StateStore) -> None:
        async def claim(number: int) -> bool:
            return (await store.txn([Compare("name", 0)], [Put("name", b"%d" % number)])).ok

        won = await asyncio.gather(*(claim(number) for number in range(50)))
        assert won.count(True) == 1
        entry = await store.get("name")
        assert entry is not None and int(entry.value) == won.index(True)

    on(opener, test)


def test_a_counter_loses_no_step(opener: Open) -> None:
    """Fifty tasks raise one number by compare and set; each value must have been written exactly once."""

    async def test(store: StateStore) -> None:
        await put(store, "n", b"0")
        written = []

        async def step() -> None:
            while True:
                entry = await store.get("n")
                assert entry is not None
                value = int(entry.value) + 1
                if (await store.txn([Compare("n", entry.modified)], [Put("n", b"%d" % value)])).ok:
                    written.append(value)
                    return

        await asyncio.gather(*(step() for _ in range(50)))
        assert written == list(range(1, 51))  # in order: a read that began after a write saw it

    on(opener, test)


def test_revisions_of_concurrent_transactions_are_distinct_and_dense(opener: Open) -> None:
    async def test(store: StateStore) -> None:
        start = (await store.list(""))[1]
        revisions = await asyncio.gather(*(put(store, f"k{number}") for number in range(200)))
        assert sorted(revisions) == list(range(start + 1, start + 201))

    on(opener, test)


def test_a_bad_transaction_among_good_ones_hurts_only_itself(opener: Open) -> None:
    async def test(store: StateStore) -> None:
        jobs = [store.txn([], [Put(f"k{n}", b"", lease=12345 if n % 10 == 0 else 0)]) for n in range(100)]
        results = await asyncio.gather(*jobs, return_exceptions=True)
        assert [isinstance(result, NotFound) for result in results] == [n % 10 == 0 for n in range(100)]
        assert len((await store.list("k"))[0]) == 90

    on(opener, test)


def test_a_list_is_of_one_moment(opener: Open) -> None:
    """Two documents that always change together are never seen apart."""

    async def test(store: StateStore) -> None:
        await store.txn([], [Put("p/a", b"0"), Put("p/b", b"0")])

        async def change() -> None:
            for number in range(50):
                await store.txn([], [Put("p/a", b"%d" % number), Put("p/b", b"%d" % number)])

        changing = asyncio.create_task(change())
        while not changing.done():
            entries, revision = await store.list("p/")
            assert (
                entries[0].value == entries[1].value
                and entries[0].modified == entries[1].modified <= revision
            )
        await changing

    on(opener, test)


# watching


def test_a_watch_from_an_old_revision_misses_nothing(opener: Open) -> None:
    async def test(store: StateStore) -> None:
        _, revision = await store.list("")
        for number in range(300):
            await put(store, f"w/{number % 7}", b"%d" % number)
        async with watching(store, "w/", revision + 1) as changes:
            found = await take(changes, 300)
            assert [int(change.entry.value) for change in found] == list(range(300))
            assert [change.revision for change in found] == list(range(revision + 1, revision + 301))
            writer = asyncio.gather(*(put(store, f"w/{number}", b"later") for number in range(300, 350)))
            later = await take(changes, 50)
            await writer
            assert [change.revision for change in later] == list(range(revision + 301, revision + 351))

    on(opener, test)


def test_a_watch_from_the_middle_begins_there(opener: Open) -> None:
    async def test(store: StateStore) -> None:
        await put(store, "a", b"1")
        second = await put(store, "a", b"2")
        async with watching(store, "", second) as changes:
            assert shown(await take(changes, 1)) == [("a", b"2", False)]

    on(opener, test)


def test_a_watch_sees_only_its_prefix_and_deletions_too(opener: Open) -> None:
    async def test(store: StateStore) -> None:
        start = await put(store, "x")
        await store.txn([], [Put("a/2", b"2"), Put("b/1", b""), Put("a/1", b"1")])
        await store.txn([], [Delete("a/1"), Delete("b/1"), Delete("a/none")])
        await put(store, "a/2", b"3")
        async with watching(store, "a/", start + 1) as changes:
            assert shown(await take(changes, 4)) == [
                ("a/2", b"2", False), ("a/1", b"1", False), ("a/1", b"", True), ("a/2", b"3", False),
            ]  # fmt: skip

    on(opener, test)


def test_a_waiting_watch_is_woken(opener: Open) -> None:
    async def test(store: StateStore) -> None:
        start = await put(store, "x")
        async with watching(store, "a", start + 1) as changes, watching(store, "", start + 1) as everything:
            waiting = asyncio.create_task(take(changes, 1))
            other = asyncio.create_task(take(everything, 2))
            await put(store, "b", b"not mine")
            await put(store, "a", b"mine")
            assert shown(await waiting) == [("a", b"mine", False)]
            assert [change.entry.key for change in await other] == ["b", "a"]

    on(opener, test)


def test_a_watch_may_begin_in_the_future(opener: Open) -> None:
    async def test(store: StateStore) -> None:
        start = await put(store, "a")
        async with watching(store, "a", start + 3) as changes:
            waiting = asyncio.create_task(take(changes, 1))
            for number in range(1, 4):
                await put(store, "a", b"%d" % number)
            assert shown(await waiting) == [("a", b"3", False)]

    on(opener, test)


def test_what_the_history_has_lost_is_said_so(opener: Open) -> None:
    async def test(store: StateStore) -> None:
        start = await put(store, "a")
        idle = store.watch("quiet/", start)
        waiting = asyncio.create_task(take(idle, 1))
        for begin in range(0, 2000, 100):
            await asyncio.gather(*(put(store, "a", b"%d" % number) for number in range(begin, begin + 100)))
        async with watching(store, "a", start) as changes:
            with pytest.raises(Compacted):
                await anext(changes)
        _, revision = await store.list("")
        async with watching(store, "a", revision - 100) as changes:
            assert len(await take(changes, 101)) == 101
        await put(store, "quiet/now")  # a watch that had nothing to see has not fallen behind
        assert shown(await waiting) == [("quiet/now", b"", False)]
        await idle.aclose()  # type: ignore[attr-defined]

    on(opener, test)


def test_a_watch_from_no_revision_is_refused(opener: Open) -> None:
    async def test(store: StateStore) -> None:
        async with watching(store, "", 0) as changes:
            with pytest.raises(Invalid):
                await anext(changes)

    on(opener, test)


# leases


def test_a_lease_takes_its_documents_with_it(opener: Open) -> None:
    async def test(store: StateStore) -> None:
        lease = await store.lease(30)
        start = (await store.list(""))[1]
        await put(store, "a", b"", lease)
        await put(store, "b", b"", lease)
        await put(store, "c")
        await store.revoke(lease)
        assert [each.key for each in (await store.list(""))[0]] == ["c"]
        async with watching(store, "", start + 1) as changes:
            gone = (await take(changes, 5))[3:]
        assert shown(gone) == [("a", b"", True), ("b", b"", True)]
        assert gone[0].revision == gone[1].revision
        await store.revoke(lease)
        with pytest.raises(NotFound):
            await store.keep_alive(lease)
        with pytest.raises(NotFound):
            await put(store, "d", b"", lease)

    on(opener, test)


def test_a_lease_ends_by_itself(opener: Open) -> None:
    async def test(store: StateStore) -> None:
        lease = await store.lease(1)
        at = await put(store, "a", b"", lease)
        async with watching(store, "a", at + 1) as changes:
            assert (await anext(changes)).deleted
        with pytest.raises(NotFound):
            await store.keep_alive(lease)

    on(opener, test)


def test_a_lease_kept_alive_outlasts_one_made_after_it(opener: Open) -> None:
    async def test(store: StateStore) -> None:
        first, second = await store.lease(2), await store.lease(2)
        await put(store, "first", b"", first)
        at = await put(store, "second", b"", second)
        await store.keep_alive(first)
        async with watching(store, "", at + 1) as changes:
            assert shown(await take(changes, 2)) == [("second", b"", True), ("first", b"", True)]

    on(opener, test)


def test_a_document_written_anew_without_its_lease_stays(opener: Open) -> None:
    async def test(store: StateStore) -> None:
        lease, other = await store.lease(30), await store.lease(30)
        await put(store, "a", b"", lease)
        await put(store, "b", b"", lease)
        await put(store, "a", b"")
        await put(store, "b", b"", other)
        await store.revoke(lease)
        assert [each.key for each in (await store.list(""))[0]] == ["a", "b"]
        await store.revoke(other)
        assert [each.key for each in (await store.list(""))[0]] == ["a"]

    on(opener, test)


@pytest.mark.parametrize("ttl_s", [0.0, -1.0, float("nan"), float("inf")])
def test_a_lease_needs_time(opener: Open, ttl_s: float) -> None:
    async def test(store: StateStore) -> None:
        with pytest.raises(Invalid):
            await store.lease(ttl_s)

    on(opener, test)


# the end, and after it


def test_a_new_opening_finds_everything(opener: Open) -> None:
    async def run() -> None:
        store = await opener()
        start = await put(store, "a", b"1")
        lease = await store.lease(60)
        await put(store, "leased", b"", lease)
        await store.txn([], [Delete("a"), Put("b", b"2")])
        before, revision = await store.list("")
        await store.close()
        again = await opener()
        assert await again.list("") == (before, revision)
        async with watching(again, "", start) as changes:
            assert shown(await take(changes, 4)) == [
                ("a", b"1", False), ("leased", b"", False), ("a", b"", True), ("b", b"2", False),
            ]  # fmt: skip
        await again.keep_alive(lease)
        await again.revoke(lease)
        assert await again.get("leased") is None
        assert await again.lease(60) != lease
        await again.close()

    asyncio.run(run())


def test_a_closed_store_says_so(opener: Open) -> None:
    async def run() -> None:
        store = await opener()
        at = await put(store, "a")
        waiting = asyncio.create_task(take(store.watch("a", at + 1), 1))
        pending = asyncio.gather(*(put(store, f"k{number}") for number in range(20)))
        await asyncio.sleep(0)
        await store.close()
        await store.close()
        assert len(await pending) == 20  # what was asked for before is finished
        for call in (store.get("a"), store.list(""), store.txn([], []), waiting, store.lease(1)):
            with pytest.raises(Unavailable):
                await call

    asyncio.run(run())
