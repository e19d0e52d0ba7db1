"""Where an upload lies until it has become an image: a directory of its own below the forms, locked while in use."""

import asyncio
import os
import secrets
from collections.abc import AsyncIterator, Callable
from pathlib import Path

from yurt.errors import Exhausted, Invalid
from yurt.host.files import lock_file, remove_tree
from yurt.host.space import RESERVE_BYTES, free_bytes
from yurt.units import format_size

PREFIX = ".import-"
LOCK, UPLOAD = "lock", "upload"
_BUFFER = 4 << 20


class Spool:
    """One directory `.import-<hex>`: the upload, and scratch room beside it. Blocking, but for `fill`."""

    def __init__(self, folder: Path, lock: int) -> None:
        self.folder, self._lock = folder, lock

    @classmethod
    def new(cls, parent: Path) -> "Spool":
        """Make one, mode 0700, locked."""
        folder = parent / f"{PREFIX}{secrets.token_hex(6)}"
        folder.mkdir(mode=0o700, parents=True)
        lock = lock_file(folder / LOCK)
        assert lock is not None  # nobody else knows its name
        return cls(folder, lock)

    @property
    def upload(self) -> Path:
        return self.folder / UPLOAD

    def remove(self) -> None:
        """Remove all of it. Safe to repeat."""
        remove_tree(self.folder)
        if self._lock >= 0:
            os.close(self._lock)
            self._lock = -1

    async def fill(
        self, chunks: AsyncIterator[bytes], *, max_bytes: int, told: Callable[[int], None] | None = None
    ) -> int:
        """Write an upload as it comes; returns its size. Raises Exhausted (quota, full disk), Invalid when it is empty."""
        descriptor = os.open(self.upload, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        total, kept = 0, bytearray()
        try:
            async for chunk in chunks:
                total += len(chunk)
                if total > max_bytes:
                    raise Exhausted(
                        f"the upload is larger than {format_size(max_bytes)}, the most allowed here",
                        hint="the host's owner can allow more: `upload_bytes` under `[imports]` in yurt.toml",
                    )
                kept += chunk
                if len(kept) >= _BUFFER:
                    await asyncio.to_thread(self._write, descriptor, bytes(kept))
                    kept.clear()
                    if told is not None:
                        told(total)
            await asyncio.to_thread(self._write, descriptor, bytes(kept))
        finally:
            os.close(descriptor)
        if not total:
            raise Invalid("nothing was uploaded")
        return total

    def _write(self, descriptor: int, data: bytes) -> None:
        free = free_bytes(self.folder)
        if len(data) + RESERVE_BYTES > free:
            raise Exhausted(
                f"not enough room for the upload below `{self.folder.parent}`: {format_size(free)} are free",
                hint="free some room, for example with `yurt image prune`, or delete instances",
            )
        view = memoryview(data)
        while view:
            view = view[os.write(descriptor, view) :]


def abandoned(parent: Path) -> list[Path]:
    """Spools that nobody uses any longer: what a killed daemon left."""
    found = []
    for folder in sorted(parent.glob(f"{PREFIX}*")):
        lock = lock_file(folder / LOCK) if folder.is_dir() and not folder.is_symlink() else None
        if lock is not None:
            os.close(lock)
            found.append(folder)
    return found
