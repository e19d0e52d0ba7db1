"""A small network in namespaces: a host with bridges and guests on them, and a world outside it. No daemon.

Guests are namespaces at the end of a veth, as containers are; what leaves them are real frames.
"""

import ctypes
import json
import os
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

from yurt.network import firewall
from yurt.network.firewall import NetworkRules, PortBinding

T = TypeVar("T")
LIBC = ctypes.CDLL(None, use_errno=True)
ETH_P_ALL = 3
OUTSIDE4, HOST4 = "203.0.113.2", "203.0.113.1"
OUTSIDE6, HOST6 = "2001:db8:1::2", "2001:db8:1::1"
# frames to LLDP's address never meet the bridge family's hooks, and would teach the bridge a forged source
BRIDGE_WORDS = ("no_linklocal_learn", "1")
METADATA = "169.254.169.254"


def run(*argv: str, text: str | None = None) -> str:
    done = subprocess.run(argv, input=text, capture_output=True, text=True, timeout=30, check=False)
    assert done.returncode == 0, f"{argv}: {done.stderr}"
    return done.stdout


def inside(namespace: str, work: Callable[[], T]) -> T:
    """Call `work` in a thread that lives in a network namespace; sockets made there stay there."""
    results: list[T] = []
    errors: list[BaseException] = []

    def body() -> None:
        try:
            with Path(f"/run/netns/{namespace}").open() as file:
                assert LIBC.setns(file.fileno(), 0x40000000) == 0, os.strerror(ctypes.get_errno())
            results.append(work())
        except BaseException as error:
            errors.append(error)

    thread = threading.Thread(target=body)
    thread.start()
    thread.join()
    if errors:
        raise errors[0]
    return results[0]


def raw_socket(namespace: str, device: str) -> socket.socket:
    """A packet socket that hears and sends everything on one interface."""

    def make() -> socket.socket:
        made = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ETH_P_ALL))
        made.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 << 20)
        made.bind((device, 0))
        made.setblocking(False)
        return made

    return inside(namespace, make)


def drain(sniffer: socket.socket) -> list[bytes]:
    """What a packet socket has heard, but not what its own namespace sent."""
    frames: list[bytes] = []
    while True:
        try:
            frame, origin = sniffer.recvfrom(65536)
        except BlockingIOError:
            return frames
        if origin[2] != socket.PACKET_OUTGOING:
            frames.append(frame)


class Guest:
    """A namespace that plays a guest: `port` is what the firewall knows of it."""

    def __init__(self, lab: "Lab", network: NetworkRules, number: int) -> None:
        self.name = f"{lab.prefix}g{number}"
        third = network.ipv4.split(".")[2]
        self.port = PortBinding(
            interface=f"tg{number}",
            bridge=network.bridge,
            instance_id=f"{number:012x}",
            mac=f"52:54:00:aa:00:{number:02x}",
            ipv4=f"10.91.{third}.{number}",
            ipv6=network.ipv6.replace("/64", f"{number:x}") if network.ipv6 else "",
        )
        run("ip", "netns", "add", self.name)
        lab.ip("link", "add", self.port.interface, "type", "veth", "peer", "name", "eth0", "netns", self.name)
        self.ip("link", "set", "eth0", "address", self.port.mac)
        self.ip("addr", "add", f"{self.port.ipv4}/24", "dev", "eth0")
        self.ip("link", "set", "lo", "up")
        self.ip("link", "set", "eth0", "up")
        lab.ip("link", "set", self.port.interface, "master", network.bridge, "up")
        if network.ipv6:
            self.ip("addr", "add", f"{self.port.ipv6}/64", "dev", "eth0", "nodad")
            self.ip("-6", "route", "add", "default", "via", network.gateway6)
        self.ip("route", "add", "default", "via", network.gateway4)

    def ip(self, *words: str) -> str:
        return run("ip", "-n", self.name, *words)


