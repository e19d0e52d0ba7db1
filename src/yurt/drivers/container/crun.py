"""The container driver: an OCI runtime starts yurt-agent as PID 1 inside the instance's own namespaces.

The runtime runs once and is gone; what lives on is PID 1 and its control group, and both are found again from the
run directory. There is no monitor process: the kernel tells through PID 1's pidfd when and how it ended. The agent
waits for the end of its boot config, so the network is up before the guest's first program runs, and a container
whose daemon dies while starting it ends by itself.
"""

import asyncio
import contextlib
import os
import shutil
import signal
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from yurt.drivers.base import (
    Adjusted,
    Attachments,
    Capabilities,
    DriverEvent,
    Launched,
    Observed,
    read_launched,
    write_launched,
)
from yurt.drivers.container.adjust import Adjustment, first_limits, has_rates, limit_rates
from yurt.drivers.container.bundle import DEVICE_RULES, boots_systemd, nests
from yurt.drivers.container.endings import ending, halt_signal
from yurt.drivers.container.launch import BUNDLE, PID_FILE, RUNTIME_STATE, launch
from yurt.drivers.container.nics import plug_in
from yurt.drivers.container.powers import DELEGATE, check_powers
from yurt.drivers.container.rootfs import MOUNT_POINTS, prepare_data
from yurt.drivers.container.usernet import start_usernet
from yurt.drivers.container.userns import UserNamespaces
from yurt.drivers.trees import clear_trees
from yurt.errors import Invalid, NotFound, Timeout, ToolFailed, Unsupported, WrongState
from yurt.host import layout, proc
from yurt.host.cgroup import Group
from yurt.host.cgroup_layout import remember_layout, remembered_layout
from yurt.host.pidfd import exit_status
from yurt.host.rlimits import check_open_files
from yurt.host.usage import namespace_usage
from yurt.model.host import HostFacts
from yurt.model.instance import Init, Instance, Kind, NetworkMode, Phase, ResolvedSpec, Usage

if TYPE_CHECKING:
    from yurt.drivers.agent.client import AgentClient

PACKAGES = {"crun": "crun", "slirp4netns": "slirp4netns", "setpriv": "util-linux"}


