"""A guest cannot speak with what is not its own: forged frames, by packet sockets, after every order of loading rules.

Each forged frame is one cell per place that must not hear it; each honest one must be heard, so the test can fail.
"""

import os
import socket
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass

import pytest
from tests.integration.frames import (
    ARP,
    BROADCAST,
    IP4,
    IP6,
    QINQ,
    VLAN,
    arp,
    dhcp,
    ethernet,
    hardware,
    icmpv6,
    ipv4,
    ipv6,
    option,
    tagged,
    udp,
)
from tests.integration.netlab import OUTSIDE4, OUTSIDE6, Guest, Lab, drain, lab, raw_socket

from yurt.network import firewall
from yurt.network.firewall.names import link_local

pytestmark = [pytest.mark.root, pytest.mark.needs("nft", "ip", "bridge")]
STP, LLDP, CDP, EAPOL, PAUSE = (
    "01:80:c2:00:00:00",
    "01:80:c2:00:00:0e",
    "01:00:0c:cc:cc:cc",
    "01:80:c2:00:00:03",
    "01:80:c2:00:00:01",
)
ALL_NODES, ALL_ROUTERS, DHCP_SERVERS = "ff02::1", "ff02::2", "ff02::1:2"
FOREIGN = "52:54:00:ee:ee:ee"


def group_mac(address: str) -> str:
    tail = socket.inet_pton(socket.AF_INET6, address)[12:]
    return "33:33:" + ":".join(f"{octet:02x}" for octet in tail)


@dataclass
class Cast:
    """Who is who in the forged frames: `a` forges, `b` is a guest beside it."""

    a: str
    a4: str
    a6: str
    all: str  # a's link-local address
    b: str
    b4: str
    b6: str
    bll: str
    gw: str
    gw4: str
    gw6: str
    gwll: str


def cast(lab: Lab) -> Cast:
    a, b = lab.guests[0].port, lab.guests[1].port
    network, gateway = lab.networks[0], "52:54:00:bb:00:01"
    ll = [str(link_local(mac)) for mac in (a.mac, b.mac, gateway)]
    return Cast(
        a.mac,
        a.ipv4,
        a.ipv6,
        ll[0],
        b.mac,
        b.ipv4,
        b.ipv6,
        ll[1],
        gateway,
        network.gateway4,
        network.gateway6,
        ll[2],
    )


class Marks:
    """A marker for each frame, so that it is recognised wherever it turns up."""

    def __init__(self) -> None:
        self.names: dict[bytes, str] = {}

    def new(self, name: str) -> bytes:
        marker = b"yurt" + os.urandom(8)
        self.names[marker] = name
        return marker

    def found(self, frames: list[bytes]) -> set[str]:
        return {name for marker, name in self.names.items() if any(marker in frame for frame in frames)}


Frame = tuple[str, bytes]


def forged(c: Cast, marks: Marks) -> Iterator[Frame]:
    yield from _forged_ip(c, marks)
    yield from _forged_arp(c, marks)
    yield from _forged_nd(c, marks)
    yield from _forged_dhcp(c, marks)
    yield from _forged_frames(c, marks)


