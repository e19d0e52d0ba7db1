"""The StateStore for one host: SQLite behind one writer thread and one reader thread.

Transactions that wait together are committed together (one fsync). Watches are woken by the commit
itself; nothing polls. Who may open the file is the daemon's business: it holds the host's one lock.
"""

import asyncio
import contextlib
import queue
import threading
from collections.abc import AsyncIterator, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

from yurt.errors import Internal, Invalid, NotFound, Unavailable, YurtError
from yurt.state.base import Change, Compare, Delete, Entry, Put, TxnResult
from yurt.state.database import Database, Reader, check_key, check_txn

T = TypeVar("T")
KEEP_REVISIONS = 10_000
MAX_TOGETHER = 64  # transactions in one commit
WATCH_BATCH = 256  # changes a watcher reads at once
LEASE_RETRY_S = 5.0  # an ended lease that could not be removed (disk full) is tried again after this time
_Outcome = tuple[TxnResult, list[str]]


class _Watcher:
    """One reader of changes: `next` is the first revision it has not seen; `idle` while it waits for more."""

    def __init__(self, prefix: str, from_revision: int) -> None:
        self.prefix, self.next = prefix, from_revision
        self.woken = asyncio.Event()
        self.idle = False

    def notice(self, revision: int, keys: Sequence[str]) -> None:
        """Take note of a commit. One of no concern moves an idle watcher on, past any compaction."""
        if any(key.startswith(self.prefix) for key in keys):
            self.woken.set()
        elif self.idle and not self.woken.is_set():
            self.next = max(self.next, revision + 1)


