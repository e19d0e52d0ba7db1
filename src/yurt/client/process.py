"""The SDK's running programs and consoles."""

import select
import time
from collections.abc import Iterator
from typing import Self

import msgspec

from yurt.client.session import STDERR, Session
from yurt.client.websocket import BINARY, WebSocket
from yurt.errors import Timeout, ToolFailed

CHUNK = 64 << 10


class ExecResult(msgspec.Struct, frozen=True):
    """What a program that has ended left. An exit code of 128 + N means signal N."""

    exit_code: int
    stdout: bytes
    stderr: bytes

    @property
    def text(self) -> str:
        """Standard output as text; bytes that are no UTF-8 are replaced."""
        return self.stdout.decode(errors="replace")


class Process:
    """A program in a guest while it runs. Leaving a `with` block hangs up: it gets SIGHUP if it still runs."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Hang up. Safe to repeat."""
        self._session.close()

    def write(self, data: bytes) -> None:
        """Send to its standard input; waits until all but a little is on its way. Output that comes is kept."""
        for start in range(0, len(data), CHUNK):
            self._session.send_stdin(data[start : start + CHUNK])
            while self._session.congested and not self._session.ended:
                poller = select.poll()
                poller.register(self._session.socket.fileno(), select.POLLOUT)
                poller.poll()
                self._session.socket.flush()

    def close_stdin(self) -> None:
        """End its standard input. Safe to repeat."""
        self._session.close_stdin()

    def resize(self, rows: int, columns: int) -> None:
        """Tell its terminal's size."""
        self._session.resize(rows, columns)

    def signal(self, name: str) -> None:
        """Send it a signal, such as `TERM`."""
        self._session.signal(name)

    def output(self) -> Iterator[tuple[int, bytes]]:
        """Yield its output as it comes, (1 or 2, data), until it has ended."""
        while events := self._session.wait_events():
            yield from events

    def wait(self) -> int:
        """Return its exit code, throwing away output that nobody read. Raises Unavailable when the connection ended."""
        for _ in self.output():
            pass
        return self._session.result()

    def communicate(
        self,
        input: bytes | str | None = None,
        *,
        deadline: float | None = None,
        timeout_s: float | None = None,
        check: bool = False,
        argv: tuple[str, ...] = (),
    ) -> ExecResult:
        """Send all of `input`, collect all output, return at its end. Raises Timeout and, with `check`, ToolFailed."""
        session, parts = self._session, {1: [b""], STDERR: [b""]}
        left = memoryview(input.encode() if isinstance(input, str) else input or b"")
        while True:
            while left and not session.congested:
                session.send_stdin(bytes(left[:CHUNK]))
                left = left[CHUNK:]
            if not left:
                session.close_stdin()
            for channel, data in session.events():
                parts[channel].append(data)
            if session.ended:
                break
            poller = select.poll()
            poller.register(session.socket.fileno(), session.poll_events())
            remaining = None if deadline is None else deadline - time.monotonic()
            if remaining is not None and remaining <= 0:
                raise Timeout(what=f"`{argv[0] if argv else 'the program'}`", timeout_s=timeout_s or 0.0)
            poller.poll(None if remaining is None else remaining * 1000)
        result = ExecResult(session.result(), b"".join(parts[1]), b"".join(parts[STDERR]))
        if check and result.exit_code:
            status = f"status {result.exit_code}"
            raise ToolFailed(argv=argv, status=status, stderr=result.stderr.decode(errors="replace"))
        return result


class ConsoleSession:
    """An open serial console. What was printed before comes first."""

    def __init__(self, socket: WebSocket) -> None:
        self._socket = socket

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def read(self, timeout_s: float | None = None) -> bytes:
        """Wait for output; empty at the console's end (`ended`), or when `timeout_s` passed first."""
        deadline = None if timeout_s is None else time.monotonic() + timeout_s
        while True:
            remaining = None if deadline is None else max(0.0, deadline - time.monotonic())
            message = self._socket.receive(remaining)
            if message is None:
                return b""
            if message[0] == BINARY and message[1]:
                return message[1]

    @property
    def ended(self) -> bool:
        """Whether nothing more will come."""
        return self._socket.ended

    def write(self, data: bytes) -> None:
        """Type something."""
        self._socket.send_binary(data)

    def resize(self, rows: int, columns: int) -> None:
        """Tell the console's size."""
        self._socket.send_text(f'{{"resize":{{"rows":{int(rows)},"columns":{int(columns)}}}}}')

    def close(self) -> None:
        """Leave it; the guest runs on. Safe to repeat."""
        self._socket.close()
