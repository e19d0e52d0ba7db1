"""The image `debian` as a container: systemd boots to `running` in control groups of its own, and shuts down."""

import pytest
from tests.conftest import Daemon

pytestmark = [pytest.mark.root, pytest.mark.slow, pytest.mark.needs("crun", "slirp4netns")]


def test_systemd_boots_serves_and_halts(daemon: Daemon) -> None:
    daemon.yurt("run", "debian", "--as", "container", "--name", "box", "--detach", "--memory", "512M")
    daemon.yurt("wait", "box", "--for", "agent")

    def sh(script: str) -> str:
        return daemon.yurt("exec", "box", "--", "sh", "-c", script).stdout.decode().strip()

    # the agent answers before systemd does
    up = "until [ -S /run/systemd/private ]; do sleep 0.05; done; systemctl is-system-running --wait"
    assert sh(f"{up} || systemctl --failed --no-legend") == "running"
    assert sh("cat /proc/1/comm") == "systemd"
    assert sh("hostname") == "box"
    assert sh("systemctl is-active systemd-journald dbus | sort -u") == "active"
    # units in groups below our own, none in the host's
    assert int(sh("grep -c :/init.scope$ /proc/1/cgroup")) >= 1
    assert "yurt-agent" in sh(
        "cat /proc/[0-9]*/comm 2>/dev/null; true"
    )  # processes end while they are listed
    assert sh("ip -4 -o addr show dev tap0").split()[3] == "10.0.2.15/24"
    daemon.yurt("stop", "box")
    assert daemon.json("info", "box")["phase"] == "stopped"
    told = daemon.yurt("logs", "box", "--source", "lifecycle").stdout.decode()
    assert "asked to stop" in told and "did not stop" not in told  # it halted by itself
    # what it has written is there at the next start
    daemon.yurt("start", "box")
    daemon.yurt("wait", "box", "--for", "agent")
    assert sh("journalctl --list-boots --no-pager >/dev/null; cat /etc/hostname") == "box"
    daemon.yurt("delete", "box", "--force")
    assert daemon.json("ls") == []
