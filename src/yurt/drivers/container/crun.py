"""The container driver: an OCI runtime starts yurt-agent as PID 1 inside the instance's own namespaces.

The runtime runs once, detached, in a thread's private mount namespace that holds the container's root and hides
the unified hierarchy of a hybrid host, which crun 1.8 refuses. Nothing of it stays: what lives on is PID 1 and its
control group, and both are found again from the run directory. The agent waits for the end of its boot config, so
the network is up before the guest's first program runs.
"""

import asyncio
import contextlib
import errno
import fcntl
import logging
import os
import resource
import signal
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from yurt.drivers.base import (
    Attachments,
    Capabilities,
    DriverEvent,
    Launched,
    Observed,
    decode_launched,
    encode_launched,
)
from yurt.drivers.container import rootfs
from yurt.drivers.container.bundle import (
    AGENT_FDS,
    DEFAULT_PIDS,
    DEVICE_RULES,
    BundleFacts,
    boots_systemd,
    runtime_config,
)
from yurt.drivers.container.usernet import start_usernet
from yurt.drivers.container.userns import UserNamespaces
from yurt.errors import Invalid, NotFound, Timeout, ToolFailed, Unsupported, WrongState
from yurt.host import files, layout, mounts, proc
from yurt.host.cgroup import Group, Limits
from yurt.host.gate import bind_socket
from yurt.host.pidfd import exit_status
from yurt.model.host import HostFacts
from yurt.model.instance import Instance, Kind, NetworkMode, Phase, ResolvedSpec, Usage

if TYPE_CHECKING:
    from yurt.drivers.agent.client import AgentClient

log = logging.getLogger("yurt.crun")
RUNTIMES = ("crun", "runc")
START_TIMEOUT_S = 60.0
HALT_SYSTEMD = signal.SIGRTMIN + 3
FIRST_FREE_FD = 20
# Join the control group while single-threaded, put the two descriptors where the runtime passes them on, become it.
# The script is constant; all that varies are its arguments.
_ENTER = (
    'agent=$1 config=$2; shift 2; while [ "$1" != -- ]; do echo 0 >"$1" || exit 125; shift; done; shift; '
    'exec 3<&"$agent" 4<&"$config"; eval "exec $agent<&- $config<&-"; exec "$@"'
)


