"""A clock that stands still until a test moves it."""

from collections.abc import Callable


class FakeWake:
    """A wake-up that waits for its moment."""

    def __init__(self, clock: "FakeClock", at: float, call: Callable[[], None]) -> None:
        self._clock, self.at, self.call = clock, at, call

    def cancel(self) -> None:
        if self in self._clock.wakes:
            self._clock.wakes.remove(self)


class FakeClock:
    """Keeps to `yurt.engine.timers.Clock`. `wakes` are those still to come, `asked` every delay that was asked for."""

    def __init__(self, now: float = 1000.0) -> None:
        self.time = now
        self.wakes: list[FakeWake] = []
        self.asked: list[float] = []

    def now(self) -> float:
        return self.time

    def wake(self, delay_s: float, call: Callable[[], None]) -> FakeWake:
        self.asked.append(delay_s)
        made = FakeWake(self, self.time + delay_s, call)
        self.wakes.append(made)
        return made

    def move(self, seconds: float) -> None:
        """Let time pass: what becomes due is called at its moment."""
        end = self.time + seconds
        while coming := sorted((wake for wake in self.wakes if wake.at <= end), key=lambda wake: wake.at):
            first = coming[0]
            self.wakes.remove(first)
            self.time = max(self.time, first.at)
            first.call()
        self.time = end