class CrunDriver:
    """Runs the kind `container`. `facts` are this host's, found once per daemon."""

    name = "crun"

    def __init__(self, facts: HostFacts) -> None:
        self.facts = facts
        self._namespaces = UserNamespaces()
        self._ended: set[str] = set()  # whom we have killed ourselves
        self._readers: dict[str, asyncio.Queue[DriverEvent | None]] = {}
        self._helpers: dict[str, proc.Process] = {}  # network helpers that are our children, to be reaped
        self._reaping: set[asyncio.Task[None]] = set()

    def capabilities(self, facts: HostFacts) -> Capabilities:
        """Say what this driver can do here. Pure."""
        missing = [tool for tool in PACKAGES if tool not in facts.tools]
        reason, fix = "", ""
        if missing:
            reason = f"`{missing[0]}` is not installed"
            fix = "apt-get install " + " ".join(sorted({PACKAGES[tool] for tool in missing}))
        elif not facts.root:
            reason, fix = "containers need root", "run the daemon as root"
        elif not facts.user_namespaces:
            reason, fix = "this host forbids user namespaces", "sysctl -w user.max_user_namespaces=15000"
        elif not facts.overlay:
            reason, fix = "this kernel has no overlay file system", "modprobe overlay"
        elif facts.cgroups.version == 0 and not facts.rootless:
            reason, fix = "no control groups are mounted", "mount -t cgroup2 cgroup2 /sys/fs/cgroup"
        return Capabilities(
            kinds=frozenset({Kind.CONTAINER}),
            available=not reason,
            reason=reason,
            fix=fix,
            exit_code=True,
            pause=facts.cgroups.version != 0,
        )

    def check(self, spec: ResolvedSpec, capabilities: Capabilities) -> None:
        """Raise Invalid or Unsupported if this spec cannot be started. Pure."""
        if not capabilities.available:
            raise Unsupported(capabilities.reason, hint=capabilities.fix)
        if spec.kind not in capabilities.kinds:
            raise Unsupported(f"driver `{self.name}` does not run the kind `{spec.kind}`")
        check_powers(spec, self.facts)
        if spec.init is Init.IMAGE and not spec.init_path:
            raise Invalid(f"image `{spec.image}` has no init to boot", hint="name a command to run")
        check_open_files(spec.limits.open_files)

    async def start(self, instance: Instance, attachments: Attachments) -> Launched:
        """Start the container and return once its PID 1 has its configuration.

        On failure nothing of it is left running or mounted, and the error says why (ToolFailed).
        """
        if attachments.rootfs is None or attachments.agent_binary is None:
            raise Invalid("a container needs a root file system and the agent")
        run_dir = attachments.run_dir
        if (await self.observe(run_dir)).phase in (Phase.RUNNING, Phase.PAUSED):
            raise WrongState(kind="instance", name=instance.name, actual="running", wanted="stopped")
        if self._group(run_dir).exists() or (run_dir / layout.LAUNCHED).exists():
            await self.cleanup(run_dir)
        self._ended.discard(run_dir.name)
        try:
            return await self._start(instance, attachments)
        except BaseException:
            await self.cleanup(run_dir)
            raise

    async def _start(self, instance: Instance, attachments: Attachments) -> Launched:
        assert attachments.rootfs is not None
        run_dir, (base, count) = attachments.run_dir, attachments.host_ids
        remember_layout(run_dir, self.facts.cgroups)
        group = self._group(run_dir, unified=boots_systemd(instance.spec))
        _make_group(group, instance.spec, base)
        await prepare_data(attachments.rootfs, run_dir)
        config_read, config_write = os.pipe2(os.O_CLOEXEC)
        try:
            async with self._namespaces.open(base, count, attachments.uid, attachments.gid) as userns:
                argv, pid, started = await launch(
                    instance, attachments, self.facts, group, userns, config_read
                )
            if has_rates(instance.spec):
                await asyncio.to_thread(limit_rates, group, instance.spec, attachments.rootfs)
            launched = Launched(
                driver=self.name,
                pid=pid,
                process_start=started,
                argv=argv,
                versions={"kernel": self.facts.kernel},
                spec=instance.spec,
                attachments=attachments,
            )
            if instance.spec.network is NetworkMode.USER:
                launched = await self._network(launched, attachments)
            else:
                write_launched(run_dir, launched)
            if attachments.nics:
                await asyncio.to_thread(plug_in, pid, attachments.nics)
            await asyncio.to_thread(_write_all, config_write, attachments.config)
            return launched
        finally:
            os.close(config_read)
            os.close(config_write)

    async def _network(self, launched: Launched, attachments: Attachments) -> Launched:
        run_dir = attachments.run_dir
        complete = launched

        def record(helper: proc.Process) -> None:
            nonlocal complete
            helpers = {"network": (helper.pid, helper.start)}
            complete = msgspec.structs.replace(launched, helpers=helpers)
            write_launched(run_dir, complete)

        self._helpers[run_dir.name] = await start_usernet(launched, attachments, record)
        return complete

    def _group(self, run_dir: Path, *, unified: bool = True) -> Group:
        """The guest's control group, where the daemon that started it made it: another session nests elsewhere.

        Known from before anything is made, so a half-started guest is found too.
        """
        cgroups = remembered_layout(run_dir, self.facts.cgroups)
        return Group(cgroups, f"yurt/{run_dir.name}", unified=unified)

    def _find(self, run_dir: Path) -> tuple[Launched, proc.Process | None] | None:
        """The record of what was started, and its living PID 1; None when nothing was."""
        launched = read_launched(run_dir)
        if launched is None:
            return None
        return launched, proc.Process.adopt(launched.pid, launched.process_start)

    def _living(self, run_dir: Path) -> tuple[Launched, proc.Process]:
        found = self._find(run_dir)
        if found is None or found[1] is None:
            raise NotFound(kind="running container", name=run_dir.name)
        return found[0], found[1]

    async def observe(self, run_dir: Path) -> Observed:
        """Say what is there now. Works after a daemon restart; STOPPED when nothing was ever started."""
        found = self._find(run_dir)
        if found is None or found[1] is None:
            return Observed(phase=Phase.STOPPED)
        found[1].close()
        frozen = self._group(run_dir).frozen()
        return Observed(phase=Phase.PAUSED if frozen else Phase.RUNNING, pid=found[0].pid)

    async def stop(self, run_dir: Path, *, timeout_s: float) -> None:
        """Ask PID 1 to end in the way its init understands; at once when none runs. Raises Timeout."""
        try:
            launched, process = self._living(run_dir)
        except NotFound:
            return
        try:
            process.send(halt_signal(launched.spec))
            async with asyncio.timeout(timeout_s):
                await process.wait()
        except TimeoutError as error:
            raise Timeout(what="the container to stop", timeout_s=timeout_s) from error
        finally:
            process.close()

    async def kill(self, run_dir: Path) -> None:
        """End every process of the container now, frozen ones too. Returns when none is left. Safe to repeat."""
        found = self._find(run_dir)
        process = found[1] if found is not None else None
        if process is not None:
            self._ended.add(run_dir.name)
        group = self._group(run_dir)
        await asyncio.to_thread(group.kill)
        if process is not None:
            await process.end(grace_s=0)  # the kernel ends a pid namespace before its first process is gone
            process.close()

    async def pause(self, run_dir: Path) -> None:
        """Freeze all its processes. Safe to repeat. Raises NotFound when it does not run."""
        await self._freeze(run_dir, True)

    async def resume(self, run_dir: Path) -> None:
        """Let them go on. Safe to repeat. Raises NotFound when it does not run."""
        await self._freeze(run_dir, False)

    async def _freeze(self, run_dir: Path, wanted: bool) -> None:
        self._living(run_dir)[1].close()
        group = self._group(run_dir)
        if not group.bases:
            raise Unsupported("no control groups are ours, so a container cannot be paused", hint=DELEGATE)
        if group.frozen() == wanted:
            return
        await asyncio.to_thread(group.freeze if wanted else group.thaw)
        if reader := self._readers.get(run_dir.name):
            reader.put_nowait(DriverEvent(type="paused" if wanted else "running"))

    async def cleanup(self, run_dir: Path) -> None:
        """End what is left and take away the control group, network helper, sockets and runtime state. Idempotent.

        Mounts and loop devices need nothing: they went with the container's mount namespace.
        """
        helper = self._helpers.pop(run_dir.name, None) or self._adopt_helper(run_dir)
        if helper is not None:
            helper.send(signal.SIGKILL)
            # nobody waits for it: taking its interface down keeps the kernel busy longer than all the rest
            task = asyncio.create_task(_reap(helper))
            self._reaping.add(task)
            task.add_done_callback(self._reaping.discard)
        await self.kill(run_dir)
        await asyncio.to_thread(self._group(run_dir).remove)
        await asyncio.to_thread(_clear, run_dir)
        self._ended.discard(run_dir.name)

    def _adopt_helper(self, run_dir: Path) -> proc.Process | None:
        found = self._find(run_dir)
        pid, started = found[0].helpers.get("network", (0, 0)) if found is not None else (0, 0)
        return proc.Process.adopt(pid, started) if pid else None

    async def events(self, run_dir: Path) -> AsyncIterator[DriverEvent]:
        """Yield `paused` and `running`, `failed` when its memory ran out, and how PID 1 `exited`."""
        found = self._find(run_dir)
        if found is None or found[1] is None:
            yield DriverEvent(type="exited")
            return
        process = found[1]
        pidfd = os.pidfd_open(process.pid)
        reader: asyncio.Queue[DriverEvent | None] = asyncio.Queue()
        self._readers[run_dir.name] = reader
        end = asyncio.create_task(process.wait())
        end.add_done_callback(lambda _: reader.put_nowait(None))
        try:
            while (event := await reader.get()) is not None:
                yield event
            status = exit_status(pidfd, process.pid, process.start)
            if helper := self._helpers.get(run_dir.name):
                helper.send(signal.SIGKILL)
        finally:
            end.cancel()
            self._readers.pop(run_dir.name, None)
            os.close(pidfd)
            process.close()
        killed = run_dir.name in self._ended
        if status == -signal.SIGKILL and not killed and (limit := self._ran_out_of_memory(run_dir)):
            size = limit >> 20
            hint = "give it more with `--memory`"
            yield DriverEvent(
                type="failed", reason=f"it needed more than its {size} MiB of memory", hint=hint
            )
        yield ending(status, killed=killed)

    def _ran_out_of_memory(self, run_dir: Path) -> int:
        """The memory limit that ended one of its processes; 0 when none did."""
        with contextlib.suppress(NotFound):
            counted = self._group(run_dir).usage()
            return counted.memory_limit_bytes if counted.oom_kills else 0
        return 0

    async def detach(self) -> None:
        """Let go of everything that is held for running guests, which run on; helpers killed before are reaped."""
        if self._reaping:
            await asyncio.wait(self._reaping)
        while self._helpers:
            self._helpers.popitem()[1].close()
        self._namespaces.close()

    async def agent(self, run_dir: Path) -> "AgentClient":
        """Connect to the guest's agent. Raises NotFound when the container does not run."""
        from yurt.drivers.agent.client import AgentClient

        self._living(run_dir)[1].close()
        return await AgentClient.connect(run_dir / layout.AGENT_SOCKET)

    async def adjust(
        self, run_dir: Path, before: ResolvedSpec, after: ResolvedSpec, *, dry_run: bool = False
    ) -> Adjusted:
        """Change limits and grow the disk while it runs. Safe to repeat. Raises NotFound when it does not run."""
        launched, process = self._living(run_dir)
        process.close()
        assert launched.attachments is not None and launched.attachments.rootfs is not None
        rootfs, group = launched.attachments.rootfs, self._group(run_dir)
        return await Adjustment(group, rootfs, run_dir, before, after, dry_run=dry_run).run()

    async def usage(self, run_dir: Path) -> Usage:
        """The counters of its control group. Raises NotFound when it does not run."""
        process = self._living(run_dir)[1]
        process.close()
        group = self._group(run_dir)
        counted = await asyncio.to_thread(
            group.usage if group.bases else lambda: namespace_usage(process.pid)
        )
        return Usage(
            name=run_dir.name,  # the driver knows no other; the engine puts the instance's name here
            kind=Kind.CONTAINER,
            at=time.monotonic(),
            cpu_s=counted.cpu_s,
            memory_bytes=counted.memory_bytes,
            memory_limit_bytes=counted.memory_limit_bytes,
            read_bytes=counted.read_bytes,
            write_bytes=counted.write_bytes,
            pids=counted.pids,
        )


def _make_group(group: Group, spec: ResolvedSpec, base: int) -> None:
    if not group.bases:  # `check` has refused what would need one
        return
    group.create(first_limits(spec))
    group.restrict_devices(DEVICE_RULES)
    if spec.init is Init.IMAGE or nests(spec):
        group.delegate(base, base)


async def _reap(helper: proc.Process) -> None:
    await helper.wait()
    helper.close()


def _write_all(descriptor: int, data: bytes) -> None:
    view = memoryview(data)
    try:
        while view:
            view = view[os.write(descriptor, view) :]
    except BrokenPipeError as error:
        text = "the container ended before it was configured"
        raise ToolFailed(text, status="an early end") from error


def _clear(run_dir: Path) -> None:
    for name in (layout.AGENT_SOCKET, layout.LAUNCHED, PID_FILE, layout.CGROUPS):
        (run_dir / name).unlink(missing_ok=True)
    for name in (BUNDLE, RUNTIME_STATE):
        with contextlib.suppress(FileNotFoundError):
            shutil.rmtree(run_dir / name)
    clear_trees(run_dir)
    for name in MOUNT_POINTS:
        with contextlib.suppress(FileNotFoundError):
            (run_dir / name).rmdir()
