"""The synchronous half of the SQLite store: schema, transactions, history. No threads, no asyncio.

One file, WAL, `synchronous=FULL`: a commit that returned survives a power cut. `Database` writes through one
connection, `Reader` reads through another; both belong to the thread that made them. SQLite's own errors
leave here as `Exhausted` (no space) or `Unavailable` (everything else), with a hint.
"""

import contextlib
import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import apsw

from yurt.errors import Exhausted, Invalid, NotFound, Unavailable, Unsupported, YurtError
from yurt.host.files import sync_directory
from yurt.state.base import Change, Compacted, Compare, Delete, Entry, Put, TxnResult

APPLICATION_ID = 0x79757274  # "yurt", so that `file` and we know whose database this is
SCHEMA_VERSION = 1
MAX_KEY_BYTES = 1024
MAX_VALUE_BYTES = 1 << 20  # below etcd's default request limit of 1.5 MiB
MAX_WRITES = 128  # etcd's default limit for one transaction
FIRST_REVISION = 1  # an empty store is at revision 1, as etcd's is
COMPACTION_SLACK = 1000  # history is cut once it is this much too long, not on every commit

_SCHEMA = f"""
CREATE TABLE documents (
    key TEXT PRIMARY KEY, value BLOB NOT NULL, created INTEGER NOT NULL, modified INTEGER NOT NULL,
    lease INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX documents_by_lease ON documents (lease) WHERE lease != 0;
CREATE TABLE history (
    revision INTEGER NOT NULL, ordinal INTEGER NOT NULL, key TEXT NOT NULL, value BLOB NOT NULL,
    created INTEGER NOT NULL, deleted INTEGER NOT NULL, PRIMARY KEY (revision, ordinal)
) STRICT, WITHOUT ROWID;
CREATE TABLE leases (id INTEGER PRIMARY KEY, ttl_s REAL NOT NULL) STRICT;
CREATE TABLE counters (name TEXT PRIMARY KEY, value INTEGER NOT NULL) STRICT, WITHOUT ROWID;
INSERT INTO counters VALUES ('revision', {FIRST_REVISION}), ('oldest', {FIRST_REVISION + 1}), ('lease', 0);
PRAGMA application_id = {APPLICATION_ID};
PRAGMA user_version = {SCHEMA_VERSION};
"""

_BROKEN_HINT = (
    "restore `{path}` from a backup, or move it aside to begin anew: disks and images are kept elsewhere"
)


def translate(error: apsw.Error, path: Path) -> YurtError:
    """Turn one of SQLite's errors into ours."""
    if isinstance(error, apsw.FullError):
        return Exhausted(
            f"no space left to write `{path}`", hint=f"free some space below `{path.parent}`, then try again"
        )
    if isinstance(error, (apsw.CorruptError, apsw.NotADBError)):
        return Unavailable(
            f"the state database `{path}` is damaged: {error}", hint=_BROKEN_HINT.format(path=path)
        )
    if isinstance(error, apsw.TooBigError):
        return Invalid(f"a document is too big: {error}")
    return Unavailable(
        f"cannot use the state database `{path}`: {error}", hint="see the daemon's log and the disk's health"
    )


def check_key(key: str) -> None:
    """Raise Invalid unless `key` is 1 to 1024 bytes of UTF-8 without NUL."""
    try:
        size = len(key.encode())
    except UnicodeEncodeError as error:
        raise Invalid("a key holds characters that are not Unicode text") from error
    if not 0 < size <= MAX_KEY_BYTES or "\0" in key:
        raise Invalid(f"a key has to be 1 to {MAX_KEY_BYTES} bytes long, without NUL")


