"""A guest's serial console, as a byte stream over the unix socket that QEMU serves."""

import asyncio
import contextlib
from pathlib import Path

from yurt.errors import Unavailable

CHUNK = 64 << 10


class SocketConsole:
    """The Console protocol over a socket. A serial line has no size, so `resize` does nothing."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer

    @classmethod
    async def connect(cls, socket: Path) -> "SocketConsole":
        """Connect; raises Unavailable when nothing listens there."""
        try:
            reader, writer = await asyncio.open_unix_connection(str(socket), limit=CHUNK)
        except OSError as error:
            raise Unavailable("the guest's console does not answer") from error
        return cls(reader, writer)

    async def read(self) -> bytes:
        """Return what the guest has written, waiting for at least a byte; b"" at the end."""
        try:
            return await self._reader.read(CHUNK)
        except ConnectionError:
            return b""

    async def write(self, data: bytes) -> None:
        """Type into the console. Raises Unavailable when it has ended."""
        try:
            self._writer.write(data)
            await self._writer.drain()
        except ConnectionError as error:
            raise Unavailable("the guest's console has ended") from error

    async def resize(self, rows: int, columns: int) -> None:
        """Nothing: a serial line does not know its terminal's size."""

    async def close(self) -> None:
        """Hang up; the guest's output is then dropped until somebody connects again. Safe to repeat."""
        self._writer.close()
        with contextlib.suppress(ConnectionError, OSError):
            await self._writer.wait_closed()
