"""`yurt image import`."""

import time

from yurt.cli.arguments import Arguments
from yurt.cli.local import connect
from yurt.cli.output import note, safe, write
from yurt.cli.progress import QUIET_S, Display, Interrupted, finish
from yurt.client.operations import as_document
from yurt.client.upload import import_image, send_file
from yurt.units import format_size

TYPE_CHECKING = False
if TYPE_CHECKING:
    from yurt.client.requests import Request
    from yurt.client.transport import Transport


def main(arguments: Arguments) -> int:
    reference, path = arguments.word("IMAGE"), arguments.word("FILE")
    transport = connect()
    operation = as_document(sent(transport, import_image(reference), path))
    if arguments.flag("detach"):
        note(f"the import goes on: `yurt operation {safe(operation.get('id'))}`")
        return 0
    finish(transport, operation, cancels=True)
    write(safe(reference) + "\n")
    return 0


def sent(transport: "Transport", request: "Request", path: str) -> object:
    """Send a file, with progress once that has taken a second."""
    display, begun = Display(), time.monotonic()
    shown = 0.0

    def told(done: int, total: int) -> None:
        nonlocal shown
        now = time.monotonic()
        if now - begun < QUIET_S or now - shown < 0.2:
            return
        shown = now
        fraction = done / total if total else None
        display.show({"status": "running", "step": f"sending {format_size(done)}", "fraction": fraction})

    try:
        return send_file(transport, request, path, told)
    except KeyboardInterrupt:
        display.clear()
        note("cancelled, nothing was imported")
        raise Interrupted from None
    finally:
        display.clear()