class Lab:
    """`host` has a bridge per network; guests hang on bridges; `world` is what lies beyond."""

    TAG = "lab"

    def __init__(self) -> None:
        self.prefix = f"yl{os.getpid() % 100000}"
        self.host, self.world = f"{self.prefix}h", f"{self.prefix}w"
        self.networks: list[NetworkRules] = []
        self.guests: list[Guest] = []

    def ip(self, *words: str) -> str:
        return run("ip", "-n", self.host, *words)

    def nft(self, ruleset: str) -> None:
        run("ip", "netns", "exec", self.host, "nft", "-f", "-", text=ruleset)

    def listing(self, *words: str) -> str:
        return run("ip", "netns", "exec", self.host, "nft", "-s", *(words or ("list", "ruleset")))

    def build(self) -> None:
        for name in (self.host, self.world):
            run("ip", "netns", "add", name)
            run("ip", "-n", name, "link", "set", "lo", "up")
        self.ip("link", "add", "wan", "type", "veth", "peer", "name", "eth0", "netns", self.world)
        self.ip("addr", "add", f"{HOST4}/24", "dev", "wan")
        self.ip("addr", "add", f"{HOST6}/64", "dev", "wan", "nodad")
        self.ip("link", "set", "wan", "up")
        world = ("ip", "-n", self.world)
        for address in (f"{OUTSIDE4}/24", f"{METADATA}/32", "10.200.0.1/24", "198.51.100.7/32"):
            run(*world, "addr", "add", address, "dev", "eth0")
        for address in (f"{OUTSIDE6}/64", "fd00:ec2::254/128"):
            run(*world, "addr", "add", address, "dev", "eth0", "nodad")
        run(*world, "link", "set", "eth0", "up")
        self.ip("route", "add", "default", "via", OUTSIDE4)
        self.ip("-6", "route", "add", "default", "via", OUTSIDE6)

        def forwarding() -> None:
            for path in ("ipv4/ip_forward", "ipv6/conf/all/forwarding"):
                Path(f"/proc/sys/net/{path}").write_text("1")

        inside(self.host, forwarding)

    def bridged_to_inet(self, *, on: bool) -> None:
        """Whether bridged packets pass the inet tables, too (br_netfilter)."""

        def change() -> None:
            for name in ("iptables", "ip6tables"):
                Path(f"/proc/sys/net/bridge/bridge-nf-call-{name}").write_text("1" if on else "0")

        inside(self.host, change)

    def add_network(self, number: int, **changes: object) -> NetworkRules:
        words: dict[str, object] = {
            "bridge": f"yt{number}",
            "ipv4": f"10.91.{number}.0/24",
            "ipv6": f"fd00:91:{number}::/64",
            "gateway4": f"10.91.{number}.1",
            "gateway6": f"fd00:91:{number}::1",
            "nat": True,
            "isolated": False,
            **changes,
        }
        network = NetworkRules(**words)  # type: ignore[arg-type]
        self.ip("link", "add", network.bridge, "type", "bridge", "forward_delay", "0", *BRIDGE_WORDS)
        self.ip("link", "set", network.bridge, "address", f"52:54:00:bb:00:{number:02x}")
        self.ip("addr", "add", f"{network.gateway4}/24", "dev", network.bridge)
        if network.ipv6:
            self.ip("addr", "add", f"{network.gateway6}/64", "dev", network.bridge, "nodad")
        self.ip("link", "set", network.bridge, "up")
        self.networks.append(network)
        return network

    def add_guest(self, network: NetworkRules) -> Guest:
        guest = Guest(self, network, len(self.guests) + 2)
        self.guests.append(guest)
        return guest

    def whole(self) -> str:
        return firewall.whole(self.TAG, self.networks, [guest.port for guest in self.guests])

    def settle(self) -> None:
        """Wait until no address is tentative any more (link-local ones are checked for a second)."""
        deadline = time.monotonic() + 5
        names = [self.host, self.world, *(guest.name for guest in self.guests)]
        while any("tentative" in run("ip", "-n", name, "-6", "addr") for name in names):
            assert time.monotonic() < deadline
            time.sleep(0.1)

    def learned_on(self, bridge: str, mac: str) -> set[str]:
        """The bridge's ports behind which it believes a MAC to be."""
        rows = json.loads(run("ip", "netns", "exec", self.host, "bridge", "-j", "fdb", "show", "br", bridge))
        return {row["ifname"] for row in rows if row["mac"] == mac and row["ifname"] != bridge}

    def remove(self) -> None:
        for name in (*(guest.name for guest in self.guests), self.host, self.world):
            subprocess.run(("ip", "netns", "delete", name), capture_output=True, timeout=30, check=False)


@contextmanager
def lab() -> Iterator[Lab]:
    made = Lab()
    try:
        made.build()
        yield made
    finally:
        made.remove()


@contextmanager
def echo_server(
    namespace: str, address: str, port: int, *, udp: bool = False, says: bytes = b""
) -> Iterator[None]:
    """Answers every connection or datagram with `says`, or with who it seems to come from."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    kind = socket.SOCK_DGRAM if udp else socket.SOCK_STREAM

    def make() -> socket.socket:
        made = socket.socket(family, kind)
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            made.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        made.bind((address, port))
        if not udp:
            made.listen(64)
        made.settimeout(0.05)
        return made

    listener, ended = inside(namespace, make), threading.Event()

    def serve() -> None:
        while not ended.is_set():
            try:
                if udp:
                    _, peer = listener.recvfrom(2048)
                    listener.sendto(says or str(peer[0]).encode(), peer)
                else:
                    connection, peer = listener.accept()
                    with connection:
                        connection.sendall(says or str(peer[0]).encode())
            except TimeoutError:
                continue
            except OSError:
                continue

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()
        listener.close()


def ask(
    namespace: str, address: str, port: int, *, udp: bool = False, wait_s: float = 0.4, source: int = 0
) -> bytes | None:
    """What a server there answers; None when nothing comes back in time."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET

    def body() -> bytes | None:
        with socket.socket(family, socket.SOCK_DGRAM if udp else socket.SOCK_STREAM) as client:
            client.settimeout(wait_s)
            if source:
                client.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                client.bind(("::" if family == socket.AF_INET6 else "", source))
            try:
                where = socket.getaddrinfo(address, port, family, client.type)[0][4]
                client.connect(where)
                if udp:
                    client.send(b"?")
                return client.recv(2048)
            except OSError:
                return None

    return inside(namespace, body)


def ask_many(
    namespace: str, places: list[tuple[str, int, bool]]
) -> dict[tuple[str, int, bool], bytes | None]:
    """Ask many at once, so that those who do not answer cost their wait only once."""
    answers: dict[tuple[str, int, bool], bytes | None] = {}

    def one(place: tuple[str, int, bool]) -> None:
        answers[place] = ask(namespace, place[0], place[1], udp=place[2])

    threads = [threading.Thread(target=one, args=(place,)) for place in places]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return answers
