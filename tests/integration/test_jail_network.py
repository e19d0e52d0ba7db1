"""Guests with a user-mode network get out to others and never reach the host's own loopback, whatever kind they are.

The host is a network namespace of the test's own; beyond its only link lies another one with a server in it.
"""

import secrets
import socket
import subprocess
from collections.abc import Iterator

import pytest
from tests.conftest import Daemon
from tests.integration.netlab import HOST4, OUTSIDE4, inside, run

pytestmark = [
    pytest.mark.slow,
    pytest.mark.root,
    pytest.mark.needs("ip", "slirp4netns", "qemu-system-x86_64"),
]
PORT = 8099
TRY = "echo hello | nc -w 5 {address} 8099 >/dev/null 2>&1; echo {name} $?"


@pytest.fixture
def world() -> Iterator[tuple[str, str]]:
    """Names of two namespaces: the host and what is outside."""
    mark = secrets.token_hex(3)
    host, outside = f"yj-{mark}-h", f"yj-{mark}-o"
    try:
        for name in (host, outside):
            run("ip", "netns", "add", name)
            run("ip", "-n", name, "link", "set", "lo", "up")
        run("ip", "-n", host, "link", "add", "wan", "type", "veth", "peer", "name", "lan", "netns", outside)
        for name, link, address in ((host, "wan", HOST4), (outside, "lan", OUTSIDE4)):
            run("ip", "-n", name, "address", "add", f"{address}/24", "dev", link)
            run("ip", "-n", name, "link", "set", link, "up")
        yield host, outside
    finally:
        for name in (host, outside):
            subprocess.run(["ip", "netns", "delete", name], check=False)


def served(server: socket.socket) -> list[bytes]:
    """What every client so far has said."""
    said: list[bytes] = []
    server.setblocking(False)
    while True:
        try:
            client, _ = server.accept()
        except BlockingIOError:
            return said
        with client:
            client.settimeout(5)
            said.append(client.recv(64))


def test_out_to_others_but_not_to_the_hosts_loopback(daemon: Daemon, world: tuple[str, str]) -> None:
    host, outside = world
    daemon.yurt(
        "run", "tiny", "--rm", "--as", "microvm", "--", "true"
    )  # the guest kernel comes from the real network
    daemon.stop()
    inside(host, daemon.start)
    near = inside(host, lambda: socket.create_server(("127.0.0.1", PORT)))
    far = inside(outside, lambda: socket.create_server((OUTSIDE4, PORT)))
    with near, far:
        for kind in ("microvm", "vm", "container"):
            script = "; ".join(
                TRY.format(address=address, name=name)
                for address, name in (
                    ("10.0.2.2", "gateway"),
                    ("127.0.0.1", "loopback"),
                    (OUTSIDE4, "outside"),
                )
            )
            done = daemon.yurt(
                "run", "tiny", "--rm", "--as", kind, "--network", "user", "--", "sh", "-c", script
            )
            results = dict(line.split() for line in done.stdout.decode().splitlines())
            assert results["outside"] == "0", (kind, results)
            assert results["gateway"] != "0" and results["loopback"] != "0", (kind, results)
            assert served(far) == [b"hello\n"], kind
            assert served(near) == [], kind
