"""Starts programs: the one user of subprocess. argv lists, no shell, stdin closed, a short clean environment, a timeout.

`run` waits for a tool; `spawn` starts a program that outlives the daemon (QEMU, a network helper);
`Process` follows a program by pidfd, whether it is our child or an earlier daemon's.
"""

import asyncio
import contextlib
import ctypes
import logging
import os
import shlex
import shutil
import signal
import subprocess
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

from yurt.errors import Timeout, ToolFailed, Unsupported

log = logging.getLogger("yurt.proc")
CLEAN_ENVIRONMENT = {
    "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
    "LC_ALL": "C.UTF-8",
    "HOME": "/",
}
Child = subprocess.Popen[bytes]
OUTPUT_LIMIT = 16 << 20
SYS_CLOSE_RANGE, CLOSE_RANGE_CLOEXEC = 436, 4  # the number is the same on every architecture

_libc = ctypes.CDLL(None, use_errno=True)


@dataclass(frozen=True, slots=True)
class Finished:
    """What a tool that has ended left: exit status and output (each cut at 16 MiB)."""

    argv: tuple[str, ...]
    status: int
    stdout: bytes
    stderr: bytes


def shown(argv: Sequence[str]) -> str:
    """A command ready to paste into a shell."""
    return shlex.join(argv)


def describe_status(status: int) -> str:
    """`status 3` or `signal SIGKILL`."""
    if status < 0:
        with contextlib.suppress(ValueError):
            return f"signal {signal.Signals(-status).name}"
    return f"status {status}"


def not_installed(argv: Sequence[str]) -> ToolFailed:
    """The error for a program that this host does not have."""
    return ToolFailed(
        f"`{argv[0]}` is not installed",
        argv=tuple(argv),
        status="not found",
        hint="run `yurt doctor` to see what is missing",
    )


async def run(
    argv: Sequence[str],
    *,
    timeout_s: float,
    stdin: bytes | None = None,
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
    pass_fds: Sequence[int] = (),
    check: bool = True,
    on_stderr: Callable[[str], None] | None = None,
    private_mounts: bool = False,
    input_fd: int | None = None,
    output_fd: int | None = None,
) -> Finished:
    """Run a tool to its end. On timeout or cancellation its whole process group is killed.

    `on_stderr` receives each line of standard error as it comes (progress). `private_mounts` runs it behind
    `unshare --mount --propagation slave`. `input_fd` and `output_fd` become its standard input and output, for pipelines
    between two tools; they stay the caller's. Raises ToolFailed (with `check`) and Timeout.
    """
    words = [*(("unshare", "--mount", "--propagation", "slave", "--") if private_mounts else ()), *argv]
    log.debug("run: %s", shown(words))
    try:
        process = await asyncio.create_subprocess_exec(
            *words,
            stdin=subprocess.PIPE
            if stdin is not None
            else subprocess.DEVNULL
            if input_fd is None
            else input_fd,
            stdout=subprocess.PIPE if output_fd is None else output_fd,
            stderr=subprocess.PIPE,
            env={**CLEAN_ENVIRONMENT, **(env or {})},
            cwd=cwd,
            pass_fds=tuple(pass_fds),
            start_new_session=True,
        )
    except FileNotFoundError as error:
        raise not_installed(words) from error
    try:
        async with asyncio.timeout(timeout_s):
            out, err = await _communicate(process, stdin, on_stderr)
            status = await process.wait()
    except BaseException as error:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        await process.wait()
        if isinstance(error, TimeoutError):
            raise Timeout(what=f"`{Path(words[0]).name}`", timeout_s=timeout_s) from error
        raise
    if check and status != 0:
        raise ToolFailed(
            argv=tuple(words), status=describe_status(status), stderr=err.decode(errors="replace")
        )
    return Finished(tuple(words), status, out, err)


async def _communicate(
    process: asyncio.subprocess.Process, stdin: bytes | None, on_stderr: Callable[[str], None] | None
) -> tuple[bytes, bytes]:
    assert process.stderr

    async def feed() -> None:
        if process.stdin is not None:
            with contextlib.suppress(BrokenPipeError, ConnectionResetError):
                process.stdin.write(stdin or b"")
                await process.stdin.drain()
            process.stdin.close()

    async def collect(stream: asyncio.StreamReader | None, on_line: Callable[[str], None] | None) -> bytes:
        kept, pending = bytearray(), b""
        while stream is not None and (chunk := await stream.read(65536)):
            if len(kept) < OUTPUT_LIMIT:
                kept += chunk[: OUTPUT_LIMIT - len(kept)]
            if on_line:
                *lines, pending = (pending + chunk).split(b"\n")
                pending = pending[-4096:]
                for line in lines:
                    on_line(line.decode(errors="replace"))
        return bytes(kept)

    async with asyncio.TaskGroup() as group:
        group.create_task(feed())
        out = group.create_task(collect(process.stdout, None))
        err = group.create_task(collect(process.stderr, on_stderr))
    return out.result(), err.result()


