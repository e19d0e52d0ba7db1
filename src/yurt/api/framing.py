"""The channel framing of exec and attach, as Kubernetes clients know it (`v5.channel.k8s.io`). Pure."""

import signal
from typing import Annotated

import msgspec
from msgspec import Meta

from yurt.errors import Invalid, YurtError, to_document
from yurt.model.names import printable

SUBPROTOCOLS = ("v5.channel.k8s.io", "v4.channel.k8s.io")  # the older one cannot end the input
STDIN, STDOUT, STDERR, STATUS, RESIZE, SIGNAL, CLOSE = 0, 1, 2, 3, 4, 5, 255
REASON_LIMIT = 123  # bytes of a close frame's reason, RFC 6455 section 5.5
_Size = Annotated[int, Meta(ge=0, le=65535)]


class TerminalSize(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The body of a resize message."""

    columns: _Size = msgspec.field(name="Width")
    rows: _Size = msgspec.field(name="Height")


def choose_subprotocol(offered: list[str]) -> str:
    """Return the best subprotocol that both sides know. Raises Invalid."""
    for known in SUBPROTOCOLS:
        if known in offered:
            return known
    raise Invalid("the client offers no subprotocol yurt knows", hint=f"offer `{SUBPROTOCOLS[0]}`")


def parse_size(data: bytes) -> TerminalSize:
    """Decode a resize message. Raises Invalid."""
    try:
        return msgspec.json.decode(data, type=TerminalSize)
    except (msgspec.MsgspecError, UnicodeError) as error:
        raise Invalid(f"wrong size of a terminal: {printable(str(error))}") from error


def parse_signal(data: bytes) -> int:
    """Turn a name such as `INT` or `SIGINT` into its number. Raises Invalid."""
    name = data.decode("ascii", "replace")
    number = signal.Signals.__members__.get(name if name.startswith("SIG") else f"SIG{name}")
    if number is None or name.startswith("SIG_"):
        raise Invalid(f"`{printable(name)}` is not a signal")
    return int(number)


def exit_status(code: int) -> bytes:
    """The last message: the program ended with this exit code."""
    if code == 0:
        return bytes([STATUS]) + b'{"metadata":{},"status":"Success"}'
    document = {
        "metadata": {},
        "status": "Failure",
        "reason": "NonZeroExitCode",
        "message": f"the program ended with status {code}",
        "details": {"causes": [{"reason": "ExitCode", "message": str(code)}]},
    }
    return bytes([STATUS]) + msgspec.json.encode(document)


def failure_status(error: YurtError) -> bytes:
    """The last message: the program's end is not known, and why. `error` is ours, the rest is Kubernetes'."""
    document = {
        "metadata": {},
        "status": "Failure",
        "reason": "InternalError",
        "message": error.message,
        "error": to_document(error),
    }
    return bytes([STATUS]) + msgspec.json.encode(document)


def close_reason(text: str) -> str:
    """Cut a text to what a close frame can carry."""
    return text.encode(errors="replace")[:REASON_LIMIT].decode(errors="ignore")
