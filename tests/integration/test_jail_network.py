"""Guests with a user-mode network get out to others and never reach the host's own loopback, whatever kind they are.

The host is a network namespace of the test's own; beyond its only link lies another one with a server in it.
"""

import contextlib
import socket
import threading
from collections.abc import Iterator

import pytest
from tests.integration.netlab import inside
from tests.nethost import OUTSIDE4, NetDaemon

pytestmark = [
    pytest.mark.slow,
    pytest.mark.root,
    pytest.mark.needs("ip", "slirp4netns", "qemu-system-x86_64"),
]
PORT = 8099
TRY = "echo hello | nc -w 5 {address} 8099 >/dev/null 2>&1; echo {name} $?"


@contextlib.contextmanager
def serving(server: socket.socket) -> Iterator[list[bytes]]:
    """Take every client's first words and hang up, until the block ends."""
    said: list[bytes] = []

    def serve() -> None:
        while True:
            try:
                client, _ = server.accept()
            except OSError:  # shut down
                return
            with client:
                client.settimeout(5)
                said.append(client.recv(64))

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        yield said
    finally:
        server.shutdown(socket.SHUT_RDWR)
        thread.join(10)
        server.close()


@pytest.mark.parametrize("kind", ["microvm", "vm", "container"])
def test_out_to_others_but_not_to_the_hosts_loopback(net_daemon: NetDaemon, kind: str) -> None:
    near = inside(net_daemon.host, lambda: socket.create_server(("127.0.0.1", PORT)))
    far = inside(net_daemon.outside, lambda: socket.create_server((OUTSIDE4, PORT)))
    places = (("10.0.2.2", "gateway"), ("127.0.0.1", "loopback"), (OUTSIDE4, "outside"))
    script = "; ".join(TRY.format(address=address, name=name) for address, name in places)
    with serving(near) as heard, serving(far) as served:
        words = ("run", "tiny", "--rm", "--as", kind, "--network", "user", "--", "sh", "-c", script)
        done = net_daemon.yurt(*words)
        results = dict(line.split() for line in done.stdout.decode().splitlines())
        assert results["outside"] == "0", results
        assert results["gateway"] != "0" and results["loopback"] != "0", results
        assert served == [b"hello\n"]
        assert heard == []
