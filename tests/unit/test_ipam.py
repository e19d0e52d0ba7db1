"""Subnets, addresses, MACs and names of networks: the pure half."""

import time
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from yurt.errors import Exhausted, Exists, Invalid, NotFound, YurtError
from yurt.model.network import Network, NetworkSpec, NicSpec
from yurt.network.ipam import Addresses, Subnet, define, device_name, free_number, make_mac


def network(
    name: str = "default", ipv4: str = "10.1.2.0/24", ipv6: str = "fd00:1::/64", number: int = 1
) -> Network:
    return define(NetworkSpec(name=name, ipv4=ipv4, ipv6=ipv6), number, "", [], b"seed")


def test_an_automatic_network_keeps_away_from_what_the_host_uses() -> None:
    used: list[Subnet] = [ip_network("10.64.0.0/16"), ip_network("10.65.0.0/19")]
    made = define(NetworkSpec(name="default"), 3, "abcde", used, b"seed")
    assert (made.ipv4, made.gateway4, made.bridge) == ("10.65.32.0/19", "10.65.32.1", "ytabcdeb3")
    assert IPv6Network(made.ipv6).subnet_of(IPv6Network("fd00::/8"))
    assert made.gateway6 == str(IPv6Network(made.ipv6)[1])
    again = define(NetworkSpec(name="default"), 3, "abcde", [ip_network(made.ipv6)], b"seed")
    assert again.ipv6 != made.ipv6


@given(st.lists(st.ip_addresses(v=4, network="10.64.0.0/10"), max_size=40))
def test_an_automatic_subnet_never_overlaps(addresses: list[object]) -> None:
    used: list[Subnet] = [IPv4Network(f"{address}/32") for address in addresses]
    found = IPv4Network(define(NetworkSpec(name="n"), 1, "", used, b"").ipv4)
    assert not any(found.overlaps(other) for other in used if isinstance(other, IPv4Network))


@pytest.mark.parametrize(
    "fields",
    [
        {"name": "none"},
        {"name": "user"},
        {"name": "managed"},
        {"name": "Upper"},
        {"name": "a b"},
        {"ipv4": "10.0.0.1/24"},
        {"ipv4": "10.0.0.0/30"},
        {"ipv4": "224.0.0.0/16"},
        {"ipv4": "127.0.0.0/16"},
        {"ipv4": "fd00::/64"},
        {"ipv4": "words"},
        {"ipv4": "192.168.7.0/24"},
        {"ipv6": "fd00::/63"},
        {"ipv6": "10.0.0.0/24"},
        {"ipv6": "fe80::/64"},
        {"ipv4": "", "ipv6": ""},
        {"domain": "a,b"},
        {"domain": "a\nserver=/x/1.1.1.1"},
        {"domain": "-a"},
        {"domain": "a."},
    ],
)
def test_a_wrong_network_is_refused(fields: dict[str, str]) -> None:
    with pytest.raises(Invalid):
        define(
            msgspec.convert({"name": "n", **fields}, NetworkSpec), 1, "", [ip_network("192.168.0.0/16")], b""
        )


def test_numbers_fill_holes() -> None:
    assert free_number([]) == 1
    assert free_number([network(number=1), network(number=3)]) == 2


@given(
    st.integers(1, 16000), st.integers(0, 7), st.sampled_from(["", "abcde", "zzzzz"]), st.integers(1, 9999)
)
def test_device_names_fit_and_are_never_alike(slot: int, index: int, tag: str, number: int) -> None:
    near, far = device_name(tag, slot, index), device_name(tag, slot, index, "p")
    bridge = define(NetworkSpec(name="n", ipv4="10.0.0.0/24"), number, tag, [], b"").bridge
    assert len({near, far, bridge}) == 3
    assert all(len(name) <= 15 for name in (near, far, bridge))
    end = near.removeprefix(f"yt{tag}")
    assert end.split("n") == [str(slot), str(index)]


def plan(
    books: Addresses, taken: dict[str, str], wishes: list[NicSpec], who: str = "i", slot: int = 1
) -> list[str]:
    networks = {
        "default": network(),
        "tiny": network("tiny", "10.9.9.0/29", "", 2),
        "six": network("six", "", number=3),
    }
    made = books.plan(wishes, networks, taken, instance_id=who, slot=slot, tag="")
    assert not set(made.reserved) & set(taken)
    taken.update(dict.fromkeys(made.reserved, who))
    return [nic.ipv4 or nic.ipv6 for nic in made.nics]


