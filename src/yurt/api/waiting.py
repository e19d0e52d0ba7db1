"""The answer to a verb: its operation, now or when it has ended."""

from typing import Any

from yurt.api.table import Call, Reply
from yurt.errors import Timeout
from yurt.model.operation import Operation


async def answer(call: Call[Any, Any], begun: Operation, wait_s: float) -> Reply:
    """Wait up to `wait_s` for an operation. 200 when it has ended, 202 when it runs on.

    The operation runs on too when the client hangs up.
    """
    if wait_s > 0 and not begun.status.ended:
        try:
            begun = await call.until_gone(call.engine.wait_operation(begun.id, wait_s))
        except Timeout:
            begun = await call.engine.operation(begun.id)
    return Reply(begun, 200 if begun.status.ended else 202)
