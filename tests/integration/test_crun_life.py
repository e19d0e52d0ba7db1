"""A container's life: how it ends, what a failed or interrupted start leaves, and who finds it again."""

import asyncio
import os
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
from msgspec.structs import replace
from tests.conformance.drivers_crun import SLOT_IDS, busybox_tree, leftovers
from tests.conformance.drivers_fake import host_facts
from tests.integration.crun_guest import (
    Guest,
    collect,
    events_of,
    in_guest,
    new_test,
    running,
    with_directory,
)

from yurt.drivers.container import crun as driver_module
from yurt.drivers.container import launch as launch_module
from yurt.errors import Denied, ToolFailed, Unsupported, YurtError
from yurt.host import layout, mounts, proc
from yurt.host.cgroup import Group
from yurt.model.instance import NetworkMode, Phase

pytestmark = [pytest.mark.root, pytest.mark.needs("crun", "busybox", "slirp4netns")]
ROOT = Path(__file__).resolve().parents[2]


def test_output_and_exit_code_of_the_command() -> None:
    async def story(guest: Guest) -> None:
        told = asyncio.create_task(events_of(guest))
        assert await collect(await guest.client.attach_main()) == (7, "out\n")
        events = await told
        assert (events[-1].type, events[-1].exit_code) == ("exited", 7)
        assert (await guest.driver.observe(guest.test.run_dir)).phase is Phase.STOPPED

    in_guest(story, command=("/bin/sh", "-c", "echo out; exit 7"))


def test_stop_asks_the_command_and_returns_when_it_has_ended() -> None:
    async def story(guest: Guest) -> None:
        told = asyncio.create_task(events_of(guest))
        await asyncio.sleep(0)
        main = await guest.client.attach_main()
        assert await main.read() == (1, b"ready\n")
        await guest.driver.stop(guest.test.run_dir, timeout_s=30)
        assert [event.type for event in await told] == ["exited"]
        rootfs = guest.test.attachments.rootfs
        assert rootfs is not None
        assert (rootfs.data / "upper" / "bye").read_text() == "asked\n"

    script = "trap 'echo asked > /bye; exit 3' TERM; echo ready; sleep 1000 & wait"
    in_guest(story, command=("/bin/sh", "-c", script))


def test_killing_ends_frozen_and_double_forked_processes_too() -> None:
    async def story(guest: Guest) -> None:
        await guest.sh("(setsid sleep 1000 >/dev/null 2>&1 &) ")
        group = guest.driver._group(guest.test.run_dir)
        assert len(group.processes()) >= 3
        await guest.driver.pause(guest.test.run_dir)
        await guest.driver.kill(guest.test.run_dir)
        assert group.processes() == []

    in_guest(story)


def test_a_paused_container_does_nothing() -> None:
    async def story(guest: Guest) -> None:
        await guest.sh("(while :; do echo . >> /ticks; done) >/dev/null 2>&1 &")
        rootfs = guest.test.attachments.rootfs
        assert rootfs is not None
        ticks = rootfs.data / "upper" / "ticks"
        await guest.driver.pause(guest.test.run_dir)
        before = ticks.stat().st_size
        await asyncio.sleep(0.2)
        assert ticks.stat().st_size == before
        await guest.driver.resume(guest.test.run_dir)
        assert (await guest.sh("true"))[0] == 0

    in_guest(story)


