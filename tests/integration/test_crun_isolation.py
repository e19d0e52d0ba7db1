"""What a container can see and do: its own ids, few capabilities, no devices, no mounts, nothing of the host."""

import os
import re
from pathlib import Path

import pytest
from tests.conformance.drivers_crun import SLOT_IDS, busybox_tree
from tests.integration.crun_guest import Guest, in_guest

from yurt.drivers.container.bundle import AGENT_PATH, CAPABILITIES
from yurt.host import layout

pytestmark = [pytest.mark.root, pytest.mark.needs("crun", "busybox")]
# bit numbers of the kernel's list, capability(7)
BITS = {
    "CAP_CHOWN": 0,
    "CAP_DAC_OVERRIDE": 1,
    "CAP_FOWNER": 3,
    "CAP_FSETID": 4,
    "CAP_KILL": 5,
    "CAP_SETGID": 6,
    "CAP_SETUID": 7,
    "CAP_SETPCAP": 8,
    "CAP_NET_BIND_SERVICE": 10,
    "CAP_NET_RAW": 13,
    "CAP_SYS_CHROOT": 18,
    "CAP_AUDIT_WRITE": 29,
    "CAP_SETFCAP": 31,
}


def test_its_ids_are_a_private_range_of_the_host() -> None:
    async def story(guest: Guest) -> None:
        base, count = SLOT_IDS
        assert (await guest.sh("cat /proc/self/uid_map"))[1].split() == ["0", str(base), str(count)]
        assert (await guest.sh("cat /proc/self/gid_map"))[1].split() == ["0", str(base), str(count)]
        assert Path(f"/proc/{guest.launched.pid}").stat().st_uid == base
        assert await guest.sh("touch /made; chown ann:ann /made; stat -c %u:%g /made /bin/busybox") == (
            0,
            "1000:1000\n0:0\n",
        )
        rootfs = guest.test.attachments.rootfs
        assert rootfs is not None
        assert (rootfs.data / "upper" / "made").stat().st_uid == base + 1000

    in_guest(story)


def test_its_capabilities_are_the_short_list_and_seccomp_is_on() -> None:
    async def story(guest: Guest) -> None:
        expected = sum(1 << BITS[name] for name in CAPABILITIES)
        for who in ("self", "1"):
            status = (await guest.sh(f"cat /proc/{who}/status"))[1]
            fields = dict(re.findall(r"^(\w+):\s*(\S+)$", status, re.M))
            for field in ("CapPrm", "CapEff", "CapBnd"):
                assert int(fields[field], 16) == expected, field
            assert int(fields["CapInh"], 16) == int(fields["CapAmb"], 16) == 0
            assert fields["Seccomp"] == "2"

    in_guest(story)


DENIED = {
    "a device node": "mknod /sda b 8 0",
    "a file system": "mount -t tmpfs none /tmp",
    "a bind mount": "mount -o bind /bin /tmp",
    "unmounting": "umount /sys",
    "a user namespace": "unshare -r true",
    "a mount namespace": "unshare -m true",
    "the clock": "true > /sys/class/rtc/rtc0/wakealarm",
    "the kernel's settings": "echo 1 > /proc/sys/vm/drop_caches",
    "system requests": "echo b > /proc/sysrq-trigger",
    "its limits": "echo 99999999999 > /sys/fs/cgroup/memory/memory.limit_in_bytes",
    "its pids limit": "echo max > /sys/fs/cgroup/pids/pids.max",
    "a group of its own": "mkdir /sys/fs/cgroup/memory/x",
    "the agent": f"echo x > {AGENT_PATH}",
    "its own root's mount": "mount -o remount,dev /",
    "the address of a NIC": "ip addr add 10.9.9.9/24 dev lo",
}


def test_what_would_reach_the_host_is_denied() -> None:
    async def story(guest: Guest) -> None:
        allowed = [what for what, script in DENIED.items() if (await guest.sh(script))[0] == 0]
        assert allowed == []

    in_guest(story)


