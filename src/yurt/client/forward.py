"""A temporary forward: a local listener whose connections end at a TCP port inside a guest, through its agent.

A thread for each connection. Nothing is read from one side while the other does not take it.
"""

import contextlib
import select
import socket
import threading

from yurt.client import requests
from yurt.client.session import CLOSE, STATUS, STDIN, STDOUT, exit_code_of
from yurt.errors import Invalid, Unavailable, YurtError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from yurt.client.transport import Transport
    from yurt.client.websocket import WebSocket

PIECE = 64 << 10
QUEUE_LIMIT = 256 << 10
BACKLOG = 128


class Forward:
    """Listens from its making on; `close` (or the end of a `with` block) ends it with all its connections.

    `port` and `address` are where it listens. Raises Invalid for an address that is none, Unavailable for one in use.
    """

    def __init__(
        self,
        transport: "Transport",
        name: str,
        guest_port: int,
        *,
        port: int = 0,
        address: str = "127.0.0.1",
        guest_address: str = "",
        on_error: "Callable[[YurtError], None] | None" = None,
    ) -> None:
        self._transport, self._request = transport, requests.connect(name, guest_port, guest_address)
        self._on_error = on_error
        self._listener = _listen(address, port)
        self.address, self.port = self._listener.getsockname()[:2]
        self._open: set[socket.socket] = set()
        self._lock = threading.Lock()
        self._ended = False
        self._thread = threading.Thread(target=self._accept, name="forward", daemon=True)
        self._thread.start()

    def __enter__(self) -> "Forward":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Listen no more and end what is open. Safe to repeat."""
        self._ended = True
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)  # wakes accept
        self._thread.join()
        self._listener.close()
        with self._lock:
            for connection in self._open:
                with contextlib.suppress(OSError):
                    connection.shutdown(socket.SHUT_RDWR)

    def _accept(self) -> None:
        while not self._ended:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        with self._lock:
            self._open.add(connection)
        try:
            with contextlib.closing(self._transport.websocket(self._request)) as far:
                relay(connection, far)
        except YurtError as error:
            _reset(connection)
            if self._on_error is not None and not self._ended:
                self._on_error(error)
        except OSError:
            pass  # the near end has gone
        finally:
            with self._lock:
                self._open.discard(connection)
            connection.close()


def _listen(address: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    try:
        socket.inet_pton(family, address)
    except OSError as error:
        raise Invalid(f"`{address}` is no IP address", hint="for example 127.0.0.1 or [::1]") from error
    try:
        return socket.create_server((address, port), family=family, backlog=BACKLOG)
    except OSError as error:
        raise Unavailable(
            f"cannot listen on {address} port {port}: {error.strerror}", hint="name another port"
        ) from error


def _reset(connection: socket.socket) -> None:
    """Let the near end see a connection that broke, not one that ended."""
    with contextlib.suppress(OSError):
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")


class _Flow:
    """What is known of the two directions of one connection."""

    def __init__(self) -> None:
        self.to_near = bytearray()
        self.near_ended = self.far_ended = self.done = False


def relay(near: socket.socket, far: "WebSocket") -> None:
    """Carry bytes both ways until both directions have ended. Raises the error that the far end reports."""
    near.setblocking(False)
    flow = _Flow()
    while not (flow.done and not flow.to_near):
        wait = {near.fileno(): 0, far.fileno(): 0}
        if far.queued_bytes < QUEUE_LIMIT and not flow.near_ended and not flow.done:
            wait[near.fileno()] |= select.POLLIN
        if flow.to_near:
            wait[near.fileno()] |= select.POLLOUT
        if len(flow.to_near) < QUEUE_LIMIT and not flow.done:
            wait[far.fileno()] |= select.POLLIN
        if far.queued_bytes:
            wait[far.fileno()] |= select.POLLOUT
        poller = select.poll()
        for descriptor, events in wait.items():
            if events:
                poller.register(descriptor, events)
        ready = dict(poller.poll())
        if ready.get(near.fileno()):
            _serve_near(near, far, flow)
        if ready.get(far.fileno()):
            _take_far(near, far, flow)


def _serve_near(near: socket.socket, far: "WebSocket", flow: _Flow) -> None:
    with contextlib.suppress(BlockingIOError):
        while flow.to_near:
            del flow.to_near[: near.send(memoryview(bytes(flow.to_near[: 4 * PIECE])))]
    if flow.far_ended and not flow.to_near:
        with contextlib.suppress(OSError):
            near.shutdown(socket.SHUT_WR)
    if flow.near_ended or far.queued_bytes >= QUEUE_LIMIT:
        return
    with contextlib.suppress(BlockingIOError):
        data = near.recv(PIECE)
        flow.near_ended = not data
        far.send_binary(bytes((STDIN,)) + data if data else bytes((CLOSE, STDIN)))


def _take_far(near: socket.socket, far: "WebSocket", flow: _Flow) -> None:
    for opcode, message in far.pump():
        if opcode != 2 or not message:
            continue
        if message[0] == STDOUT:
            flow.to_near += message[1:]
        elif message[:2] == bytes((CLOSE, STDOUT)):
            flow.far_ended = True
        elif message[0] == STATUS:
            exit_code_of(message[1:])
            flow.done = flow.far_ended = True
    if far.ended and not flow.done:
        raise far.closed_error()
    if flow.far_ended and not flow.to_near:
        with contextlib.suppress(OSError):
            near.shutdown(socket.SHUT_WR)