STEPS = [
    (driver_module, "_make_group"),
    (driver_module, "prepare_data"),
    (launch_module, "mount_root"),
    (driver_module, "launch"),
    (driver_module, "start_usernet"),
    (driver_module, "write_launched"),
    (driver_module, "_write_all"),
]


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize(("module", "name"), STEPS, ids=[name for _, name in STEPS])
def test_a_start_that_fails_at_any_step_leaves_nothing(
    module: object, name: str, when: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    original = getattr(module, name)

    def broken(*args: object, **fields: object) -> object:
        if when == "before":
            raise Denied("not today")
        result = original(*args, **fields)
        if not asyncio.iscoroutine(result):
            raise Denied("not today")

        async def wait() -> None:
            await result
            raise Denied("not today")

        return wait()

    async def main(directory: Path) -> None:
        test = new_test(directory, network=NetworkMode.USER)
        driver = test.new_driver()
        with monkeypatch.context() as patch:
            patch.setattr(module, name, broken)
            with pytest.raises(Denied):
                await driver.start(test.instance, test.attachments)
        await driver.detach()  # type: ignore[attr-defined]
        assert leftovers() == [] and list(test.run_dir.iterdir()) == []
        assert helpers_of(test.attachments.uid) == []
        async with running(test) as guest:
            assert (await guest.sh("true"))[0] == 0

    with_directory(main)


@pytest.mark.parametrize("after_ms", [0, 1, 2, 4, 8, 16])
def test_a_start_that_is_cancelled_at_any_time_leaves_nothing(after_ms: int) -> None:
    async def main(directory: Path) -> None:
        test = new_test(directory, network=NetworkMode.USER)
        driver = test.new_driver()
        starting = asyncio.create_task(driver.start(test.instance, test.attachments))
        await asyncio.sleep(after_ms / 1000)
        starting.cancel()
        await asyncio.wait([starting])
        await driver.cleanup(test.run_dir)  # the start may have been faster
        await driver.detach()  # type: ignore[attr-defined]
        assert leftovers() == [] and list(test.run_dir.iterdir()) == []
        assert helpers_of(test.attachments.uid) == []

    with_directory(main)


def helpers_of(uid: int) -> list[int]:
    found = []
    for path in Path("/proc").glob("[0-9]*"):
        try:
            if path.stat().st_uid == uid and proc.process_start(int(path.name)) is not None:
                found.append(int(path.name))
        except FileNotFoundError:
            continue
    return found


DYING = """
    import asyncio, os, sys
    from pathlib import Path
    from tests.conformance.drivers_fake import built_agent, host_facts
    from tests.integration.crun_guest import new_test
    from yurt.drivers.container import crun
    from yurt.model.instance import NetworkMode

    def die(*args):
        os.kill(os.getpid(), 9)

    setattr(crun, sys.argv[2], die)
    host_facts(), built_agent()
    test = new_test(Path(sys.argv[1]), network=NetworkMode.USER)
    asyncio.run(test.new_driver().start(test.instance, test.attachments))
"""


@pytest.mark.parametrize("step", ["start_usernet", "write_launched", "_write_all"])
def test_a_container_whose_daemon_dies_while_starting_it_ends_by_itself(step: str) -> None:
    async def main(directory: Path) -> None:
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), *sys.path])}
        argv = [sys.executable, "-c", textwrap.dedent(DYING), str(directory), step]
        done = await asyncio.to_thread(
            subprocess.run, argv, env=environment, capture_output=True, check=False
        )
        assert done.returncode == -signal.SIGKILL, done.stderr.decode()
        uid = new_test(directory / "other").attachments.uid
        (run_dir,) = (directory / "run").iterdir()
        driver = driver_module.CrunDriver(host_facts())
        group = driver._group(run_dir)
        for pid in group.processes():  # they end because nobody holds the other end of their configuration
            if process := proc.Process.adopt(pid):
                async with asyncio.timeout(30):
                    await process.wait()
                process.close()
        assert (await driver.observe(run_dir)).phase is Phase.STOPPED
        await driver.cleanup(run_dir)
        await driver.detach()
        assert not group.exists() and list(run_dir.iterdir()) == []
        for pid in helpers_of(uid):  # killed; nobody here is its parent
            if process := proc.Process.adopt(pid):
                async with asyncio.timeout(30):
                    await process.wait()
                process.close()

    with_directory(main)


def test_a_daemon_of_another_session_finds_the_control_group() -> None:
    async def story(guest: Guest) -> None:
        here = guest.driver.facts.cgroups
        key = "pids" if here.version == 1 else ""
        moved = replace(here, own={**here.own, key: "/elsewhere"})
        other = driver_module.CrunDriver(replace(guest.driver.facts, cgroups=moved))
        assert (await other.usage(guest.test.run_dir)).pids >= 1
        assert Group(moved, f"yurt/{guest.test.run_dir.name}").directories[key].exists() is False
        await other.cleanup(guest.test.run_dir)
        assert leftovers() == []

    in_guest(story)


def test_the_runtimes_words_are_in_the_error() -> None:
    async def main(directory: Path) -> None:
        test = new_test(directory)
        with pytest.raises(ToolFailed) as failed:
            await test.new_driver().start(test.instance, test.broken)
        assert "agent" in failed.value.message
        assert (test.run_dir / layout.MACHINE_LOG).read_text()

    with_directory(main)


def test_without_idmapped_mounts_the_tree_is_copied_once(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise Unsupported("no idmapped mounts on this file system")

    async def main(directory: Path) -> None:
        monkeypatch.setattr(mounts, "mount_idmapped", refuse)
        test = new_test(directory)
        rootfs = test.attachments.rootfs
        assert rootfs is not None
        async with running(test) as guest:
            assert (await guest.sh("stat -c %u:%a /bin/busybox /tmp"))[1] == "0:755\n0:1777\n"
            assert (await guest.sh("echo kept > /kept; mknod /n c 1 3"))[0] != 0
        assert (rootfs.data / "copy" / "bin" / "busybox").stat().st_uid == SLOT_IDS[0]
        monkeypatch.undo()
        async with running(test) as guest:  # what was copied stays in use, also where idmapping works by now
            assert (await guest.sh("cat /kept"))[1] == "kept\n"
        assert not (busybox_tree() / "kept").exists()

    with_directory(main)


def test_two_containers_start_at_once_from_one_id_range_without_leaking_descriptors() -> None:
    async def main(directory: Path) -> None:
        test = new_test(directory)
        driver = test.new_driver()
        before = None
        for _ in range(3):
            await driver.start(test.instance, test.attachments)
            await driver.cleanup(test.run_dir)
            count = len(list(Path("/proc/self/fd").iterdir()))
            assert before is None or count == before
            before = count
        await driver.detach()  # type: ignore[attr-defined]

    with_directory(main)


def test_what_a_refused_check_says() -> None:
    async def main(directory: Path) -> None:
        test = new_test(directory)
        driver = test.new_driver()
        for facts in (
            replace(test.facts, tools={}),
            replace(test.facts, root=False),
            replace(test.facts, user_namespaces=False),
            replace(test.facts, overlay=False),
        ):
            capabilities = driver.capabilities(facts)
            assert not capabilities.available and capabilities.reason and capabilities.fix
            with pytest.raises(YurtError):
                driver.check(test.instance.spec, capabilities)

    with_directory(main)
