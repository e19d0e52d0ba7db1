"""What goes wrong by itself: each a clear end with its reason, and a way on."""

import os
import signal
import subprocess
from concurrent.futures import ThreadPoolExecutor

import pytest
from tests.conftest import Daemon, Home

pytestmark = [
    pytest.mark.root,
    pytest.mark.slow,
    pytest.mark.needs("qemu-system-x86_64", "crun", "slirp4netns"),
]


def crashed(daemon: Daemon, name: str) -> str:
    """The reason of an instance that has ended badly."""
    daemon.yurt("wait", name, "--for", "exit")
    info = daemon.json("info", name)
    assert info["phase"] == "crashed"
    return str(info["reason"])


@pytest.mark.parametrize("kind", ["microvm", "vm"])
def test_a_killed_qemu_and_a_panicked_guest_say_so_and_start_again(daemon: Daemon, kind: str) -> None:
    daemon.yurt("run", "tiny", "--as", kind, "--name", "one", "--detach")
    daemon.yurt("wait", "one", "--for", "agent")
    os.kill(daemon.json("info", "one")["pid"], signal.SIGKILL)
    assert "SIGKILL" in crashed(daemon, "one")
    refused = daemon.yurt("exec", "one", "--", "true", check=False)
    assert refused.returncode == 5
    assert b"yurt start one" in refused.stderr
    daemon.yurt("start", "one")
    daemon.yurt("wait", "one", "--for", "agent")
    daemon.yurt("exec", "one", "--", "sh", "-c", "echo c >/proc/sysrq-trigger", check=False)
    assert "panicked" in crashed(daemon, "one")
    waited = daemon.yurt("wait", "one", "--for", "running", check=False)
    assert waited.returncode == 5
    assert b"panicked" in waited.stderr


def test_a_container_killed_from_outside_has_crashed(daemon: Daemon) -> None:
    daemon.yurt("run", "tiny", "--as", "container", "--name", "one", "--detach")
    os.kill(daemon.json("info", "one")["pid"], signal.SIGKILL)
    assert daemon.yurt("wait", "one", "--for", "exit", check=False).returncode == 128 + signal.SIGKILL
    daemon.yurt("start", "one")
    assert daemon.yurt("exec", "one", "--", "hostname").stdout == b"one\n"


def test_a_rebooted_guest_answers_again(daemon: Daemon) -> None:
    daemon.yurt("run", "tiny", "--name", "one", "--detach")
    daemon.yurt("wait", "one", "--for", "agent")
    follower = subprocess.Popen(daemon.argv("events", "--json"), env=daemon.environ(), stdout=subprocess.PIPE)
    try:
        daemon.yurt("exec", "one", "--", "reboot", check=False)
        assert follower.stdout
        seen = ""
        while '"ready":true' not in seen.replace(" ", ""):
            seen = follower.stdout.readline().decode()
            assert seen, "the events ended"
    finally:
        follower.kill()
        follower.communicate()
    assert daemon.yurt("exec", "one", "--", "hostname").stdout == b"one\n"
    assert daemon.json("info", "one")["phase"] == "running"


def test_a_paused_guest_is_not_asked(daemon: Daemon) -> None:
    daemon.yurt("run", "tiny", "--as", "container", "--name", "one", "--detach")
    daemon.yurt("pause", "one")
    refused = daemon.yurt("exec", "one", "--", "true", check=False)
    assert refused.returncode == 5
    assert b"yurt resume one" in refused.stderr
    daemon.yurt("stop", "one")
    assert daemon.json("info", "one")["phase"] == "stopped"


def test_of_many_who_want_one_name_one_gets_it(daemon: Daemon) -> None:
    words = ("create", "tiny", "--as", "container", "--name", "same")
    with ThreadPoolExecutor(8) as pool:
        codes = sorted(pool.map(lambda _: daemon.yurt(*words, check=False).returncode, range(8)))
    assert codes == [0] + [4] * 7
    assert [instance["name"] for instance in daemon.json("ls")] == ["same"]


def test_no_room_is_said_before_anything_is_made(daemon: Daemon) -> None:
    daemon.stop()
    instances = daemon.state / "instances"
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m,mode=711", "tmpfs", str(instances)], check=True)
    try:
        daemon.start()
        (instances / "filler").write_bytes(b"x" * (1 << 20))
        refused = daemon.yurt("create", "tiny", "--name", "one", check=False)
        assert refused.returncode == 7, refused.stderr
        assert b"hint:" in refused.stderr
        assert daemon.json("ls") == []
        assert [path.name for path in instances.iterdir()] == ["filler"]
        daemon.stop()
    finally:
        subprocess.run(["umount", str(instances)], check=True)
    daemon.start()


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (("--name", "Not_A_Name"), 2),
        (("--memory", "900T"), 2),
        (("--memory", "900G"), 7),
        (("--disk", "1G"), 2),
        (("--cpus", "200"), 7),
        (("--label", "Ä=b"), 2),
    ],
)
def test_a_refused_wish_leaves_nothing(daemon: Daemon, words: tuple[str, ...], code: int) -> None:
    refused = daemon.yurt("run", *words, "tiny", "--rm", "--", "true", check=False)
    assert refused.returncode == code, refused.stderr
    assert refused.stderr.startswith(b"error: ")
    assert daemon.json("ls") == []


def test_a_home_that_containers_cannot_enter_is_named(home: Home) -> None:
    daemon = Daemon(home.path)
    home.path.chmod(0o700)
    daemon.start()
    try:
        refused = daemon.yurt("run", "tiny", "--as", "container", "--rm", "--", "true", check=False)
        assert refused.returncode == 9, refused.stderr
        assert b"chmod o+x" in refused.stderr
    finally:
        daemon.clear()
