"""What is on a volume stays as it is, through power cuts and moves; and guests that try to get out of their share."""

import json
import os
import signal
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.conftest import Daemon, make_home

SWAPS = {"container": 10_000, "microvm": 4_000}  # a machine needs 3 ms for one
OWNER = 1234  # an ordinary user of the host
pytestmark = [
    pytest.mark.root,
    pytest.mark.slow,
    pytest.mark.needs("qemu-system-x86_64", "crun", "slirp4netns", "/usr/lib/qemu/virtiofsd"),
]


@pytest.fixture
def daemon(shared_daemon: Daemon) -> Iterator[Daemon]:
    """The module's daemon, without instances and volumes of an earlier test."""
    yield shared_daemon
    if names := [instance["name"] for instance in shared_daemon.json("ls")]:
        shared_daemon.yurt("delete", "--force", *names)
    if names := [volume["name"] for volume in shared_daemon.json("volume", "ls")]:
        shared_daemon.yurt("volume", "delete", *names)


@pytest.fixture
def shared() -> Iterator[Path]:
    """A directory of an ordinary user's, beside one that no guest may reach."""
    home = make_home()
    source = home / "source"
    for directory in (source, home / "outside"):
        directory.mkdir(mode=0o755)
    (source / "hello").write_text("from the host\n")
    for path in (source, source / "hello"):
        os.chown(path, OWNER, OWNER)
    (source / "roots").write_text("the host's root wrote this\n")
    (home / "outside" / "secret").write_text("CANARY\n")
    (home / "outside" / "gone").write_text("to be removed by nobody\n")
    try:
        yield source
    finally:
        subprocess.run(["rm", "-rf", "--one-file-system", str(home)], check=True)


def sh(daemon: Daemon, name: str, script: str) -> str:
    return daemon.yurt("exec", name, "--", "sh", "-c", script).stdout.decode()


def qmp(daemon: Daemon, name: str, command: str) -> Any:
    """One QMP command while the daemon is away: QEMU serves one client at a time."""
    run_dir = daemon.run / "instances" / daemon.json("info", name)["id"]
    daemon.stop()
    try:
        with socket.socket(socket.AF_UNIX) as monitor:
            monitor.settimeout(10)
            monitor.connect(str(run_dir / "qmp.sock"))
            stream = monitor.makefile("rw")
            stream.readline()
            for each in ("qmp_capabilities", command):
                stream.write(json.dumps({"execute": each}) + "\n")
                stream.flush()
                answer = json.loads(stream.readline())
            return answer["return"]
    finally:
        daemon.start()


def test_a_tree_outlives_its_container_and_moves_into_a_microvm(daemon: Daemon) -> None:
    daemon.yurt("volume", "create", "tree", "--filesystem")
    daemon.yurt("volume", "create", "small", "--filesystem", "--size", "32M")
    uses = ("--volume", "tree:/srv/tree", "--volume", "small:/srv/small")
    daemon.yurt("run", "tiny", "--as", "container", "--name", "c1", *uses, "--detach")
    sh(daemon, "c1", "echo kept > /srv/tree/file && chown 7:8 /srv/tree/file && echo kept > /srv/small/file")
    full = daemon.yurt(
        "exec", "c1", "--", "dd", "if=/dev/zero", "of=/srv/small/big", "bs=1M", "count=64", check=False
    )
    assert b"No space left" in full.stderr
    other = daemon.yurt("create", "tiny", "--name", "m1", "--volume", "tree:/t", check=False)
    assert other.returncode == 5
    assert b"`c1`" in other.stderr
    assert b"yurt volume detach tree" in other.stderr
    assert daemon.yurt("volume", "delete", "tree", check=False).returncode == 5
    assert b"next start" in daemon.yurt("volume", "resize", "small", "64M").stderr
    daemon.yurt("delete", "--force", "c1")
    read_only = ("--volume", "tree:/srv/tree:ro", "--volume", "small:/srv/small")
    daemon.yurt("run", "tiny", "--name", "m1", *read_only, "--detach")
    daemon.yurt("wait", "m1")
    assert sh(daemon, "m1", "cat /srv/tree/file /srv/small/file; stat -c %u:%g /srv/tree/file") == (
        "kept\nkept\n7:8\n"
    )
    assert int(sh(daemon, "m1", "df -k /srv/small | tail -1 | awk '{print $2}'")) > 48 << 10
    assert daemon.yurt("exec", "m1", "--", "touch", "/srv/tree/new", check=False).returncode != 0
    by_name = {volume["name"]: volume for volume in daemon.json("volume", "ls")}
    assert (by_name["tree"]["instance"], by_name["tree"]["read_only"]) == ("m1", True)