def check_txn(compares: Sequence[Compare], writes: Sequence[Put | Delete]) -> None:
    """Raise Invalid for a transaction that no store would take: bad keys, a key written twice, too much."""
    if len(writes) > MAX_WRITES or len(compares) > MAX_WRITES:
        raise Invalid(f"a transaction may have at most {MAX_WRITES} compares and {MAX_WRITES} writes")
    for compare in compares:
        check_key(compare.key)
    seen = set()
    for write in writes:
        check_key(write.key)
        if write.key in seen:
            raise Invalid(f"the key `{write.key}` is written twice in one transaction")
        seen.add(write.key)
        if isinstance(write, Put) and len(write.value) > MAX_VALUE_BYTES:
            raise Invalid(f"the document `{write.key}` is larger than {MAX_VALUE_BYTES} bytes")


def after_prefix(prefix: str) -> str | None:
    """Return the smallest key greater than all that start with `prefix`; None when there is none."""
    trimmed = prefix.rstrip("\U0010ffff")
    if not trimmed:
        return None
    code = ord(trimmed[-1]) + 1
    return trimmed[:-1] + chr(0xE000 if 0xD800 <= code < 0xE000 else code)


def _connect(path: Path, flags: int) -> apsw.Connection:
    connection = apsw.Connection(str(path), flags=flags, statementcachesize=64)
    connection.set_busy_timeout(5000)
    return connection


@contextlib.contextmanager
def _translated(path: Path) -> Iterator[None]:
    try:
        yield
    except apsw.Error as error:
        raise translate(error, path) from error


