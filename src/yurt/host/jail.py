"""The one launcher of every program that touches bytes a guest or a stranger wrote.

A thread of the daemon walks into the jail and starts the program from there: it makes itself new namespaces and a root
of its own, gives up user, groups and capabilities, and puts up Landlock and the system call filter. All of that is per
thread in Linux and inherited by what the thread starts. So the program is the daemon's own child under its true pid,
nothing stays between them, and no wall is left for the program to put up by itself. See docs/adr/0011-the-jail.md.

Between thread and program is a shell of a few words, in the jail already: it waits for one line, so that a program is
written down and limited before it runs.
"""

import asyncio
import contextlib
import ctypes
import os
import platform
import resource
from collections.abc import Callable, Sequence
from pathlib import Path

from msgspec.structs import replace

from yurt.errors import Denied, Timeout, ToolFailed
from yurt.host import credentials, jailroot, landlock, mounts, proc, seccomp
from yurt.host.gate import let_through
from yurt.host.jailspec import HOST_NETWORK, LIMITS, NO_NETWORK, Bind, JailSpec
from yurt.host.rootless import current_ids
from yurt.host.visit import in_own_thread

CLONE_FILES, CLONE_NEWNS, CLONE_NEWCGROUP, CLONE_NEWUTS = 0x400, 0x20000, 0x2000000, 0x4000000
CLONE_NEWIPC, CLONE_NEWPID, CLONE_NEWNET = 0x8000000, 0x20000000, 0x40000000
NAMESPACES = CLONE_NEWNS | CLONE_NEWUTS | CLONE_NEWIPC | CLONE_NEWPID
HOSTNAME = b"yurt"
SHELL = "/bin/sh"
# The scripts are constant; what varies are their arguments, the command. A shell exports the directory it is in.
WAIT = 'read -r go || exit; unset PWD OLDPWD; exec "$@"'
LASTING = (SHELL, "-c", f"{WAIT} </dev/null", "yurt-gate")
SINGLE_DIGITS = range(3, 10)  # descriptors that every shell can name
OUTPUT_LIMIT = 16 << 20
LINE_LIMIT = 4096  # of an unfinished line of standard error, its end

_libc = ctypes.CDLL(None, use_errno=True)


def enter(spec: JailSpec) -> None:
    """Take the calling thread into a jail for good. It must end soon after; the process is left as it was.

    Raises Denied, Unsupported or NotFound; the thread is then nowhere and must end.
    """
    # the group that opens /dev/kvm has no number in a namespace of our own: there it can only be kept
    keep = "kvm" in spec.devices and current_ids().rootless  # asked now: there is no /proc in there
    if spec.network not in (NO_NETWORK, HOST_NETWORK):
        _enter_network(spec.network)
    mounts.unshare(NAMESPACES | (CLONE_NEWNET if spec.network == NO_NETWORK else 0))
    mounts.unshare(CLONE_NEWCGROUP)
    _libc.sethostname(HOSTNAME, len(HOSTNAME))
    keep = (
        keep or Path("/proc/self/setgroups").read_text().strip() == "deny"
    )  # no subordinate ids: none may be given up
    jailroot.build_root(spec)
    credentials.become(spec.uid, spec.gid, None if keep else spec.groups, spec.capabilities)
    landlock.restrict(jailroot.fence_rules(spec), network=spec.network != NO_NETWORK)
    machine = platform.machine()
    seccomp.install(machine, seccomp.deny_filter(machine, spec.families))


def _enter_network(path: str) -> None:
    namespace = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        if _libc.setns(namespace, CLONE_NEWNET) != 0:
            raise Denied(f"entering `{path}`: {os.strerror(ctypes.get_errno())}")
    finally:
        os.close(namespace)


def with_shell(spec: JailSpec) -> JailSpec:
    """The same jail with the gate's shell in it, which needs no more than the system's libraries."""
    own = Bind(str(Path(SHELL).resolve()), SHELL)
    return (
        spec if any(bind.target == SHELL for bind in spec.binds) else replace(spec, binds=(*spec.binds, own))
    )


def passing(gate: int) -> tuple[str, ...]:
    """The gate of a tool, whose standard input is its own: it waits on another descriptor, and closes that. Pure."""
    script = f'read -r go <&{gate} || exit; exec {gate}<&-; unset PWD OLDPWD; exec "$@"'
    return (SHELL, "-c", script, "yurt-gate")


def _start(
    words: Sequence[str],
    spec: JailSpec,
    stdin: int,
    stdout: int,
    stderr: int,
    pass_fds: Sequence[int],
    tasks: Sequence[Path],
    gate: int = -1,
) -> proc.Child:
    """Start the gate in the jail and set its limits; it waits on `gate`, else `words` has a gate already. Blocking."""
    jail = with_shell(spec)

    def walk_in() -> proc.Child:
        for path in tasks:
            path.write_text("0")  # this thread alone: what it starts is born there
        mounts.unshare(CLONE_FILES)
        enter(jail)
        passed, command = [*pass_fds], [*words]
        if gate >= 0:
            taken = {stdin, stdout, stderr, *pass_fds}
            place = next(number for number in SINGLE_DIGITS if number not in taken)
            os.dup2(gate, place)  # in this thread's own table: the daemon's descriptor of that number stays
            passed, command = [*passed, place], [*passing(place), *command]
        child = proc.start_from_thread(command, stdin=stdin, stdout=stdout, stderr=stderr, pass_fds=passed)
        for name, value in spec.limits:
            try:
                resource.prlimit(child.pid, LIMITS[name], (value, value))
            except (PermissionError, ValueError):  # the daemon's own limit is lower, and holds
                _lower(child.pid, LIMITS[name], value)
        return child

    return in_own_thread("jail", walk_in)