def test_a_disk_survives_a_power_cut_and_moves_from_a_microvm_into_a_vm(daemon: Daemon) -> None:
    daemon.yurt("volume", "create", "data", "--size", "1G")
    daemon.yurt("volume", "create", "bare", "--size", "64M")
    uses = ("--volume", "data:/srv/data", "--volume", "bare")
    daemon.yurt("run", "tiny", "--name", "m1", *uses, "--detach")
    daemon.yurt("wait", "m1")
    sh(daemon, "m1", "dd if=/dev/urandom of=/srv/data/file bs=64k count=16 conv=fsync 2>/dev/null")
    digest = sh(daemon, "m1", "md5sum < /srv/data/file")
    device = sh(daemon, "m1", "grep -lx bare /sys/block/*/serial").split("/")[3]
    sh(daemon, "m1", f"echo a partition table of my own | dd of=/dev/{device} conv=fsync 2>/dev/null")
    os.kill(daemon.json("info", "m1")["pid"], signal.SIGKILL)  # QEMU's own caches are gone with it
    daemon.yurt("wait", "m1", "--for", "exit")
    daemon.yurt("delete", "m1")
    uses = ("--volume", "data:/srv/data", "--volume", "bare:/srv/bare")  # bare is written to: never formatted
    daemon.yurt("run", "tiny", "--as", "vm", "--name", "v1", *uses, "--detach")
    daemon.yurt("wait", "v1")
    assert sh(daemon, "v1", "md5sum < /srv/data/file") == digest
    assert b"mount" in daemon.yurt("logs", "v1", "--source", "lifecycle").stdout
    assert sh(daemon, "v1", "mount | grep /srv/bare || true") == ""
    assert sh(
        daemon,
        "v1",
        "head -c 30 $(grep -lx bare /sys/block/*/serial | sed 's,/sys/block/,/dev/,;s,/serial,,')",
    ) == ("a partition table of my own\n" + "\0\0")
    check_hot_plugging(daemon)
    for disk in qmp(daemon, "v1", "query-block"):
        if inserted := disk.get("inserted"):
            assert inserted["cache"]["no-flush"] is False, disk


def check_hot_plugging(daemon: Daemon) -> None:
    daemon.yurt("volume", "create", "late", "--size", "64M")
    daemon.yurt("volume", "attach", "late:/srv/late", "v1")
    before = int(sh(daemon, "v1", "df -k /srv/late | tail -1 | awk '{print $2}'"))
    daemon.yurt("volume", "resize", "late", "256M")
    assert int(sh(daemon, "v1", "df -k /srv/late | tail -1 | awk '{print $2}'")) > 3 * before
    sh(daemon, "v1", "cd /srv/late && (sleep 3 >/dev/null 2>&1 &)")
    busy = daemon.yurt("volume", "detach", "late", check=False)
    assert busy.returncode == 6, busy.stderr.decode()
    sh(daemon, "v1", "sleep 4")
    daemon.yurt("volume", "detach", "late")
    assert sh(daemon, "v1", "grep -lx late /sys/block/*/serial || true") == ""


@pytest.mark.parametrize("kind", ["container", "microvm"])
def test_a_share_maps_owners_and_never_leads_outside(
    daemon: Daemon, shared: Path, tmp_path: Path, kind: str
) -> None:
    program, outside = tmp_path / "race", shared.parent / "outside"
    source = Path(__file__).with_name("share_race.c")
    subprocess.run(["cc", "-static", "-O1", "-o", str(program), str(source)], check=True)
    (shared / "locked").mkdir()
    program.rename(shared / "race")
    (shared / "race").chmod(0o755)
    mounts = ("--mount", f"{shared}:/share", "--mount", f"{shared}:/locked:ro")
    daemon.yurt("run", "tiny", "--as", kind, "--name", "g", *mounts, "--detach")
    daemon.yurt("wait", "g")
    assert sh(daemon, "g", "cat /share/hello; stat -c %u:%g /share/hello /share/roots") == (
        "from the host\n0:0\n65534:65534\n"
    )
    sh(daemon, "g", "echo guest > /share/new; chown 5:6 /share/new; mkdir /share/dir")
    assert (shared / "dir").stat().st_uid == OWNER
    assert (shared / "new").stat().st_uid > 1 << 29, "a user of the guest's is one of its private range"
    assert daemon.yurt("exec", "g", "--", "sh", "-c", "echo x > /locked/x", check=False).returncode != 0
    assert daemon.yurt("exec", "g", "--", "sh", "-c", "echo x >> /share/roots", check=False).returncode != 0
    race_dir = f"/share/{kind}"
    for target in (str(outside), "../../outside"):
        done = daemon.yurt(
            "exec", "g", "--", "sh", "-c",
            f"rm -rf {race_dir}; mkdir {race_dir}; /share/race {race_dir} {target} {SWAPS[kind] // 2}",
        )  # fmt: skip
        assert done.stdout == f"{SWAPS[kind] // 2} swaps\n".encode()
    assert sorted(path.name for path in outside.iterdir()) == ["gone", "secret"]
    assert (outside / "secret").read_text() == "CANARY\n"


