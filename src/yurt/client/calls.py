"""Typed calls: what the SDK's classes share."""

from collections.abc import Callable
from typing import TypeVar

import msgspec

from yurt.client import operations, requests
from yurt.client.transport import Transport
from yurt.errors import Internal
from yurt.model.operation import Operation

T = TypeVar("T")
Progress = Callable[[Operation], None]


def convert(value: object, kind: "type[T]") -> T:
    """An answer as a record. Raises Internal when client and daemon do not fit."""
    try:
        return msgspec.convert(value, kind)
    except msgspec.ValidationError as error:
        raise Internal(
            f"the daemon's answer is not understood: {error}", hint="are both of the same version?"
        ) from error


class Calls:
    """A transport whose answers are records."""

    def __init__(self, transport: Transport) -> None:
        self.transport = transport

    def get(self, request: requests.Request, kind: "type[T]", *, timeout_s: float | None = None) -> T:
        """Call, and return the answer as a record."""
        return convert(self.transport.call(request, timeout_s=timeout_s), kind)

    def operate(self, request: requests.Request, progress: Progress | None = None) -> Operation:
        """Begin an operation and see it to its end. Raises its error."""
        return self.finish(self.get(request, Operation), progress)

    def finish(self, operation: Operation, progress: Progress | None = None) -> Operation:
        """Wait for an operation's end; `progress` hears of each piece of news. Raises the operation's error."""
        document: dict[str, object] = msgspec.to_builtins(operation)
        if operation.status.ended:
            pass
        elif progress is None:
            document = operations.wait(self.transport, operation.id)
        else:
            document = operations.follow(
                self.transport, operation.id, lambda news: progress(convert(news, Operation))
            )
        if (error := operations.failure_of(document)) is not None:
            raise error
        return convert(document, Operation)
