"""One image, three kinds, one command: what the README promises, on the real thing."""

import json

import pytest
from tests.conftest import Daemon

KINDS = ("microvm", "container", "vm")
pytestmark = [
    pytest.mark.root,
    pytest.mark.slow,
    pytest.mark.needs("qemu-system-x86_64", "crun", "slirp4netns"),
]


@pytest.mark.parametrize("kind", KINDS)
def test_run_passes_output_and_exit_code_and_leaves_nothing(daemon: Daemon, kind: str) -> None:
    done = daemon.yurt("run", "tiny", "--rm", "--as", kind, "--", "sh", "-c", "uname -s; exit 7", check=False)
    assert (done.returncode, done.stdout) == (7, b"Linux\n"), done.stderr.decode()
    for name in [instance["name"] for instance in daemon.json("ls")]:
        daemon.yurt("wait", name, "--for", "exit", check=False)
    assert daemon.json("ls") == []


@pytest.mark.parametrize("kind", KINDS)
def test_a_guest_outlives_the_daemon_and_obeys_the_next_one(daemon: Daemon, kind: str) -> None:
    daemon.yurt("run", "tiny", "--as", kind, "--name", "long", "--detach", "--label", "a=b")
    daemon.yurt("wait", "long", "--for", "agent")
    before = daemon.json("info", "long")
    daemon.kill()
    daemon.start()
    daemon.yurt("wait", "long", "--for", "agent")
    after = daemon.json("info", "long")
    assert (after["pid"], after["phase"]) == (before["pid"], "running")
    assert daemon.yurt("exec", "long", "--", "hostname").stdout == b"long\n"
    daemon.yurt("pause", "long")
    assert daemon.json("info", "long")["phase"] == "paused"
    daemon.yurt("resume", "long")
    assert [i["name"] for i in json.loads(daemon.yurt("ls", "-l", "a=b", "--json").stdout)] == ["long"]
    daemon.yurt("stop", "long")
    daemon.yurt("rename", "long", "short")
    daemon.yurt("delete", "short")
    assert daemon.json("ls") == []


def test_two_of_one_name_and_an_unknown_image_are_refused(daemon: Daemon) -> None:
    daemon.yurt("create", "tiny", "--as", "container", "--name", "one")
    again = daemon.yurt("create", "tiny", "--as", "container", "--name", "one", check=False)
    assert again.returncode == 4
    unknown = daemon.yurt("run", "nothing", "--rm", "--", "true", check=False)
    assert unknown.returncode == 3
    assert b"hint:" in unknown.stderr
