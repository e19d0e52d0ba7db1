"""The firewall with real sockets: the host's services, other networks, rules, published ports, and tables of others."""

import asyncio
import contextlib
import threading
from collections.abc import Iterator
from contextlib import ExitStack

import pytest
from msgspec.structs import replace
from tests.integration.frames import ACKNOWLEDGEMENT, IP4, ethernet, ipv4, tcp
from tests.integration.netlab import (
    HOST4,
    HOST6,
    METADATA,
    OUTSIDE4,
    OUTSIDE6,
    Guest,
    Lab,
    ask,
    ask_many,
    drain,
    echo_server,
    inside,
    lab,
    raw_socket,
    run,
)

from yurt.host import nft
from yurt.model.network import Action, Direction, FirewallRule, Protocol, PublishedPort
from yurt.network import firewall
from yurt.network.firewall.names import link_local

pytestmark = [pytest.mark.root, pytest.mark.needs("nft", "ip", "bridge")]
PORTS = (22, 53, 80, 5000)
DECOYS = """
table ip nat {
	chain DOCKER { }
	chain PREROUTING {
		type nat hook prerouting priority dstnat; policy accept;
		fib daddr type local counter jump DOCKER
	}
	chain POSTROUTING {
		type nat hook postrouting priority srcnat; policy accept;
		ip saddr 172.17.0.0/16 oifname != "docker0" counter masquerade
	}
}
table ip filter {
	chain DOCKER-USER { counter return; }
	chain FORWARD {
		type filter hook forward priority filter; policy accept;
		counter jump DOCKER-USER
		oifname "docker0" ct state established,related counter accept
	}
}
table inet firewalld {
	set trusted { type ipv4_addr; elements = { 192.0.2.1 }; }
	chain filter_INPUT {
		type filter hook input priority 10; policy accept;
		ip saddr @trusted accept
	}
}
table bridge yurt_other {
	set ports { type ifname; elements = { "xx0" }; }
}
table netdev guard { }
"""


def rule(direction: str, action: str, protocol: str = "all", ports: str = "", peer: str = "") -> FirewallRule:
    return FirewallRule(
        direction=Direction(direction),
        action=Action(action),
        protocol=Protocol(protocol),
        ports=ports,
        peer=peer,
    )


@pytest.fixture(scope="module")
def site() -> Iterator[Lab]:
    """Two guests on one network, one on another, one on an isolated one; servers everywhere."""
    with lab() as made, ExitStack() as servers:
        one, two = made.add_network(1), made.add_network(2)
        alone = made.add_network(3, isolated=True)
        for network in (one, one, two, alone, alone):
            made.add_guest(network)
        made.bridged_to_inet(on=False)
        made.nft(DECOYS + made.whole())
        made.settle()
        for port in PORTS:
            for address in ("0.0.0.0", "::"):
                servers.enter_context(echo_server(made.host, address, port))
        for namespace in (made.world, *(guest.name for guest in made.guests)):
            for address in ("0.0.0.0", "::"):
                for port in (80, 443, 5000):
                    servers.enter_context(echo_server(namespace, address, port))
                servers.enter_context(echo_server(namespace, address, 5000, udp=True))
        yield made


@contextlib.contextmanager
def bound(
    site: Lab, guest: Guest, *rules: FirewallRule, publish: tuple[PublishedPort, ...] = ()
) -> Iterator[None]:
    """Give a guest rules and published ports for a while."""
    changed = replace(guest.port, rules=rules, publish=publish)
    site.nft(firewall.change_port(site.TAG, guest.port, changed))
    try:
        yield
    finally:
        site.nft(firewall.change_port(site.TAG, changed, guest.port))


def reached(namespace: str, *places: tuple[str, int]) -> set[tuple[str, int]]:
    """Which of these places answer on TCP."""
    answers = ask_many(namespace, [(where, port, False) for where, port in places])
    return {(where, port) for (where, port, _), answer in answers.items() if answer is not None}


def test_a_guest_reaches_no_service_of_the_host_but_names(site: Lab) -> None:
    guest = site.guests[0]
    beside = str(link_local("52:54:00:bb:00:01")) + "%eth0"
    addresses = [
        "10.91.1.1",
        "fd00:91:1::1",
        beside,
        HOST4,
        HOST6,
        "10.91.2.1",
        "fd00:91:2::1",
        "10.91.3.1",
    ]
    found = reached(guest.name, *((address, port) for address in addresses for port in PORTS))
    assert found == {("10.91.1.1", 53), ("fd00:91:1::1", 53)}
    assert reached(site.host, (guest.port.ipv4, 80), (guest.port.ipv6, 80)) == {
        (guest.port.ipv4, 80),
        (guest.port.ipv6, 80),
    }
    assert reached(site.world, (HOST4, 5000), (HOST6, 5000)) == {(HOST4, 5000), (HOST6, 5000)}


