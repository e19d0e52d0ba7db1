"""A program in a guest over a WebSocket, with the channel framing that Kubernetes clients know (`v5.channel.k8s.io`).

The first byte of each binary message is its channel. Channel 5 is ours: the name of a signal to send.
"""

import select

from yurt.client import requests
from yurt.client.quick import loads
from yurt.errors import Internal, YurtError, from_document

TYPE_CHECKING = False
if TYPE_CHECKING:
    from yurt.client.transport import Transport
    from yurt.client.websocket import WebSocket

STDIN, STDOUT, STDERR, STATUS, RESIZE, SIGNAL, CLOSE = 0, 1, 2, 3, 4, 5, 255
QUEUE_LIMIT = 256 << 10


def exit_code_of(status: bytes) -> int:
    """The exit code in a status message. Raises the error that kept the program from running."""
    try:
        document = loads(status)
    except ValueError:
        document = None
    if not isinstance(document, dict):
        raise Internal("the guest's program ended without a status")
    if document.get("status") == "Success":
        return 0
    details = document.get("details")
    causes = details.get("causes") if isinstance(details, dict) else None
    for cause in causes if isinstance(causes, list) else []:
        if (
            isinstance(cause, dict)
            and cause.get("reason") == "ExitCode"
            and str(cause.get("message")).isdecimal()
        ):
            return int(str(cause["message"])) & 255
    raise _error_of(document, details)


def _error_of(document: "dict[str, object]", details: object) -> YurtError:
    error = document.get("error")
    if not isinstance(error, dict) and isinstance(details, dict) and "code" in details:
        error = details
    if isinstance(error, dict):
        return from_document({"message": document.get("message", ""), **error})
    reason = str(document.get("reason", ""))
    return from_document(
        {"code": reason, "message": str(document.get("message") or reason or "the program failed")}
    )


class Session:
    """One running program. `events` does what is possible now; `wait_events` waits. Not shared between threads."""

    def __init__(self, socket: "WebSocket") -> None:
        self.socket = socket
        self.exit_code: int | None = None
        self._failure: YurtError | None = None
        self.stdin_open = True

    @classmethod
    def open(cls, transport: "Transport", request: requests.Request) -> "Session":
        """Start or attach to a program. Raises the error the server answers with."""
        return cls(transport.websocket(request))

    def send_stdin(self, data: bytes) -> None:
        """Queue input for the program. Mind `congested`."""
        if data and self.stdin_open:
            self.socket.send_binary(bytes((STDIN,)) + data)

    def close_stdin(self) -> None:
        """Tell the program that its input has ended. Safe to repeat."""
        if self.stdin_open:
            self.stdin_open = False
            self.socket.send_binary(bytes((CLOSE, STDIN)))

    @property
    def congested(self) -> bool:
        """Whether more input should wait until what is queued has gone."""
        return self.socket.queued_bytes > QUEUE_LIMIT

    def resize(self, rows: int, columns: int) -> None:
        """Tell the program's terminal its size."""
        self.socket.send_binary(bytes((RESIZE,)) + b'{"Width":%d,"Height":%d}' % (columns, rows))

    def signal(self, name: str) -> None:
        """Send a signal by name, such as `INT`."""
        self.socket.send_binary(bytes((SIGNAL,)) + name.encode())

    def events(self) -> "list[tuple[int, bytes]]":
        """Return the output that has come, as (STDOUT or STDERR, data). Sets `exit_code` once the status is here."""
        found = []
        for opcode, message in self.socket.pump():
            if opcode != 2 or not message:
                continue
            if message[0] in (STDOUT, STDERR):
                found.append((message[0], message[1:]))
            elif message[0] == STATUS:
                try:
                    self.exit_code = exit_code_of(message[1:])
                except YurtError as error:
                    self._failure = error  # result() raises it, after the output before it was read
        return found

    @property
    def ended(self) -> bool:
        """Whether the program has ended, or the connection has and all that came on it was read."""
        cut = self.socket.ended and not self.socket.pending()
        return self.exit_code is not None or self._failure is not None or cut

    def poll_events(self) -> int:
        """What to poll the socket for now."""
        return select.POLLIN | (select.POLLOUT if self.socket.queued_bytes else 0)

    def wait_events(self) -> "list[tuple[int, bytes]]":
        """Wait for output or the end; an empty list at the end."""
        while True:
            found = [] if self.ended else self.events()
            if found or self.ended:
                return found
            poller = select.poll()
            poller.register(self.socket.fileno(), self.poll_events())
            poller.poll()

    def result(self) -> int:
        """The exit code. Raises why the program could not run, or Unavailable when the connection ended first."""
        if self._failure is not None:
            raise self._failure
        if self.exit_code is None:
            raise self.socket.closed_error()
        return self.exit_code

    def close(self) -> None:
        """Hang up; a program that still runs gets SIGHUP. Safe to repeat."""
        self.socket.close()
