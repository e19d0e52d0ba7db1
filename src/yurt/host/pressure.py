"""Tells when this host runs short of memory, by the kernel's pressure stall triggers: an event, not a poll.

Source: Documentation/accounting/psi.rst, "Monitoring for pressure thresholds".
"""

import asyncio
import contextlib
import os
import select
from collections.abc import AsyncIterator
from pathlib import Path

PRESSURE = Path("/proc/pressure/memory")
STALL_US, WINDOW_US = 100_000, 2_000_000  # some task waited for memory a twentieth of the time
TRIGGER = f"some {STALL_US} {WINDOW_US}"


def open_trigger(path: Path = PRESSURE, trigger: str = TRIGGER) -> int:
    """A descriptor that gets POLLPRI when the threshold is crossed. Raises OSError where this kernel has no such thing.

    Without CAP_SYS_RESOURCE the window must be a multiple of two seconds.
    """
    descriptor = os.open(path, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        os.write(descriptor, trigger.encode() + b"\0")
    except OSError:
        os.close(descriptor)
        raise
    return descriptor


@contextlib.asynccontextmanager
async def pressure_events(descriptor: int) -> AsyncIterator[asyncio.Event]:
    """An event that is set each time the trigger fires. The reader clears it. Takes the descriptor over.

    An epoll of its own stands between, as a loop waits for readable descriptors and a trigger has only POLLPRI.
    """
    loop, fired, epoll = asyncio.get_running_loop(), asyncio.Event(), select.epoll()
    epoll.register(descriptor, select.EPOLLPRI | select.EPOLLET)

    def happened() -> None:
        epoll.poll(0)
        fired.set()

    loop.add_reader(epoll.fileno(), happened)
    try:
        yield fired
    finally:
        loop.remove_reader(epoll.fileno())
        epoll.close()
        os.close(descriptor)