def test_a_guest_gets_out_under_the_hosts_address(site: Lab) -> None:
    assert ask(site.guests[0].name, OUTSIDE4, 80) == HOST4.encode()
    assert ask(site.guests[0].name, OUTSIDE6, 80) == HOST6.encode()


def test_networks_do_not_reach_each_other(site: Lab) -> None:
    one, neighbour, other = (site.guests[index].port for index in (0, 1, 2))
    found = reached(
        site.guests[0].name,
        *((address, 80) for port in (neighbour, other) for address in (port.ipv4, port.ipv6)),
    )
    assert found == {(neighbour.ipv4, 80), (neighbour.ipv6, 80)}
    run("ip", "-n", site.world, "route", "replace", "10.91.0.0/16", "via", HOST4)
    run("ip", "-n", site.world, "-6", "route", "replace", "fd00:91::/32", "via", HOST6)
    assert not reached(site.world, (one.ipv4, 80), (one.ipv6, 80))


def test_an_isolated_network_has_no_way_out_or_in(site: Lab) -> None:
    guest, beside = site.guests[3], site.guests[4]
    places = [(OUTSIDE4, 80), (OUTSIDE6, 80), (HOST4, 80), (site.guests[0].port.ipv4, 80), ("10.91.3.1", 80)]
    assert reached(guest.name, *places, (beside.port.ipv4, 80)) == {(beside.port.ipv4, 80)}
    assert not reached(site.world, (guest.port.ipv4, 80), (guest.port.ipv6, 80))
    assert not reached(site.guests[0].name, (guest.port.ipv4, 80), (guest.port.ipv6, 80))


def test_the_cloud_does_not_tell_a_guest_its_secrets(site: Lab) -> None:
    guest = site.guests[0]
    places = ((METADATA, 80), ("fd00:ec2::254", 80))
    assert not reached(guest.name, *places)
    assert reached(site.host, *places) == set(places)
    with bound(site, guest, rule("out", "allow")):
        assert not reached(guest.name, *places), "a rule for everything does not mean this address"
    with bound(site, guest, rule("out", "allow", "tcp", "80", METADATA + "/32")):
        assert reached(guest.name, *places, (METADATA, 5000)) == {(METADATA, 80)}


@pytest.mark.parametrize("where", ["outside", "neighbour"])
def test_rules_for_what_leaves(site: Lab, where: str) -> None:
    """The same rules hold for what is routed and for what goes to a guest on the same bridge."""
    guest, neighbour = site.guests[0], site.guests[1].port
    four, six = (OUTSIDE4, OUTSIDE6) if where == "outside" else (neighbour.ipv4, neighbour.ipv6)
    every = [(four, 80), (four, 443), (six, 80), (six, 443), (four, 5000)]
    assert reached(guest.name, *every) == set(every)
    assert ask(guest.name, four, 5000, udp=True) is not None
    with bound(site, guest, rule("out", "deny"), rule("out", "allow", "all", "443", four + "/32")):
        assert reached(guest.name, *every) == {(four, 443)}
        assert ask(guest.name, six, 5000, udp=True) is None
    with bound(
        site, guest, rule("out", "allow", "tcp", "443", six + "/128"), rule("out", "allow", "udp", "5000")
    ):
        assert reached(guest.name, *every) == {(six, 443)}
        assert ask(guest.name, four, 5000, udp=True) is not None
    with bound(site, guest, rule("out", "deny", "tcp", "80-100"), rule("out", "deny", "udp")):
        assert reached(guest.name, *every) == {(four, 443), (six, 443), (four, 5000)}
        assert ask(guest.name, four, 5000, udp=True) is None
    assert reached(guest.name, *every) == set(every)


