"""`yurt set` from the command line and the SDK to the kernel and back: a container, a microVM, a managed network."""

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.conftest import Daemon, Home

import yurt
from yurt.errors import Invalid, Unsupported
from yurt.host.cgroup import Group, detect_layout

pytestmark = [pytest.mark.root, pytest.mark.slow, pytest.mark.needs("crun", "slirp4netns", "tc", "nsenter")]


@pytest.fixture(scope="module")
def container(shared_daemon: Daemon) -> Iterator[Daemon]:
    """A daemon with a running container `one` that has a disk of its own."""
    run = ("run", "tiny", "--as", "container", "--name", "one", "--detach", "--disk", "64M", "--pids", "100")
    shared_daemon.yurt(*run, "--net-out", "1M", "--open-files", "500")
    yield shared_daemon
    shared_daemon.yurt("delete", "--force", "one")


def lines(daemon: Home, *words: str) -> list[str]:
    return daemon.yurt("set", *words).stdout.decode().splitlines()


def content(instance: dict[str, Any], controller: str, name: str) -> str:
    group = Group(detect_layout(), f"yurt/{instance['id']}")
    return (group.directories["" if group.version == 2 else controller] / name).read_text().strip()


def qdiscs(pid: int) -> str:
    """What traffic control has in the network namespace of a process."""
    words = ("nsenter", f"--net=/proc/{pid}/ns/net", "tc", "-s", "qdisc", "show")
    return subprocess.run(words, capture_output=True, text=True, timeout=30, check=True).stdout


def test_each_setting_says_when_it_holds(container: Daemon) -> None:
    told = lines(
        container,
        "one",
        "memory=512M",
        "pids=200",
        "cpu-quota=0.5",
        "cpu-shares=50",
        "net-in=2M",
    )
    assert told[0].startswith("memory ") and told[0].endswith(" -> 512M now")
    assert told[1:] == [
        "cpu-shares none -> 50 now",
        "cpu-quota none -> 0.5 now",
        "pids 100 -> 200 now",
        "net-in none -> 2M now",
    ]
    instance = container.json("info", "one")
    assert content(instance, "pids", "pids.max") == "200"
    assert instance["spec"]["limits"]["net_out_bps"] == 1_000_000
    assert "pids=200" in container.yurt("info", "one").stdout.decode()
    assert lines(container, "one", "cpu-quota=", "cpu-shares=", "pids=200") == [
        "cpu-shares 50 -> none now",
        "cpu-quota 0.5 -> none now",
        "pids 200 as before",
    ]
    [usage] = container.json("top", "--once")
    assert (usage["pids_limit"], usage["memory_limit_bytes"]) == (200, 512 << 20)


def test_a_rehearsal_says_the_same_and_does_nothing(container: Daemon) -> None:
    [told] = container.json("set", "one", "pids=300", "--dry-run")
    assert (told["after"], told["when"]) == ("300", "now")
    assert content(container.json("info", "one"), "pids", "pids.max") != "300"


@pytest.mark.parametrize(
    ("words", "hint"),
    [
        (("pids=3",), b"at least 16"),
        (("colour=red",), b"one of cpus, memory"),
        (("disk=32M",), b"smaller"),
        (("cpu-pin=999",), b"no processor"),
        (("pids",), b"KEY=VALUE"),
    ],
)
def test_what_cannot_be_is_refused_with_a_hint(
    container: Daemon, words: tuple[str, ...], hint: bytes
) -> None:
    before = container.json("info", "one")["spec"]
    done = container.yurt("set", "one", *words, check=False)
    assert done.returncode in (2, 7) and hint in done.stderr
    assert container.json("info", "one")["spec"] == before


def test_the_rate_out_of_a_container_is_held_where_its_helper_has_a_device(container: Daemon) -> None:
    pid = container.json("info", "one")["pid"]
    assert "rate 1Mbit" in qdiscs(pid)
    flood = (
        "import socket, time; s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); end = time.monotonic() + 1\n"
        "while time.monotonic() < end: s.sendto(bytes(1400), ('10.0.2.2', 9))"
    )
    words = ("nsenter", f"--net=/proc/{pid}/ns/net", "python3", "-c", flood)
    subprocess.run(words, timeout=30, check=True)
    shown = qdiscs(pid).split("qdisc tbf")
    sent = next(part for part in shown if "dev tap0" in part).split("Sent ")[1]
    count, dropped = int(sent.split()[0]), int(sent.split("dropped ")[1].split(",")[0])
    assert 50_000 < count < 1_000_000 // 8 * 1.5 + 80_000 and dropped > 0
    assert lines(container, "one", "net-out=", "net-in=")[-1].endswith("none now")
    assert "tbf" not in qdiscs(pid)