def test_a_source_moved_away_while_a_guest_runs_is_still_the_one_it_was(daemon: Daemon, shared: Path) -> None:
    daemon.yurt("run", "tiny", "--as", "container", "--name", "g", "--mount", f"{shared}:/share", "--detach")
    shared.rename(shared.with_name("moved"))
    shared.symlink_to(shared.parent / "outside")
    try:
        assert sh(daemon, "g", "cat /share/hello; ls /share") == "from the host\nhello\nroots\n"
    finally:
        shared.unlink()
        shared.with_name("moved").rename(shared)


def test_what_only_looks_like_a_directory_of_its_own_is_refused(daemon: Daemon, shared: Path) -> None:
    (shared / "out").symlink_to("/proc/self/root")
    refused = {
        str(daemon.path): 2,  # the state directory is in it
        str(daemon.run): 2,
        str(shared / "out"): 2,  # leads through a link of the kernel's
        str(shared / "hello"): 2,  # a file
        str(shared / "nothing"): 3,
    }
    for source, code in refused.items():
        words = ("run", "tiny", "--as", "container", "--name", "g", "--mount", f"{source}:/s", "--detach")
        done = daemon.yurt(*words, check=False)
        assert done.returncode == code, (source, done.stderr.decode())
        assert daemon.json("ls") == [], source


def test_an_imported_image_is_a_volume_that_grows(daemon: Daemon, tmp_path: Path) -> None:
    plain, image = tmp_path / "disk.raw", tmp_path / "disk.qcow2"
    with plain.open("wb") as file:
        file.truncate(64 << 20)
    subprocess.run(["mkfs.ext4", "-q", "-d", str(Path(__file__).parent / "agent"), str(plain)], check=True)
    subprocess.run(
        ["qemu-img", "convert", "-f", "raw", "-O", "qcow2", "-c", str(plain), str(image)], check=True
    )
    daemon.yurt("volume", "import", "brought", str(image))
    wrong = daemon.yurt("volume", "import", "wrong", str(plain), "--format", "qcow2", check=False)
    assert wrong.returncode == 2, wrong.stderr.decode()
    unknown = daemon.yurt("volume", "import", "wrong", str(Path(__file__)), check=False)
    assert unknown.returncode == 2
    assert b"--format" in unknown.stderr
    linked = tmp_path / "linked.qcow2"
    subprocess.run(
        ["qemu-img", "create", "-q", "-f", "qcow2", "-b", str(image), "-F", "qcow2", str(linked)], check=True
    )
    assert daemon.yurt("volume", "import", "wrong", str(linked), check=False).returncode == 2
    assert [volume["name"] for volume in daemon.json("volume", "ls")] == ["brought"]
    volume = daemon.json("volume", "info", "brought")
    assert volume["size_bytes"] == 64 << 20
    kept = daemon.state / "volumes" / volume["id"]
    assert [path.name for path in kept.iterdir()] == ["disk.qcow2"]
    compared = ["qemu-img", "compare", "-f", "raw", "-F", "qcow2", str(plain), str(kept / "disk.qcow2")]
    subprocess.run(compared, check=True, capture_output=True)
    daemon.yurt("volume", "resize", "brought", "8T")  # more than the image's own tables ever covered
    checked = subprocess.run(
        ["qemu-img", "check", "-q", "-f", "qcow2", str(kept / "disk.qcow2")], check=False, capture_output=True
    )
    assert checked.returncode == 0, checked.stderr
    assert not list((daemon.state / "forms").glob(".import-*"))
