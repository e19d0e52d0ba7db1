"""Notices that a client has hung up even while nothing is read from it.

A socket whose reading is paused (back-pressure) is not watched by asyncio at all, so its end would go unseen for as
long as the guest's program does not read. An epoll of our own watches for the hang-up alone.
"""

import asyncio
import select
from typing import Any

from starlette.websockets import WebSocket

EXTENSION = "yurt.transport"  # key of the ASGI scope's extensions, put there by our protocol class


async def peer_gone(socket: WebSocket) -> None:
    """Return when the client has closed its end of the connection."""
    transport: Any = socket.scope["extensions"][EXTENSION][
        "transport"
    ]  # Any: an asyncio transport in an ASGI scope
    descriptor = transport.get_extra_info("socket").fileno()
    if descriptor < 0:
        return
    loop = asyncio.get_running_loop()
    gone: asyncio.Future[None] = loop.create_future()

    def noticed() -> None:
        if not gone.done():
            gone.set_result(None)

    with select.epoll(1) as watch:
        watch.register(descriptor, select.EPOLLRDHUP | select.EPOLLHUP | select.EPOLLERR)
        loop.add_reader(watch.fileno(), noticed)
        try:
            await gone
        finally:
            loop.remove_reader(watch.fileno())
