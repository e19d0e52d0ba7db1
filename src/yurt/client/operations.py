"""Follows an operation to its end: through the event stream when somebody wants to see progress, else by one long wait."""

from yurt.client import requests
from yurt.client.events import LOST
from yurt.client.quick import loads
from yurt.errors import Unavailable, YurtError, from_document

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from yurt.client.transport import Transport

ENDED = ("done", "failed", "cancelled")
LONG_S = 300.0


def as_document(value: object) -> "dict[str, object]":
    """Check that an answer is an object. Raises Unavailable."""
    if not isinstance(value, dict):
        raise Unavailable("yurtd answered with something else than an object")
    return value


def as_documents(value: object) -> "list[dict[str, object]]":
    """Check that an answer is a list of objects. Raises Unavailable."""
    if not isinstance(value, list) or not all(isinstance(item, dict) for item in value):
        raise Unavailable("yurtd answered with something else than a list")
    return value


def ended(operation: "dict[str, object]") -> bool:
    return operation.get("status") in ENDED


def failure_of(operation: "dict[str, object]") -> "YurtError | None":
    """The error of an operation that failed or was cancelled."""
    error = operation.get("error")
    if isinstance(error, dict):
        return from_document(error)
    if operation.get("status") in ("failed", "cancelled"):
        return Unavailable(
            f"the operation {operation['status']}".replace("operation cancelled", "operation was cancelled")
        )
    return None


def wait(transport: "Transport", operation_id: str, timeout_s: "float | None" = None) -> "dict[str, object]":
    """Return the operation when it has ended, or as it is after `timeout_s` seconds (None: as long as it takes)."""
    while True:
        step = LONG_S if timeout_s is None else timeout_s
        request = requests.wait_operation(operation_id, step)
        operation = as_document(transport.call(request, timeout_s=step + 60))
        if ended(operation) or timeout_s is not None:
            return operation


def follow(
    transport: "Transport",
    operation_id: str,
    on_change: "Callable[[dict[str, object]], None]",
    *,
    tick_s: "float | None" = None,
) -> "dict[str, object]":
    """Return the operation when it has ended; calls `on_change` at each piece of news, and every `tick_s` seconds."""
    operation: dict[str, object] = {}
    while not ended(operation):  # once, unless the daemon had to drop events for a client that was held up
        operation = _follow_once(transport, operation_id, on_change, tick_s)
    return operation


def _follow_once(
    transport: "Transport",
    operation_id: str,
    on_change: "Callable[[dict[str, object]], None]",
    tick_s: "float | None",
) -> "dict[str, object]":
    socket = transport.websocket(requests.events())
    try:
        # asked for after the subscription, so that no end can fall between the two
        operation = as_document(transport.call(requests.get_operation(operation_id)))
        on_change(operation)
        while not ended(operation):
            message = socket.receive(tick_s)
            if message is None and socket.ended:
                if socket.close_code == LOST:
                    return operation
                raise socket.closed_error()
            news = None if message is None else _news(message[1], operation_id)
            if message is not None and news is None:
                continue
            if news is not None and news.get("status") in ENDED:
                operation = as_document(transport.call(requests.get_operation(operation_id)))
            elif news is not None:
                operation = {
                    **operation,
                    **{key: news[key] for key in ("status", "step", "fraction") if key in news},
                }
            on_change(operation)
        return operation
    finally:
        socket.close()


def _news(message: bytes, operation_id: str) -> "dict[str, object] | None":
    try:
        event = loads(message)
    except ValueError:
        return None
    if not isinstance(event, dict):
        return None
    data = event.get("data")
    if not isinstance(data, dict) or not str(event.get("type", "")).startswith("operation."):
        return None
    return data if data.get("operation") == operation_id else None
