"""Named locks that hold between tasks and between processes, and end with the process that holds them."""

import asyncio
import contextlib
import fcntl
import os
import threading
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
        """Wait in a thread of its own, which keeps nobody from exiting; when cancelled, the lock goes back once it comes."""
        loop = asyncio.get_running_loop()
        got: asyncio.Future[None] = loop.create_future()

        def settle() -> None:
            if got.cancelled():
                os.close(descriptor)
            else:
                got.set_result(None)

        def wait() -> None:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            try:
                loop.call_soon_threadsafe(settle)
            except RuntimeError:  # the loop has ended meanwhile
                os.close(descriptor)

        threading.Thread(target=wait, name=f"lock {self.directory}", daemon=True).start()
        await got
