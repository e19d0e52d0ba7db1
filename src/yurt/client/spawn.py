"""Starts the daemon when nobody listens, and waits on a pipe until it does.

Clients that come at the same moment queue at a lock, so that one starts the daemon and the others find it.
The daemon gets the pipe's writing end as `--ready-fd 3`: it writes `ready` once it listens, or the JSON of an error.
"""

import fcntl
import os
import select
import sys

from yurt.client.transport import document
from yurt.errors import Denied, Timeout, Unavailable, from_document
from yurt.paths import DAEMON_LOG, directories

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from yurt.client.quick import socket

READY_FD = 3
START_LIMIT_S = 90.0
LOUD_AFTER_S = 1.0
KEPT = ("HOME", "LANG", "LC_ALL", "TMPDIR", "XDG_DATA_HOME", "XDG_RUNTIME_DIR", "SSL_CERT_FILE")


def daemon_argv(*arguments: str) -> "list[str]":
    """The command that runs the daemon with this interpreter and these packages."""
    main = os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "__main__.py")  # noqa: PTH100, PTH118, PTH120
    flags = ["-I", "-S"] if sys.flags.no_site else ["-I"]
    return [sys.executable, *flags, main, "daemon", *arguments]


def daemon_environment(environ: "dict[str, str]") -> "dict[str, str]":
    """What of a user's environment a daemon inherits: nothing that belongs to the terminal it was started from."""
    kept = {
        key: value
        for key, value in environ.items()
        if key in KEPT or key.startswith("YURT_") or key.lower().endswith("_proxy")
    }
    return {"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", **kept}


def start_daemon(
    connect: "Callable[[], socket.socket | None]", notice: "Callable[[str], None] | None"
) -> "socket.socket":
    """Start the daemon unless another client does, wait until it listens, and connect.

    Raises Unavailable with the daemon's own words when it ends instead, Timeout when it does neither.
    """
    state, run = directories()
    for path in (state, run):
        try:
            os.makedirs(path, 0o700, exist_ok=True)  # noqa: PTH103
        except OSError as error:
            raise Denied(
                f"cannot make `{path}`: {error.strerror}", hint="run yurt as root, or set YURT_HOME"
            ) from error
    lock = os.open(f"{run}/start.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if (sock := connect()) is not None:
            return sock
        log = os.open(f"{state}/{DAEMON_LOG}", os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        try:
            said = os.lseek(log, 0, os.SEEK_END)
            _launch(log, notice)
            if (sock := connect()) is not None:
                return sock
            raise Unavailable("yurtd ended as soon as it was started", hint=_last_words(log, said, state))
        finally:
            os.close(log)
    finally:
        os.close(lock)


def _launch(log: int, notice: "Callable[[str], None] | None") -> None:
    reading, writing = os.pipe()  # both close on exec; the copy at READY_FD does not
    argv = daemon_argv("--ready-fd", str(READY_FD))
    actions = [
        (os.POSIX_SPAWN_OPEN, 0, "/dev/null", os.O_RDONLY, 0),
        (os.POSIX_SPAWN_DUP2, log, 1),
        (os.POSIX_SPAWN_DUP2, log, 2),
        (os.POSIX_SPAWN_DUP2, writing, READY_FD),
    ]
    # glibc's spawn makes a descriptor that is duplicated onto itself inheritable, as POSIX asks
    try:
        os.posix_spawn(argv[0], argv, daemon_environment(dict(os.environ)), file_actions=actions, setsid=True)
    finally:
        os.close(writing)
    try:
        _wait_ready(reading, notice)
    finally:
        os.close(reading)


def _wait_ready(reading: int, notice: "Callable[[str], None] | None") -> None:
    poller = select.poll()
    poller.register(reading, select.POLLIN)
    if not poller.poll(LOUD_AFTER_S * 1000):
        if notice is not None:
            notice("starting yurtd")
        if not poller.poll(START_LIMIT_S * 1000):
            raise Timeout(what="yurtd to start", timeout_s=START_LIMIT_S)
    said = b""
    while not said.endswith(b"\n") and len(said) < 65536 and (data := os.read(reading, 4096)):
        said += data
    if said.startswith(b"{"):
        parsed = document(said)
        error = parsed.get("error", parsed) if isinstance(parsed, dict) else {}
        raise from_document(error if isinstance(error, dict) else {})


def _last_words(log: int, start: int, state: str) -> str:
    size = os.lseek(log, 0, os.SEEK_END)
    text = os.pread(log, min(size - start, 4096), max(start, size - 4096)).decode(errors="replace")
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    where = f"see `{state}/{DAEMON_LOG}`"
    return f"its last words were: {lines[-1][:300]}; {where}" if lines else where


def become_daemon(*arguments: str) -> None:
    """Turn this process into the daemon, in the foreground. Returns only by raising."""
    argv = daemon_argv(*arguments)
    os.execve(argv[0], argv, daemon_environment(dict(os.environ)))
