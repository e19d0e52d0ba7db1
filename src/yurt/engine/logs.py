"""Bounded logs on disk: a file and one older generation, never more than twice the limit. Readers can follow."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator
from pathlib import Path

from yurt.engine.bell import Bell

CONSOLE_LIMIT = 1 << 20
LIFECYCLE_LIMIT = 256 << 10


class BoundedLog:
    """Appends to `path`; when it reaches the limit it becomes `<path>.1` and a new file begins."""

    def __init__(self, path: Path, limit_bytes: int) -> None:
        self._path, self._limit = path, limit_bytes
        self._file = path.open("ab", buffering=0)
        self._size = self._file.tell()
        self._bell = Bell()
        self._generation = 0
        self.closed = False

    def append(self, data: bytes) -> None:
        """Add bytes. A full disk loses log lines, never the guest."""
        with contextlib.suppress(OSError, ValueError):
            if self._size + len(data) > self._limit:
                self._file.close()
                self._path.replace(self._path.with_name(self._path.name + ".1"))
                self._file = self._path.open("ab", buffering=0)
                self._size, self._generation = 0, self._generation + 1
            self._file.write(data[-self._limit :])
            self._size += len(data[-self._limit :])
        self._bell.ring()

    def close(self) -> None:
        """End the log and its followers. Safe to repeat."""
        self.closed = True
        self._file.close()
        self._bell.ring()

    async def follow(self) -> AsyncIterator[bytes]:
        """Yield what is appended from now on, until the log is closed."""
        generation, position = self._generation, self._size
        while True:
            if generation != self._generation:
                generation, position = self._generation, 0
            if position < self._size:
                chunk = await asyncio.to_thread(_read_at, self._path, position, self._size - position)
                position += len(chunk)
                if chunk:
                    yield chunk
                    continue
            if self.closed:
                return
            await self._bell.wait()


def _read_at(path: Path, position: int, size: int) -> bytes:
    try:
        with path.open("rb") as file:
            file.seek(position)
            return file.read(min(size, 65536))
    except FileNotFoundError:
        return b""


def read_tail(path: Path, tail_bytes: int) -> bytes:
    """Return the last bytes of a log and, where needed, of its older generation."""
    parts: list[bytes] = []
    for candidate in (path, path.with_name(path.name + ".1")):
        if tail_bytes <= 0 or not candidate.exists():
            continue
        data = candidate.read_bytes()[-tail_bytes:]
        parts.insert(0, data)
        tail_bytes -= len(data)
    return b"".join(parts)


def lifecycle_line(text: str, at: float) -> bytes:
    """One line of the lifecycle log: UTC time and what happened."""
    stamp = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(at))
    return f"{stamp} {text}\n".encode()
