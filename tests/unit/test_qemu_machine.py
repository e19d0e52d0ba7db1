"""A machine's story as the driver tells it, with a QMP server of our own in QEMU's place: faults TCG cannot show."""

import asyncio
import json
import os
import shutil
import signal
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from yurt.drivers.base import DriverEvent, Launched
from yurt.drivers.qemu.machine import KEPT_EVENTS, Machine
from yurt.drivers.qemu.monitor import EVENTS_KEPT, Monitor
from yurt.drivers.qemu.process import Started
from yurt.errors import ToolFailed, Unavailable
from yurt.host import layout, proc
from yurt.host.machinelog import MachineLog
from yurt.model.instance import Phase

GREETING = {
    "QMP": {"version": {"qemu": {"micro": 0, "minor": 2, "major": 7}, "package": ""}, "capabilities": []}
}
SLEEPER = ("/bin/sleep", "1000")


class FakeQemu:
    """A process that sleeps, and a QMP server that says what a test wants."""

    def __init__(self, run_dir: Path) -> None:
        self.run_dir = run_dir
        self.status = "running"
        self.asked: list[str] = []
        self.mute = False
        self.log = MachineLog.make()
        self.process = proc.spawn(SLEEPER)
        self._writer: asyncio.StreamWriter | None = None
        self._server: asyncio.Server | None = None

    async def listen(self) -> None:
        self._server = await asyncio.start_unix_server(self._serve, self.run_dir / layout.QMP_SOCKET)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writer = writer
        self.say(GREETING)
        while data := await reader.read(65536):  # commands come one by one and without a line's end
            command = json.loads(data)
            self.asked.append(command["execute"])
            if self.mute:
                continue
            answer: object = {"status": self.status} if command["execute"] == "query-status" else {}
            if command["execute"] == "bad":
                self.say(
                    {"error": {"class": "GenericError", "desc": "no such thing"}, "id": command.get("id")}
                )
                continue
            self.say({"return": answer, "id": command.get("id")})
            if command["execute"] == "quit":
                self.end()
        writer.close()

    def say(self, message: Mapping[str, object]) -> None:
        assert self._writer is not None
        self._writer.write(json.dumps(message).encode() + b"\r\n")

    def event(self, name: str, **data: object) -> None:
        self.say({"event": name, "data": data, "timestamp": {"seconds": 0, "microseconds": 0}})

    def hang_up(self) -> None:
        assert self._writer is not None
        self._writer.close()

    def end(self, number: int = signal.SIGTERM) -> None:
        self.hang_up()
        self.process.send(number)

    async def close(self) -> None:
        self.process.send(signal.SIGKILL)
        await self.process.wait()
        if self._server is not None:
            self._server.close()
            if self._writer is not None:
                self._writer.close()
            await self._server.wait_closed()
        self.process.close()
        self.log.close()

    def started(self) -> Started:
        launched = Launched(
            driver="qemu-micro",
            pid=self.process.pid,
            process_start=self.process.start,
            argv=("setpriv", "--", *SLEEPER),
            versions={},
        )
        return Started(launched, self.process, self.log)


Story = Callable[[FakeQemu, Machine], Awaitable[None]]


@pytest.fixture
def tell() -> Iterator[Callable[[Story], None]]:
    """Run a story on a machine that has been started."""
    run_dir = Path(tempfile.mkdtemp(prefix="ym-", dir="/tmp"))

    @asynccontextmanager
    async def stage() -> AsyncIterator[tuple[FakeQemu, Machine]]:
        fake = FakeQemu(run_dir)
        try:
            await fake.listen()
            machine = await Machine.start(run_dir, fake.started())
            try:
                yield fake, machine
            finally:
                await machine.kill()
                await machine.detach()
        finally:
            await fake.close()

    async def run(story: Story) -> None:
        async with asyncio.timeout(30), stage() as (fake, machine):
            await story(fake, machine)

    yield lambda story: asyncio.run(run(story))
    shutil.rmtree(run_dir)


async def all_events(machine: Machine) -> list[DriverEvent]:
    return [event async for event in machine.events()]


def test_a_kvm_internal_error_is_a_failure_that_names_the_way_out(tell: Callable[[Story], None]) -> None:
    async def story(fake: FakeQemu, machine: Machine) -> None:
        fake.status = "internal-error"
        fake.event("STOP")
        events = await all_events(machine)
        assert [event.type for event in events] == ["failed", "exited"]
        assert events[0].reason == "KVM internal error" and "--accel tcg" in events[0].hint
        assert "quit" in fake.asked
        assert await machine.observe() == (Phase.CRASHED, "KVM internal error")

    tell(story)


@pytest.mark.parametrize(
    ("status", "phase", "words"),
    [
        ("running", Phase.RUNNING, ""),
        ("paused", Phase.PAUSED, ""),
        ("io-error", Phase.PAUSED, "cannot be written"),
        ("internal-error", Phase.CRASHED, "internal error"),
        ("guest-panicked", Phase.CRASHED, "panicked"),
        ("a-state-of-tomorrow", Phase.RUNNING, ""),
    ],
)
def test_each_run_state_has_its_phase(
    tell: Callable[[Story], None], status: str, phase: Phase, words: str
) -> None:
    async def story(fake: FakeQemu, machine: Machine) -> None:
        fake.status = status
        seen, reason = await machine.observe()
        assert seen is phase and words in reason and bool(words) == bool(reason)

    tell(story)


