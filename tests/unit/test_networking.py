"""What instances get of networks: the engine's pure half, and what the command line makes of `--network`."""

import pytest
from msgspec.structs import replace
from tests.doubles import resolve

from yurt.cli.nics import first_address, network_wish
from yurt.engine.networking import free_addresses, guest_ports, network_mode, nic_attachments, wishes_of
from yurt.errors import Invalid
from yurt.model.host import CgroupLayout, HostFacts
from yurt.model.instance import Instance, InstanceSpec, Kind, NetworkMode, Phase
from yurt.model.names import InstanceId, Name
from yurt.model.network import NetworkSpec, NicSpec
from yurt.model.settings import NetworkSettings, Settings
from yurt.network.ipam import Addresses, define

NETWORKS = {
    name: define(
        NetworkSpec(name=name, ipv4=f"10.0.{number}.0/24", ipv6=f"fd00:{number}::/64", isolated=isolated),
        number,
        "",
        [],
        b"",
    )
    for number, (name, isolated) in enumerate([("default", False), ("closed", True), ("lab", False)], 1)
}
FACTS = HostFacts(
    hostname="h",
    architecture="x86_64",
    kernel="6",
    boot_id="b",
    cpus=2,
    memory_bytes=1 << 32,
    root=True,
    cgroups=CgroupLayout(version=2, hybrid=False, root="", controllers=(), own={}),
    tools={"nft": "/usr/sbin/nft", "dnsmasq": "/usr/sbin/dnsmasq"},
    qemu_version="7.2",
    tsc_khz=0,
    user_namespaces=True,
    overlay=True,
    distribution="d",
)


def instance(kind: Kind, *names: str) -> Instance:
    spec = resolve(InstanceSpec(image="tiny", kind=kind))
    plan = Addresses().plan(
        [NicSpec(network=name) for name in names], NETWORKS, {}, instance_id="0123456789ab", slot=7, tag=""
    )
    spec = replace(spec, network=NetworkMode.MANAGED, nics=plan.nics)
    return Instance(id=InstanceId("0123456789ab"), name=Name("web1"), spec=spec, phase=Phase.STOPPED, slot=7)


def test_the_first_nic_with_a_way_out_has_the_routes_and_the_names() -> None:
    made = nic_attachments(instance(Kind.CONTAINER, "closed", "lab", "default"), NETWORKS, "")
    assert [nic.gateway4 for nic in made] == ["", "10.0.3.1", ""]
    assert [nic.gateway6 for nic in made] == ["", "fd00:3::1", ""]
    assert [nic.dns for nic in made] == [(), ("10.0.3.1",), ()]
    assert [(nic.device, nic.peer) for nic in made] == [
        ("yt7n0", "yt7p0"),
        ("yt7n1", "yt7p1"),
        ("yt7n2", "yt7p2"),
    ]
    assert made[0].ipv4 == "10.0.2.2/24" and made[0].ipv6 == "fd00:2::2/64"


def test_where_none_leads_out_the_first_one_is_asked_for_names() -> None:
    (only,) = nic_attachments(instance(Kind.VM, "closed"), NETWORKS, "")
    assert (only.gateway4, only.gateway6, only.dns, only.peer) == ("", "", ("10.0.2.1",), "")


def test_ports_are_bound_to_what_is_reserved_and_given_back_whole() -> None:
    there = instance(Kind.MICROVM, "default", "closed")
    for port, nic in zip(guest_ports(there, NETWORKS, ""), there.spec.nics, strict=True):
        assert (port.binding.interface, port.binding.mac) == (nic.device, nic.mac)
        assert (port.binding.ipv4, port.binding.ipv6, port.peer) == (nic.ipv4, nic.ipv6, "")
    freed = {write.key for write in free_addresses(there.spec.nics)}
    assert len(freed) == 6 and "addresses/default/10.0.1.2" in freed


@pytest.mark.parametrize(
    ("spec", "settings", "facts", "mode"),
    [
        (InstanceSpec(image="i"), Settings(), FACTS, NetworkMode.MANAGED),
        (InstanceSpec(image="i"), Settings(), replace(FACTS, root=False), NetworkMode.USER),
        (InstanceSpec(image="i"), Settings(), replace(FACTS, tools={}), NetworkMode.USER),
        (
            InstanceSpec(image="i"),
            Settings(network=NetworkSettings(default=NetworkMode.NONE)),
            FACTS,
            NetworkMode.NONE,
        ),
        (InstanceSpec(image="i", network=NetworkMode.USER), Settings(), FACTS, NetworkMode.USER),
        (
            InstanceSpec(image="i", nics=(NicSpec(),)),
            Settings(),
            replace(FACTS, tools={}),
            NetworkMode.MANAGED,
        ),
    ],
)
def test_which_network_a_wish_means(
    spec: InstanceSpec, settings: Settings, facts: HostFacts, mode: NetworkMode
) -> None:
    assert network_mode(spec, settings, facts) is mode


def test_a_managed_wish_without_a_nic_means_one_on_the_default_network() -> None:
    assert wishes_of(InstanceSpec(image="i"), NetworkMode.MANAGED) == (NicSpec(),)
    assert wishes_of(InstanceSpec(image="i"), NetworkMode.USER) == ()


def test_network_words_of_the_command_line() -> None:
    assert network_wish([]) == {}
    assert network_wish(["user"]) == {"network": "user"}
    assert network_wish(["lab,ip=10.0.3.9,ip6=fd00:3::9,mac=02:00:00:00:00:09", "closed"]) == {
        "network": "managed",
        "nics": [
            {"network": "lab", "ipv4": "10.0.3.9", "ipv6": "fd00:3::9", "mac": "02:00:00:00:00:09"},
            {"network": "closed"},
        ],
    }


@pytest.mark.parametrize(
    "words",
    [
        ["none", "lab"],
        ["user", "user"],
        ["lab,ip"],
        ["lab,ip="],
        ["lab,id=net0"],
        [",ip=1"],
        ["lab,ip=1,ip4=2"],
    ],
)
def test_network_words_that_mean_nothing_are_refused(words: list[str]) -> None:
    with pytest.raises(Invalid):
        network_wish(words)


def test_the_address_in_the_list() -> None:
    assert first_address({"nics": [{"ipv4": "", "ipv6": "fd00::2"}]}) == "fd00::2"
    assert first_address({"nics": []}) == "" and first_address({}) == ""