def test_device_nodes_that_an_image_brings_do_not_open() -> None:
    async def story(guest: Guest) -> None:
        rootfs = guest.test.attachments.rootfs
        assert rootfs is not None
        node = rootfs.data / "upper" / "null"  # as harmless as a device can be
        os.mknod(node, 0o020666, os.makedev(1, 3))
        os.chown(node, SLOT_IDS[0], SLOT_IDS[0])
        code, words = await guest.sh("cat /null")
        assert code != 0 and "ermission denied" in words

    in_guest(story)


LINKS = {"console", "core", "fd", "ptmx", "stderr", "stdin", "stdout"}


def test_its_devices_are_the_harmless_ones() -> None:
    async def story(guest: Guest) -> None:
        script = "for f in /dev/*; do [ -L $f ] || { [ -b $f ] || [ -c $f ]; } && echo ${f#/dev/}; done; true"
        names = {name for name in (await guest.sh(script))[1].split() if name not in LINKS}
        assert names == {"null", "zero", "full", "random", "urandom", "tty"}
        assert (await guest.sh("echo x > /dev/null; head -c 4 /dev/urandom | head -c 0"))[0] == 0

    in_guest(story)


def test_it_sees_only_its_own_processes_and_names() -> None:
    async def story(guest: Guest) -> None:
        count = (await guest.sh("ls -d /proc/[0-9]* | grep -c ."))[1]
        assert int(count) < 10
        assert (await guest.sh("hostname"))[1] == "conformance\n"
        mounts = (await guest.sh("cat /proc/mounts"))[1]
        places = {line.split()[1] for line in mounts.splitlines()}
        assert not [place for place in places if place.startswith(("/home", "/var", "/tmp", "/mnt"))]

    in_guest(story)


def test_neither_the_image_nor_the_instance_keeps_a_trace_of_the_agent() -> None:
    async def story(guest: Guest) -> None:
        rootfs = guest.test.attachments.rootfs
        assert rootfs is not None
        assert (await guest.sh("echo changed > /etc/passwd; rm /etc/group"))[0] == 0
        assert "root:x:0:0" in (busybox_tree() / "etc" / "passwd").read_text()
        assert (busybox_tree() / "etc" / "group").exists()
        upper = rootfs.data / "upper"
        assert not [path for path in upper.rglob("*") if "yurt" in path.name]
        assert list((upper / "dev").iterdir() if (upper / "dev").exists() else []) == []

    in_guest(story)


def test_it_holds_no_file_of_the_host_open() -> None:
    async def story(guest: Guest) -> None:
        held = os.listdir(f"/proc/{guest.launched.pid}/fd")  # noqa: PTH208 (names only; they vanish)
        targets = [os.readlink(f"/proc/{guest.launched.pid}/fd/{name}") for name in held]  # noqa: PTH115
        assert not [target for target in targets if str(guest.test.run_dir) in target], targets
        assert not (guest.test.run_dir / layout.MACHINE_LOG).exists()

    in_guest(story)


def test_the_host_sees_no_mount_of_it() -> None:
    async def story(guest: Guest) -> None:
        assert guest.test.run_dir.name not in Path("/proc/self/mountinfo").read_text()
        mounts = (await guest.sh("cat /proc/mounts"))[1]
        assert "\noverlay / overlay rw,nodev" in "\n" + mounts

    in_guest(story)


def test_su_still_works_and_ordinary_users_cannot_read_roots_files() -> None:
    async def story(guest: Guest) -> None:
        assert (await guest.sh("id -u", user="ann"))[1] == "1000\n"
        assert (await guest.sh("su ann -c 'id -u'"))[1] == "1000\n"
        await guest.sh("echo s > /root/secret; chmod 600 /root/secret")
        assert (await guest.sh("cat /root/secret", user="ann"))[0] != 0

    in_guest(story)