def _forged_ip(c: Cast, marks: Marks) -> Iterator[Frame]:
    targets = (
        ("guest", c.b, c.b4, c.b6),
        ("host", c.gw, c.gw4, c.gw6),
        ("outside", c.gw, OUTSIDE4, OUTSIDE6),
    )
    for where, mac, four, six in targets:
        for source in (FOREIGN, c.b, c.gw, BROADCAST):
            mark = marks.new(f"mac {source} to {where}")
            yield mark.hex(), ethernet(mac, source, IP4, ipv4(c.a4, four, 17, udp(c.a4, four, 9, 9, mark)))
        for spoofed in (
            c.b4,
            c.gw4,
            "198.51.100.9",
            "0.0.0.0",
            "255.255.255.255",
            "127.0.0.1",
            "169.254.1.1",
        ):
            mark = marks.new(f"ipv4 {spoofed} to {where}")
            yield mark.hex(), ethernet(mac, c.a, IP4, ipv4(spoofed, four, 17, udp(spoofed, four, 9, 9, mark)))
        for spoofed in (c.b6, c.gw6, c.bll, "2001:db8:9::9", "::", "::1", "ff02::1", f"::ffff:{c.a4}"):
            mark = marks.new(f"ipv6 {spoofed} to {where}")
            yield mark.hex(), ethernet(mac, c.a, IP6, ipv6(spoofed, six, 17, udp(spoofed, six, 9, 9, mark)))
        for field, name in ((0x2000, "first"), (0x0010, "later")):
            mark = marks.new(f"ipv4 {name} fragment from another to {where}")
            yield mark.hex(), ethernet(mac, c.a, IP4, ipv4(c.b4, four, 17, bytes(8) + mark, fragment=field))
        mark = marks.new(f"routing header to {where}")
        body = bytes([17, 0, 4, 0, 0, 0, 0, 0]) + udp(c.a6, six, 9, 9, mark)
        yield mark.hex(), ethernet(mac, c.a, IP6, ipv6(c.a6, six, 43, body))


def _forged_arp(c: Cast, marks: Marks) -> Iterator[Frame]:
    zero = "00:00:00:00:00:00"
    cases = {
        "reply for the gateway": (2, c.a, c.gw4, c.b, c.b4),
        "reply for another guest": (2, c.a, c.b4, c.gw, c.gw4),
        "reply with a foreign hardware address": (2, FOREIGN, c.a4, c.b, c.b4),
        "reply for nobody": (2, c.a, "0.0.0.0", c.b, c.b4),
        "request in the gateway's name": (1, c.a, c.gw4, zero, c.b4),
        "request with a foreign hardware address": (1, FOREIGN, c.a4, zero, c.b4),
        "gratuitous request for the gateway": (1, c.a, c.gw4, zero, c.gw4),
        "gratuitous reply for the gateway": (2, c.a, c.gw4, BROADCAST, c.gw4),
        "probe for the gateway's address": (1, c.a, "0.0.0.0", zero, c.gw4),
        "probe for another's address": (1, c.a, "0.0.0.0", zero, c.b4),
        "inverse request": (8, c.a, c.a4, c.b, "0.0.0.0"),
    }
    for name, words in cases.items():
        for where, mac in (("guest", c.b), ("host", c.gw), ("all", BROADCAST)):
            mark = marks.new(f"arp {name} to {where}")
            yield mark.hex(), ethernet(mac, c.a, ARP, arp(*words, marker=mark))
    mark = marks.new("arp of another hardware type")
    yield mark.hex(), ethernet(BROADCAST, c.a, ARP, arp(1, c.a, c.a4, zero, c.b4, htype=6, marker=mark))
    mark = marks.new("arp from another's mac")
    yield mark.hex(), ethernet(BROADCAST, c.b, ARP, arp(1, c.a, c.a4, zero, c.b4, marker=mark))
    mark = marks.new("arp cut short")
    yield mark.hex(), ethernet(BROADCAST, c.a, ARP, arp(1, c.a, c.gw4, zero, c.b4)[:10] + mark)
    mark = marks.new("rarp")
    yield mark.hex(), ethernet(BROADCAST, c.a, 0x8035, arp(3, c.a, "0.0.0.0", c.a, "0.0.0.0", marker=mark))


def _six(c: Cast, source: str, target: str, kind: int, rest: bytes) -> bytes:
    return ethernet(group_mac(target), c.a, IP6, ipv6(source, target, 58, icmpv6(source, target, kind, rest)))


