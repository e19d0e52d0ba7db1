"""Limits of containers that change while they run: counted by the kernel's own counters, one guest for most of it."""

from pathlib import Path

import pytest
from msgspec.structs import replace
from tests.conformance.drivers_base import MIB
from tests.integration.crun_guest import Guest, in_guest, new_test, running, with_directory

from yurt.drivers.base import Adjusted
from yurt.drivers.container.adjust import BUFFERED, NO_DISK
from yurt.errors import Invalid, Unsupported
from yurt.host.blockdev import throttled_device
from yurt.model.instance import ResolvedSpec
from yurt.model.limits import Limits

pytestmark = [pytest.mark.root, pytest.mark.needs("crun", "busybox", "mkfs.ext4")]
RAISING = "CAP_SYS_RESOURCE"  # what some hosts keep from the daemon


def content(guest: Guest, controller: str, name: str) -> str:
    group = guest.driver._group(guest.test.run_dir)
    key = "" if group.version == 2 else controller
    return (group.directories[key] / name).read_text().strip()


async def adjusted(guest: Guest, after: ResolvedSpec, before: ResolvedSpec | None = None) -> Adjusted:
    """Change the running guest to `after`, from what it was started with."""
    return await guest.driver.adjust(guest.test.run_dir, before or guest.test.instance.spec, after)


def throttled(guest: Guest) -> int:
    """How often the group has used up its quota."""
    words = content(guest, "cpu", "cpu.stat").split()
    return int(words[words.index("nr_throttled") + 1])


def test_one_guest_takes_all_changes_while_it_runs() -> None:
    async def story(guest: Guest) -> None:
        spec = guest.test.instance.spec
        # a fork bomb ends at the new limit
        wished = replace(
            spec, limits=Limits(pids=16, cpu_quota=0.1, cpu_shares=50, cpu_pin="0", open_files=64)
        )
        done = await adjusted(guest, wished)
        assert set(done.applied) == {"pids", "cpu-quota", "cpu-shares", "cpu-pin", "open-files"}
        assert not done.pending
        code, words = await guest.sh("bomb() { bomb | bomb & }; bomb; sleep 0.3; ulimit -n")
        assert "fork" in words and code in (0, 2)
        assert int(content(guest, "pids", "pids.current")) <= 16
        assert "max 0" not in content(guest, "pids", "pids.events")
        await guest.sh("killall sh sleep")
        assert (await guest.sh("ulimit -n; grep Cpus_allowed_list /proc/self/status"))[1].split() == [
            "64",
            "Cpus_allowed_list:",
            "0",
        ]
        before = throttled(guest)
        await guest.sh("i=0; while [ $i -lt 20000 ]; do i=$((i+1)); done")
        assert throttled(guest) > before, "a busy guest runs into a tenth of a processor"
        # and back: what only a privileged daemon may raise says so
        done = await adjusted(guest, spec, wished)
        assert {"pids", "cpu-quota", "cpu-shares", "cpu-pin"} <= set(done.applied)
        assert "open-files" in done.applied or RAISING in done.pending["open-files"]
        assert content(guest, "pids", "pids.max") == "4096"
        memory = await adjusted(guest, replace(spec, memory_bytes=40 * MIB))
        assert memory.applied == ("memory",)
        usage = await guest.driver.usage(guest.test.run_dir)
        assert usage.memory_limit_bytes == 40 * MIB
        assert (await guest.sh("dd if=/dev/zero of=/dev/null bs=60M count=1"))[0] == 137
        with pytest.raises(Invalid):
            await adjusted(guest, replace(spec, limits=Limits(cpu_pin="1000")))

    in_guest(story)


