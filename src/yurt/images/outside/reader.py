"""A bounded window on a file that nobody vouches for: the only thing the inspectors read through."""

import os
import struct
from pathlib import Path
from types import TracebackType

from yurt.errors import Invalid

READ_LIMIT = 48 << 20  # bytes that one inspection may read in all; a qcow2 L1 table is 32 MiB at most
SECTOR = 512


class Refused(Invalid):
    """{message}"""

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message, hint=hint or "see docs/import.md for what can be imported")


class Window:
    """Random reads on one open file, bounded in all. Reads beyond the end give less; what must be there is `need`ed."""

    def __init__(self, descriptor: int, size: int) -> None:
        self._descriptor, self.size, self._left = descriptor, size, READ_LIMIT

    def read(self, offset: int, length: int) -> bytes:
        """Up to `length` bytes at `offset`. Raises Refused when the inspection has read too much."""
        if offset < 0 or length < 0 or offset >= self.size:
            return b""
        length = min(length, self.size - offset)
        self._left -= length
        if self._left < 0:
            raise Refused("the image's headers are too large to look through")
        parts = []
        while length:
            part = os.pread(self._descriptor, length, offset)
            if not part:
                break
            parts.append(part)
            offset, length = offset + len(part), length - len(part)
        return b"".join(parts)

    def need(self, offset: int, length: int, what: str) -> bytes:
        """Exactly `length` bytes. Raises Refused when the file ends before."""
        data = self.read(offset, length)
        if len(data) != length:
            raise Refused(f"the file ends within its {what}")
        return data

    def unpack(self, form: str, offset: int, what: str) -> tuple[int, ...]:
        """`struct.unpack` of what lies at `offset`."""
        return struct.unpack(form, self.need(offset, struct.calcsize(form), what))

    def holds(self, offset: int, length: int) -> bool:
        """Whether this part lies inside the file."""
        return 0 <= offset <= self.size and 0 <= length <= self.size - offset


class Opened:
    """A window on a file by path; only regular files, no link at its end is followed."""

    def __init__(self, path: Path) -> None:
        self._path, self._descriptor = path, -1

    def __enter__(self) -> Window:
        flags = os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
        self._descriptor = os.open(self._path, flags)
        status = os.fstat(self._descriptor)
        if (status.st_mode & 0o170000) != 0o100000:
            os.close(self._descriptor)
            raise Refused("only a regular file can be a disk image")
        return Window(self._descriptor, status.st_size)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        os.close(self._descriptor)


def require(fine: bool, message: str) -> None:
    """Raise Refused with `message` unless `fine`."""
    if not fine:
        raise Refused(message)
