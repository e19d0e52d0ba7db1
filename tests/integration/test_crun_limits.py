"""Limits of containers hold: memory, processes, processors, disk; and what they use is counted."""

import asyncio
import contextlib
import time
from pathlib import Path

import pytest
from msgspec.structs import replace
from tests.conformance.drivers_base import MIB
from tests.integration.crun_guest import Guest, events_of, in_guest, new_test, running, with_directory

from yurt.errors import YurtError
from yurt.host.cgroup import Limits

pytestmark = [pytest.mark.root, pytest.mark.needs("crun", "busybox", "mkfs.ext4")]


def test_memory_ends_the_program_that_wants_too_much() -> None:
    async def story(guest: Guest) -> None:
        code, _ = await guest.sh("tail -c 200m /dev/zero | tail -c 1")
        usage = await guest.driver.usage(guest.test.run_dir)
        assert usage.memory_limit_bytes == 64 * MIB
        assert usage.memory_bytes <= 64 * MIB
        assert code != 0 or (await guest.sh("dd if=/dev/zero of=/dev/null bs=200M count=1"))[0] == 137

    in_guest(story, memory_bytes=64 * MIB)


def test_memory_that_runs_out_for_good_is_told_with_a_way_out() -> None:
    async def story(guest: Guest) -> None:
        told = asyncio.create_task(events_of(guest))
        await asyncio.sleep(0)
        # memory that no process holds: files in a tmpfs. Who is left goes, PID 1 last
        with contextlib.suppress(YurtError):
            await guest.sh("cat /dev/zero > /dev/shm/fill")
        with contextlib.suppress(YurtError, ProcessLookupError):
            while not told.done():
                await guest.sh("true")
        events = await told
        assert [event.type for event in events] == ["failed", "exited"]
        assert "64 MiB" in events[0].reason and "--memory" in events[0].hint

    in_guest(story, memory_bytes=64 * MIB)


def test_processes_are_counted_and_limited() -> None:
    async def story(guest: Guest) -> None:
        group = guest.driver._group(guest.test.run_dir)
        assert (group.directories["pids"] / "pids.max").read_text() == "4096\n"
        group.limit(Limits(pids=12))
        code, words = await guest.sh("for i in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15; do sleep 100 & done")
        assert code != 0 and "fork" in words
        assert (await guest.driver.usage(guest.test.run_dir)).pids <= 12

    in_guest(story)


def test_processor_time_is_what_was_bought() -> None:
    async def story(guest: Guest) -> None:
        before, began = await guest.driver.usage(guest.test.run_dir), time.monotonic()
        await guest.sh("for i in 1 2 3 4; do yes > /dev/null & done; sleep 2; kill $(jobs -p)")
        after, took = await guest.driver.usage(guest.test.run_dir), time.monotonic() - began
        used = after.cpu_s - before.cpu_s
        assert used <= 1.15 * took, f"{used:.2f} s of one processor in {took:.2f} s"

    in_guest(story, cpus=1)


def test_the_disk_is_as_large_as_asked_and_nothing_of_it_is_left_on_the_host() -> None:
    async def story(guest: Guest) -> None:
        code, words = await guest.sh("dd if=/dev/zero of=/big bs=1M count=80")
        assert code != 0 and "No space left" in words
        assert (await guest.sh("rm /big; echo small > /small; cat /small")) == (0, "small\n")

    in_guest(story, disk_bytes=64 * MIB)


def test_a_disk_grows_and_keeps_what_is_on_it() -> None:
    async def main(directory: Path) -> None:
        test = new_test(directory, disk_bytes=32 * MIB)
        async with running(test) as guest:
            assert (await guest.sh("echo kept > /kept"))[0] == 0
        rootfs = test.attachments.rootfs
        assert rootfs is not None
        test.attachments = replace(test.attachments, rootfs=replace(rootfs, size_bytes=96 * MIB))
        async with running(test) as guest:
            assert await guest.sh("cat /kept; dd if=/dev/zero of=/big bs=1M count=50 2>/dev/null") == (
                0,
                "kept\n",
            )

    with_directory(main)