class CrunDriver:
    """Runs kind `container`. `facts` are this host's, found once per daemon."""

    name = "crun"

    def __init__(self, facts: HostFacts) -> None:
        self.facts = facts
        self._namespaces = UserNamespaces()

    def capabilities(self, facts: HostFacts) -> Capabilities:
        """Say what this driver can do here. Pure."""
        wanted = ("slirp4netns", "setpriv")
        missing = [tool for tool in wanted if tool not in facts.tools]
        if not any(name in facts.tools for name in RUNTIMES):
            missing.insert(0, "crun")
        reason = f"`{missing[0]}` is not installed" if missing else ""
        if not reason and not facts.user_namespaces:
            reason = "this host forbids user namespaces"
        return Capabilities(
            kinds=frozenset({Kind.CONTAINER}),
            available=not reason,
            reason=reason,
            fix="apt-get install crun slirp4netns util-linux" if missing else "",
            exit_code=True,
        )

    def check(self, spec: ResolvedSpec, capabilities: Capabilities) -> None:
        """Raise Invalid or Unsupported if this spec cannot be started. Pure."""
        if not capabilities.available:
            raise Unsupported(capabilities.reason, hint=capabilities.fix)
        if spec.kind not in capabilities.kinds:
            raise Unsupported(f"driver `{self.name}` does not run the kind `{spec.kind}`")

    def _group(self, run_dir: Path) -> Group:
        return Group(self.facts.cgroups, f"yurt/{run_dir.name}")

    async def start(self, instance: Instance, attachments: Attachments) -> Launched:
        """Start the container and return once its PID 1 has its configuration. On failure nothing of it is left."""
        if attachments.rootfs is None or attachments.agent_binary is None:
            raise Invalid("a container needs a root file system and the agent")
        if (await self.observe(attachments.run_dir)).phase in (Phase.RUNNING, Phase.PAUSED):
            raise WrongState(kind="instance", name=instance.name, actual="running", wanted="stopped")
        await self.cleanup(attachments.run_dir)
        try:
            return await self._start(instance, attachments)
        except BaseException:
            await self.cleanup(attachments.run_dir)
            raise

    async def _start(self, instance: Instance, attachments: Attachments) -> Launched:
        assert attachments.rootfs is not None
        spec, run_dir, (base, count) = instance.spec, attachments.run_dir, attachments.host_ids
        group = self._group(run_dir)
        await asyncio.to_thread(_make_group, group, spec, base)
        await rootfs.prepare_data(attachments.rootfs)
        config_read, config_write = os.pipe2(os.O_CLOEXEC)
        helpers: dict[str, tuple[int, int]] = {}
        try:
            async with self._namespaces.open(base, count, attachments.uid, attachments.gid) as userns:
                argv = await self._run(instance, attachments, group, userns, config_read)
            pid = int((run_dir / "pid").read_text())
            started = proc.process_start(pid)
            if started is None:
                raise ToolFailed(argv=argv, status="an early end", stderr=_words(run_dir))
            launched = self._record(spec, attachments, argv, pid, started, helpers)
            if spec.network is NetworkMode.USER:
                helper = await start_usernet(
                    pid, attachments.uid, attachments.gid, group, run_dir, run_dir / "network.log"
                )
                helpers["network"] = (helper.pid, helper.start)
                helper.close()
                launched = self._record(spec, attachments, argv, pid, started, helpers)
            await asyncio.to_thread(_write_all, config_write, attachments.config)
            return launched
        finally:
            os.close(config_read)
            os.close(config_write)

    def _record(
        self,
        spec: ResolvedSpec,
        attachments: Attachments,
        argv: tuple[str, ...],
        pid: int,
        started: int,
        helpers: dict[str, tuple[int, int]],
    ) -> Launched:
        launched = Launched(
            driver=self.name,
            pid=pid,
            process_start=started,
            argv=argv,
            versions={"kernel": self.facts.kernel},
            helpers=dict(helpers),
            spec=spec,
            attachments=attachments,
        )
        files.write_atomic(attachments.run_dir / layout.LAUNCHED, encode_launched(launched), durable=False)
        return launched

    async def _run(
        self, instance: Instance, attachments: Attachments, group: Group, userns: int, config: int
    ) -> tuple[str, ...]:
        """Run the runtime to the point where PID 1 runs. Returns its argv."""
        run_dir = attachments.run_dir
        runtime = next(self.facts.tools[name] for name in RUNTIMES if name in self.facts.tools)
        bundle = run_dir / "bundle"
        bundle.mkdir(mode=0o700, exist_ok=True)
        words: tuple[str, ...] = (runtime, "--root", str(run_dir / "crun"), "--log", str(run_dir / "crun.log"))
        if runtime.endswith("crun"):
            words += ("--cgroup-manager=disabled",)
        words += ("run", "--detach", "--bundle", str(bundle), "--pid-file", str(run_dir / "pid"))
        words += ("--preserve-fds", str(AGENT_FDS), run_dir.name)
        with bind_socket(run_dir / layout.AGENT_SOCKET) as listener:
            moved = [fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, FIRST_FREE_FD) for fd in (listener.fileno(), config)]
            joins = [str(path) for path in group.join_files]
            argv = ("bash", "-c", _ENTER, "yurt-enter", *map(str, moved), *joins, "--", *words)

            def enter() -> proc.Process:
                if self.facts.cgroups.hybrid:
                    _hide_unified(self.facts.cgroups.mounts.get("", "/sys/fs/cgroup/unified"))
                root = self._mount(attachments, userns)
                document = runtime_config(instance.spec, instance.name, attachments, self._facts(root, userns))
                (bundle / "config.json").write_bytes(msgspec.json.encode(document))
                return proc.spawn(argv, log_path=run_dir / layout.MACHINE_LOG, pass_fds=moved)

            try:
                process = await asyncio.to_thread(mounts.run_in_private_mounts, enter)
            finally:
                for descriptor in moved:
                    os.close(descriptor)
            try:
                async with asyncio.timeout(START_TIMEOUT_S):
                    status = await process.wait()
            except TimeoutError as error:
                raise Timeout(what="the container runtime", timeout_s=START_TIMEOUT_S) from error
            finally:
                await process.end(grace_s=0)
                process.close()
        if status != 0:
            raise ToolFailed(argv=words, status=proc.describe_status(status or 0), stderr=_words(run_dir))
        return words

    def _mount(self, attachments: Attachments, userns: int) -> Path:
        assert attachments.rootfs is not None
        base = attachments.host_ids[0]
        try:
            return rootfs.mount_root(attachments.rootfs, attachments.run_dir, userns, base)
        except Unsupported:
            rootfs.copy_tree(attachments.rootfs, attachments.run_dir, base)
            return rootfs.mount_root(attachments.rootfs, attachments.run_dir, userns, base)

    def _facts(self, root: Path, userns: int) -> BundleFacts:
        return BundleFacts(
            rootfs=str(root),
            userns=f"/proc/{os.getpid()}/fd/{userns}",
            cgroup_version=self.facts.cgroups.version,
            architecture=self.facts.architecture,
            open_files=min(resource.getrlimit(resource.RLIMIT_NOFILE)[1], 1 << 20),
        )

    def _process(self, run_dir: Path) -> tuple[Launched, proc.Process | None] | None:
        """The record and the living PID 1 of a run directory; None when nothing was started."""
        try:
            launched = decode_launched((run_dir / layout.LAUNCHED).read_bytes())
        except (FileNotFoundError, NotADirectoryError, msgspec.DecodeError):
            return None
        return launched, proc.Process.adopt(launched.pid, launched.process_start)

    async def observe(self, run_dir: Path) -> Observed:
        """Say what is there now. Works after a daemon restart; STOPPED when nothing was ever started."""
        found = self._process(run_dir)
        if found is None or found[1] is None:
            return Observed(phase=Phase.STOPPED)
        found[1].close()
        frozen = await asyncio.to_thread(self._group(run_dir).frozen)
        return Observed(phase=Phase.PAUSED if frozen else Phase.RUNNING, pid=found[0].pid)

    def _living(self, run_dir: Path) -> tuple[Launched, proc.Process]:
        found = self._process(run_dir)
        if found is None or found[1] is None:
            raise NotFound(kind="running container", name=run_dir.name)
        return found[0], found[1]

    async def stop(self, run_dir: Path, *, timeout_s: float) -> None:
        """Ask PID 1 to end, in the way its init understands; at once when none runs. Raises Timeout."""
        try:
            launched, process = self._living(run_dir)
        except NotFound:
            return
        spec = launched.spec
        process.send(HALT_SYSTEMD if spec is not None and boots_systemd(spec) else signal.SIGTERM)
        try:
            async with asyncio.timeout(timeout_s):
                await process.wait()
        except TimeoutError as error:
            raise Timeout(what="the container to stop", timeout_s=timeout_s) from error
        finally:
            process.close()

    async def kill(self, run_dir: Path) -> None:
        """End every process of the container now. Safe to repeat."""
        found = self._process(run_dir)
        group = self._group(run_dir)
        await asyncio.to_thread(group.kill)
        if found is not None and found[1] is not None:
            await found[1].end(grace_s=0)
            found[1].close()

    async def pause(self, run_dir: Path) -> None:
        """Freeze all its processes. Safe to repeat."""
        self._living(run_dir)[1].close()
        await asyncio.to_thread(self._group(run_dir).freeze)

    async def resume(self, run_dir: Path) -> None:
        """Let them go on. Safe to repeat."""
        self._living(run_dir)[1].close()
        await asyncio.to_thread(self._group(run_dir).thaw)

    async def cleanup(self, run_dir: Path) -> None:
        """End what is left and take away control group, helper, sockets and runtime state. Idempotent."""
        await self.kill(run_dir)
        found = self._process(run_dir)
        for pid, started in (found[0].helpers if found is not None else {}).values():
            if helper := proc.Process.adopt(pid, started):
                await helper.end(grace_s=0)
                helper.close()
        await asyncio.to_thread(self._group(run_dir).remove)
        await asyncio.to_thread(_clear, run_dir)

    async def events(self, run_dir: Path) -> AsyncIterator[DriverEvent]:
        """Yield `exited` when PID 1 has ended. One reader at a time."""
        found = self._process(run_dir)
        if found is None or found[1] is None:
            yield DriverEvent(type="exited")
            return
        process = found[1]
        descriptor = os.pidfd_open(process.pid)
        try:
            yield DriverEvent(type="running")
            await process.wait()
            status = exit_status(descriptor)
        finally:
            os.close(descriptor)
            process.close()
        killed = status is not None and status < 0
        yield DriverEvent(
            type="exited",
            exit_code=None if status is None else 128 - status if killed else status,
            reason=f"its first process ended by {proc.describe_status(status)}" if killed and status else "",
        )

    async def agent(self, run_dir: Path) -> "AgentClient":
        """Connect to the guest's agent. Raises NotFound when the container does not run."""
        from yurt.drivers.agent.client import AgentClient

        self._living(run_dir)[1].close()
        return await AgentClient.connect(run_dir / layout.AGENT_SOCKET)

    async def usage(self, run_dir: Path) -> Usage:
        """The counters of its control group. Raises NotFound when it does not run."""
        launched, process = self._living(run_dir)
        process.close()
        counted = await asyncio.to_thread(self._group(run_dir).usage)
        return Usage(
            name=run_dir.name,
            kind=Kind.CONTAINER,
            at=time.monotonic(),
            cpu_s=counted.cpu_s,
            memory_bytes=counted.memory_bytes,
            memory_limit_bytes=launched.spec.memory_bytes if launched.spec else 0,
            read_bytes=counted.read_bytes,
            write_bytes=counted.write_bytes,
            pids=counted.pids,
        )