def test_memory_in_use_is_not_taken_away() -> None:
    async def story(guest: Guest) -> None:
        assert (await guest.sh("dd if=/dev/zero of=/dev/shm/held bs=1M count=50 2>/dev/null"))[0] == 0
        done = await adjusted(guest, replace(guest.test.instance.spec, memory_bytes=34 * MIB))
        assert done.applied == () and "cannot let go" in done.pending["memory"]
        assert (await guest.sh("cat /dev/shm/held | wc -c"))[1] == f"{50 * MIB}\n"
        rehearsed = await guest.driver.adjust(
            guest.test.run_dir,
            guest.test.instance.spec,
            replace(guest.test.instance.spec, memory_bytes=256 * MIB),
            dry_run=True,
        )
        assert rehearsed.applied == ("memory",)
        usage = await guest.driver.usage(guest.test.run_dir)
        assert usage.memory_limit_bytes == 128 * MIB, "a rehearsal changes nothing"

    in_guest(story, memory_bytes=128 * MIB)


def test_disk_rates_are_set_on_the_disk_under_the_container_and_hold() -> None:
    async def main(directory: Path) -> None:
        try:
            throttled_device(directory)
        except Unsupported as error:
            pytest.skip(error.message)
        limits = Limits(disk_write_bps=8 * MIB, disk_read_iops=50)
        async with running(new_test(directory, limits=limits)) as guest:
            group = guest.driver._group(guest.test.run_dir)
            if group.version == 1:
                told = content(guest, "blkio", "blkio.throttle.write_bps_device")
                assert told.split()[1] == str(8 * MIB)
            else:
                assert "wbps=8388608" in content(guest, "io", "io.max")
            # two seconds' worth: the kernel lets through a tenth of a second's worth at a time
            code, _ = await guest.sh("time dd if=/dev/zero of=/big bs=1M count=16 oflag=direct")
            assert code == 0
            counted = await guest.driver.usage(guest.test.run_dir)
            assert counted.write_bytes >= 16 * MIB
            spec = guest.test.instance.spec
            done = await adjusted(guest, replace(spec, limits=Limits(disk_read_iops=50)))
            assert done.applied == ("disk-write-bps",)
            if group.version == 1:
                assert content(guest, "blkio", "blkio.throttle.write_bps_device") == ""
                assert done.notes == {"disk-write-bps": BUFFERED}

    with_directory(main)


def test_a_disk_grows_while_it_is_mounted_or_at_the_next_start() -> None:
    async def main(directory: Path) -> None:
        test = new_test(directory, disk_bytes=32 * MIB, limits=Limits(disk_write_bps=50 * MIB))
        larger = replace(test.instance.spec, disk_bytes=96 * MIB)
        async with running(test) as guest:
            assert (await guest.sh("echo kept > /kept; sync"))[0] == 0
            done = await adjusted(guest, larger)
            fill = "cat /kept; dd if=/dev/zero of=/big bs=1M count=50 2>/dev/null"
            if done.pending:
                assert RAISING in done.pending["disk"]
            else:
                assert await guest.sh(fill) == (0, "kept\n")
        rootfs = test.attachments.rootfs
        assert rootfs is not None
        test.attachments = replace(test.attachments, rootfs=replace(rootfs, size_bytes=96 * MIB))
        async with running(test) as guest:
            assert await guest.sh(fill) == (0, "kept\n")

    with_directory(main)


def test_a_container_without_a_disk_gets_one_and_keeps_its_files() -> None:
    async def main(directory: Path) -> None:
        test = new_test(directory)
        async with running(test) as guest:
            made = "echo kept > /etc/kept; ln -s kept /etc/link; rm /bin/sleep; chown 7:7 /etc/kept"
            assert (await guest.sh(made))[0] == 0
            done = await adjusted(guest, replace(test.instance.spec, disk_bytes=64 * MIB))
            assert done.pending == {"disk": NO_DISK}
        rootfs = test.attachments.rootfs
        assert rootfs is not None
        test.attachments = replace(test.attachments, rootfs=replace(rootfs, size_bytes=64 * MIB))
        async with running(test) as guest:
            shown = "cat /etc/link; stat -c %u:%g /etc/kept; ls /bin/sleep; dd if=/dev/zero of=/big bs=1M count=80"
            code, words = await guest.sh(shown)
            assert code != 0 and words.startswith("kept\n7:7\n") and "No such file" in words
            assert "No space left" in words
        assert sorted(path.name for path in rootfs.data.iterdir()) == ["disk.ext4"]

    with_directory(main)
