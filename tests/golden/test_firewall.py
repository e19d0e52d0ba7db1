"""nft rule sets. `YURT_GOLDEN=write` rewrites the files: read the diff."""

import os
from pathlib import Path

import pytest
from msgspec.structs import replace

from yurt.errors import Internal
from yurt.model.network import Action, Direction, FirewallRule, Protocol, PublishedPort
from yurt.network import firewall
from yurt.network.firewall import NetworkRules, PortBinding

GOLDEN = Path(__file__).parent / "firewall"
NET = NetworkRules(
    bridge="yt1",
    ipv4="10.91.1.0/24",
    ipv6="fd00:91:1::/64",
    gateway4="10.91.1.1",
    gateway6="fd00:91:1::1",
    nat=True,
    isolated=False,
)
ALONE = replace(
    NET, bridge="yt2", ipv6="", gateway6="", ipv4="10.91.2.0/24", gateway4="10.91.2.1", isolated=True
)
ROUTED = replace(
    NET, bridge="yt3", ipv4="", gateway4="", ipv6="fd00:91:3::/64", gateway6="fd00:91:3::1", nat=False
)
PLAIN = PortBinding(
    interface="yt1p2",
    bridge="yt1",
    instance_id="0123456789ab",
    mac="52:54:00:00:00:02",
    ipv4="10.91.1.2",
    ipv6="fd00:91:1::2",
)


def rule(direction: str, action: str, protocol: str = "all", ports: str = "", peer: str = "") -> FirewallRule:
    return FirewallRule(
        direction=Direction(direction),
        action=Action(action),
        protocol=Protocol(protocol),
        ports=ports,
        peer=peer,
    )


RULED = replace(
    PLAIN,
    interface="yt1p3",
    mac="52:54:00:00:00:03",
    ipv4="10.91.1.3",
    ipv6="fd00:91:1::3",
    rules=(
        rule("in", "allow", "tcp", "22"),
        rule("in", "deny", "all", "", "192.0.2.0/24"),
        rule("out", "deny"),
        rule("out", "allow", "all", "443,8000-8010", "10.0.0.0/8"),
        rule("out", "allow", "tcp", "443", "fd00::/8"),
        rule("out", "allow", "tcp", "443", "example.org"),
        rule("out", "allow", "all", "", "169.254.169.254/32"),
        rule("out", "allow", "icmp"),
    ),
    publish=(
        PublishedPort(host_port=8080, guest_port=80),
        PublishedPort(host_port=5353, guest_port=53, protocol=Protocol.UDP, host_address="192.0.2.1"),
        PublishedPort(host_port=8081, guest_port=80, host_address="127.0.0.1"),
        PublishedPort(host_port=8082, guest_port=80, host_address="2001:db8::1"),
    ),
    dns=5300,
)
OPEN_DEFAULT = replace(PLAIN, rules=(rule("in", "allow"), rule("in", "deny", "udp")))
CASES = {
    "whole": firewall.whole("a1b2c3", [NET, ALONE, ROUTED], [PLAIN, RULED]),
    "empty": firewall.whole("a1b2c3", [], []),
    "add-network": firewall.add_network("a1b2c3", NET),
    "add-isolated": firewall.add_network("a1b2c3", ALONE),
    "add-routed": firewall.add_network("a1b2c3", ROUTED),
    "remove-network": firewall.remove_network("a1b2c3", NET),
    "add-port": firewall.add_port("a1b2c3", PLAIN),
    "add-ruled-port": firewall.add_port("a1b2c3", RULED),
    "add-port-without-ipv6": firewall.add_port("a1b2c3", replace(PLAIN, ipv6="")),
    "remove-port": firewall.remove_port("a1b2c3", PLAIN),
    "remove-ruled-port": firewall.remove_port("a1b2c3", RULED),
    "change-port": firewall.change_port("a1b2c3", PLAIN, OPEN_DEFAULT),
    "learned": firewall.learned("a1b2c3", RULED, "example.org", [("192.0.2.7", 60), ("2001:db8::7", 300)]),
    "gone": firewall.gone("a1b2c3"),
}


@pytest.mark.parametrize("name", CASES)
def test_rule_sets(name: str) -> None:
    path = GOLDEN / f"{name}.nft"
    if os.environ.get("YURT_GOLDEN"):
        path.write_text(CASES[name])
    assert path.read_text() == CASES[name]


def test_nothing_foreign_comes_into_a_rule_set() -> None:
    """Every text of a binding is parsed, so that none can add words of its own."""
    for change in (
        {"interface": 'x" ; }'},
        {"interface": "sixteen-letters-"},
        {"mac": "52:54:00:00:00:02 }"},
        {"ipv4": "10.0.0.1 }"},
        {"ipv4": "fd00::1"},
        {"ipv6": "::1; drop"},
        {"bridge": "a b"},
    ):
        with pytest.raises((Internal, ValueError)):
            firewall.add_port("a1b2c3", replace(PLAIN, **change))
    with pytest.raises(Internal):
        firewall.whole("a b", [], [])


def test_a_port_costs_the_same_however_many_there_are() -> None:
    """One port's change names that port only, and what is loaded for many grows by no rule."""
    few = firewall.whole("t", [NET], [replace(PLAIN, interface=f"p{n}") for n in range(2)])
    many = firewall.whole("t", [NET], [replace(PLAIN, interface=f"p{n}") for n in range(500)])
    assert len(few.splitlines()) == len(many.splitlines())


def test_answers_open_only_the_names_that_rules_allow() -> None:
    assert not firewall.learned("t", RULED, "example.com", [("192.0.2.7", 60)])
    assert not firewall.learned("t", RULED, "www.example.org", [("192.0.2.7", 60)])
    below = replace(RULED, rules=(rule("out", "allow", "all", "", "*.example.org"),))
    assert "reached4" in firewall.learned("t", below, "www.Example.org.", [("192.0.2.7", 60)])
    assert not firewall.learned("t", below, "example.org", [("192.0.2.7", 60)])
    assert not firewall.learned("t", below, "evilexample.org", [("192.0.2.7", 60)])