def test_events_between_start_and_the_first_reader_are_kept(tell: Callable[[Story], None]) -> None:
    async def story(fake: FakeQemu, machine: Machine) -> None:
        fake.event("RESET", guest=True, reason="guest-reset")
        fake.event("RESET", guest=False, reason="host-qmp-system-reset")
        fake.event("RTC_CHANGE", offset=1)
        fake.event("SHUTDOWN", guest=True, reason="guest-shutdown")
        await machine.observe()  # its answer comes behind the events
        fake.end()
        assert [event.type for event in await all_events(machine)] == ["reset", "shutdown", "exited"]
        assert await machine.observe() == (Phase.STOPPED, "")

    tell(story)


def test_a_flood_of_events_is_bounded_and_the_end_is_still_told(tell: Callable[[Story], None]) -> None:
    async def story(fake: FakeQemu, machine: Machine) -> None:
        for _ in range(3 * EVENTS_KEPT):
            fake.event("RESET", guest=True, reason="guest-reset")
        await machine.observe()
        fake.end(signal.SIGKILL)
        await machine.wait()  # nobody has read until now
        events = await all_events(machine)
        assert len(events) == KEPT_EVENTS and events[-1].type == "exited"

    tell(story)


def test_an_end_without_a_word_is_a_crash_with_the_logs_last_line(tell: Callable[[Story], None]) -> None:
    async def story(fake: FakeQemu, machine: Machine) -> None:
        os.write(fake.log.descriptor, b"qemu: something\nqemu: terrible has happened\n")
        fake.end(signal.SIGSEGV)
        (event,) = await all_events(machine)
        assert event.reason == "QEMU ended with signal SIGSEGV: qemu: terrible has happened"
        assert await machine.observe() == (Phase.CRASHED, event.reason)
        assert "terrible" in (fake.run_dir / layout.MACHINE_LOG).read_text()

    tell(story)


def test_a_lost_monitor_is_connected_again_and_its_events_go_on(tell: Callable[[Story], None]) -> None:
    async def story(fake: FakeQemu, machine: Machine) -> None:
        first = machine.monitor
        assert first is not None
        fake.hang_up()
        await first.closed()
        assert (await machine.observe())[0] is Phase.RUNNING
        assert machine.monitor is not first
        fake.event("RESUME")
        events = machine.events()
        assert (await anext(events)).type == "running"

    tell(story)


def test_a_machine_whose_monitor_is_gone_is_broken_and_can_be_killed(tell: Callable[[Story], None]) -> None:
    async def story(fake: FakeQemu, machine: Machine) -> None:
        assert machine.monitor is not None
        (fake.run_dir / layout.QMP_SOCKET).unlink()
        fake.hang_up()
        await machine.monitor.closed()
        phase, reason = await machine.observe()
        assert phase is Phase.BROKEN and "does not answer" in reason
        with pytest.raises(Unavailable) as refused:
            await machine.qmp()
        assert "yurt kill" in refused.value.hint
        await machine.kill()
        assert not fake.process.alive()

    tell(story)


def test_a_qemu_that_ends_before_its_monitor_answers_is_a_failed_start() -> None:
    async def story(run_dir: Path) -> None:
        fake = FakeQemu(run_dir)
        os.write(fake.log.descriptor, b"qemu: -accel kvm: failed to initialize kvm: No such device\n")
        with pytest.raises(ToolFailed) as failed:  # nobody listens: the socket went away with QEMU
            fake.process.send(signal.SIGTERM)
            await Machine.start(run_dir, fake.started())
        assert "failed to initialize kvm" in failed.value.message
        assert "--accel tcg" in failed.value.hint
        assert proc.process_start(failed_pid := fake.process.pid) is None, failed_pid

    run_dir = Path(tempfile.mkdtemp(prefix="ym-", dir="/tmp"))
    try:
        asyncio.run(story(run_dir))
    finally:
        shutil.rmtree(run_dir)


def test_a_refused_command_and_a_lost_connection_are_our_errors(tell: Callable[[Story], None]) -> None:
    async def story(fake: FakeQemu, machine: Machine) -> None:
        monitor = await machine.qmp()
        with pytest.raises(ToolFailed, match="no such thing"):
            await monitor.execute("bad")
        fake.mute = True
        waiting = asyncio.create_task(monitor.execute("query-status"))
        while "query-status" not in fake.asked:  # noqa: ASYNC110 -- until the server has read it
            await asyncio.sleep(0)
        fake.hang_up()
        with pytest.raises(Unavailable, match="went away"):
            await waiting
        assert not monitor.connected
        await monitor.close()
        await monitor.close()

    tell(story)


def test_nobody_there_is_unavailable(tmp_path: Path) -> None:
    with pytest.raises(Unavailable, match="does not answer"):
        asyncio.run(Monitor.connect(tmp_path / "absent"))