class Database:
    """The one writer. Every method is one transaction, or part of the transaction that `batch` holds open."""

    def __init__(self, path: Path, *, keep_revisions: int) -> None:
        """Open or make the database and check it. Raises Unavailable, Exhausted, Unsupported (newer)."""
        self.path, self._keep = path, keep_revisions
        with _translated(path):
            try:
                os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600))
                sync_directory(path.parent)
            except OSError as error:
                raise Unavailable(f"cannot open the state database `{path}`: {error.strerror}") from error
            self._connection = _connect(path, apsw.SQLITE_OPEN_READWRITE)
            try:
                self._prepare()
            except BaseException:
                self._connection.close()
                raise

    def _prepare(self) -> None:
        for pragma in (
            "journal_mode = WAL",
            "synchronous = FULL",
            "journal_size_limit = 16777216",
            "trusted_schema = OFF",
        ):
            self._connection.execute(f"PRAGMA {pragma}").fetchall()
        version = self._value("PRAGMA user_version")
        if version == 0 and not self._value("SELECT count(*) FROM sqlite_schema"):
            with self._connection:
                self._connection.execute(_SCHEMA)
        elif self._value("PRAGMA application_id") != APPLICATION_ID or not isinstance(version, int):
            raise Unavailable(
                f"`{self.path}` is a database, but not yurt's", hint=_BROKEN_HINT.format(path=self.path)
            )
        elif version > SCHEMA_VERSION:
            raise Unsupported(
                f"`{self.path}` was written by a newer yurt", hint="use that version of yurt, or a newer one"
            )
        if (verdict := self._value("PRAGMA quick_check(1)")) != "ok":
            raise Unavailable(
                f"the state database `{self.path}` is damaged: {verdict}",
                hint=_BROKEN_HINT.format(path=self.path),
            )
        self.revision = self._counter("revision")
        self.oldest = self._counter("oldest")

    def _value(self, statement: str, bindings: tuple[object, ...] = ()) -> object:
        row = self._connection.execute(statement, bindings).fetchone()
        return row[0] if row else None

    def _counter(self, name: str) -> int:
        value = self._value("SELECT value FROM counters WHERE name = ?", (name,))
        if not isinstance(value, int):
            raise Unavailable(
                f"the state database `{self.path}` lacks `{name}`", hint=_BROKEN_HINT.format(path=self.path)
            )
        return value

    def _set_counter(self, name: str, value: int) -> None:
        self._connection.execute("UPDATE counters SET value = ? WHERE name = ?", (value, name))

    def batch(self, jobs: "Sequence[Callable[[Database], object]]") -> list[object]:
        """Run jobs in one durable commit. Returns a result or a YurtError for each, in order.

        A job that fails leaves no trace and does not disturb the others; a commit that fails fails them all.
        """
        before = self.revision, self.oldest
        try:
            self._connection.execute("BEGIN IMMEDIATE")
            results = [self._run(job) for job in jobs]
            self._compact()
            self._connection.execute("COMMIT")
        except Exception as error:
            self.revision, self.oldest = before
            with contextlib.suppress(apsw.Error):
                if self._connection.in_transaction:
                    self._connection.execute("ROLLBACK")
            if not isinstance(error, apsw.Error):
                raise
            return [translate(error, self.path) for _ in jobs]
        return results

    def _run(self, job: "Callable[[Database], object]") -> object:
        before = self.revision
        self._connection.execute("SAVEPOINT job")
        try:
            result = job(self)
        except YurtError as error:
            self.revision = before
            self._connection.execute("ROLLBACK TO job")
            result = error
        self._connection.execute("RELEASE job")
        return result

    def txn(self, compares: Sequence[Compare], writes: Sequence[Put | Delete]) -> tuple[TxnResult, list[str]]:
        """Apply a checked transaction. Returns its result and the changed keys. Raises NotFound (lease)."""
        for compare in compares:
            found = self._value("SELECT modified FROM documents WHERE key = ?", (compare.key,))
            if (found or 0) != compare.modified:
                return TxnResult(ok=False, revision=self.revision), []
        revision = self.revision + 1
        changed: list[str] = []
        for write in writes:
            if isinstance(write, Put):
                self._put(write, revision, len(changed))
            elif not self._delete(write.key, revision, len(changed)):
                continue
            changed.append(write.key)
        if changed:
            self._set_counter("revision", revision)
            self.revision = revision
        return TxnResult(ok=True, revision=self.revision), changed

    def _put(self, write: Put, revision: int, ordinal: int) -> None:
        if write.lease and self._value("SELECT 1 FROM leases WHERE id = ?", (write.lease,)) is None:
            raise NotFound(kind="lease", name=write.lease)
        created = self._value(
            "INSERT INTO documents (key, value, created, modified, lease) VALUES (?1, ?2, ?3, ?3, ?4)"
            " ON CONFLICT (key) DO UPDATE SET value = excluded.value, modified = excluded.modified,"
            " lease = excluded.lease RETURNING created",
            (write.key, write.value, revision, write.lease),
        )
        self._connection.execute(
            "INSERT INTO history (revision, ordinal, key, value, created, deleted) VALUES (?, ?, ?, ?, ?, 0)",
            (revision, ordinal, write.key, write.value, created),
        )

    def _delete(self, key: str, revision: int, ordinal: int) -> bool:
        created = self._value("DELETE FROM documents WHERE key = ? RETURNING created", (key,))
        if created is None:
            return False
        self._connection.execute(
            "INSERT INTO history (revision, ordinal, key, value, created, deleted)"
            " VALUES (?, ?, ?, x'', ?, 1)",
            (revision, ordinal, key, created),
        )
        return True

    def _compact(self) -> None:
        """Cut the history when it holds many more revisions than are to be kept."""
        oldest = self.revision - self._keep + 1
        if oldest - self.oldest >= min(COMPACTION_SLACK, self._keep):
            self._connection.execute("DELETE FROM history WHERE revision < ?", (oldest,))
            self._set_counter("oldest", oldest)
            self.oldest = oldest

    def add_lease(self, ttl_s: float) -> int:
        """Store a new lease; its number is never used again."""
        number = self._counter("lease") + 1
        self._set_counter("lease", number)
        self._connection.execute("INSERT INTO leases (id, ttl_s) VALUES (?, ?)", (number, ttl_s))
        return number

    def end_lease(self, number: int) -> tuple[TxnResult, list[str]]:
        """Remove a lease and its documents (one revision). No error when it has gone already."""
        keys = [
            str(row[0])
            for row in self._connection.execute(
                "SELECT key FROM documents WHERE lease = ? ORDER BY key", (number,)
            )
        ]
        self._connection.execute("DELETE FROM leases WHERE id = ?", (number,))
        return self.txn((), [Delete(key) for key in keys])

    def leases(self) -> dict[int, float]:
        """All leases and their times to live."""
        with _translated(self.path):
            return {
                int(row[0]): float(row[1]) for row in self._connection.execute("SELECT id, ttl_s FROM leases")
            }

    def close(self) -> None:
        """Close the connection; the write-ahead log is folded into the file."""
        with contextlib.suppress(apsw.Error):
            self._connection.close()