@pytest.mark.parametrize("where", ["host", "neighbour"])
def test_rules_for_what_arrives(site: Lab, where: str) -> None:
    guest = site.guests[0]
    asker = site.host if where == "host" else site.guests[1].name
    four, six = guest.port.ipv4, guest.port.ipv6
    every = [(four, 80), (four, 443), (six, 80), (six, 5000)]
    with bound(site, guest, rule("in", "allow", "tcp", "80")):
        assert reached(asker, *every) == {(four, 80), (six, 80)}
        assert reached(guest.name, (OUTSIDE4, 443), (OUTSIDE6, 443), (site.guests[1].port.ipv4, 443)) == {
            (OUTSIDE4, 443),
            (OUTSIDE6, 443),
            (site.guests[1].port.ipv4, 443),
        }, "replies always pass"
        assert ask(guest.name, site.guests[1].port.ipv4, 5000, udp=True) is not None
    with bound(site, guest, rule("in", "allow", "tcp", "80"), rule("out", "deny")):
        assert reached(asker, *every) == {(four, 80), (six, 80)}, "answers pass where nothing else may leave"
        assert not reached(guest.name, (OUTSIDE4, 443), (site.guests[1].port.ipv4, 443))
    with bound(site, guest, rule("in", "deny")):
        assert not reached(asker, *every)


def test_a_bare_acknowledgement_opens_nothing(site: Lab) -> None:
    """What is not the reply to anything is no reply, whatever its flags say (a closed guest cannot leak by them)."""
    guest, neighbour = site.guests[0], site.guests[1]
    frame = ethernet(
        neighbour.port.mac,
        guest.port.mac,
        IP4,
        ipv4(guest.port.ipv4, neighbour.port.ipv4, 6, tcp(80, 443, ACKNOWLEDGEMENT)),
    )
    with raw_socket(guest.name, "eth0") as near, raw_socket(neighbour.name, "eth0") as far:
        near.send(frame)
        threading.Event().wait(0.1)
        assert frame in drain(far)
        with bound(site, guest, rule("out", "deny"), rule("in", "allow", "tcp", "80")):
            near.send(frame)
            threading.Event().wait(0.1)
            assert frame not in drain(far)
    with bound(site, guest, rule("out", "deny"), rule("in", "allow", "tcp", "80")):
        assert ask(guest.name, neighbour.port.ipv4, 5000, udp=True, source=8000) is None


def test_a_rule_for_one_address_opens_the_host_and_other_networks(site: Lab) -> None:
    guest, other = site.guests[0], site.guests[2].port
    places = [("10.91.1.1", 5000), (HOST4, 80), (other.ipv4, 80), (other.ipv4, 443)]
    with bound(site, guest, rule("out", "allow", "all", "", "10.0.0.0/8")):
        assert not reached(guest.name, *places), "a whole subnet does not mean the host"
    wanted = (
        rule("out", "allow", "tcp", "5000", "10.91.1.1/32"),
        rule("out", "allow", "tcp", "80", other.ipv4),
    )
    with bound(site, guest, *wanted):
        assert reached(guest.name, *places) == {("10.91.1.1", 5000), (other.ipv4, 80)}
        with bound(site, site.guests[2], rule("in", "deny")):
            assert not reached(guest.name, (other.ipv4, 80))


def test_names_open_addresses_for_a_time(site: Lab) -> None:
    guest = site.guests[0]
    rules = (rule("out", "deny"), rule("out", "allow", "tcp", "443", "example.org"))
    bound_port = replace(guest.port, rules=rules)
    with bound(site, guest, *rules):
        places = [(OUTSIDE4, 443), (OUTSIDE4, 80), ("198.51.100.7", 443), (OUTSIDE6, 443)]
        assert not reached(guest.name, *places)
        site.nft(firewall.learned(site.TAG, bound_port, "example.org", [(OUTSIDE4, 60), (OUTSIDE6, 1)]))
        assert reached(guest.name, *places) == {(OUTSIDE4, 443), (OUTSIDE6, 443)}
        site.nft(
            firewall.learned(site.TAG, bound_port, "example.org", [("198.51.100.7", 60), (OUTSIDE4, 60)])
        )
        assert ("198.51.100.7", 443) in reached(guest.name, *places)
        threading.Event().wait(1.5)
        assert ask(guest.name, OUTSIDE6, 443) is None
    site.nft(f"flush set inet yurt_{site.TAG} named4\nflush set inet yurt_{site.TAG} named6\n")


