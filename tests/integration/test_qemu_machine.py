"""Real machines under TCG: confinement, panic, reboot, consoles, disks, and starts that fail."""

import asyncio
import gc
import secrets
import shutil
import subprocess
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from msgspec.structs import replace
from tests.conformance.drivers_base import DriverUnderTest, make_attachments
from tests.conformance.drivers_qemu import boot_config, full, micro

from yurt.drivers.agent.client import AgentClient
from yurt.drivers.base import DriverEvent, read_launched
from yurt.drivers.qemu.driver import QemuDriver
from yurt.errors import NotFound, ToolFailed
from yurt.host import jailspec, layout, proc
from yurt.host.cgroup import Group
from yurt.model.host import Accelerator
from yurt.model.instance import Phase
from yurt.model.process import ExecRequest

pytestmark = [pytest.mark.slow, pytest.mark.root]
DEADLINE_S = 180  # only a machine that hangs meets it
OTHER_GROUP = f"yurt/other-{secrets.token_hex(3)}"


@pytest.fixture
def place() -> Iterator[Path]:
    directory = Path(tempfile.mkdtemp(prefix="yq-", dir="/tmp"))
    directory.chmod(0o711)
    try:
        yield directory
    finally:
        shutil.rmtree(directory)


@pytest.fixture(autouse=True)
def quiet(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    """No exception of a task may be left for asyncio to complain about when a machine ends."""
    yield
    gc.collect()
    complaints = [record.getMessage() for record in caplog.get_records("call") if record.name == "asyncio"]
    assert complaints == []


@asynccontextmanager
async def running(test: DriverUnderTest) -> AsyncIterator[QemuDriver]:
    driver = test.new_driver()
    assert isinstance(driver, QemuDriver)
    try:
        await driver.start(test.instance, test.attachments)
        yield driver
    finally:
        await driver.cleanup(test.run_dir)
        assert test.leftovers() == []


def on(story: Callable[[], Awaitable[None]]) -> None:
    async def run() -> None:
        async with asyncio.timeout(DEADLINE_S):
            await story()

    asyncio.run(run())


@asynccontextmanager
async def agent(driver: QemuDriver, run_dir: Path) -> AsyncIterator[AgentClient]:
    client = await driver.agent(run_dir)
    try:
        await client.wait_ready()
        yield client
    finally:
        await client.close()


async def sh(client: AgentClient, script: str) -> str:
    session = await client.exec(ExecRequest(argv=("/bin/sh", "-c", script)))
    out = b""
    while (item := await session.read()) is not None:
        out += item[1]
    assert await session.wait() == 0, out
    await session.close()
    return out.decode()


async def next_event(events: AsyncIterator[DriverEvent], wanted: str) -> DriverEvent:
    async for event in events:
        if event.type == wanted:
            return event
    raise AssertionError(f"no event `{wanted}`")


def network_helpers(run_dir: Path) -> list[int]:
    launched = read_launched(run_dir)
    assert launched is not None
    return [pid for pid, _ in launched.helpers.values()]


def status(pid: int) -> dict[str, str]:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return {key: value.strip() for key, _, value in (line.partition(":") for line in lines)}


# --- microVM -----------------------------------------------------------------------------------------------------


def test_qemu_has_its_own_user_no_capabilities_and_a_filter(place: Path) -> None:
    test = micro(place)

    async def story() -> None:
        async with running(test) as driver:
            pid = (await driver.observe(test.run_dir)).pid
            assert pid is not None
            seen = status(pid)
            uid, gid = str(test.attachments.uid), str(test.attachments.gid)
            assert seen["Uid"].split() == [uid] * 4 and seen["Gid"].split() == [gid] * 4
            assert seen["Groups"] == ""
            for kind in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"):
                assert int(seen[kind], 16) == 0, kind
            assert (seen["NoNewPrivs"], seen["Seccomp"]) == ("1", "2")
            group = Group(test.facts.cgroups, test.attachments.cgroup)
            assert set(group.processes()) == {pid, *network_helpers(test.run_dir)}

    on(story)


def test_the_kernels_panic_is_an_event_and_the_end(place: Path) -> None:
    test = micro(place)

    async def story() -> None:
        async with running(test) as driver:
            events = driver.events(test.run_dir)
            client = await driver.agent(test.run_dir)
            await client.wait_ready()
            await client.exec(ExecRequest(argv=("/bin/sh", "-c", "echo c > /proc/sysrq-trigger")))
            told = [event async for event in events]
            await client.close()
            assert [event.type for event in told] == ["panicked", "exited"]
            seen = await driver.observe(test.run_dir)
            assert (seen.phase, seen.pid) == (Phase.CRASHED, None)
            assert "panicked" in seen.reason and seen.reason == told[-1].reason

    on(story)


def test_a_reboot_boots_the_same_machine_again(place: Path) -> None:
    test = micro(place, boot_config(command=("/bin/sh", "-c", "sleep 1000 & wait")))

    async def story() -> None:
        async with running(test) as driver:
            pid = (await driver.observe(test.run_dir)).pid
            events = driver.events(test.run_dir)
            client = await driver.agent(test.run_dir)
            await client.wait_ready()
            first = await sh(client, "cat /proc/sys/kernel/random/boot_id")
            await client.shutdown("reboot", grace_s=2)
            await next_event(events, "reset")
            await client.close()
            async with agent(driver, test.run_dir) as again:
                assert await sh(again, "cat /proc/sys/kernel/random/boot_id") != first
            seen = await driver.observe(test.run_dir)
            assert (seen.phase, seen.pid) == (Phase.RUNNING, pid)

    on(story)


def test_what_the_guest_writes_lands_in_its_overlay_alone(place: Path) -> None:
    test = micro(place)
    disk = test.attachments.disk
    assert disk is not None and disk.base is not None
    base, mark = disk.base, b"written by the guest, once"
    before = base.read_bytes()

    async def story() -> None:
        async with running(test) as driver:
            async with agent(driver, test.run_dir) as client:
                await sh(client, f"echo '{mark.decode()}' > /root/mark; sync")
            usage = await driver.usage(test.run_dir)
            assert usage.write_bytes > 0 and usage.read_bytes > 0 and usage.cpu_s > 0
        async with running(test) as driver, agent(driver, test.run_dir) as client:
            assert (await sh(client, "cat /root/mark")).encode().strip() == mark

    on(story)
    assert mark in disk.path.read_bytes()
    assert base.read_bytes() == before


def test_a_disk_in_use_is_refused_to_a_second_machine(place: Path) -> None:
    test = micro(place)
    other = make_attachments(place / "other", accelerator=test.attachments.accelerator)
    other = replace(other, disk=test.attachments.disk, kernel=test.attachments.kernel, cgroup=OTHER_GROUP)

    async def story() -> None:
        async with running(test) as driver:
            with pytest.raises(ToolFailed) as failed:
                await driver.start(test.instance, other)
            assert "in use" in failed.value.hint
            assert "lock" in failed.value.stderr
            assert (await driver.observe(test.run_dir)).phase is Phase.RUNNING
            assert not Group(test.facts.cgroups, OTHER_GROUP).exists()
            assert list(other.run_dir.iterdir()) == [other.run_dir / layout.MACHINE_LOG]

    on(story)


def test_a_full_host_disk_pauses_the_guest_and_room_lets_it_go_on(place: Path) -> None:
    test = micro(place)
    disk = test.attachments.disk
    assert disk is not None
    small = place / "small"
    small.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=8m,mode=711", "tmpfs", str(small)], check=True)
    try:
        moved = replace(disk, path=small / "disk.qcow2")
        shutil.copy(disk.path, moved.path)
        filled = DriverUnderTest(
            **{**vars(test), "attachments": replace(test.attachments, disk=moved)},
        )

        async def story() -> None:
            async with running(filled) as driver:
                events = driver.events(test.run_dir)
                client = await driver.agent(test.run_dir)
                await client.wait_ready()
                script = "dd if=/dev/urandom of=/root/big bs=1M count=12 conv=fsync 2>/dev/null; echo done"
                writing = asyncio.create_task(sh(client, script))
                paused = await next_event(events, "paused")
                assert "disk" in paused.reason
                seen = await driver.observe(test.run_dir)
                assert seen.phase is Phase.PAUSED and "disk" in seen.reason
                await proc.run(["mount", "-o", "remount,size=64m", str(small)], timeout_s=10)
                await driver.resume(test.run_dir)
                assert await writing == "done\n"
                await client.close()

        on(story)
    finally:
        subprocess.run(["umount", str(small)], check=True)


def test_kvm_that_does_not_start_names_the_way_out(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    test = micro(place)
    monkeypatch.setitem(jailspec.DEVICE_NUMBERS, "kvm", (10, 254))  # a host whose kernel has no such device
    kvm = Accelerator(name="kvm", reason="asked for", probed=False)
    asked = replace(test.attachments, accelerator=kvm)

    async def story() -> None:
        driver = test.new_driver()
        with pytest.raises(ToolFailed) as failed:
            await driver.start(test.instance, asked)
        assert "--accel tcg" in failed.value.hint
        assert "kvm" in failed.value.message
        assert (await driver.observe(test.run_dir)).phase is Phase.STOPPED
        assert test.leftovers() == []

    on(story)


def test_a_start_that_is_cancelled_leaves_nothing(place: Path) -> None:
    test = micro(place)

    async def story() -> None:
        driver = test.new_driver()
        for turns in range(1, 12):  # a different moment of the start each time
            starting = asyncio.create_task(driver.start(test.instance, test.attachments))
            for _ in range(turns):
                await asyncio.sleep(0.002)
            starting.cancel()
            await asyncio.gather(starting, return_exceptions=True)
            await driver.cleanup(test.run_dir)
            assert test.leftovers() == []
            assert {path.name for path in test.run_dir.iterdir()} <= {layout.MACHINE_LOG}

    on(story)


# --- VM ----------------------------------------------------------------------------------------------------------


async def read_until(console: object, wanted: bytes) -> bytes:
    seen = b""
    while wanted not in seen:
        data = await console.read()  # type: ignore[attr-defined]
        assert data, seen
        seen += data
    return seen


def test_a_pc_boots_its_own_disk_resets_and_powers_off(place: Path) -> None:
    test = full(place)

    async def story() -> None:
        async with running(test) as driver:
            events = driver.events(test.run_dir)
            console = await driver.console(test.run_dir)
            await read_until(console, b"UP")
            await console.write(b"xyz")
            await read_until(console, b"xyz")
            await console.write(b"r")
            await next_event(events, "reset")
            await read_until(console, b"UP")
            await console.write(b"o")
            told = [event.type async for event in events]  # the keyboard controller may reset more than once
            assert [name for name in told if name != "reset"] == ["shutdown", "exited"]
            assert await console.read() == b""
            await console.close()
            seen = await driver.observe(test.run_dir)
            assert (seen.phase, seen.reason) == (Phase.STOPPED, "")

    on(story)


def test_a_console_that_is_closed_does_not_hold_the_guest_up(place: Path) -> None:
    test = full(place)

    async def story() -> None:
        async with running(test) as driver:
            for _ in range(3):
                console = await driver.console(test.run_dir)
                await console.write(b"abc")
                await read_until(console, b"abc")
                await console.close()
            await driver.kill(test.run_dir)
            with pytest.raises(NotFound):
                await driver.console(test.run_dir)

    on(story)
