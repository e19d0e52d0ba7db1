"""Joins this process's terminal or pipes to a program or console in a guest: one poll loop, no threads.

A terminal is in raw mode only inside `RawMode`, which puts it back however the loop is left.
"""

import os
import select
import signal
import sys
import termios

from yurt.client.session import STDERR, Session

TYPE_CHECKING = False
if TYPE_CHECKING:
    from yurt.client.websocket import WebSocket

CHUNK = 64 << 10
ESCAPE = b"\x1d"  # ctrl-]
QUEUE_LIMIT = 256 << 10


class Ended(Exception):
    """A signal that asks this process to end; the exit code is 128 + its number."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number


class RawMode:
    """Keys go through one by one and unchanged, as long as the block lasts."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    def __enter__(self) -> "RawMode":
        self._saved = termios.tcgetattr(self._descriptor)
        raw = termios.tcgetattr(self._descriptor)
        raw[0] &= ~(
            termios.BRKINT
            | termios.ICRNL
            | termios.INLCR
            | termios.IGNCR
            | termios.INPCK
            | termios.ISTRIP
            | termios.IXON
        )
        raw[1] &= ~termios.OPOST
        raw[2] = raw[2] & ~(termios.CSIZE | termios.PARENB) | termios.CS8
        raw[3] &= ~(termios.ECHO | termios.ECHONL | termios.ICANON | termios.IEXTEN | termios.ISIG)
        raw[6][termios.VMIN], raw[6][termios.VTIME] = 1, 0
        termios.tcsetattr(self._descriptor, termios.TCSADRAIN, raw)
        return self

    def __exit__(self, *_: object) -> None:
        termios.tcsetattr(self._descriptor, termios.TCSADRAIN, self._saved)


class NoRawMode:
    """Where there is no terminal to change."""

    def __enter__(self) -> "NoRawMode":
        return self

    def __exit__(self, *_: object) -> None:
        return


class Signals:
    """Turns signals into bytes of a pipe that a poll loop can watch, as long as the block lasts."""

    def __init__(self, *numbers: int) -> None:
        self._numbers = numbers

    def __enter__(self) -> "Signals":
        self.reading, self._writing = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        self._wakeup = signal.set_wakeup_fd(self._writing, warn_on_full_buffer=False)
        self._before = {number: signal.signal(number, lambda *_: None) for number in self._numbers}
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
        signal.set_wakeup_fd(self._wakeup)
        os.close(self.reading)
        os.close(self._writing)

    def take(self) -> bytes:
        """The numbers of the signals that came, one byte each."""
        try:
            return os.read(self.reading, 256)
        except BlockingIOError:
            return b""


def write_all(descriptor: int, data: bytes) -> None:
    """Write all of it, also where somebody made the descriptor non-blocking. Raises BrokenPipeError."""
    view = memoryview(data)
    while view:
        try:
            view = view[os.write(descriptor, view) :]
        except BlockingIOError:
            poller = select.poll()
            poller.register(descriptor, select.POLLOUT)
            poller.poll()


def read_input() -> bytes:
    """What standard input has now; empty at its end, also when the terminal is gone."""
    try:
        return os.read(0, CHUNK)
    except OSError:
        return b""


def window_size() -> "tuple[int, int] | None":
    """Rows and columns of the terminal."""
    for descriptor in (1, 0):
        try:
            size = os.get_terminal_size(descriptor)
        except OSError:
            continue
        if size.lines and size.columns:
            return size.lines, size.columns
    return None


def wants(*, interactive: bool, tty: bool, no_tty: bool, no_stdin: bool) -> "tuple[bool, bool]":
    """Decide (stdin, tty) from the flags and from what standard input and output are."""
    terminal_in = os.isatty(0)
    use_tty = tty or (terminal_in and os.isatty(1) and not no_tty and not no_stdin)
    use_stdin = not no_stdin and (interactive or use_tty or not terminal_in)
    return use_stdin, use_tty


