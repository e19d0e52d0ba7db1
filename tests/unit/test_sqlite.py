"""What only the SQLite store has: its file, its thread, full and broken disks, SIGKILL."""

import asyncio
import contextlib
import os
import signal
import stat
import subprocess
import sys
import threading
from pathlib import Path

import apsw
import pytest

from yurt.errors import Exhausted, NotFound, Unavailable, Unsupported, YurtError
from yurt.state.base import Compare, Delete, Put
from yurt.state.database import Database, after_prefix, translate
from yurt.state.sqlite import SqliteStore

WRITER = """
import asyncio, sys
from pathlib import Path
from yurt.state.base import Put
from yurt.state.sqlite import SqliteStore

async def main():
    store = await SqliteStore.open(Path(sys.argv[1]))
    async def write(task):
        for number in range(10**9):
            await store.txn([], [Put(f"{task}/{number}", b"x" * 100), Put(f"{task}/last", b"%d" % number)])
            sys.stdout.write(f"{task} {number}\\n")
            sys.stdout.flush()
    await asyncio.gather(*(write(task) for task in range(8)))

asyncio.run(main())
"""
LIMITED = """
import asyncio, resource, signal, sys
from pathlib import Path
from yurt.errors import YurtError
from yurt.state.base import Put
from yurt.state.sqlite import SqliteStore

async def main():
    store = await SqliteStore.open(Path(sys.argv[1]))
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (300_000, resource.RLIM_INFINITY))
    written, error = 0, None
    while error is None:
        try:
            await store.txn([], [Put(f"{written}", bytes(10_000))])
            written += 1
        except YurtError as caught:
            error = caught
    resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    await store.txn([], [Put("after", b"")])
    entries, _ = await store.list("")
    print(error.code, bool(error.hint), len(entries) == written + 1)
    await store.close()

asyncio.run(main())
"""


def child(program: str, path: Path) -> "subprocess.Popen[str]":
    import yurt

    source = str(Path(yurt.__file__).resolve().parents[1])
    return subprocess.Popen(
        [sys.executable, "-c", program, str(path)],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": source},
    )


def opened(path: Path, **options: int) -> None:
    async def run() -> None:
        await (await SqliteStore.open(path, **options)).close()

    asyncio.run(run())


@pytest.mark.parametrize("lines", [1, 50, 400])
def test_what_was_acknowledged_survives_sigkill(tmp_path: Path, lines: int) -> None:
    path = tmp_path / "state.db"
    with child(WRITER, path) as writer:
        assert writer.stdout is not None
        acknowledged = [writer.stdout.readline() for _ in range(lines)]
        writer.send_signal(signal.SIGKILL)
        acknowledged += [
            line for line in writer.stdout.read().splitlines(keepends=True) if line.endswith("\n")
        ]
    assert len(acknowledged) >= lines

    async def check() -> None:
        store = await SqliteStore.open(path)
        entries, revision = await store.list("")
        there = {entry.key: entry for entry in entries}
        for line in acknowledged:
            task, number = line.split()
            assert f"{task}/{number}" in there
            assert int(there[f"{task}/last"].value) >= int(number)
        for key, entry in there.items():  # both writes of a transaction, or neither
            if key.endswith("/last"):
                assert f"{key[:-5]}/{int(entry.value)}" in there
        assert max(entry.modified for entry in entries) == revision
        await store.close()

    asyncio.run(check())


def test_the_file_is_for_its_owner_alone(tmp_path: Path) -> None:
    async def run() -> None:
        store = await SqliteStore.open(tmp_path / "state.db")
        await store.txn([], [Put("a", b"")])
        modes = {each.name: stat.S_IMODE(each.stat().st_mode) for each in tmp_path.iterdir()}
        assert modes == dict.fromkeys(("state.db", "state.db-wal", "state.db-shm"), 0o600)
        await store.close()

    old = os.umask(0)
    try:
        asyncio.run(run())
    finally:
        os.umask(old)
    assert [each.name for each in tmp_path.iterdir()] == ["state.db"]