def test_published_ports_lead_to_the_guest(site: Lab) -> None:
    guest = site.guests[0]
    publish = (
        PublishedPort(host_port=8080, guest_port=80),
        PublishedPort(host_port=8081, guest_port=5000, protocol=Protocol.UDP),
        PublishedPort(host_port=8082, guest_port=80, host_address=HOST4),
        PublishedPort(host_port=8083, guest_port=80, host_address=HOST6),
        PublishedPort(host_port=8084, guest_port=80, host_address="127.0.0.1"),
        PublishedPort(host_port=8085, guest_port=80, host_address="10.91.2.1"),
    )
    with bound(site, guest, rule("in", "deny"), publish=publish):
        for asker, seen4, seen6 in ((site.world, OUTSIDE4, OUTSIDE6), (site.host, HOST4, HOST6)):
            assert ask(asker, HOST4, 8080) == seen4.encode()
            assert ask(asker, HOST6, 8080) == seen6.encode()
            assert ask(asker, HOST4, 8081, udp=True) == seen4.encode()
            assert ask(asker, HOST4, 8082) == seen4.encode()
            assert ask(asker, HOST6, 8083) == seen6.encode()
            assert not reached(asker, (HOST6, 8082), (HOST4, 8083), (HOST4, 8084), (HOST4, 8081))
        for index in (1, 2):
            assert ask(site.guests[index].name, HOST4, 8080) is not None, "guests use it as anybody does"
        assert ask(site.guests[3].name, HOST4, 8080) is None, "but not from an isolated network"
        assert ask(site.guests[0].name, HOST4, 8080) is not None, "the guest itself, too"
    assert ask(site.world, HOST4, 8080) is None


def test_bridged_packets_that_pass_the_inet_tables_meet_the_same_rules(site: Lab) -> None:
    """Docker turns `bridge-nf-call-iptables` on for the whole host."""
    guest, neighbour = site.guests[0], site.guests[1]
    site.bridged_to_inet(on=True)
    try:
        test_rules_for_what_leaves(site, "neighbour")
        test_rules_for_what_arrives(site, "neighbour")
        with bound(site, guest, rule("in", "deny"), publish=(PublishedPort(host_port=8080, guest_port=80),)):
            assert ask(site.world, HOST4, 8080) == OUTSIDE4.encode()
            assert ask(neighbour.name, HOST4, 8080) is not None
        assert ask(guest.name, OUTSIDE4, 80) == HOST4.encode()
    finally:
        site.bridged_to_inet(on=False)


def test_tables_of_others_stay_as_they_are(site: Lab) -> None:
    def foreign() -> dict[str, str]:
        names = ("ip nat", "ip filter", "inet firewalld", "bridge yurt_other", "netdev guard")
        return {name: site.listing("list", "table", *name.split()) for name in names}

    before = foreign()
    assert "DOCKER" in before["ip nat"]
    guest = site.guests[0]
    with bound(
        site, guest, rule("in", "allow", "tcp", "22"), publish=(PublishedPort(host_port=1, guest_port=1),)
    ):
        site.nft(site.whole())
        site.nft(firewall.remove_network(site.TAG, site.networks[1]))
        site.nft(firewall.add_network(site.TAG, site.networks[1]))
        site.nft(firewall.gone(site.TAG))
        assert foreign() == before
        site.nft(site.whole())
    assert foreign() == before


def test_what_cannot_be_loaded_changes_nothing(site: Lab) -> None:
    before = site.listing()

    async def load(text: str, *, dry_run: bool = False) -> None:
        await nft.load(text, dry_run=dry_run)

    def broken() -> nft.NftFailed:
        text = firewall.gone(site.TAG) + "add element inet nowhere set { 1 }\n"
        with pytest.raises(nft.NftFailed) as caught:
            asyncio.run(load(text))
        return caught.value

    error = inside(site.host, broken)
    assert (error.line, error.text) == (5, "add element inet nowhere set { 1 }")
    inside(site.host, lambda: asyncio.run(load(firewall.gone(site.TAG), dry_run=True)))
    assert site.listing() == before


def test_a_flush_by_somebody_else_is_noticed(site: Lab) -> None:
    async def watch() -> int:
        table, seen = firewall.table_name(site.TAG), 0
        async with asyncio.timeout(10):
            flush = asyncio.create_task(_later(table))
            async for _ in nft.lost(table):
                seen += 1
                await nft.load(site.whole())
                if seen == 2:
                    break
            await flush
        return seen

    async def _later(table: str) -> None:
        for command in (("flush", "ruleset"), ("delete", "table", "bridge", table)):
            await asyncio.sleep(0.3)
            await asyncio.to_thread(run, "ip", "netns", "exec", site.host, "nft", *command)

    assert inside(site.host, lambda: asyncio.run(watch())) == 2
    site.nft(DECOYS)
