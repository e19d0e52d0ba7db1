"""`kill -9` of the daemon at each step of verbs on instances that have everything: records and the host agree afterwards.

Two networks, published ports, rules, limits, a volume and a share; beside it a neighbour that must not notice.
"""

import time
from pathlib import Path

import pytest
from tests.faults.reality import check_order
from tests.nethost import NetDaemon

pytestmark = [
    pytest.mark.root,
    pytest.mark.slow,
    pytest.mark.needs("qemu-system-x86_64", "crun", "nft", "dnsmasq", "ip", "nsenter", "slirp4netns"),
]
STEPS = {
    "create": ("image", "disk", "record", "launch"),
    "start": ("launch",),
    "stop": ("ask", "end", "cleanup"),
    "restart": ("ask", "end", "cleanup", "launch"),
    "delete": ("end", "files"),
    "nic-attach": ("plug", "configure"),
    "nic-detach": ("unplug",),
    "volume-create": ("files",),
    "volume-attach": ("plug", "mount"),
    "volume-detach": ("unmount", "unplug"),
    "volume-resize": ("grow",),
    "volume-delete": ("files",),
}
WORDS = {
    "nic-attach": ("network", "attach", "side", "rich"),
    "nic-detach": ("network", "detach", "side", "rich"),
    "volume-create": ("volume", "create", "more", "--filesystem", "--size", "64M"),
    "volume-attach": ("volume", "attach", "more:/more", "rich"),
    "volume-detach": ("volume", "detach", "more"),
    "volume-resize": ("volume", "resize", "more", "96M"),
    "volume-delete": ("volume", "delete", "more"),
}
MACHINE_POINTS = ("create.launch.after", "restart.cleanup.after", "stop.end.after", "delete.end.before")


def points(verb: str) -> list[str]:
    """Before the first step, after each, after the end: between one step and the next only the journal is written."""
    first, *_ = STEPS[verb]
    after = [f"{verb}.{step}.after" for step in (*STEPS[verb], "commit")]
    return [f"{verb}.{first}.before", *after]


def run(kind: str, source: Path) -> tuple[str, ...]:
    volume = ("--volume", "data:/data") if kind == "container" else ()
    limits = ("--pids", "100", "--cpu-quota", "1.5") if kind == "container" else ("--cpu-shares", "50")
    return (
        *("run", "tiny", "--as", kind, "--name", "rich", "--detach"),
        *("--network", "default", "--network", "side"),
        *("-p", "127.0.0.1:8080:80", "-p", "8081:81/udp"),
        *("--allow-in", "tcp:80", "--allow-out", "198.51.100.0/24", "--net-out", "100M"),
        *limits,
        *volume,
        *("--mount", f"{source}:/src:ro"),
    )


@pytest.fixture(scope="module")
def host(net_daemon: NetDaemon) -> NetDaemon:
    """A neighbour, a second network and a volume."""
    (net_daemon.path / "src").mkdir(mode=0o755)
    (net_daemon.path / "src" / "word").write_text("shared\n")
    net_daemon.yurt("network", "create", "side", "--isolated")
    net_daemon.yurt("volume", "create", "data", "--filesystem")
    net_daemon.yurt("run", "tiny", "--as", "container", "--name", "neighbour", "--detach")
    net_daemon.yurt("wait", "neighbour", "--for", "agent")
    return net_daemon


