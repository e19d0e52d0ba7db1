"""Read-only disks, and volumes whose long names begin alike, in real guests."""

from collections.abc import Iterator

import pytest
from tests.conftest import Daemon

pytestmark = [
    pytest.mark.slow,
    pytest.mark.root,
    pytest.mark.needs("crun", "slirp4netns", "qemu-system-x86_64", "/usr/lib/qemu/virtiofsd", "mkfs.ext4"),
]
LONG = "a-name-that-is-longer-than-a-tag-of-virtiofs"


@pytest.fixture
def home(shared_daemon: Daemon) -> Iterator[Daemon]:
    """The shared daemon, without the instances and volumes of the test."""
    yield shared_daemon
    if names := [instance["name"] for instance in shared_daemon.json("ls")]:
        shared_daemon.yurt("delete", "--force", *names)
    if names := [volume["name"] for volume in shared_daemon.json("volume", "ls")]:
        shared_daemon.yurt("volume", "delete", *names)


def run(home: Daemon, kind: str, *words: str) -> None:
    """Start the one guest of a test, in the place of the one before."""
    home.yurt("delete", "--force", "one", check=False)
    home.yurt("run", "tiny", "--as", kind, "--name", "one", "--detach", *words)
    home.yurt("wait", "one", "--for", "agent")


def sh(home: Daemon, script: str, *, check: bool = True) -> str:
    return home.yurt("exec", "one", "--", "sh", "-c", script, check=check).stdout.decode().strip()


def test_a_read_only_disk_is_written_by_nobody(home: Daemon) -> None:
    home.yurt("volume", "create", "disk", "--size", "64M")
    run(home, "microvm", "--volume", "disk:/srv/d")
    sh(home, "echo kept > /srv/d/file; sync; umount /srv/d")
    run(home, "microvm", "--volume", "disk:/srv/d:ro")
    assert sh(home, "cat /srv/d/file; cat /sys/block/vdb/ro") == "kept\n1"
    sh(home, "mount -o remount,rw /srv/d; echo x > /srv/d/file", check=False)
    sh(home, "dd if=/dev/zero of=/dev/vdb bs=4k count=64 conv=fsync", check=False)
    home.yurt("delete", "--force", "one")
    run(home, "vm")
    home.yurt("volume", "attach", "disk:/srv/d:ro", "one")  # while it runs
    assert sh(home, "cat /srv/d/file; touch /srv/d/x 2>/dev/null || echo refused") == "kept\nrefused"


def test_two_trees_whose_long_names_begin_alike_stay_two(home: Daemon) -> None:
    for name in (f"{LONG}-1", f"{LONG}-2"):
        home.yurt("volume", "create", name, "--filesystem")
    both = ("--volume", f"{LONG}-1:/srv/a", "--volume", f"{LONG}-2:/srv/b")
    run(home, "container", *both)
    sh(home, "echo 1 > /srv/a/file; echo 2 > /srv/b/file")
    run(home, "microvm", *both)
    assert sh(home, "cat /srv/a/file /srv/b/file; echo 3 > /srv/b/file") == "1\n2"
    run(home, "container", *both)
    assert sh(home, "cat /srv/a/file /srv/b/file") == "1\n3"
