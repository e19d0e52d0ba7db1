"""The StateStore protocol: documents under keys with revisions.

Semantics are etcd's, so that both stores pass one conformance suite: every committed
transaction raises the store's revision by one; a document carries the revision that created it
and the one that last changed it; `watch` delivers changes in revision order, without gaps, from a
given revision on, or fails with `Compacted`.
"""

from collections.abc import AsyncIterator, Sequence
from typing import Protocol

import msgspec

from yurt.errors import YurtError


class Compacted(YurtError):
    """revision {revision} is older than the store's history, which begins at {oldest}"""

    code, http, exit = "unavailable", 503, 11


class Entry(msgspec.Struct, frozen=True):
    """One document: its key, its bytes, the revision that created it and the one that last changed it."""

    key: str
    value: bytes
    created: int
    modified: int


class Compare(msgspec.Struct, frozen=True):
    """True when `key` was last changed at revision `modified`; 0 means "does not exist"."""

    key: str
    modified: int


class Put(msgspec.Struct, frozen=True, tag=True):
    """Write a document; with a lease it vanishes when the lease ends."""

    key: str
    value: bytes
    lease: int = 0


class Delete(msgspec.Struct, frozen=True, tag=True):
    """Remove a document; removing what is not there is no error."""

    key: str


class Change(msgspec.Struct, frozen=True):
    """One change seen by a watcher; `entry.value` is empty when `deleted`."""

    entry: Entry
    deleted: bool
    revision: int


class TxnResult(msgspec.Struct, frozen=True):
    """`ok` is False when a compare failed; nothing was written then. `revision` is the store's own."""

    ok: bool
    revision: int


class StateStore(Protocol):
    """What the engine needs from a store. All methods are safe to call from many tasks at once."""

    async def get(self, key: str) -> Entry | None:
        """Return the document under `key`, or None."""

    async def list(self, prefix: str) -> tuple[list[Entry], int]:
        """Return all documents whose key starts with `prefix`, by key, and the revision they were read at."""

    async def txn(self, compares: Sequence[Compare], writes: Sequence[Put | Delete]) -> TxnResult:
        """Apply all writes if all compares hold, durably before it returns; else apply nothing.

        Raises Invalid when one key is written twice, Unavailable when the store cannot be written,
        NotFound when a named lease does not exist.
        """

    def watch(self, prefix: str, from_revision: int) -> AsyncIterator[Change]:
        """Yield every change under `prefix` with revision >= `from_revision`, for ever; raises Compacted."""

    async def lease(self, ttl_s: float) -> int:
        """Make a lease that ends after `ttl_s` seconds without `keep_alive`; its documents go with it."""

    async def keep_alive(self, lease: int) -> None:
        """Start the lease's time again. Raises NotFound when it has ended."""

    async def revoke(self, lease: int) -> None:
        """End a lease now. Safe to repeat."""

    async def close(self) -> None:
        """Let go of the store. Safe to repeat."""