def prepare(daemon: NetDaemon, verb: str, kind: str) -> tuple[str, ...]:
    """Bring about what the verb needs; returns its words."""
    there = {one["name"]: one for one in daemon.json("ls")}
    made = run(kind, daemon.path / "src")
    if verb.startswith("volume"):
        volumes = [volume["name"] for volume in daemon.json("volume", "ls")]
        if verb in ("volume-create", "volume-resize") and "more" in volumes:
            daemon.yurt("volume", "detach", "more", check=False)
            daemon.yurt("volume", "delete", "more")
            volumes.remove("more")
        if verb != "volume-create" and "more" not in volumes:
            daemon.yurt(*WORDS["volume-create"])
    if verb == "create":
        if "rich" in there:
            daemon.yurt("delete", "--force", "rich")
        return made
    if "rich" not in there:
        daemon.yurt(*made)
    resting = verb in ("start", "delete") or verb.startswith(("nic", "volume"))
    phase = daemon.json("info", "rich")["phase"]
    if resting and phase == "running":
        daemon.yurt("stop", "--force", "rich")
    elif not resting and phase != "running":
        daemon.yurt("start", "rich")
    if verb == "nic-detach" and len(daemon.json("info", "rich")["spec"]["nics"]) < 3:
        daemon.yurt(*WORDS["nic-attach"])
    if verb == "volume-detach" and len(daemon.json("info", "rich")["spec"]["volumes"]) < 2:
        daemon.yurt(*WORDS["volume-attach"])
    if verb in ("volume-attach", "volume-delete"):
        daemon.yurt("volume", "detach", "more", check=False)
    return WORDS.get(verb, (verb, "rich"))


def killed_at(daemon: NetDaemon, point: str, kind: str) -> None:
    verb = point.partition(".")[0]
    words = prepare(daemon, verb, kind)
    daemon.stop()
    daemon.start(YURT_FAILPOINT=point)
    daemon.yurt(*words, check=False)
    assert daemon.wait_killed() == -9
    daemon.start()


@pytest.mark.parametrize("verb", STEPS)
def test_records_and_host_agree_after_a_crash_at_any_step(host: NetDaemon, verb: str) -> None:
    for point in points(verb):
        killed_at(host, point, "container")
        try:
            left = check_order(host)
        except AssertionError as error:
            raise AssertionError(f"after {point}: {error}") from error
        assert left["neighbour"]["phase"] == "running", point
        assert "1 packets received" in host.exec("neighbour", "ping", "-c1", "-W5", "198.51.100.2"), point


def test_what_is_left_works(host: NetDaemon) -> None:
    prepare(host, "stop", "container")
    host.yurt("wait", "rich", "--for", "agent")
    assert host.exec("rich", "cat", "/src/word") == "shared\n"
    host.exec("rich", "touch", "/data/kept")
    assert "1 packets received" in host.exec("rich", "ping", "-c1", "-W5", "198.51.100.2")
    host.yurt("delete", "--force", "rich")
    check_order(host)


def test_machines_too(host: NetDaemon) -> None:
    """Some of the points: what is the same for all kinds was killed at with containers."""
    for point in MACHINE_POINTS:
        killed_at(host, point, "microvm")
        try:
            check_order(host)
        except AssertionError as error:
            raise AssertionError(f"after {point}: {error}") from error


@pytest.mark.parametrize("point", ["network-create", "network-delete"])
def test_networks_come_and_go_whole(host: NetDaemon, point: str) -> None:
    if point == "network-delete":
        host.yurt("network", "create", "brief")
        host.yurt("run", "tiny", "--as", "container", "--rm", "--network", "brief", "--", "true")
    host.stop()
    host.start(YURT_FAILPOINT=f"{point}.commit.after")
    host.yurt("network", point.partition("-")[2], "brief", check=False)
    assert host.wait_killed() == -9
    host.start()
    check_order(host)
    left = [network["name"] for network in host.json("network", "ls")]
    assert ("brief" in left) == (point == "network-create")
    if "brief" in left:
        host.yurt("network", "delete", "brief")


def test_in_the_end_nothing_is_left(host: NetDaemon) -> None:
    """The last network goes, the daemon is killed right after: not even an empty table stays."""
    host.yurt("delete", "--force", *[one["name"] for one in host.json("ls")])
    for volume in host.json("volume", "ls"):
        host.yurt("volume", "delete", volume["name"])
    host.yurt("network", "delete", "side")
    host.stop()
    host.start(YURT_FAILPOINT="network-delete.commit.after")
    host.yurt("network", "delete", "default", check=False)
    assert host.wait_killed() == -9
    host.start()
    deadline = time.monotonic() + 5
    while host.links() and time.monotonic() < deadline:
        time.sleep(0.1)
    check_order(host)
    assert host.links() == {} and "yurt" not in host.on_host("nft", "list", "tables")
    assert not list((host.state / "volumes").iterdir())