def _forged_nd(c: Cast, marks: Marks) -> Iterator[Frame]:
    packed = {
        name: socket.inet_pton(socket.AF_INET6, getattr(c, name))
        for name in ("a6", "b6", "gw6", "all", "bll", "gwll")
    }
    own, other = hardware(c.a), hardware(FOREIGN)
    flags = bytes.fromhex("60000000")

    def trailing(name: str, frame: bytes) -> Frame:
        """The whole frame is its own marker: what follows an IPv6 packet may be cut off on the way."""
        marks.names[frame] = name
        return frame.hex(), frame

    for target in ("gw6", "gwll", "b6", "bll"):
        yield trailing(
            f"na for {target}", _six(c, c.all, ALL_NODES, 136, flags + packed[target] + option(2, own))
        )
        yield trailing(f"na for {target}, bare", _six(c, c.all, ALL_NODES, 136, flags + packed[target]))
        yield trailing(f"dad for {target}", _six(c, "::", ALL_NODES, 135, bytes(4) + packed[target]))
    na, ns = flags + packed["a6"], bytes(4) + packed["b6"]
    yield trailing("na with a foreign lladdr", _six(c, c.a6, ALL_NODES, 136, na + option(2, other)))
    yield trailing(
        "na with two options", _six(c, c.a6, ALL_NODES, 136, na + option(14, bytes(6)) + option(2, other))
    )
    yield trailing("na from another", _six(c, c.bll, ALL_NODES, 136, na + option(2, own)))
    yield trailing("ns with a foreign lladdr", _six(c, c.a6, ALL_NODES, 135, ns + option(1, other)))
    yield trailing("ns from another", _six(c, c.b6, ALL_NODES, 135, ns + option(1, own)))
    yield trailing(
        "ns with two options", _six(c, c.a6, ALL_NODES, 135, ns + option(14, bytes(6)) + option(1, other))
    )
    yield trailing("rs with a foreign lladdr", _six(c, c.all, ALL_ROUTERS, 133, bytes(4) + option(1, other)))
    yield trailing("rs from another", _six(c, c.bll, ALL_ROUTERS, 133, bytes(4)))
    prefix = (
        bytes([3, 4, 64, 0xC0]) + bytes.fromhex("ffffffffffffffff00000000") + packed["gw6"][:8] + bytes(8)
    )
    advert = bytes([64, 0, 255, 255]) + bytes(8) + prefix
    for source in (c.all, c.gwll):
        for target in (ALL_NODES, c.bll):
            frame = ethernet(
                group_mac(target) if target == ALL_NODES else c.b,
                c.a,
                IP6,
                ipv6(source, target, 58, icmpv6(source, target, 134, advert)),
            )
            yield trailing(f"ra from {source} to {target}", frame)
    inner = icmpv6(c.all, ALL_NODES, 134, advert)
    mac = group_mac(ALL_NODES)
    options = bytes([58, 0, 1, 4, 0, 0, 0, 0])
    for following, name in ((0, "hop-by-hop"), (60, "destination options")):
        yield trailing(
            f"ra behind {name}", ethernet(mac, c.a, IP6, ipv6(c.all, ALL_NODES, following, options + inner))
        )
    whole = bytes([58, 0, 0, 0, 0, 0, 0, 9])
    yield trailing(
        "ra in an atomic fragment", ethernet(mac, c.a, IP6, ipv6(c.all, ALL_NODES, 44, whole + inner))
    )
    first = bytes([58, 0, 0, 1, 0, 0, 0, 8])
    yield trailing("ra in fragments", ethernet(mac, c.a, IP6, ipv6(c.all, ALL_NODES, 44, first + inner[:8])))
    hidden = bytes([60, 0, 0, 1, 0, 0, 0, 7]) + options
    yield trailing("ra hidden in fragments", ethernet(mac, c.a, IP6, ipv6(c.all, ALL_NODES, 44, hidden)))
    yield trailing(
        "na in a fragment",
        ethernet(mac, c.a, IP6, ipv6(c.a6, ALL_NODES, 44, whole + icmpv6(c.a6, ALL_NODES, 136, na))),
    )
    yield trailing("redirect", _six(c, c.gwll, c.bll, 137, bytes(4) + packed["all"] + packed["gw6"]))
    yield trailing(
        "redirect from itself", _six(c, c.all, c.bll, 137, bytes(4) + packed["all"] + packed["gw6"])
    )
    yield trailing("mld query", _six(c, c.all, ALL_NODES, 130, bytes(20)))
    yield trailing("mld report from another", _six(c, c.bll, "ff02::16", 143, bytes(4)))
    yield trailing("router renumbering", _six(c, c.all, ALL_ROUTERS, 138, bytes(12)))


