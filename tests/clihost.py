"""The API with an engine in memory, served from a thread, and the real command line beside it."""

import asyncio
import contextlib
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Coroutine, Iterator
from pathlib import Path
from typing import Any, TypeVar

from tests.apiserver import Served, served
from tests.doubles import DoubleEngine

T = TypeVar("T")
MAIN = str(Path(__file__).resolve().parent.parent / "src/yurt/__main__.py")


class CliHost:
    """A server in its own thread. `run` runs a command line against it; `call` runs a coroutine in the server's loop."""

    def __init__(self, loop: asyncio.AbstractEventLoop, api: Served) -> None:
        self._loop, self.api = loop, api
        self.engine: DoubleEngine = api.engine

    @property
    def environ(self) -> dict[str, str]:
        kept = {key: os.environ[key] for key in ("PATH", "HOME", "LANG", "LC_ALL") if key in os.environ}
        return {**kept, "YURT_SOCKET": str(self.api.path), "PYTHONWARNINGS": "error", "TERM": "xterm"}

    def argv(self, *words: str, flags: tuple[str, ...] = ()) -> list[str]:
        """The command as the launcher runs it."""
        return [sys.executable, "-I", "-S", *flags, MAIN, *words]

    def run(
        self, *words: str, stdin: bytes | None = None, **more: str
    ) -> "subprocess.CompletedProcess[bytes]":
        """Run a command line to its end, without a terminal."""
        given: dict[str, Any] = {"stdin": subprocess.DEVNULL} if stdin is None else {"input": stdin}
        return subprocess.run(
            self.argv(*words), env={**self.environ, **more}, capture_output=True, timeout=120, **given
        )

    def call(self, work: Coroutine[Any, Any, T]) -> T:
        """Run something in the server's loop and return what it gives."""
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(120)

    def do(self, work: Callable[[], T]) -> T:
        """Call something in the server's loop."""

        async def once() -> T:
            return work()

        return self.call(once())


@contextlib.contextmanager
def cli_host() -> Iterator[CliHost]:
    """Serve a double with one running instance `web` for the length of a block."""
    ready: list[CliHost] = []
    up, down = threading.Event(), threading.Event()

    async def serve() -> None:
        loop, end = asyncio.get_running_loop(), asyncio.Event()
        async with served() as api:
            ready.append(CliHost(loop, api))
            stop.append(lambda: loop.call_soon_threadsafe(end.set))
            up.set()
            await end.wait()
        down.set()

    stop: list[Callable[[], object]] = []
    thread = threading.Thread(target=lambda: asyncio.run(serve()))
    thread.start()
    assert up.wait(60)
    try:
        yield ready[0]
    finally:
        stop[0]()
        thread.join()
        assert down.is_set()
