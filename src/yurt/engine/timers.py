"""One heap of timers for the whole daemon: the clock is asked to wake us once, for the earliest. Nothing polls."""

import asyncio
import heapq
import itertools
import time
from collections.abc import Callable
from typing import Protocol


class Wake(Protocol):
    """A wake-up that can be called off."""

    def cancel(self) -> None:
        """Call it off. Safe to repeat."""


class Clock(Protocol):
    """What the engine knows of time; tests bring their own."""

    def now(self) -> float:
        """Seconds since the epoch."""

    def wake(self, delay_s: float, call: Callable[[], None]) -> Wake:
        """Call `call` after so many seconds."""


class SystemClock:
    """The host's clock and the running loop's wake-ups."""

    def now(self) -> float:
        return time.time()

    def wake(self, delay_s: float, call: Callable[[], None]) -> Wake:
        return asyncio.get_running_loop().call_later(delay_s, call)


# the loop's clock stands still while the host sleeps, so a far moment is looked at again now and then
LONGEST_SLEEP_S = 3600.0


class Timers:
    """Calls by key and moment. One key has one moment: setting it again moves it."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._heap: list[tuple[float, int, str]] = []
        self._set: dict[str, tuple[float, int, Callable[[], None]]] = {}
        self._count = itertools.count()
        self._wake: Wake | None = None
        self._wake_at = 0.0

    def set(self, key: str, at: float, call: Callable[[], None]) -> None:
        """Call `call` at a moment (seconds since the epoch), or soon if that is past."""
        known = self._set.get(key)
        if known is not None and known[0] == at:
            self._set[key] = (at, known[1], call)
            return
        number = next(self._count)
        self._set[key] = (at, number, call)
        heapq.heappush(self._heap, (at, number, key))
        self._plan()

    def cancel(self, key: str) -> None:
        """Forget a key. Safe to repeat."""
        if self._set.pop(key, None) is not None:
            self._plan()

    def at(self, key: str) -> float | None:
        """When a key's call comes, or None."""
        found = self._set.get(key)
        return found[0] if found else None

    def close(self) -> None:
        """Forget all of them."""
        self._set.clear()
        self._heap.clear()
        self._plan()

    def _plan(self) -> None:
        while self._heap and self._set.get(self._heap[0][2], (0, -1))[1] != self._heap[0][1]:
            heapq.heappop(self._heap)  # moved or forgotten since
        if self._wake is not None and (not self._heap or self._wake_at != self._heap[0][0]):
            self._wake.cancel()
            self._wake = None
        if self._heap and self._wake is None:
            self._wake_at = self._heap[0][0]
            delay = min(LONGEST_SLEEP_S, max(0.0, self._wake_at - self._clock.now()))
            self._wake = self._clock.wake(delay, self._ring)

    def _ring(self) -> None:
        self._wake = None
        now, calls = self._clock.now(), []
        while self._heap and self._heap[0][0] <= now:
            _, number, key = heapq.heappop(self._heap)
            known = self._set.get(key)
            if known is not None and known[1] == number:
                del self._set[key]
                calls.append(known[2])
        self._plan()
        for call in calls:
            call()