class Reader:
    """Reads through a connection of its own, so that reads never wait for a commit."""

    def __init__(self, path: Path) -> None:
        self.path = path
        with _translated(path):
            self._connection = _connect(
                path, apsw.SQLITE_OPEN_READWRITE
            )  # WAL readers write to the -shm file
            self._connection.execute("PRAGMA query_only = ON").fetchall()

    def get(self, key: str) -> Entry | None:
        """Return one document."""
        with _translated(self.path):
            row = self._connection.execute(
                "SELECT key, value, created, modified FROM documents WHERE key = ?", (key,)
            ).fetchone()
        return _entry(row) if row else None

    def find(self, prefix: str) -> tuple[list[Entry], int]:
        """Return documents by prefix and the revision they stand for, from one snapshot."""
        where, bindings = _prefix_clause(prefix)
        with _translated(self.path), self._snapshot():
            rows = self._connection.execute(
                f"SELECT key, value, created, modified FROM documents WHERE {where} ORDER BY key", bindings
            ).fetchall()
            return [_entry(row) for row in rows], self._counter("revision")

    def changes(self, prefix: str, from_revision: int, limit: int) -> tuple[list[Change], int]:
        """Return changes from a revision on, whole revisions only, and the revision to go on from.

        About `limit` changes at most. Raises Compacted when the history does not reach back that far.
        """
        where, bindings = _prefix_clause(prefix)
        with _translated(self.path), self._snapshot():
            revision, oldest = self._counter("revision"), self._counter("oldest")
            if from_revision < oldest:
                raise Compacted(revision=from_revision, oldest=oldest)
            last = self._connection.execute(
                f"SELECT revision FROM history WHERE revision >= ? AND {where}"
                " ORDER BY revision, ordinal LIMIT 1 OFFSET ?",
                (from_revision, *bindings, limit - 1),
            ).fetchone()
            until = int(last[0]) if last else revision
            rows = self._connection.execute(
                "SELECT key, value, created, revision, deleted FROM history"
                f" WHERE revision BETWEEN ? AND ? AND {where} ORDER BY revision, ordinal",
                (from_revision, until, *bindings),
            ).fetchall()
        found = [
            Change(entry=_entry(row), deleted=bool(row[4]), revision=row[3])  # type: ignore[arg-type]
            for row in rows
        ]
        return found, max(until + 1, from_revision)

    @contextlib.contextmanager
    def _snapshot(self) -> Iterator[None]:
        self._connection.execute("BEGIN")
        try:
            yield
        finally:
            with contextlib.suppress(apsw.Error):
                self._connection.execute("ROLLBACK")

    def _counter(self, name: str) -> int:
        row = self._connection.execute("SELECT value FROM counters WHERE name = ?", (name,)).fetchone()
        return int(row[0]) if row else 0

    def close(self) -> None:
        """Close the connection."""
        with contextlib.suppress(apsw.Error):
            self._connection.close()


def _entry(row: Sequence[object]) -> Entry:
    key, value, created, modified = row[:4]
    assert isinstance(key, str) and isinstance(value, bytes)  # the tables are STRICT
    assert isinstance(created, int) and isinstance(modified, int)
    return Entry(key, value, created, modified)


def _prefix_clause(prefix: str) -> tuple[str, tuple[str, ...]]:
    end = after_prefix(prefix)
    return ("key >= ?", (prefix,)) if end is None else ("key >= ? AND key < ?", (prefix, end))
