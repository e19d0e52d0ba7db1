"""The `fake` driver: guests of any kind that are ordinary little processes of this host.

Each guest is yurt-agent as a program on the host, so exec, cp and exit codes are real while nothing boots. It ships, and
passes the same conformance suite as the others; tests of everything above the drivers use it. It isolates nothing.
"""

import asyncio
import contextlib
import os
import signal
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import TYPE_CHECKING

from msgspec.structs import replace

from yurt.drivers.base import (
    Adjusted,
    Attachments,
    Capabilities,
    DriverEvent,
    GuestMemory,
    Launched,
    NicAttachment,
    Observed,
    VolumeAttachment,
    read_launched,
    write_launched,
)
from yurt.errors import Invalid, NotFound, Timeout, Unavailable, Unsupported, WrongState
from yurt.host import layout, proc
from yurt.host.gate import bind_socket, spawn_recorded
from yurt.host.usage import process_usage
from yurt.model.host import HostFacts
from yurt.model.instance import Instance, Kind, Phase, ResolvedSpec, Usage
from yurt.model.limits import Limits

if TYPE_CHECKING:
    from yurt.drivers.agent.client import AgentClient


class FakeDriver:
    """Driver for every kind. What it knows of a guest beyond its run directory it can find again."""

    name = "fake"

    def __init__(self) -> None:
        self._guests: dict[Path, _Guest] = {}

    def capabilities(self, facts: HostFacts) -> Capabilities:
        """Everything but a console, everywhere. Pure."""
        return Capabilities(kinds=frozenset(Kind), console=False, exit_code=True)

    def check(self, spec: ResolvedSpec, capabilities: Capabilities) -> None:
        """Raise Unsupported if the capabilities do not cover the spec. Pure."""
        if not capabilities.available or spec.kind not in capabilities.kinds:
            raise Unsupported(
                capabilities.reason or f"driver `{self.name}` does not run the kind `{spec.kind}`"
            )

    async def start(self, instance: Instance, attachments: Attachments) -> Launched:
        """Start an agent on this host. Raises Invalid without a binary, ToolFailed when that cannot run."""
        run_dir = attachments.run_dir
        if self._find(run_dir) is not None:
            raise WrongState(kind="instance", name=instance.name, actual="running", wanted="stopped")
        if attachments.agent_binary is None:
            raise Invalid("a fake guest needs the agent's binary")
        _clear(run_dir)
        try:
            launched, process = _launch(instance, attachments, attachments.agent_binary)
        except BaseException:
            _clear(run_dir)
            raise
        self._guests[run_dir] = _Guest(process, launched)
        return launched

    async def observe(self, run_dir: Path) -> Observed:
        """Say what is there now, by the process's state."""
        guest = self._find(run_dir)
        if guest is None:
            ended = self._guests.get(run_dir)
            code = ended.exit_code if ended else None
            return Observed(phase=Phase.STOPPED, exit_code=code)
        phase = Phase.PAUSED if _state(guest.process.pid) == "T" else Phase.RUNNING
        return Observed(phase=phase, pid=guest.process.pid)

    async def stop(self, run_dir: Path, *, timeout_s: float) -> None:
        """Ask with SIGTERM, which a paused guest cannot hear. Raises Timeout; the guest then runs on."""
        guest = self._find(run_dir)
        if guest is None:
            return
        guest.process.send(signal.SIGTERM)
        try:
            async with asyncio.timeout(timeout_s):
                await guest.wait()
        except TimeoutError as error:
            raise Timeout(what="the guest to stop", timeout_s=timeout_s) from error

    async def kill(self, run_dir: Path) -> None:
        """End the guest and every program in it. Safe to repeat."""
        guest = self._find(run_dir)
        if guest is not None:
            with contextlib.ExitStack() as held:
                for process in _programs(guest.process.pid):
                    held.callback(process.close)
                    process.send(signal.SIGKILL)
                await guest.process.end(grace_s=0)
            await guest.wait()

    async def pause(self, run_dir: Path) -> None:
        """Stop the agent and its programs; returns when the agent stands still. Safe to repeat."""
        await self._signal_all(run_dir, signal.SIGSTOP, "paused")
        guest = self._get(run_dir)
        # the kernel tells only a parent of this, and an earlier daemon may have been that: so look
        while guest.process.alive() and _state(guest.process.pid) != "T":  # noqa: ASYNC110
            await asyncio.sleep(0.001)

    async def resume(self, run_dir: Path) -> None:
        """Let them go on. Safe to repeat."""
        await self._signal_all(run_dir, signal.SIGCONT, "running")

    async def _signal_all(self, run_dir: Path, number: signal.Signals, event: str) -> None:
        guest = self._get(run_dir)
        before = await self.observe(run_dir)
        for process in (guest.process, *_programs(guest.process.pid)):
            process.send(number)
        if before.phase is not (Phase.PAUSED if event == "paused" else Phase.RUNNING):
            guest.tell(DriverEvent(type=event))

    async def cleanup(self, run_dir: Path) -> None:
        """Take away the socket and the record; a guest that still runs is ended. Idempotent."""
        await self.kill(run_dir)
        if guest := self._guests.pop(run_dir, None):
            await guest.let_go()
        _clear(run_dir)

    async def events(self, run_dir: Path) -> AsyncIterator[DriverEvent]:
        """Yield pauses and resumes, and at last `exited` with the agent's exit code where it was ours."""
        guest = self._find(run_dir) or self._guests.get(run_dir)
        if guest is None:
            yield DriverEvent(type="exited")
            return
        while True:
            event = await guest.news.get()
            yield event
            if event.type == "exited":
                return

    async def agent(self, run_dir: Path) -> "AgentClient":
        """Connect to the guest's agent. Raises NotFound when it does not run."""
        from yurt.drivers.agent.client import AgentClient

        self._get(run_dir)
        return await AgentClient.connect(run_dir / layout.AGENT_SOCKET)

    async def usage(self, run_dir: Path) -> Usage:
        """Counters of the agent's process. Raises NotFound when it does not run."""
        guest = self._get(run_dir)
        cpu_s, memory_bytes = process_usage(guest.process.pid)
        spec = guest.launched.spec
        return Usage(
            name=run_dir.name,
            kind=spec.kind if spec else Kind.CONTAINER,
            at=time.monotonic(),
            cpu_s=cpu_s,
            memory_bytes=memory_bytes,
            memory_limit_bytes=spec.memory_bytes if spec else 0,
            read_bytes=0,
            write_bytes=0,
            pids=1 + len(_descendants(guest.process.pid)),
        )

    async def adjust(
        self, run_dir: Path, before: ResolvedSpec, after: ResolvedSpec, *, dry_run: bool = False
    ) -> Adjusted:
        """Write down the new sizes and limits, which hold nothing here. Raises NotFound when it does not run."""
        guest = self._get(run_dir)
        changed = differing(before, after)
        if changed and not dry_run:
            guest.write(replace(guest.launched, spec=after))
        return Adjusted(applied=changed)

    async def memory(self, run_dir: Path) -> GuestMemory:
        """All of the spec's memory, less what `set_balloon` has taken in this daemon's time."""
        guest = self._get(run_dir)
        total = guest.launched.spec.memory_bytes if guest.launched.spec else 0
        return GuestMemory(total_bytes=total, given_bytes=total - guest.balloon_bytes, balloon=True)

    async def set_balloon(self, run_dir: Path, given_bytes: int) -> int:
        """Write down how much memory the guest has."""
        guest, memory = self._get(run_dir), await self.memory(run_dir)
        guest.balloon_bytes = max(0, memory.total_bytes - given_bytes)
        return memory.total_bytes - guest.balloon_bytes

    async def attach_disk(self, run_dir: Path, volume: VolumeAttachment) -> None:
        """Write down that the guest has this disk. Safe to repeat. Raises Invalid, Unavailable, NotFound."""
        if volume.directory:
            raise Invalid("a file-system volume is no disk")
        if not volume.path.exists():
            raise Unavailable(f"cannot open `{volume.path}`")
        self._change(run_dir, volumes=lambda given: (*_other_volumes(given, volume.name), volume))

    async def detach_disk(self, run_dir: Path, name: str) -> None:
        """Write down that it has not. Safe to repeat. Raises NotFound."""
        self._change(run_dir, volumes=lambda given: _other_volumes(given, name))

    async def attach_nic(self, run_dir: Path, nic: NicAttachment) -> None:
        """Write down that the guest has this NIC. Safe to repeat. Raises NotFound."""
        self._change(run_dir, nics=lambda given: (*_other_nics(given, nic.index), nic))

    async def detach_nic(self, run_dir: Path, index: int) -> None:
        """Write down that it has not. Safe to repeat. Raises NotFound."""
        self._change(run_dir, nics=lambda given: _other_nics(given, index))

    def _change(self, run_dir: Path, **fields: Callable[[Attachments], tuple[object, ...]]) -> None:
        guest = self._get(run_dir)
        given = guest.launched.attachments
        if given is not None:
            made = replace(given, **{name: change(given) for name, change in fields.items()})
            guest.write(replace(guest.launched, attachments=made))

    async def detach(self) -> None:
        """Let go of every guest without touching it."""
        for guest in self._guests.values():
            await guest.let_go()
        self._guests.clear()

    def _find(self, run_dir: Path) -> "_Guest | None":
        held = self._guests.get(run_dir)
        if held is not None:
            return held if held.process.alive() else None
        launched = read_launched(run_dir)
        if launched is None:
            return None
        process = proc.Process.adopt(launched.pid, launched.process_start)
        if process is None:
            return None
        self._guests[run_dir] = _Guest(process, launched)
        return self._guests[run_dir]

    def _get(self, run_dir: Path) -> "_Guest":
        guest = self._find(run_dir)
        if guest is None:
            raise NotFound(kind="running guest", name=run_dir.name)
        return guest