def spawn(
    argv: Sequence[str],
    *,
    log_path: Path | None = None,
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
    pass_fds: Sequence[int] = (),
    stdin: int = subprocess.DEVNULL,
    stdout: int | None = None,
    stderr: int | None = None,
) -> "Process":
    """Start a program in a session of its own that outlives this daemon. Raises ToolFailed if it cannot be executed.

    Output goes to `log_path` (appended, mode 0600) unless `stdout`/`stderr` descriptors are given, else to /dev/null.
    """
    log.debug("spawn: %s", shown(argv))
    descriptor = -1
    if log_path is not None:
        descriptor = os.open(log_path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
    default = descriptor if descriptor >= 0 else subprocess.DEVNULL
    try:
        child = subprocess.Popen(
            list(argv),
            stdin=stdin,
            stdout=default if stdout is None else stdout,
            stderr=default if stderr is None else stderr,
            env={**CLEAN_ENVIRONMENT, **(env or {})},
            cwd=cwd,
            pass_fds=tuple(pass_fds),
            start_new_session=True,
        )
    except FileNotFoundError as error:
        raise not_installed(argv) from error
    finally:
        if descriptor >= 0:
            os.close(descriptor)
    return hold(child)


def hold(child: Child) -> "Process":
    """Take hold of our own child, which nobody has waited for yet."""
    process = Process.adopt(child.pid)
    assert process is not None  # an unreaped child cannot be gone
    process._child = child
    return process


def become(argv: Sequence[str], environ: Mapping[str, str]) -> NoReturn:
    """Turn this very process into another program, found in the clean PATH. Raises ToolFailed when it is not there."""
    program = shutil.which(argv[0], path=CLEAN_ENVIRONMENT["PATH"])
    if program is None:
        raise not_installed(argv)
    os.execve(program, list(argv), dict(environ))


def start_from_thread(
    argv: Sequence[str], *, stdin: int, stdout: int, stderr: int, pass_fds: Sequence[int]
) -> Child:
    """Start a program as the calling thread is, with an empty environment; `hold` it from another thread.

    For threads that have a table of descriptors of their own and no /proc to list it by: in that table nothing but
    `pass_fds` stays inheritable, whatever the daemon itself was started with. Raises ToolFailed.
    """
    log.debug("start: %s", shown(argv))
    if _libc.syscall(SYS_CLOSE_RANGE, 3, 0xFFFFFFFF, CLOSE_RANGE_CLOEXEC) != 0:
        raise Unsupported(
            f"closing descriptors: {os.strerror(ctypes.get_errno())}", hint="Linux 5.11 or later"
        )
    for descriptor in pass_fds:
        os.set_inheritable(descriptor, True)
    try:
        return subprocess.Popen(
            list(argv),
            stdin=stdin,
            stdout=stdout,
            stderr=stderr,
            env={},
            cwd="/",
            close_fds=False,
            start_new_session=True,
        )
    except FileNotFoundError as error:
        raise not_installed(argv) from error


def process_start(pid: int) -> int | None:
    """Field 22 of /proc/PID/stat (start time in clock ticks since boot); None when it is gone or a zombie."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text(errors="replace").rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return None
    return None if fields[0] in "ZX" else int(fields[19])


def resolve(waiter: "asyncio.Future[None]") -> None:
    """Wake whoever waits; for callbacks that may come more than once."""
    if not waiter.done():
        waiter.set_result(None)


class Process:
    """A running program held by pidfd: no reused pid is ever signalled, its end is an event and not a poll."""

    def __init__(self, pid: int, start: int, pidfd: int) -> None:
        self.pid, self.start = pid, start
        self._pidfd = pidfd
        self._child: Child | None = None
        self._status: int | None = None

    @classmethod
    def adopt(cls, pid: int, start: int | None = None) -> "Process | None":
        """Take hold of a program by pid, and by its start time where known; None when it is gone (or another now)."""
        try:
            pidfd = os.pidfd_open(pid)
        except (ProcessLookupError, OSError):
            return None
        now = process_start(pid)
        if start is not None and now != start:
            os.close(pidfd)
            return None
        return cls(pid, now if now is not None else 0, pidfd)

    def alive(self) -> bool:
        """Whether it still runs. Reaps it when it was our child and has ended."""
        if self._child is not None:
            return self._child.poll() is None
        return process_start(self.pid) == self.start

    def send(self, number: int) -> None:
        """Send a signal; to a program that has ended, nothing happens."""
        if self._pidfd >= 0:
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(self._pidfd, number)

    async def wait(self) -> int | None:
        """Return when it has ended: its status (negative: signal), or None when it was not our child."""
        if self._pidfd >= 0 and self.alive():
            loop = asyncio.get_running_loop()
            ended: asyncio.Future[None] = loop.create_future()
            descriptor = os.dup(self._pidfd)
            loop.add_reader(descriptor, resolve, ended)
            try:
                await ended
            finally:
                loop.remove_reader(descriptor)
                os.close(descriptor)
        if self._child is not None:
            self._status = self._child.wait()
        return self._status

    async def end(self, *, grace_s: float) -> None:
        """SIGTERM, then SIGKILL after `grace_s` seconds; returns when it is gone. Safe to repeat."""
        if grace_s > 0:
            self.send(signal.SIGTERM)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(grace_s):
                    await self.wait()
                    return
        self.send(signal.SIGKILL)
        await self.wait()

    def close(self) -> None:
        """Let go of it without touching it. Safe to repeat."""
        if self._child is not None and self._child.returncode is None:
            self._child.poll()
            self._child.returncode = self._child.returncode if self._child.returncode is not None else 0
        if self._pidfd >= 0:
            os.close(self._pidfd)
            self._pidfd = -1

    def __del__(self) -> None:
        with contextlib.suppress(Exception):
            self.close()
