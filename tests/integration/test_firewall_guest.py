"""Rules, published ports and forwards of a real container, through a real daemon in a network namespace of its own."""

import re
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from tests.conftest import CACHED, Daemon, _leave, make_home
from tests.integration.netlab import HOST4, HOST6, OUTSIDE4, OUTSIDE6, Lab, ask, echo_server, inside, lab

pytestmark = [
    pytest.mark.root,
    pytest.mark.slow,
    pytest.mark.needs("crun", "nft", "dnsmasq", "ip", "bridge", "nsenter"),
]
SERVE = "mkdir -p /www; echo from the guest > /www/index.html; exec httpd -f -p 80 -h /www"


@dataclass
class Apart(Daemon):
    """A daemon whose host is a namespace of the lab's."""

    namespace: str = ""

    def argv(self, *words: str) -> list[str]:
        plain = super().argv(*words)
        return (
            ["nsenter", f"--net=/run/netns/{self.namespace}", "--", *plain] if words[0] == "daemon" else plain
        )


@pytest.fixture(scope="module")
def site() -> Iterator[Lab]:
    with lab() as made, echo_server(made.world, "0.0.0.0", 443), echo_server(made.world, "::", 443):
        made.bridged_to_inet(on=False)
        yield made


@pytest.fixture(scope="module")
def host(site: Lab, image_cache: Path) -> Iterator[Apart]:
    daemon = Apart(make_home(), namespace=site.host)
    daemon.state.mkdir(mode=0o700)
    for name in CACHED:
        (daemon.state / name).symlink_to(image_cache / "state" / name, target_is_directory=True)
    daemon.start()
    daemon.yurt(
        "run", "tiny", "--as", "container", "--name", "web", "--network", "managed", "-p", "8080:80", "-d"
    )
    daemon.yurt("wait", "web", "--for", "agent")
    daemon.yurt("exec", "web", "--", "sh", "-c", f"({SERVE}) >/dev/null 2>&1 &")
    try:
        yield daemon
    finally:
        for name in ("web", "other"):
            daemon.yurt("delete", "--force", name, check=False)
        daemon.yurt("network", "delete", "default", check=False)
        daemon.stop()
        _leave(daemon.path)


def page(site: Lab, where: str, address: str, port: int) -> bool:
    """Whether the guest's page comes from there."""

    def body() -> bool:
        try:
            with socket.create_connection((address, port), timeout=1) as client:
                client.settimeout(1)
                client.sendall(b"GET / HTTP/1.0\r\n\r\n")
                heard = b""
                while data := client.recv(4096):
                    heard += data
                return b"from the guest" in heard
        except OSError:
            return False

    return inside(where, body)


def places(site: Lab, port: int) -> set[tuple[str, str]]:
    """From where, and to which of the host's addresses, a published port leads to the guest."""
    asked = [
        (site.world, HOST4),
        (site.world, HOST6),
        (site.host, HOST4),
        (site.host, "127.0.0.1"),
        (site.host, "::1"),
    ]
    return {(where, address) for where, address in asked if page(site, where, address, port)}


def test_published_ports_and_rules_change_while_it_runs_and_survive_the_daemon(
    site: Lab, host: Apart
) -> None:
    everywhere = {
        *((site.world, HOST4), (site.world, HOST6)),
        *((site.host, HOST4), (site.host, "127.0.0.1"), (site.host, "::1")),
    }
    assert places(site, 8080) == everywhere
    taken = host.yurt(
        "create", "tiny", "--as", "container", "--network", "managed", "-p", "8080:1", check=False
    )
    assert taken.returncode == 4
    assert b"published by instance `web`" in taken.stderr
    with echo_server(site.host, "0.0.0.0", 8090):
        busy = host.yurt("set", "web", "publish=8090:80", check=False)
    assert busy.returncode == 4
    assert b"of this host listens on tcp port 8090" in busy.stderr
    host.yurt(
        "set", "web", f"publish=8081:80,{HOST4}:8082:80,127.0.0.1:8083:80", "rules=deny-in all; deny-out all"
    )
    assert places(site, 8080) == set()
    assert places(site, 8081) == everywhere
    assert places(site, 8082) == {(site.world, HOST4), (site.host, HOST4)}
    assert places(site, 8083) == {(site.host, "127.0.0.1")}
    host.kill()
    assert page(site, site.world, HOST4, 8081), "the kernel needs no daemon for it"
    host.start()
    assert host.json("info", "web")["phase"] == "running"
    assert places(site, 8081) == everywhere
    site.listing("flush", "ruleset")
    deadline = time.monotonic() + 10
    while places(site, 8081) != everywhere:
        assert time.monotonic() < deadline, "what somebody flushed comes back"
        time.sleep(0.05)
    assert "rules" in host.yurt("info", "web").stdout.decode()
    host.yurt("set", "web", "publish=8080:80", "rules=")


def test_rules_hold_the_guest(site: Lab, host: Apart) -> None:
    def gets_out(address: str) -> bool:
        argv = ("sh", "-c", f"echo | timeout 1 nc {address} 443 | grep -q .")
        return host.yurt("exec", "web", "--", *argv, check=False).returncode == 0

    assert gets_out(OUTSIDE4)
    host.yurt("set", "web", f"rules=deny-out all; allow-out [{OUTSIDE6}]:443")
    assert not gets_out(OUTSIDE4)
    host.yurt("set", "web", f"rules=deny-out all; allow-out tcp:{OUTSIDE4}:443")
    assert gets_out(OUTSIDE4)
    for wrong in ("rules=allow-in nonsense", "rules=allow-in icmp:8", "publish=80:80,80:81"):
        assert host.yurt("set", "web", wrong, check=False).returncode == 2
    host.yurt("set", "web", "rules=")
    for words in (("-p", "1:1"), ("--deny-out", "all")):
        refused = host.yurt("create", "tiny", "--as", "container", "--network", "none", *words, check=False)
        assert refused.returncode == 9


def test_a_forward_needs_no_network(host: Apart, site: Lab) -> None:
    """The command line listens in its own namespace; the guest `other` has no network at all."""
    host.yurt("run", "tiny", "--as", "container", "--name", "other", "--network", "none", "-d")
    host.yurt("wait", "other", "--for", "agent")
    host.yurt("exec", "other", "--", "sh", "-c", f"({SERVE}) >/dev/null 2>&1 &")
    argv, environment = host.argv("forward", "other", "0:80"), host.environ()
    with subprocess.Popen(argv, env=environment, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        try:
            found = re.match(r"127\.0\.0\.1:(\d+) leads", process.stderr.readline())
            assert found
            for _ in range(3):
                with socket.create_connection(("127.0.0.1", int(found[1])), timeout=10) as client:
                    client.sendall(b"GET / HTTP/1.0\r\n\r\n")
                    heard = b""
                    while data := client.recv(4096):
                        heard += data
                assert b"from the guest" in heard
            process.send_signal(signal.SIGINT)
            assert process.wait(10) == 0
        finally:
            process.kill()
    assert ask(site.world, HOST4, 80) is None
