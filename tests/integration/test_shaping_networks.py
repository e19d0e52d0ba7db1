"""Rates on a managed network: set before the guest runs, changed while it runs, and nothing left when it is gone.

The daemon and its bridges live in a network namespace of the test's own.
"""

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.conftest import CACHED, Daemon, _leave, make_home

from yurt.host.shaping import mirror_name

pytestmark = [
    pytest.mark.root,
    pytest.mark.slow,
    pytest.mark.needs("crun", "nft", "dnsmasq", "tc", "ip", "nsenter"),
]


class Apart(Daemon):
    """A daemon in the network namespace of a process that sleeps."""

    holder: "subprocess.Popen[bytes]"

    def argv(self, *words: str) -> list[str]:
        return ["nsenter", f"--net=/proc/{self.holder.pid}/ns/net", "--", *super().argv(*words)]

    def write_settings(self) -> None:
        self.state.mkdir(mode=0o700, parents=True, exist_ok=True)
        (self.state / "yurt.toml").write_text('[network]\ndefault = "managed"\n')

    def inside(self, *words: str) -> str:
        command = ("nsenter", f"--net=/proc/{self.holder.pid}/ns/net", "--", *words)
        return subprocess.run(command, capture_output=True, text=True, timeout=30, check=True).stdout


@pytest.fixture(scope="module")
def apart(image_cache: Path) -> Iterator[Apart]:
    daemon = Apart(make_home())
    daemon.holder = subprocess.Popen(
        ("unshare", "--net", "sh", "-c", "echo apart; exec sleep 600"), stdout=-1
    )
    try:
        assert daemon.holder.stdout is not None and daemon.holder.stdout.readline() == b"apart\n"
        daemon.state.mkdir(mode=0o700)
        for name in CACHED:
            (daemon.state / name).symlink_to(image_cache / "state" / name, target_is_directory=True)
        daemon.inside("ip", "link", "set", "lo", "up")
        daemon.start()
        yield daemon
    finally:
        try:
            daemon.yurt("delete", "--force", "one", check=False)
            daemon.yurt("network", "delete", "default", check=False)  # its name server outlives the daemon
            daemon.clear()
            daemon.kill()
        finally:
            daemon.holder.kill()
            daemon.holder.communicate()
            _leave(daemon.path)


def test_a_nic_has_its_rates_from_the_first_packet_to_the_last(apart: Apart) -> None:
    run = ("run", "tiny", "--as", "container", "--name", "one", "--detach")
    apart.yurt(*run, "--net-in", "40M", "--net-out", "10M")
    [nic] = apart.json("info", "one")["spec"]["nics"]
    device, mirror = nic["device"], mirror_name(nic["device"])
    shown = apart.inside("tc", "qdisc", "show", "dev", device)
    assert "rate 40Mbit" in shown and "ingress" in shown
    assert "rate 10Mbit" in apart.inside("tc", "qdisc", "show", "dev", mirror)
    ping = "ping -c 1 -W 5 $(ip route | sed -n 's/^default via \\([^ ]*\\).*/\\1/p')"
    answered = apart.yurt("exec", "one", "--", "sh", "-c", ping, check=False)
    assert b"1 packets received" in answered.stdout, "packets still arrive, by way of the mirror"
    told = apart.yurt("set", "one", "net-in=", "net-out=20M").stdout.decode().splitlines()
    assert told == ["net-in 40M -> none now", "net-out 10M -> 20M now"]
    assert "tbf" not in apart.inside("tc", "qdisc", "show", "dev", device)
    assert "rate 20Mbit" in apart.inside("tc", "qdisc", "show", "dev", mirror)
    apart.yurt("restart", "one")
    assert "rate 20Mbit" in apart.inside("tc", "qdisc", "show", "dev", mirror)
    apart.yurt("stop", "one")
    assert "type ifb" not in apart.inside("ip", "-d", "link") and mirror not in apart.inside("ip", "link")
