"""An ordinary user runs all three kinds: no root daemon, user-mode networks, user namespaces.

The user exists only in a private mount namespace of the test, where /etc/passwd, /etc/subuid and the device nodes are
what an ordinary host has. This machine's control groups are not the user's, so what needs them must say so.
"""

import dataclasses
import gzip
import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.abuse import tars
from tests.conftest import Daemon, make_home

UID = 54321
USER = "yurt-ordinary"
SUBORDINATE = 0x30000000  # far from everybody's
# the nodes as udev makes them, then the names, then the user
ENTER = f"""
set -e
mount -t tmpfs -o mode=755 none /mnt
mknod /mnt/tun c 10 200; chmod 666 /mnt/tun; mount --bind /mnt/tun /dev/net/tun
for file in passwd group subuid subgid; do cp /etc/$file /mnt/$file; done
echo '{USER}:x:{UID}:{UID}::/nonexistent:/bin/sh' >>/mnt/passwd
echo '{USER}:x:{UID}:' >>/mnt/group
echo '{USER}:{SUBORDINATE}:65536' >>/mnt/subuid
echo '{USER}:{SUBORDINATE}:65536' >>/mnt/subgid
for file in passwd group subuid subgid; do mount --bind /mnt/$file /etc/$file; done
exec setpriv --reuid={UID} --regid={UID} --clear-groups --inh-caps=-all -- "$@"
"""

pytestmark = [
    pytest.mark.root,
    pytest.mark.needs("qemu-system-x86_64", "crun", "slirp4netns", "newuidmap"),
    pytest.mark.slow,
]


class Ordinary(Daemon):
    """A home of an ordinary user; every command runs as that user, in the namespace where that user exists."""

    def argv(self, *words: str) -> list[str]:
        inside = super().argv(*words)
        return ["unshare", "--mount", "--propagation", "slave", "--", "sh", "-c", ENTER, "ordinary", *inside]


@pytest.fixture(scope="module")
def user(image_cache: Path) -> Iterator[Ordinary]:
    """A daemon of an ordinary user, with images of its own: those of root's cache are not that user's to change."""
    ordinary = Ordinary(make_home())
    shutil.chown(ordinary.path, UID, UID)
    try:
        ordinary.state.mkdir(mode=0o700)
        ordinary.run.mkdir(mode=0o700)
        (ordinary.state / "yurtd.log").touch(mode=0o600)
        for path in (ordinary.state, ordinary.run, ordinary.state / "yurtd.log"):
            shutil.chown(path, UID, UID)
        kernels = ordinary.state / "kernels"
        shutil.copytree(image_cache / "state" / "kernels", kernels, symlinks=True)
        for path in (kernels, *kernels.rglob("*")):
            os.lchown(path, UID, UID)
        ordinary.start()
        yield ordinary
    finally:
        ordinary.clear()
        shutil.rmtree(ordinary.path)


def test_the_daemon_is_root_of_nothing_but_its_own_namespace(user: Ordinary) -> None:
    status = Path(f"/proc/{user.pid}/status").read_text()
    assert f"Uid:\t{UID}\t{UID}\t{UID}\t{UID}" in status
    assert Path(f"/proc/{user.pid}/uid_map").read_text().split()[:3] == ["0", str(UID), "1"]
    assert Path(f"/proc/{user.pid}/ns/user").readlink() != Path("/proc/self/ns/user").readlink()
    assert user.socket.stat().st_uid == UID


@pytest.mark.parametrize("kind", ["container", "microvm", "vm"])
def test_each_kind_runs_and_reaches_out(user: Ordinary, kind: str) -> None:
    done = user.yurt("run", "tiny", "--as", kind, "--rm", "--", "sh", "-c", "id -u; ip -4 addr")
    assert done.stdout.startswith(b"0\n")
    assert b"10.0.2.15" in done.stdout


def test_archives_from_outside_keep_their_owners(user: Ordinary) -> None:
    """The cells that unpack are jails of that user's namespace; owners are subordinate ids."""
    mine = dataclasses.replace(tars.file("etc/mine", b"x"), uid=1000, gid=1000)
    data = tars.write(tars.folder("etc"), mine)
    for packed in (data, gzip.compress(data)):
        user.yurt("image", "import", "outside:1", "-", stdin=packed)
        made = next((user.state / "forms").glob("*/rootfs/etc/mine"))
        assert made.stat().st_uid == SUBORDINATE + 999
        user.yurt("image", "delete", "outside:1")
        user.yurt("image", "prune")
    refused = user.yurt("image", "import", "outside:1", "-", stdin=gzip.compress(data)[:-20], check=False)
    assert refused.returncode == 2 and b"damaged" in refused.stderr
    assert not list((user.state / "forms").glob(".import-*"))


def test_a_guest_runs_as_somebody_else(user: Ordinary) -> None:
    user.yurt("run", "tiny", "--as", "microvm", "--name", "boxed")
    pid = user.json("info", "boxed")["pid"]
    uid = int(Path(f"/proc/{pid}/status").read_text().split("Uid:")[1].split()[0])
    assert SUBORDINATE <= uid < SUBORDINATE + 65536
    user.yurt("delete", "--force", "boxed")


def test_what_takes_control_groups_says_so(user: Ordinary) -> None:
    user.yurt("run", "tiny", "--as", "container", "--name", "free")
    refused = user.yurt("pause", "free", check=False)
    assert (
        refused.returncode == 9 and b"control groups" in refused.stderr and b"systemd-run" in refused.stderr
    )
    refused = user.yurt("create", "tiny", "--as", "container", "--memory", "64M", check=False)
    assert refused.returncode == 9 and b"no limit of a container would hold" in refused.stderr
    refused = user.yurt("create", "tiny", "--as", "container", "--disk", "64M", check=False)
    assert refused.returncode == 9 and b"loop device" in refused.stderr
    used = user.json("top")
    assert used[0]["pids"] >= 2 and used[0]["memory_bytes"] > 0
    refused = user.yurt("network", "create", "lan", check=False)
    assert refused.returncode == 9 and b"need root" in refused.stderr
    user.yurt("delete", "--force", "free")
    checks = {check["name"]: check for check in json.loads(user.yurt("doctor", "--json", check=False).stdout)}
    assert "65536 user ids" in checks["host"]["detail"]
    assert checks["cgroups"]["status"] == "warn"


def test_block_volumes_work_and_what_cannot_be_mapped_says_so(user: Ordinary) -> None:
    user.yurt("volume", "create", "data", "--size", "64M")
    user.yurt("run", "tiny", "--name", "disky", "--volume", "data:/srv/data", "--detach")
    user.yurt("wait", "disky")
    user.yurt("exec", "disky", "--", "sh", "-c", "echo kept > /srv/data/file; sync")
    user.yurt("delete", "--force", "disky")
    user.yurt("volume", "delete", "data")
    source = user.path / "source"
    source.mkdir()
    shutil.chown(source, UID, UID)
    for kind in ("container", "microvm"):
        refused = user.yurt(
            "run",
            "tiny",
            "--as",
            kind,
            "--name",
            "sharing",
            "--mount",
            f"{source}:/s",
            "--detach",
            check=False,
        )
        assert refused.returncode in (8, 9), refused.stderr.decode()
        assert b"hint: " in refused.stderr
        assert "sharing" not in [each["name"] for each in user.json("ls")]
