"""dnsmasq's configuration and files of guests. `YURT_GOLDEN=update` rewrites the files: read the diff."""

import os
from pathlib import Path

import pytest
from msgspec.structs import replace

from yurt.model.names import Name
from yurt.model.network import Network, Nic
from yurt.network.dns import CAPABILITIES, dnsmasq_argv, dnsmasq_config, leases_of, names_of
from yurt.network.server import PLACE, server_jail

GOLDEN = Path(__file__).parent / "network"
DIRECTORY = PLACE
NETWORK = Network(
    name=Name("default"),
    number=1,
    bridge="ytb1",
    ipv4="10.64.0.0/19",
    ipv6="fd00:1:2:3::/64",
    gateway4="10.64.0.1",
    gateway6="fd00:1:2:3::1",
    nat=True,
    isolated=False,
    mtu=1500,
    domain="yurt",
)
NICS = [
    Nic(
        network="default",
        index=0,
        device="yt7n0",
        mac="02:00:00:00:00:07",
        ipv4="10.64.0.7",
        ipv6="fd00:1:2:3::7",
    ),
    Nic(network="default", index=1, device="yt7n1", mac="02:00:00:00:00:08", ipv4="10.64.0.8"),
]
CASES = {
    "default.conf": dnsmasq_config(NETWORK, DIRECTORY),
    "isolated.conf": dnsmasq_config(replace(NETWORK, isolated=True, nat=False, mtu=1400), DIRECTORY),
    "only-ipv4.conf": dnsmasq_config(replace(NETWORK, ipv6="", gateway6="", domain="lab.example"), DIRECTORY),
    "only-ipv6.conf": dnsmasq_config(replace(NETWORK, ipv4="", gateway4=""), DIRECTORY),
    "web1.hosts": names_of("web1", NICS),
    "web1.dhcp": leases_of(NICS),
}


@pytest.mark.parametrize("name", CASES)
def test_it_is_as_it_was(name: str) -> None:
    path = GOLDEN / name
    if os.environ.get("YURT_GOLDEN") in ("update", "write"):
        path.write_text(CASES[name])
    assert CASES[name] == path.read_text()


def test_what_is_said_does_not_depend_on_who_is_there() -> None:
    """The configuration holds no guest, so that no guest's name can become a line of it."""
    assert all("web1" not in text for name, text in CASES.items() if name.endswith(".conf"))
    argv = dnsmasq_argv("/usr/sbin/dnsmasq", PLACE)
    assert argv[1:] == ["--keep-in-foreground", "--conf-file=/network/dnsmasq.conf", "--log-facility=-"]


def test_the_jail_holds_its_own_files_and_only_one_place_to_write() -> None:
    jail = server_jail(NETWORK, "/usr/sbin/dnsmasq", Path("/run/yurt/networks/default"))
    assert jail.capabilities == CAPABILITIES and jail.groups == ()
    assert jail.uid == jail.gid > 0x3D000000
    writable = [bind for bind in jail.binds if bind.writable]
    assert [bind.source for bind in writable] == ["/run/yurt/networks/default/own"]