def _forged_dhcp(c: Cast, marks: Marks) -> Iterator[Frame]:
    everybody = "255.255.255.255"
    for where, mac, four in (("guest", c.b, c.b4), ("all", BROADCAST, everybody)):
        for kind, name in ((2, "offer"), (5, "ack"), (6, "nak")):
            mark = marks.new(f"dhcp {name} to {where}")
            body = udp(c.a4, four, 67, 68, dhcp(2, c.b, mark, kind=kind))
            yield mark.hex(), ethernet(mac, c.a, IP4, ipv4(c.a4, four, 17, body))
    mark = marks.new("dhcp offer from another port")
    yield (
        mark.hex(),
        ethernet(c.b, c.a, IP4, ipv4(c.a4, c.b4, 17, udp(c.a4, c.b4, 1067, 68, dhcp(2, c.b, mark, kind=2)))),
    )
    asked = {
        "for a foreign chaddr": {"chaddr": FOREIGN},
        "for another's chaddr": {"chaddr": c.b},
        "through a relay": {"chaddr": c.a, "giaddr": c.a4},
        "with a long hardware address": {"chaddr": c.a, "hlen": 16},
    }
    for name, words in asked.items():
        for source, target, mac in (("0.0.0.0", everybody, BROADCAST), (c.a4, c.gw4, c.gw)):
            mark = marks.new(f"dhcp discover {name} from {source}")
            body = udp(source, target, 68, 67, dhcp(1, marker=mark, **words))  # type: ignore[arg-type]
            yield mark.hex(), ethernet(mac, c.a, IP4, ipv4(source, target, 17, body))
    mark = marks.new("dhcp in fragments")
    body = udp("0.0.0.0", everybody, 68, 67, dhcp(1, c.a, mark))
    yield mark.hex(), ethernet(BROADCAST, c.a, IP4, ipv4("0.0.0.0", everybody, 17, body, fragment=0x2000))
    for name, source, ports, kind, target in (
        ("advertise", c.all, (547, 546), 2, c.bll),
        ("reply to all", c.all, (547, 546), 7, ALL_NODES),
        ("relayed", c.all, (546, 547), 12, DHCP_SERVERS),
        ("solicit from another", c.bll, (546, 547), 1, DHCP_SERVERS),
        ("solicit from port 547", c.all, (547, 547), 1, DHCP_SERVERS),
    ):
        mark = marks.new(f"dhcp6 {name}")
        body = udp(source, target, *ports, bytes([kind, 0, 0, 1]) + mark)
        mac = c.b if target == c.bll else group_mac(target)
        yield mark.hex(), ethernet(mac, c.a, IP6, ipv6(source, target, 17, body))


def _forged_frames(c: Cast, marks: Marks) -> Iterator[Frame]:
    for where, mac, four in (("guest", c.b, c.b4), ("host", c.gw, c.gw4), ("outside", c.gw, OUTSIDE4)):
        for name, tags in (
            ("vlan", ((VLAN, 5),)),
            ("priority tag", ((VLAN, 0),)),
            ("qinq", ((QINQ, 5), (VLAN, 6))),
            ("two vlan tags", ((VLAN, 5), (VLAN, 6))),
        ):
            mark = marks.new(f"{name} to {where}")
            plain = ethernet(mac, c.a, IP4, ipv4(c.a4, four, 17, udp(c.a4, four, 9, 9, mark)))
            yield mark.hex(), tagged(plain, *tags)
        for kind in (0x88CC, 0x8863, 0x8864, 0x8847, 0x88F7, 0x88B5, 0x9000, 0x0028):
            mark = marks.new(f"ethertype {kind:04x} to {where}")
            yield mark.hex(), ethernet(mac, c.a, kind, mark.ljust(60, b"\0"))
    bpdu = bytes.fromhex("424203000000000000000000") + bytes(30)
    for name, target, body in (
        ("stp", STP, (len(bpdu) + 15).to_bytes(2, "big") + bpdu),
        ("lldp", LLDP, b"\x88\xcc" + bytes.fromhex("0207")),
        ("cdp", CDP, b"\x00\x30" + bytes.fromhex("aaaa0300000c2000")),
        ("eapol", EAPOL, b"\x88\x8e" + bytes(4)),
        ("pause", PAUSE, b"\x88\x08" + bytes(4)),
        ("stp from another's mac", STP, (len(bpdu) + 15).to_bytes(2, "big") + bpdu),
        ("lldp from another's mac", LLDP, b"\x88\xcc" + bytes.fromhex("0207")),
        ("ip to a link-local group", LLDP, b"\x08\x00" + ipv4(c.a4, c.b4, 17, bytes(12))),
    ):
        mark = marks.new(name)
        source = c.b if "another" in name else c.a
        yield mark.hex(), hardware(target) + hardware(source) + body + mark.ljust(40, b"\0")