def test_closing_leaves_no_thread_and_idling_no_timer(tmp_path: Path) -> None:
    before = threading.active_count()

    async def run() -> None:
        store = await SqliteStore.open(tmp_path / "state.db")
        await store.txn([], [Put("a", b"")])
        await store.lease(60)
        pending = [each for each in asyncio.get_running_loop()._scheduled if not each.cancelled()]  # type: ignore[attr-defined]
        assert len(pending) == 1  # the lease's, an hour from now if that is its time
        await store.close()
        pending = [each for each in asyncio.get_running_loop()._scheduled if not each.cancelled()]  # type: ignore[attr-defined]
        assert not pending

    asyncio.run(run())
    assert threading.active_count() == before


def test_transactions_that_wait_together_are_committed_together(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes: list[int] = []
    real = Database.batch

    def counted(self: Database, jobs: list[object]) -> list[object]:
        sizes.append(len(jobs))
        return real(self, jobs)  # type: ignore[arg-type]

    monkeypatch.setattr(Database, "batch", counted)

    async def run() -> None:
        store = await SqliteStore.open(tmp_path / "state.db")
        await asyncio.gather(*(store.txn([], [Put(f"{number}", b"")]) for number in range(300)))
        await store.close()

    asyncio.run(run())
    assert sum(sizes) == 300 and len(sizes) < 100


def test_a_bug_in_one_job_ends_neither_the_thread_nor_the_store(tmp_path: Path) -> None:
    async def run() -> None:
        store = await SqliteStore.open(tmp_path / "state.db")

        def broken(database: Database) -> None:
            database.txn((), [Put("half", b"")])
            raise ZeroDivisionError

        with pytest.raises(YurtError, match="ZeroDivisionError"):
            await store._write(broken)
        assert (await store.txn([Compare("half", 0)], [Put("whole", b"")])).ok
        await store.close()

    asyncio.run(run())


def test_cancelling_a_caller_disturbs_nobody(tmp_path: Path) -> None:
    async def run() -> None:
        store = await SqliteStore.open(tmp_path / "state.db")
        tasks = [asyncio.create_task(store.txn([], [Put(f"{number}", b"")])) for number in range(50)]
        await asyncio.sleep(0)
        for task in tasks[::2]:
            task.cancel()
        results = await asyncio.gather(*tasks, return_exceptions=True)
        assert all(not isinstance(result, Exception) for result in results[1::2])
        await store.close()

    asyncio.run(run())


def test_history_stays_bounded(tmp_path: Path) -> None:
    path = tmp_path / "state.db"

    async def run() -> None:
        store = await SqliteStore.open(path, keep_revisions=100)
        for number in range(0, 3000, 50):
            await asyncio.gather(*(store.txn([], [Put("k", b"%d" % (number + n))]) for n in range(50)))
        await store.close()

    asyncio.run(run())
    with contextlib.closing(apsw.Connection(str(path))) as connection:
        ((rows, oldest),) = connection.execute("SELECT count(*), min(revision) FROM history")
        ((counter,),) = connection.execute("SELECT value FROM counters WHERE name = 'oldest'")
    assert isinstance(rows, int) and 100 <= rows < 300
    assert oldest == counter


def test_an_ended_lease_that_could_not_be_removed_is_tried_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, failures = Database.end_lease, [1, 2]
    monkeypatch.setattr("yurt.state.sqlite.LEASE_RETRY_S", 0.01)

    def failing(self: Database, number: int) -> object:
        if failures:
            failures.pop()
            raise Exhausted("no space")
        return real(self, number)

    monkeypatch.setattr(Database, "end_lease", failing)

    async def run() -> None:
        store = await SqliteStore.open(tmp_path / "state.db")
        lease = await store.lease(0.05)
        at = (await store.txn([], [Put("a", b"", lease)])).revision
        changes = store.watch("a", at + 1)
        assert (await anext(changes)).deleted
        assert not failures
        with pytest.raises(NotFound):
            await store.keep_alive(lease)
        await changes.aclose()  # type: ignore[attr-defined]
        await store.close()

    asyncio.run(run())


def test_a_limit_on_writing_is_an_error_and_then_over(tmp_path: Path) -> None:
    with child(LIMITED, tmp_path / "state.db") as done:
        assert done.stdout is not None
        assert done.stdout.read() == "unavailable True True\n"
    assert done.returncode == 0


@pytest.mark.root
@pytest.mark.needs("mount")
def test_a_full_disk_is_exhausted_and_then_over(tmp_path: Path) -> None:
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(tmp_path)], check=True)

    async def run() -> None:
        (tmp_path / "ballast").write_bytes(bytes(300_000))
        store = await SqliteStore.open(tmp_path / "state.db")
        written = 0
        with pytest.raises(Exhausted, match="no space left") as full:
            while True:
                await store.txn([], [Put(f"{written}", bytes(10_000))])
                written += 1
        assert "free some space" in full.value.hint
        assert len((await store.list(""))[0]) == written  # it still reads
        (tmp_path / "ballast").unlink()
        assert (await store.txn([], [Put("after", b"")])).ok
        assert (await store.txn([], [Delete("0")])).ok
        await store.close()

    try:
        asyncio.run(run())
        opened(tmp_path / "state.db")
    finally:
        subprocess.run(["umount", str(tmp_path)], check=True)


