"""A daemon whose host is a network namespace, with a world outside it at the end of a veth.

What such a daemon does to its host's network, it does to a namespace that is gone afterwards.
"""

import contextlib
import json
import os
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.conftest import CACHED, SESSION, Daemon, _leave, make_home

HOST4, OUTSIDE4 = "198.51.100.1", "198.51.100.2"
HOST6, OUTSIDE6 = "2001:db8:5::1", "2001:db8:5::2"


def run(*words: str, check: bool = True, stdin: str = "") -> str:
    """Run a program to its end and return what it said; its complaint is the failure."""
    done = subprocess.run(words, input=stdin, capture_output=True, text=True, timeout=60, check=False)
    assert not check or done.returncode == 0, f"{words}: {done.stderr}{done.stdout}"
    return done.stdout


@dataclass
class NetDaemon(Daemon):
    """A daemon in the namespace `host`; `outside` is the only neighbour that the host has."""

    host: str = ""
    outside: str = ""

    def write_settings(self) -> None:
        self.state.mkdir(mode=0o700, parents=True, exist_ok=True)
        (self.state / "yurt.toml").write_text('[network]\ndefault = "managed"\n')

    def on_host(self, *words: str, check: bool = True) -> str:
        """Run a program where the daemon's network is."""
        return run("nsenter", f"--net=/run/netns/{self.host}", *words, check=check)

    def on_outside(self, *words: str, check: bool = True) -> str:
        """Run a program on the neighbour."""
        return run("nsenter", f"--net=/run/netns/{self.outside}", *words, check=check)

    def links(self) -> dict[str, dict[str, Any]]:  # what `ip` tells of each link
        """All links of the host but the two that it had before, by name."""
        found = {link["ifname"]: link for link in json.loads(self.on_host("ip", "-json", "-details", "addr"))}
        return {name: link for name, link in found.items() if name not in ("lo", "up0")}

    def exec(self, name: str, *words: str, check: bool = True) -> str:
        """Run a program in a guest."""
        return self.yurt("exec", name, "--", *words, check=check).stdout.decode()

    def clear(self) -> None:
        """Delete instances and networks, then end the daemon."""
        if self.process is None or self.process.poll() is not None:
            self.start()
        if names := [instance["name"] for instance in self.json("ls")]:
            self.yurt("delete", "--force", *names)
        if names := [network["name"] for network in self.json("network", "ls")]:
            self.yurt("network", "delete", *names)
        assert self.links() == {}
        self.stop()


def _connect(host: str, outside: str) -> None:
    run("ip", "link", "add", "up0", "netns", host, "type", "veth", "peer", "name", "up0", "netns", outside)
    for namespace, four, six in ((host, HOST4, HOST6), (outside, OUTSIDE4, OUTSIDE6)):
        lines = [
            "link set lo up",
            f"addr add {four}/24 dev up0",
            f"addr add {six}/64 dev up0 nodad",
            "link set up0 up",
        ]
        run("ip", "-n", namespace, "-batch", "-", stdin="\n".join(lines) + "\n")
    run("ip", "-n", host, "route", "add", "default", "via", OUTSIDE4)
    run("ip", "-n", host, "-6", "route", "add", "default", "via", OUTSIDE6)


def _fetch(home: Path) -> None:
    """Have kernels and disks made while there is a way to the package registries: the namespace has none."""
    daemon = Daemon(home)
    daemon.start()
    try:
        daemon.yurt("run", "tiny", "--as", "microvm", "--network", "none", "--rm", "--", "true")
        daemon.yurt("create", "tiny", "--as", "vm", "--network", "none", "--name", "fetch")
        daemon.yurt("delete", "fetch")
    finally:
        daemon.stop()


def _lend(daemon: Daemon, cache: Path) -> None:
    daemon.state.mkdir(mode=0o700)
    for name in CACHED:
        (daemon.state / name).symlink_to(cache / "state" / name, target_is_directory=True)


@contextlib.contextmanager
def second_yurt(first: NetDaemon) -> Iterator[NetDaemon]:
    """Another yurt on the same host, with the same images. Who uses it takes away what it makes."""
    daemon = NetDaemon(make_home(), host=first.host, outside=first.outside, around=first.around)
    try:
        _lend(daemon, (first.state / CACHED[0]).resolve().parent.parent)
        daemon.start()
        yield daemon
        daemon.stop()
    finally:
        daemon.kill()
        _leave(daemon.path)


@contextlib.contextmanager
def net_daemon_in(cache: Path) -> Iterator[NetDaemon]:
    """A daemon with the shipped images, in a host of its own that is gone afterwards with everything on it."""
    stem = f"yt-{SESSION}-{os.urandom(2).hex()}"
    host, outside = f"{stem}-h", f"{stem}-o"
    daemon = NetDaemon(make_home(), host=host, outside=outside)
    daemon.around = ("nsenter", f"--net=/run/netns/{host}", "--")
    made = []
    try:
        for namespace in (host, outside):
            run("ip", "netns", "add", namespace)
            made.append(namespace)
        _connect(host, outside)
        _lend(daemon, cache)
        _fetch(daemon.path)
        daemon.start()
        yield daemon
    finally:
        try:
            daemon.clear()
        finally:
            daemon.kill()
            for namespace in made:
                run("ip", "netns", "delete", namespace, check=False)
            if daemon.path.exists():
                _leave(daemon.path)


__all__ = ["HOST4", "HOST6", "OUTSIDE4", "OUTSIDE6", "NetDaemon", "net_daemon_in", "run", "second_yurt"]