def _make_group(group: Group, spec: ResolvedSpec, base: int) -> None:
    group.create(Limits(cpus=spec.cpus, memory_bytes=spec.memory_bytes, pids=DEFAULT_PIDS))
    group.restrict_devices(DEVICE_RULES)
    group.delegate(base, base)


def _hide_unified(mounted: str) -> None:
    with contextlib.suppress(Exception):
        mounts.unmount(Path(mounted), lazy=True)


def _write_all(descriptor: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        try:
            view = view[os.write(descriptor, view) :]
        except OSError as error:
            if error.errno == errno.EPIPE:
                raise ToolFailed("the container ended before it was configured", status="an early end") from error
            raise


def _words(run_dir: Path) -> str:
    """What the runtime said last."""
    texts = []
    for name in (layout.MACHINE_LOG, "crun.log"):
        with contextlib.suppress(FileNotFoundError):
            texts.append((run_dir / name).read_text(errors="replace")[-4096:])
    return "\n".join(texts)


def _clear(run_dir: Path) -> None:
    for name in (layout.AGENT_SOCKET, layout.LAUNCHED, "pid", "crun", "bundle", "rootfs", "lower", "data", "net"):
        files.remove_tree(run_dir / name)
        with contextlib.suppress(FileNotFoundError):
            (run_dir / name).unlink()
