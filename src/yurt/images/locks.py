"""Named locks that hold between tasks and between processes, and end with the process that holds them."""

import asyncio
import contextlib
import fcntl
import os
from collections.abc import AsyncIterator
from pathlib import Path

from yurt.host.files import lock_file


class Locks:
    """One lock per name, as a file in `directory`. For one event loop."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self._tasks: dict[str, asyncio.Lock] = {}

    @contextlib.asynccontextmanager
    async def held(self, name: str) -> AsyncIterator[None]:
        """Hold the lock `name`, waiting for it as long as it takes.

        Tasks of one process queue without a thread; only the first of them waits for other processes in one.
        """
        async with self._tasks.setdefault(name, asyncio.Lock()):
            self.directory.mkdir(parents=True, exist_ok=True, mode=0o700)
            descriptor = os.open(
                self.directory / f"{name}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600
            )
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                await self._wait(descriptor)
            except BaseException:
                os.close(descriptor)
                raise
            try:
                yield
            finally:
                os.close(descriptor)

    @contextlib.asynccontextmanager
    async def tried(self, name: str) -> AsyncIterator[bool]:
        """Hold the lock if nobody has it; else give False at once."""
        lock = self._tasks.setdefault(name, asyncio.Lock())
        if lock.locked():
            yield False
            return
        async with lock:
            self.directory.mkdir(parents=True, exist_ok=True, mode=0o700)
            descriptor = lock_file(self.directory / f"{name}.lock")
            try:
                yield descriptor is not None
            finally:
                if descriptor is not None:
                    os.close(descriptor)

    async def _wait(self, descriptor: int) -> None:
        """Wait in a thread; when cancelled, the thread gives the lock back as soon as it has it."""
        waiting = asyncio.ensure_future(asyncio.to_thread(fcntl.flock, descriptor, fcntl.LOCK_EX))
        try:
            await asyncio.shield(waiting)
        except BaseException:
            waiting.add_done_callback(lambda _: os.close(descriptor))
            raise