def test_the_sdk_speaks_python(container: Daemon) -> None:
    with yurt.connect(container.socket) as client:
        handle = client.instance("one")
        changes = handle.set(pids=250, memory="256M", cpu_quota=1.5, net_in=2_000_000)
        assert {change.setting: change.after for change in changes} == {
            "pids": "250",
            "memory": "256M",
            "cpu-quota": "1.5",
            "net-in": "2M",
        }
        assert all(change.when == "now" for change in changes)
        assert handle.record.spec.limits.cpu_quota == 1.5
        assert [change.after for change in handle.set(cpu_quota=None, net_in=None)] == ["", ""]
        with pytest.raises(Invalid):
            handle.set(open_files=1)
        with pytest.raises(Unsupported):
            client.create("tiny", kind="microvm", network="user", limits={"net_in": "1M"})


def test_what_waits_is_shown_and_holds_after_the_next_start(container: Daemon) -> None:
    [told] = container.json("set", "one", "disk=96M")
    if told["when"] == "next-start":
        assert "CAP_SYS_RESOURCE" in told["why"]
        assert "64M (96M from the next start)" in container.yurt("info", "one").stdout.decode()
    container.yurt("stop", "one")
    assert lines(container, "one", "pids=300") == ["pids 250 -> 300 at the next start"]
    container.yurt("start", "one")
    instance = container.json("info", "one")
    assert instance["pending"] == {} and content(instance, "pids", "pids.max") == "300"
    size = container.yurt("exec", "one", "--", "df", "-m", "/").stdout.split()
    assert 80 < int(size[size.index(b"overlay") + 1]) <= 96
    assert container.yurt("exec", "one", "--", "sh", "-c", "ulimit -n").stdout == b"500\n"


@pytest.mark.needs("qemu-system-x86_64")
def test_a_microvm_is_limited_around_its_machine(shared_daemon: Daemon) -> None:
    shared_daemon.yurt("run", "tiny", "--name", "small", "--detach", "--pids", "300", "--open-files", "400")
    try:
        told = lines(
            shared_daemon,
            "small",
            *("cpus=2", "cpu-quota=0.5", "cpu-pin=0", "open-files=300", "disk-write-iops=100"),
        )
        assert told[0].startswith("cpus 1 -> 2 at the next start: ")
        assert [line.split()[0] for line in told[1:]] == [
            "cpu-quota",
            "cpu-pin",
            "disk-write-iops",
            "open-files",
        ]
        assert all(line.endswith(" now") for line in told[1:])
        instance = shared_daemon.json("info", "small")
        assert instance["pending"]["cpus"]["now"] == "1"
        group = Group(detect_layout(), f"yurt/{instance['id']}")
        assert instance["pid"] in group.processes()
        assert content(instance, "pids", "pids.max") == "300"
        assert content(instance, "cpuset", "cpuset.cpus") == "0"
        limit = group.usage().memory_limit_bytes
        assert limit == 0 or limit > 512 << 20
        text = Path(f"/proc/{instance['pid']}/limits").read_text()
        assert next(line for line in text.splitlines() if "open files" in line).split()[3:5] == ["300", "300"]
        shared_daemon.yurt("stop", "small", "--force")
        [told_again] = json.loads(shared_daemon.yurt("set", "small", "disk=11G", "--json").stdout)
        assert (told_again["when"], told_again["why"]) == ("next-start", "")
        shared_daemon.yurt("start", "small")
        shared_daemon.yurt("wait", "small")
        count = shared_daemon.yurt(
            "exec", "small", "--", "sh", "-c", "nproc; df -m / | tail -1"
        ).stdout.split()
        assert count[0] == b"2" and int(count[2]) > 10_500
    finally:
        shared_daemon.yurt("delete", "--force", "small")