def honest(c: Cast, marks: Marks) -> Iterator[tuple[str, str, bytes]]:
    """Name, who hears it (`guest`, `host`, `outside`), frame."""
    zero = "00:00:00:00:00:00"
    packed_a, packed_b = (socket.inet_pton(socket.AF_INET6, text) for text in (c.a6, c.b6))
    for where, mac, four, six in (
        ("guest", c.b, c.b4, c.b6),
        ("host", c.gw, c.gw4, c.gw6),
        ("outside", c.gw, OUTSIDE4, OUTSIDE6),
    ):
        mark = marks.new(f"honest ipv4 for {where}")
        yield where, mark.hex(), ethernet(mac, c.a, IP4, ipv4(c.a4, four, 17, udp(c.a4, four, 9, 9, mark)))
        mark = marks.new(f"honest ipv6 for {where}")
        yield where, mark.hex(), ethernet(mac, c.a, IP6, ipv6(c.a6, six, 17, udp(c.a6, six, 9, 9, mark)))
    for where, mac in (("guest", c.b), ("host", c.gw), ("guest", BROADCAST)):
        mark = marks.new(f"honest arp reply for {where} {mac}")
        yield where, mark.hex(), ethernet(mac, c.a, ARP, arp(2, c.a, c.a4, c.b, c.b4, marker=mark))
        mark = marks.new(f"honest arp request for {where} {mac}")
        yield where, mark.hex(), ethernet(mac, c.a, ARP, arp(1, c.a, c.a4, zero, c.b4, marker=mark))
    own = hardware(c.a)
    frame = _six(c, c.a6, ALL_NODES, 136, bytes.fromhex("60000000") + packed_a + option(2, own))
    marks.names[frame] = "honest na for guest"
    yield "guest", frame.hex(), frame
    frame = _six(c, c.a6, ALL_NODES, 135, bytes(4) + packed_b + option(1, own))
    marks.names[frame] = "honest ns for guest"
    yield "guest", frame.hex(), frame
    frame = _six(c, "::", ALL_NODES, 135, bytes(4) + packed_a + option(14, bytes(6)))
    marks.names[frame] = "honest dad for guest"
    yield "guest", frame.hex(), frame
    frame = _six(c, c.all, ALL_ROUTERS, 133, bytes(4) + option(1, own))
    marks.names[frame] = "honest rs for host"
    yield "host", frame.hex(), frame
    mark = marks.new("honest dhcp for host")
    body = udp("0.0.0.0", "255.255.255.255", 68, 67, dhcp(1, c.a, mark))
    yield "host", mark.hex(), ethernet(BROADCAST, c.a, IP4, ipv4("0.0.0.0", "255.255.255.255", 17, body))
    mark = marks.new("honest dhcp6 for host")
    body = udp(c.all, DHCP_SERVERS, 546, 547, bytes([1, 0, 0, 1]) + mark)
    yield "host", mark.hex(), ethernet(group_mac(DHCP_SERVERS), c.a, IP6, ipv6(c.all, DHCP_SERVERS, 17, body))


def load_whole(lab: Lab) -> None:
    lab.nft(lab.whole())


