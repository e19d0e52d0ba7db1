"""One run of the OCI runtime, from a bundle to a PID 1 that waits for its configuration.

The runtime is started from a thread with a private mount namespace (host/mounts.py). The container's root is
mounted there, and the unified hierarchy of a hybrid host is hidden there, which crun 1.8 refuses to see. Between
thread and runtime is a shell of six words: it joins the control group while it is still single-threaded (cheap, and
the same on version 1 and 2) and puts the two descriptors where the runtime passes them on.
"""

import asyncio
import contextlib
import os
import resource
from collections.abc import Callable
from pathlib import Path

import msgspec

from yurt.drivers.base import Attachments
from yurt.drivers.container.bundle import AGENT_FDS, BundleFacts, runtime_config
from yurt.drivers.container.rootfs import mount_root
from yurt.drivers.trees import mount_trees, open_trees
from yurt.errors import Invalid, Timeout, ToolFailed, YurtError
from yurt.host import files, layout, mounts, proc
from yurt.host.cgroup import Group
from yurt.host.gate import JOIN, bind_socket
from yurt.model.host import HostFacts
from yurt.model.instance import Instance

BUNDLE, RUNTIME_STATE, PID_FILE = "bundle", "runtime", "pid"
START_TIMEOUT_S = 60.0
LAST_WORDS = 64 << 10
# The script is constant; all that varies are its arguments: files to join groups by, `--`, the command. Standard
# input is the agent's socket, standard output the config pipe; they become 3 and 4.
ENTER = ("/bin/sh", "-c", f'{JOIN}exec "$@" 3<&0 4<&1 0</dev/null 1>&2', "yurt-enter")


def runtime_argv(runtime: str, run_dir: Path) -> tuple[str, ...]:
    """The runtime's command: run detached, all its state in the run directory, control groups left to us. Pure."""
    state = ("--root", str(run_dir / RUNTIME_STATE), "--cgroup-manager=disabled")
    place = ("--bundle", str(run_dir / BUNDLE), "--pid-file", str(run_dir / PID_FILE))
    return (runtime, *state, "run", "--detach", *place, f"--preserve-fds={AGENT_FDS}", run_dir.name)


async def launch(
    instance: Instance, attachments: Attachments, facts: HostFacts, group: Group, userns: int, config: int
) -> tuple[tuple[str, ...], int, int]:
    """Start the container; PID 1 then waits on `config` (a pipe's end for reading). Returns argv, pid, start time.

    Raises ToolFailed with the runtime's words. What was made until then is for the driver's `cleanup`.
    """
    run_dir = attachments.run_dir
    argv = runtime_argv(facts.tools["crun"], run_dir)
    words_read, words_write = os.pipe2(os.O_CLOEXEC)
    try:
        with bind_socket(run_dir / layout.AGENT_SOCKET) as listener:
            async with open_trees(attachments, userns) as opened:

                def start() -> proc.Process:
                    joins = _hide_unified(facts, group, run_dir)
                    enter = (*ENTER, *(str(path) for path in joins), "--", *argv)
                    mount_trees(run_dir, opened)
                    _write_bundle(instance, attachments, facts, userns)
                    return proc.spawn(
                        enter, stdin=listener.fileno(), stdout=config, stderr=words_write, cwd=Path("/")
                    )

                process = await spawned(start)
        os.close(words_write)
        words_write = -1
        status = await _finish(process)
        words = _last_words(words_read)
    finally:
        os.close(
            words_read
        )  # from here on PID 1's own stderr leads nowhere: a guest cannot fill the host with it
        if words_write >= 0:
            os.close(words_write)
    pid_file = run_dir / PID_FILE
    started = None
    if status == 0:
        pid = int(pid_file.read_text())
        started = proc.process_start(pid)
    if started is None:
        files.write_atomic(run_dir / layout.MACHINE_LOG, words.encode(), durable=False)
        how = proc.describe_status(status) if status else "an early end of its first process"
        raise ToolFailed(argv=argv, status=how, stderr=words, log=str(run_dir / layout.MACHINE_LOG))
    return argv, pid, started


def _hide_unified(facts: HostFacts, group: Group, run_dir: Path) -> list[Path]:
    """On a hybrid host take the unified hierarchy out of the runtime's sight; return the files to join the group by.

    The group's own directory in it, where there is one, stays within reach at another place.
    """
    joins = list(group.join_files)
    if not facts.cgroups.hybrid:
        return joins
    if (unified := group.directories.get("")) is not None:
        place = run_dir / "cgroup"
        place.mkdir(exist_ok=True)
        mounts.mount(str(unified), place, "", mounts.MS_BIND)
        joins = [place / path.name if path.parent == unified else path for path in joins]
    place = Path(facts.cgroups.mounts[""])
    if facts.rootless:  # what a more powerful namespace has mounted can only be covered
        mounts.mount("none", place, "tmpfs", mounts.MS_NOSUID, "mode=555")
    else:
        mounts.unmount(place, lazy=True)
    return joins


async def spawned(start: Callable[[], proc.Process]) -> proc.Process:
    """Start a program from a thread in a private mount namespace; when cancelled, end what that thread started."""
    task = asyncio.create_task(asyncio.to_thread(mounts.run_in_private_mounts, start))
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        with contextlib.suppress(YurtError, OSError):
            await (await task).end(grace_s=0)
        raise


async def _finish(process: proc.Process) -> int:
    try:
        async with asyncio.timeout(START_TIMEOUT_S):
            return await process.wait() or 0
    except TimeoutError as error:
        raise Timeout(what="the container runtime", timeout_s=START_TIMEOUT_S) from error
    finally:
        await process.end(grace_s=0)
        process.close()


def _last_words(descriptor: int) -> str:
    """What was written to the pipe so far; its writers may live on."""
    os.set_blocking(descriptor, False)
    try:
        return os.read(descriptor, LAST_WORDS).decode(errors="replace")
    except BlockingIOError:
        return ""


def _write_bundle(instance: Instance, attachments: Attachments, facts: HostFacts, userns: int) -> None:
    if attachments.rootfs is None:
        raise Invalid("a container needs a root file system")
    run_dir = attachments.run_dir
    root = mount_root(attachments.rootfs, run_dir, userns, attachments.host_ids[0])
    known = BundleFacts(
        rootfs=str(root),
        userns=f"/proc/{os.getpid()}/fd/{userns}",
        architecture=facts.architecture,
        hybrid=facts.cgroups.hybrid,
        open_files=min(resource.getrlimit(resource.RLIMIT_NOFILE)[1], 1 << 20),
    )
    document = runtime_config(instance.spec, instance.name, attachments, known)
    bundle = run_dir / BUNDLE
    bundle.mkdir(mode=0o700, exist_ok=True)
    (bundle / "config.json").write_bytes(msgspec.json.encode(document))