@pytest.mark.parametrize("where", [0, 4096, 8192])
def test_a_damaged_file_is_named_with_a_way_out(tmp_path: Path, where: int) -> None:
    path = tmp_path / "state.db"

    async def fill() -> None:
        store = await SqliteStore.open(path)
        for number in range(100):
            await store.txn([], [Put(f"{number}", bytes(1000))])
        await store.close()

    asyncio.run(fill())
    with path.open("r+b") as file:
        file.seek(where)
        file.write(b"\xa5" * 4096)
    with pytest.raises(Unavailable, match=r"state\.db") as broken:
        opened(path)
    assert broken.value.hint


def test_what_is_no_database_of_ours_is_left_alone(tmp_path: Path) -> None:
    text = tmp_path / "text"
    text.write_text("these are my notes\n" * 1000)
    with pytest.raises(Unavailable):
        opened(text)
    assert text.read_text().startswith("these are my notes")
    foreign = tmp_path / "foreign"
    with contextlib.closing(apsw.Connection(str(foreign))) as connection:
        connection.execute("CREATE TABLE mine (a)")
    with pytest.raises(Unavailable, match="not yurt's"):
        opened(foreign)
    newer = tmp_path / "newer"
    opened(newer)
    with contextlib.closing(apsw.Connection(str(newer))) as connection:
        connection.execute("PRAGMA user_version = 99")
    with pytest.raises(Unsupported, match="newer yurt"):
        opened(newer)


def test_places_that_cannot_be_written(tmp_path: Path) -> None:
    with pytest.raises(Unavailable):
        opened(tmp_path / "none" / "state.db")
    with pytest.raises(Unavailable):
        opened(tmp_path)
    target = tmp_path / "target"
    (tmp_path / "link").symlink_to(target)
    with pytest.raises(Unavailable):
        opened(tmp_path / "link")
    assert not target.exists()


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (apsw.FullError("x"), Exhausted), (apsw.CorruptError("x"), Unavailable), (apsw.NotADBError("x"), Unavailable),
        (apsw.IOError("x"), Unavailable), (apsw.BusyError("x"), Unavailable), (apsw.ReadOnlyError("x"), Unavailable),
    ],
)  # fmt: skip
def test_each_error_of_sqlite_becomes_one_of_ours(error: apsw.Error, kind: type[YurtError]) -> None:
    ours = translate(error, Path("/x/state.db"))
    assert type(ours) is kind and ours.hint and "/x" in ours.message + ours.hint


@pytest.mark.parametrize(
    ("prefix", "after"),
    [
        ("a", "b"),
        ("a/", "a0"),
        ("", None),
        ("\U0010ffff", None),
        ("a\U0010ffff", "b"),
        ("\ud7ff", "\ue000"),
        ("az", "a{"),
    ],
)
def test_the_key_after_a_prefix(prefix: str, after: str | None) -> None:
    assert after_prefix(prefix) == after
