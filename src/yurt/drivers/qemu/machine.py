"""One running QEMU as this daemon holds it: process, monitor and log, and the story they tell together."""

import asyncio
import collections
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path

from yurt.drivers.base import DriverEvent, Launched
from yurt.drivers.qemu import process as qemu
from yurt.drivers.qemu.monitor import MachineEvent, Monitor
from yurt.errors import Unavailable, YurtError
from yurt.host import layout, proc
from yurt.model.instance import Phase

KEPT_EVENTS = 256
TCG_HINT = "start it with `--accel tcg`"
PHASES = {
    "paused": Phase.PAUSED,
    "io-error": Phase.PAUSED,
    "internal-error": Phase.CRASHED,
    "guest-panicked": Phase.CRASHED,
}
REASONS = {
    "io-error": "its disk cannot be written",
    "internal-error": "KVM internal error",
    "guest-panicked": "the guest's kernel panicked",
}


class Machine:
    """Follows one QEMU until its end. Make it with `start` or `adopt`, let go of it with `detach`."""

    def __init__(self, run_dir: Path, started: qemu.Started, monitor: Monitor | None) -> None:
        self.run_dir = run_dir
        self.launched: Launched = started.launched
        self.process: proc.Process = started.process
        self.monitor = monitor
        self.phase, self.reason = Phase.STOPPED, ""  # once ended: how
        self._started, self._log = started, started.log
        self._orderly = False  # QEMU has said that it ends, or we have asked it to
        self._connecting, self._connected_anew = asyncio.Lock(), asyncio.Event()
        self._events: collections.deque[DriverEvent] = collections.deque(maxlen=KEPT_EVENTS)
        self._news = asyncio.Condition()
        self._follow = asyncio.create_task(self._follow_machine())

    @classmethod
    async def start(cls, run_dir: Path, started: qemu.Started) -> "Machine":
        """Wait until the monitor of a fresh QEMU answers. If it ends first, raise ToolFailed with its log."""
        try:
            monitor = await Monitor.connect(run_dir / layout.QMP_SOCKET, timeout_s=30)
        except BaseException as error:
            gone = isinstance(error, Unavailable)
            with contextlib.suppress(TimeoutError):  # it hangs up when it ends: let it, for its status's sake
                async with asyncio.timeout(5 if gone else 0):
                    await started.process.wait()
            await started.process.end(grace_s=0)
            status, text = await started.process.wait(), started.log.text()
            started.log.save(run_dir / layout.MACHINE_LOG)
            await started.end_helpers()
            started.release()
            if gone:
                raise qemu.start_failure(started.launched, status, text) from error
            raise
        return cls(run_dir, started, monitor)

    @classmethod
    async def adopt(cls, run_dir: Path, launched: Launched) -> "Machine | None":
        """Take hold of a QEMU by its record; None when it is gone. Its monitor may be silent."""
        started = qemu.adopt(launched)
        if started is None:
            return None
        machine = cls(run_dir, started, None)
        with contextlib.suppress(YurtError):
            await machine.qmp()
        return machine

    @property
    def ended(self) -> bool:
        """Whether QEMU is gone and `phase` and `reason` are final."""
        return self._follow.done()

    async def wait(self) -> None:
        """Return when QEMU is gone and its end is written down."""
        await asyncio.shield(self._follow)

    async def qmp(self) -> Monitor:
        """The monitor, connected anew where the connection was lost. Raises Unavailable when QEMU does not answer."""
        async with self._connecting:
            if self.monitor is None or not self.monitor.connected:
                try:
                    self.monitor = await Monitor.connect(self.run_dir / layout.QMP_SOCKET, timeout_s=5)
                except YurtError as error:
                    hint = "end the instance with `yurt kill`"
                    raise Unavailable("QEMU's monitor does not answer", hint=hint) from error
                self._connected_anew.set()
            return self.monitor

    async def observe(self) -> tuple[Phase, str]:
        """Phase and reason now."""
        if self.ended:
            return self.phase, self.reason
        try:
            status = await (await self.qmp()).status()
        except YurtError as error:
            if self.process.alive():
                return Phase.BROKEN, error.message
            await self.wait()
            return self.phase, self.reason
        return PHASES.get(status, Phase.RUNNING), REASONS.get(status, "")

    async def kill(self) -> None:
        """End QEMU: by its monitor, then SIGTERM, then SIGKILL. Returns when it is gone. Safe to repeat."""
        self._orderly = True
        if not self.ended and self.monitor is not None and self.monitor.connected:
            with contextlib.suppress(YurtError, TimeoutError):
                async with asyncio.timeout(3):
                    await self.monitor.quit()
                    await self.process.wait()
        await self.process.end(grace_s=1)
        await self.wait()

    async def detach(self) -> None:
        """Let go of it; QEMU runs on. Safe to repeat."""
        self._follow.cancel()
        await asyncio.gather(self._follow, return_exceptions=True)
        if self.monitor is not None:
            await self.monitor.close()
        self._started.release()

    async def events(self) -> AsyncIterator[DriverEvent]:
        """Yield what has happened since this daemon holds it, up to and including `exited`."""
        while True:
            async with self._news:
                await self._news.wait_for(lambda: self._events)
                event = self._events.popleft()
            yield event
            if event.type == "exited":
                return

    async def _tell(self, event: DriverEvent) -> None:
        async with self._news:
            self._events.append(event)
            self._news.notify_all()

    async def _follow_machine(self) -> None:
        end = asyncio.create_task(self.process.wait())
        try:
            await self._follow_monitors(end)
            status = await end
        finally:
            end.cancel()
        await self._started.end_helpers()
        self._log.save(self.run_dir / layout.MACHINE_LOG)
        if self.phase is not Phase.CRASHED and not self._orderly and self.monitor is not None:
            how = "unexpectedly" if status is None else f"with {proc.describe_status(status)}"
            self.phase = Phase.CRASHED
            self.reason = ": ".join([f"QEMU ended {how}", *self._log.text().strip().splitlines()[-1:]])
        await self._tell(DriverEvent(type="exited", reason=self.reason))

    async def _follow_monitors(self, end: "asyncio.Task[int | None]") -> None:
        """Pass on the events of one monitor connection after the other until QEMU is gone."""
        followed = None
        while True:
            self._connected_anew.clear()
            if self.monitor is not None and self.monitor is not followed:
                followed = self.monitor
                async for event in followed.events():
                    await self._pass_on(event, followed)
            elif end.done():
                return
            else:
                anew = asyncio.create_task(self._connected_anew.wait())
                try:
                    await asyncio.wait((end, anew), return_when=asyncio.FIRST_COMPLETED)
                finally:
                    anew.cancel()

    async def _pass_on(self, event: MachineEvent, monitor: Monitor) -> None:
        with contextlib.suppress(YurtError):
            told = await self._translate(event, monitor)
            if told is None:
                return
            await self._tell(told)
            if told.type == "failed":  # such a machine never goes on
                await monitor.quit()

    async def _translate(self, event: MachineEvent, monitor: Monitor) -> DriverEvent | None:
        """The driver's word for a QMP event; None for what is nobody's business."""
        match event.name:
            case "RESUME":
                return DriverEvent(type="running")
            case "STOP":
                return self._stopped(await monitor.status())
            case "SHUTDOWN":
                self._orderly = True
                told = event.guest and event.reason == "guest-shutdown"
                return DriverEvent(type="shutdown", reason=event.reason) if told else None
            case "RESET" if event.guest:
                return DriverEvent(type="reset")
            case "GUEST_PANICKED":
                return self._panicked()
            case _:
                return None

    def _stopped(self, status: str) -> DriverEvent | None:
        if status == "internal-error":
            self.phase, self.reason = Phase.CRASHED, REASONS[status]
            return DriverEvent(type="failed", reason=REASONS[status], hint=TCG_HINT)
        if status in ("shutdown", "guest-panicked"):
            return None  # told by an event of its own
        return DriverEvent(type="paused", reason=REASONS.get(status, ""))

    def _panicked(self) -> DriverEvent:
        self.phase, self.reason = Phase.CRASHED, REASONS["guest-panicked"]
        return DriverEvent(type="panicked", reason=self.reason)
