"""One console and its viewers."""

import asyncio
import contextlib
from collections import deque

from yurt.drivers.base import Console
from yurt.engine.logs import BoundedLog
from yurt.errors import Unavailable

SCROLLBACK = 64 << 10
VIEW_QUEUE = 256


class ConsoleHub:
    """One console, any number of viewers: scrollback in memory, everything to the bounded log.

    A viewer that does not keep up loses the oldest chunks, never holds the guest up.
    """

    def __init__(self, console_log: BoundedLog) -> None:
        self._log = console_log
        self._console: Console | None = None
        self.scrollback = bytearray()
        self._views: set[ConsoleView] = set()

    async def follow(self, console: Console) -> None:
        """Read the console until it ends."""
        self._console = console
        try:
            while data := await console.read():
                self.scrollback += data
                del self.scrollback[:-SCROLLBACK]
                self._log.append(data)
                for view in self._views:
                    view.push(data)
        finally:
            self._console = None
            with contextlib.suppress(Exception):
                await console.close()

    def view(self) -> "ConsoleView":
        """Open one more viewer."""
        view = ConsoleView(self, bytes(self.scrollback))
        self._views.add(view)
        return view

    def drop(self, view: "ConsoleView") -> None:
        self._views.discard(view)

    async def write(self, data: bytes) -> None:
        """Type something. Raises Unavailable when the console is not connected."""
        if self._console is None:
            raise Unavailable("the console is not connected")
        await self._console.write(data)

    async def resize(self, rows: int, columns: int) -> None:
        if self._console is not None:
            await self._console.resize(rows, columns)

    def close(self) -> None:
        for view in list(self._views):
            view.push(b"")


class ConsoleView:
    """One viewer of a console; `read` returns b"" at its end."""

    def __init__(self, hub: ConsoleHub, scrollback: bytes) -> None:
        self._hub, self.scrollback = hub, scrollback
        self._chunks: deque[bytes] = deque(maxlen=VIEW_QUEUE)
        self._more = asyncio.Event()
        self._ended = False

    def push(self, data: bytes) -> None:
        if data:
            self._chunks.append(data)
        else:
            self._ended = True
        self._more.set()

    async def read(self) -> bytes:
        """Return the next bytes, b"" at the end."""
        while not self._chunks:
            if self._ended:
                return b""
            self._more.clear()
            await self._more.wait()
        data = b"".join(self._chunks)
        self._chunks.clear()
        return data

    async def write(self, data: bytes) -> None:
        """Type something."""
        await self._hub.write(data)

    async def resize(self, rows: int, columns: int) -> None:
        """Tell the guest the terminal's size, where its console has one."""
        await self._hub.resize(rows, columns)

    async def close(self) -> None:
        """Stop viewing. Safe to repeat."""
        self._hub.drop(self)
        self.push(b"")
