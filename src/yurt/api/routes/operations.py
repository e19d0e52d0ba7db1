"""Operations: what runs, what has ended, how far it is."""

import msgspec

from yurt.api.table import Call, Nothing, Permission, operation
from yurt.api.views import Seconds
from yurt.model.operation import Operation


class TimeoutQuery(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How long to wait."""

    timeout_s: Seconds = 60.0


@operation("GET", "/v1/operations", "List operations", permission=Permission.VIEW, response=list[Operation])
async def list_operations(call: Call[Nothing, Nothing]) -> object:
    """All operations that are kept, newest first."""
    return await call.engine.operations()


@operation(
    "GET", "/v1/operations/{id}", "Describe an operation", permission=Permission.VIEW, response=Operation
)
async def get_operation(call: Call[Nothing, Nothing]) -> object:
    """One operation."""
    return await call.engine.operation(call.path["id"])


@operation(
    "GET",
    "/v1/operations/{id}/wait",
    "Wait for an operation",
    permission=Permission.VIEW,
    query=TimeoutQuery,
    response=Operation,
    notes="After `timeout_s` the operation is sent as it stands then.",
)
async def wait_operation(call: Call[TimeoutQuery, Nothing]) -> object:
    """The operation once it has ended."""
    return await call.until_gone(call.engine.wait_operation(call.path["id"], call.query.timeout_s))


@operation("POST", "/v1/operations/{id}/cancel", "Cancel an operation", response=Operation)
async def cancel_operation(call: Call[Nothing, Nothing]) -> object:
    """Cancel an operation and undo what it did; answers when that is done."""
    return await call.engine.cancel_operation(call.path["id"])


ENDPOINTS = (list_operations, get_operation, wait_operation, cancel_operation)