def load_one_by_one(lab: Lab) -> None:
    lab.nft(firewall.gone(lab.TAG) + firewall.whole(lab.TAG, [], []))
    for network in lab.networks:
        lab.nft(firewall.add_network(lab.TAG, network))
    for guest in lab.guests:
        lab.nft(firewall.add_port(lab.TAG, guest.port))


def load_backwards(lab: Lab) -> None:
    lab.nft(firewall.whole(lab.TAG, [], []))
    for guest in reversed(lab.guests):
        lab.nft(firewall.add_port(lab.TAG, guest.port))
    for network in reversed(lab.networks):
        lab.nft(firewall.add_network(lab.TAG, network))


def load_forger_again(lab: Lab) -> None:
    port = lab.guests[0].port
    lab.nft(firewall.remove_port(lab.TAG, port))
    lab.nft(firewall.add_port(lab.TAG, port) + firewall.add_port(lab.TAG, port))


def load_victim_again(lab: Lab) -> None:
    port = lab.guests[1].port
    lab.nft(firewall.remove_port(lab.TAG, port))
    lab.nft(lab.whole())
    lab.nft(firewall.change_port(lab.TAG, port, port))


def load_network_again(lab: Lab) -> None:
    lab.nft(
        firewall.remove_network(lab.TAG, lab.networks[0]) + firewall.add_network(lab.TAG, lab.networks[0])
    )


def load_after_a_flush(lab: Lab) -> None:
    lab.nft("flush ruleset\n")
    lab.nft(lab.whole() + lab.whole())


ORDERS = (
    load_whole,
    load_one_by_one,
    load_forger_again,
    load_backwards,
    load_victim_again,
    load_network_again,
    load_after_a_flush,
)


@pytest.fixture(scope="module")
def spoof_lab() -> Iterator[Lab]:
    with lab() as made:
        one, two = made.add_network(1), made.add_network(2)
        for network in (one, one, two):
            made.add_guest(network)
        made.settle()
        yield made


@pytest.fixture(scope="module")
def ears(spoof_lab: Lab) -> Iterator[dict[str, socket.socket]]:
    """Packet sockets of everybody who must not hear forged frames, and of the forger."""
    guests = spoof_lab.guests
    made = {
        "forger": raw_socket(guests[0].name, "eth0"),
        "guest": raw_socket(guests[1].name, "eth0"),
        "other network": raw_socket(guests[2].name, "eth0"),
        "host": raw_socket(spoof_lab.host, "yt1"),
        "outside": raw_socket(spoof_lab.world, "eth0"),
    }
    yield made
    for each in made.values():
        each.close()


def play(lab: Lab, ears: dict[str, socket.socket], frames: list[bytes]) -> dict[str, list[bytes]]:
    """Send frames as the first guest; return what everybody else then heard."""
    for sniffer in ears.values():
        drain(sniffer)
    for number, frame in enumerate(frames):
        ears["forger"].send(frame.ljust(60, b"\0"))
        if number % 20 == 19:
            time.sleep(0.02)  # floods are throttled per guest, and these must fall to the checks instead
    time.sleep(0.15)
    return {name: drain(sniffer) for name, sniffer in ears.items() if name != "forger"}


def warm(lab: Lab) -> None:
    """Let everybody learn everybody, so that honest frames are not held back by a first question."""
    guest: Guest = lab.guests[0]
    for address in (lab.guests[1].port.ipv4, lab.guests[1].port.ipv6, OUTSIDE4, OUTSIDE6):
        argv = ("ip", "netns", "exec", guest.name, "ping", "-c1", "-W2", address)
        done = subprocess.run(argv, capture_output=True, text=True, timeout=10, check=False)
        assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("order", ORDERS, ids=lambda order: order.__name__)
