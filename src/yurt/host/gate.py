"""Starts a program that outlives the daemon so that it is written down before it runs.

The program waits at a gate until its record is on disk. Whenever the daemon dies, either the record is there or the
program never ran: nobody has to search for strays.
"""

import contextlib
import os
import signal
import socket
from collections.abc import Callable, Sequence
from pathlib import Path

from yurt.errors import Unavailable
from yurt.host import proc

# The shell waits for one line, joins the control group, then becomes the program under the same pid. If the daemon dies
# first, it reads the end of the pipe and ends. The script is constant; all that varies are its arguments.
JOIN = 'while [ "$1" != -- ]; do echo 0 >"$1" || exit 125; shift; done; shift; '  # arguments: join files, `--`, command
GATE = ("/bin/sh", "-c", f'read -r go || exit; {JOIN}exec "$@" </dev/null', "yurt-gate")


def spawn_recorded(
    argv: Sequence[str],
    record: Callable[[proc.Process], None],
    *,
    output: int,
    pass_fds: Sequence[int] = (),
    join: Sequence[Path] = (),
    cwd: Path = Path("/"),
) -> proc.Process:
    """Start a program as `proc.spawn` does, but let it run only after `record` has returned.

    `output` takes its standard output and error. `join` are `Group.join_files` of a group that exists by then: moving
    in from within, single-threaded, takes microseconds where moving it from outside takes milliseconds. If `record`
    fails, the program never runs and the error goes on.
    """

    def start(gate: int) -> proc.Process:
        words = [*GATE, *map(str, join), "--", *argv]
        return proc.spawn(words, pass_fds=pass_fds, stdin=gate, stdout=output, stderr=output, cwd=cwd)

    return let_through(start, record)


def let_through(start: Callable[[int], proc.Process], record: Callable[[proc.Process], None]) -> proc.Process:
    """Start a program that waits for a line on the descriptor `start` is given; send the line once `record` has returned.

    If `record` fails, the program is killed before it ran and the error goes on.
    """
    gate_read, gate_write = os.pipe2(os.O_CLOEXEC)
    process: proc.Process | None = None
    try:
        process = start(gate_read)
        record(process)
        os.write(gate_write, b"go\n")
        return process
    except BaseException:
        if process is not None:
            process.send(signal.SIGKILL)
            process.close()
        raise
    finally:
        os.close(gate_read)
        os.close(gate_write)


def bind_socket(path: Path) -> socket.socket:
    """Bind a listening unix socket that only our own user can connect to. A left-over socket there is replaced.

    A program that inherits it serves it at once; nobody waits for a file to appear. Raises Unavailable.
    """
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
    try:
        with contextlib.suppress(FileNotFoundError):
            path.unlink()
        os.fchmod(listener.fileno(), 0o600)  # before the bind: the file is made with no more than this
        listener.bind(str(path))
        path.chmod(0o600)
        listener.listen(1)
    except OSError as error:
        listener.close()
        raise Unavailable(f"cannot listen on `{path}`: {error.strerror or error}") from error
    return listener
