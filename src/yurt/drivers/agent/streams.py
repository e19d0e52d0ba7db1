"""One stream of an agent connection: what it was granted, what waits to be read, how it ended."""

import asyncio
import contextlib
from collections import deque
from collections.abc import Awaitable, Callable

from yurt.drivers.agent import wire
from yurt.drivers.agent.wire import FrameType, GuestMisbehaved
from yurt.errors import (
    Denied,
    Exhausted,
    Internal,
    Invalid,
    NotFound,
    ToolFailed,
    Unavailable,
    Unsupported,
    YurtError,
)

WINDOW = 256 << 10


class AgentGone(Unavailable):
    """{message}"""


class CommandNotFound(NotFound):
    """{message}"""

    exit_code = 127  # what a shell would answer


class CommandNotExecutable(Invalid):
    """{message}"""

    exit_code = 126


class NobodyListens(Unavailable):
    """{message}"""


_ERRORS: dict[int, tuple[type[YurtError], str]] = {
    1: (CommandNotFound, "check the spelling, and the guest's PATH"),
    2: (CommandNotExecutable, "it must be executable for that user, and made for the guest's architecture"),
    3: (NotFound, "name a user of the guest, or a number such as `1000:1000`"),
    4: (NotFound, "name a directory that is there"),
    5: (Denied, ""),
    6: (Exhausted, ""),
    7: (Internal, ""),
    8: (ToolFailed, ""),
    9: (Unsupported, ""),
    10: (NotFound, ""),
    11: (NobodyListens, "start what should listen there, or name another port"),
}


def error_from(payload: bytes) -> YurtError:
    """Turn an ERROR frame into the error a user sees. Raises GuestMisbehaved."""
    code, text = wire.decode_error(payload)
    kind, hint = _ERRORS.get(code, (Internal, ""))
    return kind(text or "the guest gave no reason", hint=hint)


class Stream:
    """The bookkeeping of one stream. `send` waits for room, `send_soon` does not."""

    def __init__(
        self, id: int, send: Callable[[bytes], Awaitable[None]], send_soon: Callable[[bytes], None]
    ) -> None:
        self.id = id
        self.pid = 0
        self.window = WINDOW
        self._send, self._send_soon = send, send_soon
        self._opened = False
        self._error: YurtError | None = None
        self._code: int | None = None
        self._output: deque[tuple[int, bytes]] = deque()
        self._granted = {1: WINDOW, 2: WINDOW}
        self._unconfirmed = {1: 0, 2: 0}
        self._ended: set[int] = set()
        self._credit = 0
        self._input_ended = False
        self._writing = asyncio.Lock()
        self._news = asyncio.Event()

    @property
    def finished(self) -> bool:
        """Whether the agent has said its last word about it."""
        return self._code is not None or self._error is not None

    async def _wait_for_news(self) -> None:
        news = self._news
        await news.wait()

    def _notify(self) -> None:
        """Wake all who wait; each looks again for itself."""
        self._news.set()
        self._news = asyncio.Event()

    def fail(self, error: YurtError) -> None:
        """End it from this side. What was received before can still be read."""
        if not self.finished:
            self._error = error
            self._notify()

    async def opened(self) -> None:
        """Return when the agent has begun it. Raises what the agent answered instead."""
        while not self._opened:
            if self._error is not None:
                raise self._error
            await self._wait_for_news()

    async def read(self) -> tuple[int, bytes] | None:
        """Return the next output, None at its end."""
        while not self._output:
            if self._error is not None:
                raise self._error
            if self._code is not None or self._ended == {1, 2}:
                return None
            await self._wait_for_news()
        channel, data = self._output.popleft()
        self._unconfirmed[channel] += len(data)
        self._confirm()
        return channel, data

    def _confirm(self) -> None:
        """Tell the agent what was read: at once when nothing is left, else a quarter of the window at a time."""
        for channel, count in self._unconfirmed.items():
            if count == 0 or self.finished or (self._output and count < WINDOW // 4):
                continue
            self._unconfirmed[channel] = 0
            self._granted[channel] += count
            with contextlib.suppress(Unavailable):
                self._send_soon(wire.encode_credit(self.id, channel, count))

    async def write(self, data: bytes) -> None:
        """Send input, as far as the agent has given credit for it."""
        async with self._writing:
            view = memoryview(data)
            while view:
                if isinstance(self._error, YurtError):
                    raise self._error
                if self._code is not None or self._input_ended:
                    return
                if self._credit == 0:
                    await self._wait_for_news()
                    continue
                part = view[: min(self._credit, wire.MAX_TO_AGENT - 1)]
                self._credit -= len(part)
                view = view[len(part) :]
                await self._send(wire.encode_data(self.id, bytes(part)))

    async def close_input(self) -> None:
        """Say that no more input comes, after what is being written."""
        async with self._writing:
            if not self._input_ended and not self.finished:
                self._input_ended = True
                await self._send(wire.encode(FrameType.END, self.id, b"\0"))

    async def control(self, type: FrameType, payload: bytes) -> None:
        """Send a small frame about this stream; after its end nothing happens."""
        if not self.finished:
            await self._send(wire.encode(type, self.id, payload))

    async def wait(self) -> int:
        """Return the exit code."""
        while self._code is None:
            if self._error is not None:
                raise self._error
            await self._wait_for_news()
        return self._code

    def on_opened(self, payload: bytes) -> None:
        if self._opened:
            raise GuestMisbehaved(what="a second OPENED")
        self.pid, self._credit = wire.decode_opened(payload)
        self._opened = True

    def on_data(self, payload: bytes) -> None:
        channel, data = payload[:1], payload[1:]
        number = channel[0] if channel else 0
        if number not in (1, 2) or not self._opened or number in self._ended or not data:
            raise GuestMisbehaved(what="output that cannot be")
        if len(data) > self._granted[number]:
            raise GuestMisbehaved(what="more output than was granted")
        self._granted[number] -= len(data)
        self._output.append((number, data))

    def on_credit(self, payload: bytes) -> None:
        channel, count = wire.decode_credit(payload)
        if channel != 0 or not self._opened:
            raise GuestMisbehaved(what="credit for a channel that is not ours")
        self._credit = min(self._credit + count, 1 << 32)

    def on_end(self, payload: bytes) -> None:
        if payload not in (b"\1", b"\2") or not self._opened:
            raise GuestMisbehaved(what="a malformed END")
        self._ended.add(payload[0])

    def on_exit(self, payload: bytes) -> None:
        self._opened = True  # the shortest answers need no OPENED
        self._code = wire.decode_exit(payload)

    def on_error(self, payload: bytes) -> None:
        self._error = error_from(payload)


def check_frame(stream: Stream, frame: wire.Frame) -> None:
    """Hand a frame to its stream. Raises GuestMisbehaved when it is not one that may come now."""
    handlers = {
        FrameType.OPENED: stream.on_opened,
        FrameType.DATA: stream.on_data,
        FrameType.CREDIT: stream.on_credit,
        FrameType.END: stream.on_end,
        FrameType.EXIT: stream.on_exit,
        FrameType.ERROR: stream.on_error,
    }
    if stream.finished or frame.type not in handlers:
        raise GuestMisbehaved(what=f"an unexpected {frame.type.name}")
    handlers[frame.type](frame.payload)
    stream._notify()