def _lower(pid: int, limit: int, value: int) -> None:
    """Set a limit no higher than the hard limit that is there already."""
    hard = resource.prlimit(pid, limit)[1]
    least = value if hard == resource.RLIM_INFINITY else min(value, hard)
    resource.prlimit(pid, limit, (least, least))


def spawn_jailed(
    argv: Sequence[str],
    spec: JailSpec,
    record: Callable[[proc.Process], None],
    *,
    output: int,
    pass_fds: Sequence[int] = (),
    join: Sequence[Path] = (),
) -> proc.Process:
    """Start a program that outlives the daemon, in a jail, under its own pid; it runs once `record` has returned.

    As `gate.spawn_recorded` does without a jail. `argv[0]` is the program's path in the jail. `join` are
    `Group.join_files`. If `record` fails, the program never runs and the error goes on. Blocking, about a millisecond.
    """
    tasks = [path for path in join if path.name == "tasks"]

    def start(gate: int) -> proc.Process:
        return proc.hold(_start([*LASTING, *argv], spec, gate, output, output, pass_fds, tasks))

    def joined(process: proc.Process) -> None:
        for path in join:
            if path not in tasks:  # version 2 moves whole processes only
                path.write_text(str(process.pid))
        record(process)

    return let_through(start, joined)


async def run_jailed(
    argv: Sequence[str],
    spec: JailSpec,
    *,
    timeout_s: float,
    stdin: bytes = b"",
    pass_fds: Sequence[int] = (),
    output_bytes: int = OUTPUT_LIMIT,
    check: bool = True,
    input_fd: int | None = None,
    output_fd: int | None = None,
    on_stderr: Callable[[str], None] | None = None,
) -> proc.Finished:
    """Run a tool in a jail to its end; of its output at most `output_bytes` each are kept, the rest is thrown away.

    `input_fd` (in place of `stdin`) and `output_fd` become its standard input and output; they stay the caller's.
    `on_stderr` gets each line of standard error as it comes. On timeout or cancellation every process of the jail is
    killed. Raises ToolFailed (with `check`) and Timeout.
    """
    pipes: list[int] = []
    process: proc.Process | None = None
    try:
        for _ in range(4):
            pipes += os.pipe2(os.O_CLOEXEC)
        gate_read, gate_write, in_read, in_write, out_read, out_write, err_read, err_write = pipes
        ends = (in_read if input_fd is None else input_fd, out_write if output_fd is None else output_fd)
        starting = asyncio.create_task(
            asyncio.to_thread(_start, argv, spec, *ends, err_write, pass_fds, (), gate_read)
        )
        try:
            child = await asyncio.shield(starting)
        except asyncio.CancelledError:
            with contextlib.suppress(Exception):
                await proc.hold(await starting).end(grace_s=0)
            raise
        process = proc.hold(child)
        os.write(gate_write, b"go\n")
        for descriptor in (gate_read, gate_write, in_read, out_write, err_write):
            os.close(descriptor)
            pipes.remove(descriptor)
        try:
            async with asyncio.timeout(timeout_s):
                async with asyncio.TaskGroup() as group:
                    group.create_task(_feed(in_write, pipes, stdin))
                    out = group.create_task(_collect(out_read, pipes, output_bytes))
                    err = group.create_task(_collect(err_read, pipes, output_bytes, on_stderr))
                status = await process.wait() or 0
        except TimeoutError as error:
            raise Timeout(what=f"`{Path(argv[0]).name}`", timeout_s=timeout_s) from error
    finally:
        if process is not None:
            await process.end(grace_s=0)
            process.close()
        for descriptor in pipes:
            os.close(descriptor)
    if check and status != 0:
        text = err.result().decode(errors="replace")
        raise ToolFailed(argv=tuple(argv), status=proc.describe_status(status), stderr=text)
    return proc.Finished(tuple(argv), status, out.result(), err.result())


async def _feed(descriptor: int, pipes: list[int], data: bytes) -> None:
    """Write all of it, or as much as is wanted, and close."""
    loop = asyncio.get_running_loop()
    pipes.remove(descriptor)
    transport, protocol = await loop.connect_write_pipe(
        lambda: asyncio.streams.FlowControlMixin(loop=loop), os.fdopen(descriptor, "wb", buffering=0)
    )
    writer = asyncio.StreamWriter(transport, protocol, None, loop)
    try:
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            writer.write(data)
            await writer.drain()
    finally:
        writer.close()


async def _collect(
    descriptor: int, pipes: list[int], limit: int, on_line: Callable[[str], None] | None = None
) -> bytes:
    loop = asyncio.get_running_loop()
    pipes.remove(descriptor)
    reader = asyncio.StreamReader(loop=loop)
    transport, _ = await loop.connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(reader, loop=loop), os.fdopen(descriptor, "rb", buffering=0)
    )
    kept, pending = bytearray(), b""
    try:
        while chunk := await reader.read(65536):
            kept += chunk[: max(0, limit - len(kept))]
            if on_line is not None:
                *lines, pending = (pending + chunk).split(b"\n")
                pending = pending[-LINE_LIMIT:]
                for line in lines:
                    on_line(line.decode(errors="replace"))
    finally:
        transport.close()
    return bytes(kept)