class _Guest:
    """A guest that this daemon holds: its process and what there is to tell about it."""

    def __init__(self, process: proc.Process, launched: Launched) -> None:
        self.process, self.launched = process, launched
        self.balloon_bytes = 0
        self.exit_code: int | None = None
        self.news: asyncio.Queue[DriverEvent] = asyncio.Queue()
        self._follow = asyncio.create_task(self._wait_end())

    async def _wait_end(self) -> None:
        status = await self.process.wait()
        self.exit_code = 128 - status if status is not None and status < 0 else status
        self.tell(DriverEvent(type="exited", exit_code=self.exit_code))

    def tell(self, event: DriverEvent) -> None:
        self.news.put_nowait(event)

    def write(self, launched: Launched) -> None:
        """Write down what the guest is now, for the next daemon too."""
        self.launched = launched
        if launched.attachments is not None:
            write_launched(launched.attachments.run_dir, launched)

    async def wait(self) -> None:
        await asyncio.shield(self._follow)

    async def let_go(self) -> None:
        self._follow.cancel()
        await asyncio.gather(self._follow, return_exceptions=True)
        self.process.close()


def _launch(instance: Instance, attachments: Attachments, binary: Path) -> tuple[Launched, proc.Process]:
    with contextlib.ExitStack() as stack:
        listener = stack.enter_context(bind_socket(attachments.run_dir / layout.AGENT_SOCKET))
        config = os.memfd_create("yurt-config")
        stack.callback(os.close, config)
        os.write(config, attachments.config)
        os.lseek(config, 0, os.SEEK_SET)
        log = os.open(attachments.run_dir / layout.MACHINE_LOG, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        stack.callback(os.close, log)
        given = ("--config-fd", str(config)) if attachments.config else ()
        argv = (str(binary), "--socket-fd", str(listener.fileno()), *given)
        launched = Launched(
            driver=FakeDriver.name,
            pid=0,
            process_start=0,
            argv=argv,
            versions={},
            spec=instance.spec,
            attachments=attachments,
        )

        def record(process: proc.Process) -> None:
            nonlocal launched
            launched = replace(launched, pid=process.pid, process_start=process.start)
            write_launched(attachments.run_dir, launched)

        process = spawn_recorded(argv, record, output=log, pass_fds=(listener.fileno(), config))
    return launched, process


def differing(before: ResolvedSpec, after: ResolvedSpec) -> tuple[str, ...]:
    """The sizes and limits in which two specs differ, as the command line names them. Pure."""
    sizes = {"cpus": "cpus", "memory": "memory_bytes", "disk": "disk_bytes"}
    found = [key for key, field in sizes.items() if getattr(before, field) != getattr(after, field)]
    for field in Limits.__struct_fields__:
        if not field.startswith("net_") and getattr(before.limits, field) != getattr(after.limits, field):
            found.append(field.replace("_", "-"))
    return tuple(found)


def _other_volumes(given: Attachments, name: str) -> tuple[VolumeAttachment, ...]:
    return tuple(volume for volume in given.volumes if volume.name != name)


def _other_nics(given: Attachments, index: int) -> tuple[NicAttachment, ...]:
    return tuple(nic for nic in given.nics if nic.index != index)


def _clear(run_dir: Path) -> None:
    for name in (layout.AGENT_SOCKET, layout.LAUNCHED, layout.MACHINE_LOG):
        (run_dir / name).unlink(missing_ok=True)


def _state(pid: int) -> str:
    with contextlib.suppress(FileNotFoundError, ProcessLookupError):
        return Path(f"/proc/{pid}/stat").read_text(errors="replace").rpartition(")")[2].split()[0]
    return ""


def _descendants(pid: int) -> list[int]:
    found: list[int] = []
    with contextlib.suppress(FileNotFoundError, ProcessLookupError):
        for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split():
            found += [int(child), *_descendants(int(child))]
    return found


def _programs(pid: int) -> list[proc.Process]:
    return [process for child in _descendants(pid) if (process := proc.Process.adopt(child)) is not None]
