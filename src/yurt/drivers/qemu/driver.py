"""What both QEMU drivers have in common: the Driver protocol over one `Machine` per run directory.

A run directory is enough to find a machine again, so every method also works in a daemon that has not started it.
"""

import asyncio
import contextlib
import functools
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import TYPE_CHECKING

from yurt.drivers.base import (
    Adjusted,
    Attachments,
    Capabilities,
    DriverEvent,
    GuestMemory,
    Launched,
    Observed,
    read_launched,
)
from yurt.drivers.qemu import adjust, balloon
from yurt.drivers.qemu import process as qemu
from yurt.drivers.qemu.adjust import Change
from yurt.drivers.qemu.console import SocketConsole
from yurt.drivers.qemu.limits import adjust_around, asked_limits, merged
from yurt.drivers.qemu.machine import Machine
from yurt.drivers.qemu.monitor import Monitor
from yurt.drivers.qemu.room import Room, room_for
from yurt.drivers.qemu.shares import open_shares
from yurt.drivers.qemu.throttle import limit_node
from yurt.drivers.qemu.volumes import disk_name
from yurt.errors import Invalid, NotFound, Timeout, Unavailable, Unsupported, WrongState
from yurt.host import layout
from yurt.host.cgroup_limits import require_controllers
from yurt.host.proc import process_start
from yurt.host.rlimits import check_open_files
from yurt.host.usage import process_usage
from yurt.model.host import HostFacts
from yurt.model.instance import Instance, Kind, Phase, ResolvedSpec, Usage

if TYPE_CHECKING:
    from yurt.drivers.agent.client import AgentClient

PROGRAMS = ("qemu-system-x86_64", "setpriv")


