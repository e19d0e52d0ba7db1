"""Guests that shout as loud as they can harm themselves: the daemon stays small, and their neighbours are served."""

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.integration.frames import ARP, BROADCAST, IP4, arp, dhcp, ethernet, ipv4, udp
from tests.nethost import NetDaemon

pytestmark = [
    pytest.mark.root,
    pytest.mark.slow,
    pytest.mark.needs("qemu-system-x86_64", "crun", "nft", "dnsmasq", "ip", "nsenter", "busybox"),
]
FLOOD_BYTES = 1 << 30  # at most: it is cut short after PATIENCE_S
PATIENCE_S = 10.0
LOG_MAX, GROWTH_MAX = 16 << 20, 64 << 20
SENDER = """
import socket, sys, time
frames = [bytes.fromhex(word) for word in sys.argv[2:]]
port = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
port.bind((sys.argv[1], 0))
until, sent = time.monotonic() + 6, 0
while time.monotonic() < until:
    for frame in frames:
        try:
            sent += port.send(frame) > 0
        except OSError:
            pass
print(sent)
"""


def resident(pid: int) -> int:
    """Bytes of memory that a process has."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


@pytest.fixture(scope="module")
def host(net_daemon: NetDaemon) -> Iterator[NetDaemon]:
    """One that floods and one that must not notice."""
    for name in ("loud", "quiet"):
        net_daemon.yurt("run", "tiny", "--as", "container", "--name", name, "--detach")
        net_daemon.yurt("wait", name, "--for", "agent")
    yield net_daemon
    net_daemon.yurt("delete", "--force", "loud", "quiet")


def test_a_console_that_is_flooded_fills_no_disk_and_no_memory(host: NetDaemon) -> None:
    before = resident(daemon_pid(host))
    flood = f"yes 'a line that says nothing at all, again and again' | head -c {FLOOD_BYTES} >/dev/console"
    shouting = subprocess.Popen(host.argv("exec", "loud", "--", "sh", "-c", flood), env=host.environ())
    try:
        until, slowest, most = time.monotonic() + PATIENCE_S, 0.0, 0
        while shouting.poll() is None and time.monotonic() < until:
            began = time.monotonic()
            assert host.exec("quiet", "echo", "here") == "here\n"
            slowest, most = max(slowest, time.monotonic() - began), max(most, resident(daemon_pid(host)))
    finally:
        shouting.kill()
        shouting.wait()
    directory = host.state / "instances" / host.json("info", "loud")["id"]
    kept = sum(path.stat().st_size for path in directory.glob("console.log*"))
    assert 0 < kept <= LOG_MAX
    assert most - before <= GROWTH_MAX
    assert slowest < 5.0
    assert host.exec("loud", "echo", "still here") == "still here\n"


def daemon_pid(host: NetDaemon) -> int:
    """The daemon itself; `nsenter` became it."""
    return host.pid


def flood(host: NetDaemon, frames: list[bytes]) -> "subprocess.Popen[bytes]":
    """Send frames from the loud guest's NIC, as its root could with any program it likes."""
    inside = ["nsenter", f"--net=/proc/{host.json('info', 'loud')['pid']}/ns/net", "--"]
    words = [sys.executable, "-c", SENDER, "eth0", *(frame.hex() for frame in frames)]
    return subprocess.Popen([*inside, *words], stdout=subprocess.PIPE)


def test_neighbours_are_served_while_one_floods_arp_and_dhcp(host: NetDaemon) -> None:
    nics = {name: host.json("info", name)["spec"]["nics"][0] for name in ("loud", "quiet")}
    own, other = nics["loud"], nics["quiet"]
    gateway = host.json("network", "info", "default")["gateway4"]
    mac, address = own["mac"], own["ipv4"]
    question = udp("0.0.0.0", "255.255.255.255", 68, 67, dhcp(1, mac, b"flood"))
    frames = [
        ethernet(BROADCAST, mac, ARP, arp(1, mac, address, "00:00:00:00:00:00", gateway)),
        ethernet(BROADCAST, mac, ARP, arp(1, mac, address, "00:00:00:00:00:00", other["ipv4"])),
        ethernet(BROADCAST, mac, IP4, ipv4("0.0.0.0", "255.255.255.255", 17, question)),
    ]
    shouting = flood(host, frames)
    time.sleep(1)
    lease = ("udhcpc", "-f", "-q", "-n", "-t", "5", "-i", "eth0", "-s", "/bin/true")
    inside = ("nsenter", f"--net=/proc/{host.json('info', 'quiet')['pid']}/ns/net", "--", "busybox")
    said = subprocess.run([*inside, *lease], capture_output=True, text=True, timeout=30, check=False)
    assert f"lease of {other['ipv4']} obtained" in said.stderr + said.stdout, said
    assert "1 packets received" in host.exec("quiet", "ping", "-c1", "-W5", "198.51.100.2")
    assert address in host.exec("quiet", "nslookup", "loud.yurt")
    assert shouting.poll() is None, "the flood was over before the neighbour was"
    sent, _ = shouting.communicate(timeout=30)
    assert int(sent) > 1000, "that was no flood"
    time.sleep(1)
    assert "1 packets received" in host.exec("loud", "ping", "-c1", "-W20", "quiet")
