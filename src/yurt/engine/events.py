"""The event bus: everything that happens, numbered, with a bounded history to resume from."""

import time
from collections import deque
from collections.abc import AsyncIterator

from yurt.engine.bell import Bell
from yurt.model.operation import Event

HISTORY = 4096


class EventBus:
    """Numbers events and wakes everyone who waits for them. No queue per reader: readers walk the history.

    Sequence numbers go on rising over daemon restarts, as they begin at the clock's milliseconds.
    """

    def __init__(self) -> None:
        self._history: deque[Event] = deque(maxlen=HISTORY)
        self._next = int(time.time() * 1000)
        self._bell = Bell()
        self.closed = False

    def publish(
        self, kind: str, target: str, *, target_id: str = "", data: dict[str, object] | None = None
    ) -> Event:
        """Add one event now."""
        event = Event(
            sequence=self._next,
            type=kind,
            at=time.time(),
            target=target,
            target_id=target_id,
            data=data or {},
        )
        self._next += 1
        self._history.append(event)
        self._bell.ring()
        return event

    def close(self) -> None:
        """End all subscriptions."""
        self.closed = True
        self._bell.ring()

    async def subscribe(self, since: int | None = None) -> AsyncIterator[Event]:
        """Yield events with sequence >= `since` (default: from now on).

        A reader that falls more than the history behind misses events; it sees that from the numbers.
        """
        position = self._next if since is None else since
        while True:
            pending = self._tail(position)
            for event in pending:
                position = event.sequence + 1
                yield event
            if self.closed:
                return
            if position >= self._next or not pending:
                position = max(position, self._history[0].sequence if self._history else position)
                if position >= self._next:
                    await self._bell.wait()

    def _tail(self, position: int) -> list[Event]:
        if not self._history or position > self._history[-1].sequence:
            return []
        skip = max(0, position - self._history[0].sequence)
        return [self._history[index] for index in range(skip, len(self._history))]