class QemuDriver:
    """A driver for one kind of machine. `facts` are this host's, found once per daemon."""

    name: str
    kind: Kind
    min_memory_bytes: int

    def __init__(self, facts: HostFacts) -> None:
        self.facts = facts
        self._machines: dict[Path, Machine] = {}
        self._locks: dict[Path, asyncio.Lock] = {}
        self._changes: dict[Path, asyncio.Lock] = {}  # one change of a machine's devices at a time

    def capabilities(self, facts: HostFacts) -> Capabilities:
        """Say what this driver can do here. Pure."""
        missing = [program for program in PROGRAMS if program not in facts.tools]
        foreign = facts.architecture not in ("x86_64", "amd64")
        return Capabilities(
            kinds=frozenset({self.kind}),
            available=not missing and not foreign,
            reason=f"`{missing[0]}` is not installed" if missing else "only x86-64 hosts" if foreign else "",
            fix="apt-get install qemu-system-x86 util-linux" if missing else "",
            min_memory_bytes=self.min_memory_bytes,
        )

    def check(self, spec: ResolvedSpec, capabilities: Capabilities) -> None:
        """Raise Invalid or Unsupported if this spec cannot be started. Pure."""
        if not capabilities.available:
            raise Unsupported(capabilities.reason, hint=capabilities.fix)
        if spec.kind not in capabilities.kinds:
            raise Unsupported(f"driver `{self.name}` does not run the kind `{spec.kind}`")
        if spec.memory_bytes < capabilities.min_memory_bytes:
            least = capabilities.min_memory_bytes >> 20
            raise Invalid(f"a {spec.kind} needs at least {least}M of memory", hint=f"use `--memory {least}M`")
        check_open_files(spec.limits.open_files)
        require_controllers(asked_limits(spec), self.facts.cgroups)
        if spec.disk_bytes <= 0:
            raise Invalid(f"a {spec.kind} needs a disk size", hint="use `--disk 4G`")

    def check_attachments(self, attachments: Attachments) -> None:
        """Raise Invalid unless all is there that this kind of machine boots from."""
        if attachments.disk is None:
            raise Invalid(f"a {self.kind} needs a disk")

    async def start(self, instance: Instance, attachments: Attachments) -> Launched:
        """Start QEMU and return once its monitor answers. On failure nothing of it is left."""
        run_dir = attachments.run_dir
        self.check_attachments(attachments)
        async with self._lock(run_dir):
            if self._runs(run_dir):
                raise WrongState(kind="instance", name=instance.name, actual="running", wanted="stopped")
            clear = functools.partial(qemu.clear, run_dir, self.facts.cgroups, attachments.cgroup)
            await asyncio.to_thread(clear)
            async with open_shares(attachments) as shares:
                launching = asyncio.create_task(
                    asyncio.to_thread(qemu.launch, self.name, instance, attachments, self.facts, shares)
                )
                try:
                    started = await asyncio.shield(launching)
                    self._machines[run_dir] = await Machine.start(run_dir, started)
                except BaseException:
                    await qemu.abandon(launching)
                    await asyncio.to_thread(clear)
                    raise
        return started.launched

    async def observe(self, run_dir: Path) -> Observed:
        """Say what is there now. Works after a daemon restart; STOPPED when nothing was ever started."""
        async with self._lock(run_dir):
            machine = await self._find(run_dir)
        if machine is None:
            held = self._machines.get(run_dir)
            return Observed(phase=held.phase, reason=held.reason) if held else Observed(phase=Phase.STOPPED)
        phase, reason = await machine.observe()
        return Observed(phase=phase, reason=reason, pid=None if machine.ended else machine.process.pid)

    async def stop(self, run_dir: Path, *, timeout_s: float) -> None:
        """Press the power button and return when QEMU has ended, at once when none runs.

        Raises Timeout; the guest then runs on.
        """
        async with self._lock(run_dir):
            machine = await self._find(run_dir)
        if machine is None:
            return
        try:
            async with asyncio.timeout(timeout_s):
                with contextlib.suppress(Unavailable):  # it may be ending right now
                    await (await machine.qmp()).power_button()
                await machine.wait()
        except TimeoutError as error:
            raise Timeout(what="the guest to stop", timeout_s=timeout_s) from error

    async def kill(self, run_dir: Path) -> None:
        """End QEMU now. Returns when no process is left. Safe to repeat."""
        async with self._lock(run_dir):
            machine = await self._find(run_dir)
        if machine is not None:
            await machine.kill()

    async def pause(self, run_dir: Path) -> None:
        """Hold the vCPUs. Safe to repeat."""
        monitor = await (await self._get(run_dir)).qmp()
        await monitor.pause()

    async def resume(self, run_dir: Path) -> None:
        """Let the vCPUs run. Safe to repeat."""
        monitor = await (await self._get(run_dir)).qmp()
        await monitor.resume()

    async def cleanup(self, run_dir: Path) -> None:
        """Take away sockets, record and control group; a QEMU that still runs is ended. Idempotent."""
        await self.kill(run_dir)
        async with self._lock(run_dir):
            if machine := self._machines.pop(run_dir, None):
                await machine.detach()
            await asyncio.to_thread(qemu.clear, run_dir, self.facts.cgroups, qemu.group_name(run_dir))
        self._locks.pop(run_dir, None)
        self._changes.pop(run_dir, None)

    async def events(self, run_dir: Path) -> AsyncIterator[DriverEvent]:
        """Yield what happens to the guest until, and including, `exited`. One reader at a time."""
        async with self._lock(run_dir):
            machine = await self._find(run_dir) or self._machines.get(run_dir)
        if machine is None:
            yield DriverEvent(type="exited")
            return
        async for event in machine.events():
            yield event

    async def agent(self, run_dir: Path) -> "AgentClient":
        """Connect to the guest's agent. Raises NotFound when the machine does not run."""
        from yurt.drivers.agent.client import AgentClient

        await self._get(run_dir)
        return await AgentClient.connect(run_dir / layout.AGENT_SOCKET)

    async def console(self, run_dir: Path) -> SocketConsole:
        """Connect to the serial console. Raises NotFound when the machine does not run."""
        await self._get(run_dir)
        return await SocketConsole.connect(run_dir / layout.CONSOLE_SOCKET)

    async def usage(self, run_dir: Path) -> Usage:
        """Counters of the QEMU process; disk bytes are the guest's own. Raises NotFound when it does not run."""
        machine = await self._get(run_dir)
        cpu_s, memory_bytes = await asyncio.to_thread(process_usage, machine.process.pid)
        monitor = await machine.qmp()
        read, written = await monitor.disk_bytes()
        memory = await balloon.get_memory(monitor)
        return Usage(
            name=run_dir.name,  # the driver knows no other; the engine puts the instance's name here
            kind=self.kind,
            at=time.monotonic(),
            cpu_s=cpu_s,
            memory_bytes=memory_bytes,
            memory_limit_bytes=memory.total_bytes,
            balloon_bytes=memory.total_bytes - memory.given_bytes,
            read_bytes=read,
            write_bytes=written,
            pids=1,
        )

    async def adjust(
        self, run_dir: Path, before: ResolvedSpec, after: ResolvedSpec, *, dry_run: bool = False
    ) -> Adjusted:
        """Change sizes and disk rates of a running machine; see SupportsAdjust. Raises NotFound when it does not run."""
        machine = await self._get(run_dir)
        launched, group = machine.launched, qemu.group_of(run_dir, self.facts.cgroups)
        disk = launched.attachments.disk if launched.attachments else None
        change = Change(
            before=before,
            after=after,
            room=self._room(launched.spec or before),
            virtio_disk=disk is not None and disk.virtio,
            accelerator=launched.accelerator,
            dry_run=dry_run,
        )
        async with self._changing(run_dir) as monitor:
            around = await adjust_around(
                group, machine.process.pid, before, after, launched.accelerator, dry_run=dry_run
            )
            return merged((around, await adjust.adjust(monitor, change)))

    async def memory(self, run_dir: Path) -> GuestMemory:
        """How much memory a running machine has. Raises NotFound when it does not run."""
        return await balloon.get_memory(await (await self._get(run_dir)).qmp())

    async def set_balloon(self, run_dir: Path, given_bytes: int) -> int:
        """Let the guest have this much of its memory; returns how much it has afterwards. Raises NotFound, ToolFailed."""
        async with self._changing(run_dir) as monitor:
            return await balloon.set_balloon(monitor, given_bytes)

    async def resize_disk(self, run_dir: Path, name: str, size_bytes: int) -> bool:
        """Let a volume's disk grow and tell the guest; False when it is not plugged in. Raises NotFound, ToolFailed."""
        async with self._changing(run_dir) as monitor:
            return await monitor.grow_disk(limit_node(disk_name(name)), size_bytes)

    async def detach(self) -> None:
        """Let go of every machine without touching it, as a daemon does that is about to end."""
        for run_dir in list(self._machines):
            async with self._lock(run_dir):
                if machine := self._machines.pop(run_dir, None):
                    await machine.detach()

    def _room(self, started: ResolvedSpec) -> Room:
        """The room of a machine that was started with this spec, on this host."""
        return room_for(
            started.kind, started.cpus, started.memory_bytes, self.facts.cpus, self.facts.memory_bytes
        )

    @contextlib.asynccontextmanager
    async def _changing(self, run_dir: Path) -> AsyncIterator[Monitor]:
        """The monitor of a running machine for one change of its devices. Raises NotFound, Unavailable."""
        machine = await self._get(run_dir)
        async with self._changes.setdefault(run_dir, asyncio.Lock()):
            yield await machine.qmp()

    def _lock(self, run_dir: Path) -> asyncio.Lock:
        return self._locks.setdefault(run_dir, asyncio.Lock())

    def _runs(self, run_dir: Path) -> bool:
        """Whether a machine runs, also one that this daemon does not hold."""
        if held := self._machines.get(run_dir):
            return not held.ended
        launched = read_launched(run_dir)
        return launched is not None and process_start(launched.pid) == launched.process_start

    async def _find(self, run_dir: Path) -> Machine | None:
        """The running machine of a run directory, adopted if need be; None when none runs. Call with the lock held."""
        held = self._machines.get(run_dir)
        if held is not None:
            return None if held.ended else held
        launched = read_launched(run_dir)
        if launched is None or launched.driver != self.name:
            return None
        machine = await Machine.adopt(run_dir, launched)
        if machine is not None:
            self._machines[run_dir] = machine
        return machine

    async def _get(self, run_dir: Path) -> Machine:
        async with self._lock(run_dir):
            machine = await self._find(run_dir)
        if machine is None:
            raise NotFound(kind="running machine", name=run_dir.name)
        return machine
