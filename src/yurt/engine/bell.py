"""Wakes everyone who waits for the next news of something. Nobody polls, and nobody is queued for."""

import asyncio

from yurt.host.proc import resolve


class Bell:
    """`ring` wakes all who are in `wait` at that moment; who comes later waits for the next ring."""

    def __init__(self) -> None:
        self._waiters: set[asyncio.Future[None]] = set()

    def ring(self) -> None:
        """Wake everyone. Safe to repeat."""
        for waiter in self._waiters:
            resolve(waiter)
        self._waiters.clear()

    async def wait(self) -> None:
        """Return at the next ring."""
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiters.add(waiter)
        try:
            await waiter
        finally:
            self._waiters.discard(waiter)