def test_forged_frames_reach_nobody(spoof_lab: Lab, ears: dict[str, socket.socket], order: object) -> None:
    assert callable(order)
    order(spoof_lab)
    warm(spoof_lab)
    c, marks = cast(spoof_lab), Marks()
    frames = [frame for _, frame in forged(c, marks)]
    assert len(frames) >= 60
    heard = play(spoof_lab, ears, frames)
    reached = {name: found for name, sniffed in heard.items() if (found := marks.found(sniffed))}
    assert not reached
    assert spoof_lab.learned_on("yt1", c.b) <= {spoof_lab.guests[1].port.interface}
    assert not spoof_lab.learned_on("yt1", FOREIGN)

    time.sleep(0.6)  # the throttles give their tokens back
    marks = Marks()
    fair = list(honest(c, marks))
    heard = play(spoof_lab, ears, [frame for _, _, frame in fair])
    for where, marker, _ in fair:
        name = marks.names[bytes.fromhex(marker)]
        assert name in marks.found(heard[where]), f"{name} was not heard"
    private = {name for name in marks.found(heard["guest"]) if "dhcp" in name}
    assert not private, "what asks for an address is for the host only"


def test_the_matrix_can_fail(spoof_lab: Lab, ears: dict[str, socket.socket]) -> None:
    """Without our rules most forged frames arrive: the silence above is the rules' doing."""
    load_whole(spoof_lab)
    warm(spoof_lab)
    spoof_lab.nft(firewall.gone(spoof_lab.TAG))
    marks = Marks()
    frames = [frame for _, frame in forged(cast(spoof_lab), marks)]
    heard = play(spoof_lab, ears, frames)
    load_whole(spoof_lab)
    reached = set().union(*(marks.found(sniffed) for sniffed in heard.values()))
    assert len(reached) > len(frames) * 0.7, sorted(set(marks.names.values()) - reached)
    spoof_lab.ip("link", "set", "yt1", "type", "bridge", "fdb_flush")


def test_a_guest_hears_only_what_is_for_it(spoof_lab: Lab, ears: dict[str, socket.socket]) -> None:
    """A frame for a MAC that the bridge does not know goes to all its ports, and is stopped at each."""
    load_whole(spoof_lab)
    c, marks = cast(spoof_lab), Marks()
    mark = marks.new("flooded")
    frame = ethernet("52:54:00:cc:cc:cc", c.a, IP4, ipv4(c.a4, c.b4, 17, udp(c.a4, c.b4, 9, 9, mark)))
    assert not marks.found(play(spoof_lab, ears, [frame])["guest"])


def test_a_flood_harms_only_the_flooder(spoof_lab: Lab, ears: dict[str, socket.socket]) -> None:
    """ARP, ND, DHCP and broadcasts of one guest are throttled; its neighbour's still pass."""
    load_whole(spoof_lab)
    c, marks = cast(spoof_lab), Marks()
    mark = marks.new("flood")
    asked = ethernet(BROADCAST, c.a, ARP, arp(1, c.a, c.a4, "00:00:00:00:00:00", c.b4, marker=mark))
    everybody = "255.255.255.255"
    ask = ethernet(
        BROADCAST,
        c.a,
        IP4,
        ipv4("0.0.0.0", everybody, 17, udp("0.0.0.0", everybody, 68, 67, dhcp(1, c.a, mark))),
    )
    many = ethernet(BROADCAST, c.a, IP4, ipv4(c.a4, "10.91.1.255", 17, udp(c.a4, "10.91.1.255", 9, 9, mark)))
    for frame, most in ((asked, 400), (ask, 60), (many, 4500)):
        for sniffer in ears.values():
            drain(sniffer)
        heard = 0
        for _ in range(8):
            for _ in range(1000):
                ears["forger"].send(frame)
            heard += sum(mark in each for each in drain(ears["host"]))
        time.sleep(0.1)
        heard += sum(mark in each for each in drain(ears["host"]))
        assert 0 < heard < most
    victim = raw_socket(spoof_lab.guests[1].name, "eth0")
    with victim:
        other = marks.new("neighbour")
        victim.send(
            ethernet(BROADCAST, c.b, ARP, arp(1, c.b, c.b4, "00:00:00:00:00:00", c.gw4, marker=other))
        )
        time.sleep(0.1)
        assert any(other in frame for frame in drain(ears["host"]))