def relay(session: Session, *, stdin: bool, tty: bool) -> int:
    """Join standard input and output to a program until it ends; return its exit code.

    With a tty, keys go through raw and the window's size follows; without one, SIGINT and SIGTERM are passed on.
    """
    sys.stdout.flush()
    raw = tty and stdin and os.isatty(0)
    numbers = (signal.SIGWINCH, signal.SIGTERM, signal.SIGHUP) if tty else (signal.SIGINT, signal.SIGTERM)
    if not stdin:
        session.close_stdin()
    try:
        with Signals(*numbers) as signals, RawMode(0) if raw else NoRawMode():
            _relay(session, signals, tty=tty)
        return session.result()
    except Ended as ended:
        return 128 + ended.number
    finally:
        session.close()


def _relay(session: Session, signals: Signals, *, tty: bool) -> None:
    if tty:
        _resize(session)
    poller = select.poll()
    poller.register(signals.reading, select.POLLIN)
    reading = False
    while True:
        _write(session)
        if session.ended:
            return
        wanted = session.stdin_open and not session.congested
        if wanted != reading:
            poller.register(0, select.POLLIN) if wanted else poller.unregister(0)
            reading = wanted
        poller.register(session.socket.fileno(), session.poll_events())
        for descriptor, events in poller.poll():
            if descriptor == 0:
                data = b"" if events & select.POLLNVAL else read_input()
                session.send_stdin(data) if data else session.close_stdin()
            elif descriptor == signals.reading:
                _pass_on(session, signals.take(), tty=tty)


def _write(session: Session) -> None:
    for channel, data in session.events():
        write_all(2 if channel == STDERR else 1, data)


def _resize(session: Session) -> None:
    if (size := window_size()) is not None:
        session.resize(*size)


def _pass_on(session: Session, numbers: bytes, *, tty: bool) -> None:
    for number in numbers:
        if number == signal.SIGWINCH:
            _resize(session)
        elif tty:
            raise Ended(number)
        else:
            session.signal(signal.Signals(number).name.removeprefix("SIG"))


def relay_console(socket: "WebSocket") -> bool:
    """Join the terminal to a console until ctrl-] or its end; whether the console ended by itself.

    Nothing is filtered: a console is for programs that draw.
    """
    sys.stdout.flush()
    terminal = os.isatty(0)
    numbers = (signal.SIGWINCH, signal.SIGTERM, signal.SIGHUP) if terminal else (signal.SIGTERM,)
    try:
        with Signals(*numbers) as signals, RawMode(0) if terminal else NoRawMode():
            return _relay_console(socket, signals, terminal=terminal)
    finally:
        socket.close()


def _relay_console(socket: "WebSocket", signals: Signals, *, terminal: bool) -> bool:
    def resize() -> None:
        if terminal and (size := window_size()) is not None:
            rows, columns = size
            socket.send_text(f'{{"resize":{{"rows":{rows},"columns":{columns}}}}}')

    resize()
    poller = select.poll()
    poller.register(signals.reading, select.POLLIN)
    open_input, reading = True, False
    while True:
        for opcode, data in socket.pump():
            if opcode == 2:
                write_all(1, data)
        if socket.ended:
            return True
        wanted = open_input and socket.queued_bytes < QUEUE_LIMIT
        if wanted != reading:
            poller.register(0, select.POLLIN) if wanted else poller.unregister(0)
            reading = wanted
        poller.register(socket.fileno(), select.POLLIN | (select.POLLOUT if socket.queued_bytes else 0))
        for descriptor, events in poller.poll():
            if descriptor == 0:
                data = b"" if events & select.POLLNVAL else read_input()
                before, escape, _ = data.partition(ESCAPE) if terminal else (data, b"", b"")
                if before:
                    socket.send_binary(before)
                if escape:
                    return False
                open_input = bool(data)
            elif descriptor == signals.reading:
                for number in signals.take():
                    if number != signal.SIGWINCH:
                        raise Ended(number)
                resize()
