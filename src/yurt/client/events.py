"""The stream of events."""

from yurt.client import requests
from yurt.errors import Unavailable

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from yurt.client.transport import Transport

LOST = 4000  # the close code for a client that was too slow: its reason says where to go on


def stream(transport: "Transport", since: "int | None" = None) -> "Iterator[bytes]":
    """Events as JSON, without end. After a gap it goes on where the daemon says. Raises Unavailable when it stops."""
    while True:
        socket = transport.websocket(requests.events(since))
        try:
            while (message := socket.receive()) is not None:
                yield message[1]
        finally:
            socket.close()
        number = socket.close_reason.rpartition("=")[2]
        if socket.close_code != LOST or not number.isdecimal():
            raise Unavailable(
                "the daemon stopped", hint="guests run on; any yurt command starts the daemon again"
            )
        since = int(number)