def test_addresses_come_in_turn_and_rest_when_given_back() -> None:
    books, taken = Addresses(), dict[str, str]()
    assert plan(books, taken, [NicSpec(), NicSpec()]) == ["10.1.2.2", "10.1.2.3"]
    del taken["default/10.1.2.2"]
    assert plan(books, taken, [NicSpec()], "j") == ["10.1.2.4"]
    assert plan(Addresses(), taken, [NicSpec()], "k") == ["10.1.2.2"]  # a new daemon begins at the front
    assert plan(books, taken, [NicSpec(network="six")], "l") == ["fd00:1::2"]


def test_a_full_network_says_so_and_gives_what_comes_back() -> None:
    books, taken = Addresses(), dict[str, str]()
    got = [plan(books, taken, [NicSpec(network="tiny")], str(n))[0] for n in range(5)]
    assert got == ["10.9.9.2", "10.9.9.3", "10.9.9.4", "10.9.9.5", "10.9.9.6"]
    with pytest.raises(Exhausted):
        plan(books, taken, [NicSpec(network="tiny")], "more")
    del taken["tiny/10.9.9.4"]
    assert plan(books, taken, [NicSpec(network="tiny")], "more") == ["10.9.9.4"]


@pytest.mark.parametrize(
    ("wish", "error"),
    [
        (NicSpec(ipv4="10.1.2.1"), Invalid),
        (NicSpec(ipv4="10.1.2.0"), Invalid),
        (NicSpec(ipv4="10.1.2.255"), Invalid),
        (NicSpec(ipv4="10.1.3.7"), Invalid),
        (NicSpec(ipv4="10.1.2.7/24"), Invalid),
        (NicSpec(ipv4="fd00:1::7"), Invalid),
        (NicSpec(ipv6="fd00:2::7"), Invalid),
        (NicSpec(network="six", ipv4="10.1.2.7"), Invalid),
        (NicSpec(ipv4="10.1.2.9"), Exists),
        (NicSpec(mac="02:00:00:00:00:09"), Exists),
        (NicSpec(mac="03:00:00:00:00:07"), Invalid),
        (NicSpec(mac="00:00:00:00:00:00"), Invalid),
        (NicSpec(mac="02-00-00-00-00-07"), Invalid),
        (NicSpec(network="absent"), NotFound),
    ],
)
def test_a_wrong_or_taken_address_is_refused(wish: NicSpec, error: type[YurtError]) -> None:
    books, taken = Addresses(), dict[str, str]()
    plan(books, taken, [NicSpec(ipv4="10.1.2.9", mac="02:00:00:00:00:09")], "first")
    with pytest.raises(error):
        plan(books, taken, [wish], "second", 2)


def test_a_static_address_is_kept_and_stepped_over() -> None:
    books, taken = Addresses(), dict[str, str]()
    assert plan(books, taken, [NicSpec(ipv4="10.1.2.3", ipv6="fd00:1:0::a")], "a") == ["10.1.2.3"]
    assert "default/fd00:1::a" in taken
    assert [plan(books, taken, [NicSpec()], str(n))[0] for n in range(2)] == ["10.1.2.2", "10.1.2.4"]


@given(st.lists(st.tuples(st.booleans(), st.integers(0, 30)), max_size=80))
def test_no_address_is_ever_given_twice(steps: list[tuple[bool, int]]) -> None:
    books, taken = Addresses(), dict[str, str]()
    for order, (give, who) in enumerate(steps):
        if give:
            made = plan(books, taken, [NicSpec(), NicSpec(network="six")], f"{who} {order}")
            assert ip_address(made[0]) in ip_network("10.1.2.0/24")
        else:
            for key in [key for key, holder in taken.items() if holder.startswith(f"{who} ")]:
                del taken[key]


def test_macs_are_ours_and_differ() -> None:
    macs = {make_mac(f"{n:012x}", index) for n in range(5000) for index in range(2)}
    assert len(macs) == 10000
    assert all(int(mac[:2], 16) & 3 == 2 for mac in macs)


def test_five_thousand_cost_the_same_each() -> None:
    """The second half of 5,000 may not cost more than the first: no search through what is taken."""
    networks = {"default": network(ipv4="10.64.0.0/19")}
    books, taken, times = Addresses(), dict[str, str](), []
    for n in range(5000):
        begun = time.perf_counter()
        made = books.plan([NicSpec()], networks, taken, instance_id=str(n), slot=n + 1, tag="")
        times.append(time.perf_counter() - begun)
        taken.update(dict.fromkeys(made.reserved, str(n)))
    first, second = sorted(times[:2500]), sorted(times[2500:])
    assert second[1250] < 3 * first[1250]
