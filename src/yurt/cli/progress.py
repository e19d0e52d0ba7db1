"""Shows a long operation while it runs, and says what ctrl-C did to it.

On a terminal: one live line on stderr after the first second. Elsewhere: one plain line per new step, at most one a
second. What ends within a second shows nothing.
"""

import os
import sys
import time

from yurt.cli.output import cut, note, safe, terminal_width
from yurt.client import requests
from yurt.client.operations import as_document, ended, failure_of, follow, wait
from yurt.errors import WrongState, YurtError
from yurt.units import format_duration

TYPE_CHECKING = False
if TYPE_CHECKING:
    from yurt.client.transport import Transport

QUIET_S = 1.0
TICK_S = 0.5
BAR = 20


class Interrupted(KeyboardInterrupt):
    """Ctrl-C that has been dealt with and spoken of."""


class Display:
    """The live line, or the plain lines."""

    def __init__(self) -> None:
        self.live = os.isatty(2) and os.environ.get("TERM", "") not in ("", "dumb")
        self._begun = time.monotonic() - QUIET_S
        self._last, self._last_at = "", 0.0

    def show(self, operation: "dict[str, object]") -> None:
        """Show how far an operation is."""
        if ended(operation):
            return
        now = time.monotonic()
        if self.live:
            width = (terminal_width(2) or 80) - 1
            sys.stderr.write("\r\x1b[K" + cut(live_line(operation, now - self._begun), width))
            sys.stderr.flush()
            return
        text = step_text(operation)
        if text and text != self._last and now - self._last_at >= 1.0:
            self._last, self._last_at = text, now
            note(text)

    def clear(self) -> None:
        """Take the live line away."""
        if self.live:
            sys.stderr.write("\r\x1b[K")
            sys.stderr.flush()


def step_text(operation: "dict[str, object]") -> str:
    """What an operation is doing, safe for a terminal."""
    doing = safe(operation.get("step") or "")
    return f"undoing: {doing}" if operation.get("status") == "undoing" and doing else doing


def live_line(operation: "dict[str, object]", elapsed_s: float) -> str:
    """`making the disk  [#####---------------]  25%  12s`"""
    parts = [step_text(operation) or safe(operation.get("verb") or "working")]
    fraction = operation.get("fraction")
    if isinstance(fraction, (int, float)) and 0 <= fraction <= 1:
        full = int(fraction * BAR)
        parts.append(f"[{'#' * full}{'-' * (BAR - full)}] {fraction * 100:3.0f}%")
    return "  ".join([*parts, format_duration(elapsed_s)])


def run_operation(
    transport: "Transport", request: requests.Request, *, cancels: bool = False
) -> "dict[str, object]":
    """Send a request that begins an operation and see it to its end. Raises the operation's error.

    `cancels`: whether ctrl-C cancels and undoes it; otherwise ctrl-C leaves it running.
    """
    operation = as_document(transport.call(request))
    return finish(transport, operation, cancels=cancels)


def finish(transport: "Transport", operation: "dict[str, object]", *, cancels: bool) -> "dict[str, object]":
    """See an operation that has begun to its end. Raises its error, or Interrupted after ctrl-C."""
    operation_id = str(operation.get("id"))
    try:
        operation = watched(transport, operation)
    except KeyboardInterrupt:
        if cancels:
            _cancel(transport, operation_id)
        else:
            sys.stderr.write("\n")
            note(f"detached: the operation goes on; look at it with `yurt operation {operation_id}`")
        raise Interrupted from None
    if (error := failure_of(operation)) is not None:
        raise error
    result = operation.get("result")
    if isinstance(result, dict) and (notice := result.get("notice")):
        note(safe(notice))
    return operation


def watched(transport: "Transport", operation: "dict[str, object]") -> "dict[str, object]":
    """Wait for the end of an operation, with progress once it has taken a second."""
    operation_id = str(operation.get("id"))
    if not ended(operation):
        operation = wait(transport, operation_id, QUIET_S)
    if ended(operation):
        return operation
    display = Display()
    try:
        return follow(transport, operation_id, display.show, tick_s=TICK_S if display.live else None)
    finally:
        display.clear()


def _cancel(transport: "Transport", operation_id: str) -> None:
    sys.stderr.write("\n")
    note("cancelling")
    try:
        operation = as_document(transport.call(requests.cancel_operation(operation_id)))
    except KeyboardInterrupt:
        note(f"left it to be undone; look at it with `yurt operation {operation_id}`")
        return
    except WrongState as error:
        note(f"too late to cancel: {safe(error.message)}")
        return
    except YurtError as error:
        note(f"could not cancel: {safe(error.message)}; look at it with `yurt operation {operation_id}`")
        return
    note(
        "cancelled, undone"
        if operation.get("status") == "cancelled"
        else f"it ended as {safe(operation.get('status'))}"
    )