class SqliteStore:
    """See `state/base.py` for what each method promises. A cancelled call may still have written."""

    def __init__(self, database: Database, reader: Reader, read_thread: ThreadPoolExecutor) -> None:
        self._database, self._reader, self._read_thread = database, reader, read_thread
        self._loop = asyncio.get_running_loop()
        self._queue: queue.SimpleQueue[tuple[Callable[[Database], object], asyncio.Future[object]] | None] = (
            queue.SimpleQueue()
        )
        self._watchers: set[_Watcher] = set()
        self._deadlines: dict[int, tuple[float, float]] = {}  # lease -> (ends at, time to live)
        self._timer: asyncio.TimerHandle | None = None
        self._ending: set[asyncio.Task[None]] = set()
        self._closed = False
        self._writer = threading.Thread(target=self._write_forever, name="yurt-state-writer", daemon=True)

    @classmethod
    async def open(cls, path: Path, *, keep_revisions: int = KEEP_REVISIONS) -> "SqliteStore":
        """Open or make the database file (mode 0600) in a directory that exists, and check that it is whole.

        Leases found in it begin their time again. Raises Unavailable, Exhausted, Unsupported.
        """
        database = await asyncio.to_thread(Database, path, keep_revisions=keep_revisions)
        leases = await asyncio.to_thread(database.leases)
        read_thread = ThreadPoolExecutor(1, thread_name_prefix="yurt-state-reader")
        reader = await asyncio.get_running_loop().run_in_executor(read_thread, Reader, path)
        store = cls(database, reader, read_thread)
        store._writer.start()
        for number, ttl_s in leases.items():
            store._deadlines[number] = (store._loop.time() + ttl_s, ttl_s)
        store._set_timer()
        return store

    # reading

    async def get(self, key: str) -> Entry | None:
        """Return the document under `key`, or None."""
        check_key(key)
        return await self._read(self._reader.get, key)

    async def list(self, prefix: str) -> tuple[list[Entry], int]:
        """Return all documents below `prefix`, by key, and the revision they were read at."""
        if prefix:
            check_key(prefix)
        return await self._read(self._reader.find, prefix)

    async def _read(self, function: Callable[..., T], *arguments: object) -> T:
        if self._closed:
            raise Unavailable("the state store is closed")
        return await self._loop.run_in_executor(self._read_thread, function, *arguments)

    async def watch(self, prefix: str, from_revision: int) -> AsyncIterator[Change]:
        """Yield every change below `prefix` from a revision (1 or later). Raises Compacted, Unavailable."""
        if from_revision < 1:
            raise Invalid("a watch begins at revision 1 or later")
        watcher = _Watcher(prefix, from_revision)
        self._watchers.add(watcher)
        try:
            while True:
                watcher.woken.clear()
                changes, go_on = await self._read(self._reader.changes, prefix, watcher.next, WATCH_BATCH)
                watcher.next = go_on
                for change in changes:
                    yield change
                if not changes:
                    watcher.idle = True
                    await watcher.woken.wait()
                    watcher.idle = False
        finally:
            self._watchers.discard(watcher)

    # writing

    async def txn(self, compares: Sequence[Compare], writes: Sequence[Put | Delete]) -> TxnResult:
        """Apply all writes if all compares hold, durably before it returns.

        A transaction that changes nothing leaves the revision as it is.
        """
        check_txn(compares, writes)
        compares, writes = tuple(compares), tuple(writes)
        result, _ = await self._write(lambda database: database.txn(compares, writes))
        return result

    async def _write(self, job: Callable[[Database], T]) -> T:
        if self._closed:
            raise Unavailable("the state store is closed")
        future: asyncio.Future[object] = self._loop.create_future()
        self._queue.put((job, future))
        return await future  # type: ignore[return-value]  # the queue carries results of many types

    def _write_forever(self) -> None:
        """The writer thread: everything that waits goes into one commit."""
        open_ = True
        while open_:
            waiting = [self._queue.get()]
            with contextlib.suppress(queue.Empty):
                while len(waiting) < MAX_TOGETHER:
                    waiting.append(self._queue.get_nowait())
            open_ = None not in waiting
            jobs = [item for item in waiting if item is not None]
            if jobs:
                try:
                    results = self._database.batch([job for job, _ in jobs])
                except (
                    Exception
                ) as error:  # a bug of ours must not end the thread and with it every later write
                    failure = Internal(f"the state store failed: {error!r}")
                    failure.__cause__ = error
                    results = [failure] * len(jobs)
                with contextlib.suppress(RuntimeError):  # the loop has ended without closing the store
                    self._loop.call_soon_threadsafe(self._deliver, [future for _, future in jobs], results)
        self._database.close()

    def _deliver(self, futures: Sequence[asyncio.Future[object]], results: Sequence[object]) -> None:
        for result in results:
            if isinstance(result, tuple) and result[1]:
                outcome, keys = result
                for watcher in self._watchers:
                    watcher.notice(outcome.revision, keys)
        for future, result in zip(futures, results, strict=True):
            if future.done():
                continue
            if isinstance(result, YurtError):
                future.set_exception(result)
            else:
                future.set_result(result)

    # leases

    async def lease(self, ttl_s: float) -> int:
        """Make a lease that ends after `ttl_s` seconds of the monotonic clock without `keep_alive`."""
        if not 0 < ttl_s < 10**9:
            raise Invalid("a lease has to last for more than 0 seconds")
        number = await self._write(lambda database: database.add_lease(ttl_s))
        self._deadlines[number] = (self._loop.time() + ttl_s, ttl_s)
        self._set_timer()
        return number

    async def keep_alive(self, lease: int) -> None:
        """Start the lease's time again. Raises NotFound when it has ended."""
        _, ttl_s = self._deadlines.get(lease, (0.0, 0.0))
        if not ttl_s:
            raise NotFound(kind="lease", name=lease)
        self._deadlines[lease] = (self._loop.time() + ttl_s, ttl_s)
        self._set_timer()

    async def revoke(self, lease: int) -> None:
        """End a lease now, and remove its documents. Safe to repeat."""
        self._deadlines.pop(lease, None)
        self._set_timer()
        await self._write(lambda database: database.end_lease(lease))

    def _set_timer(self) -> None:
        """Keep one timer, at the earliest end of any lease."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._deadlines and not self._closed:
            self._timer = self._loop.call_at(min(at for at, _ in self._deadlines.values()), self._end_due)

    def _end_due(self) -> None:
        now = self._loop.time()
        due = sorted((at, number) for number, (at, _) in self._deadlines.items() if at <= now)
        for _, number in due:
            _, ttl_s = self._deadlines.pop(number)
            task = self._loop.create_task(self._end(number, ttl_s))
            self._ending.add(task)
            task.add_done_callback(self._ending.discard)
        self._set_timer()

    async def _end(self, number: int, ttl_s: float) -> None:
        try:
            await self._write(lambda database: database.end_lease(number))
        except YurtError:
            if not self._closed:
                self._deadlines[number] = (
                    self._loop.time() + LEASE_RETRY_S,
                    0.0,
                )  # no time to live: it stays ended
                self._set_timer()

    async def close(self) -> None:
        """Finish what was asked for, then close the file. Watches end with Unavailable. Safe to repeat."""
        if self._closed:
            return
        self._closed = True
        self._set_timer()
        self._queue.put(None)
        for watcher in self._watchers:
            watcher.woken.set()
        await asyncio.to_thread(self._writer.join)
        await asyncio.gather(*self._ending, return_exceptions=True)
        await self._loop.run_in_executor(self._read_thread, self._reader.close)
        self._read_thread.shutdown(wait=False)
