"""Bridges, taps and veths of managed networks: made, found again and taken away. Each costs the same whatever their number.

Every link carries an alias that says whose it is, so that a yurt touches nothing of another yurt or of anybody else.
All of it happens in the daemon's own network namespace. Calls block: for a millisecond, taking away for some tens.
"""

import hashlib
import socket
from ipaddress import ip_interface, ip_network
from pathlib import Path

from yurt.errors import Exists, Unavailable
from yurt.host.netlink import Netlink
from yurt.host.tap import make_tap
from yurt.model.network import Network

LINK_LOCAL = "fe80::1/64"  # the bridge's: known beforehand, and there before the first port is
SYSCTL = Path("/proc/sys/net")
BRIDGE_SYSCTLS = {
    "ipv6/conf/{}/accept_ra": "0",  # a guest must not tell the host its routes
    "ipv6/conf/{}/autoconf": "0",
    "ipv6/conf/{}/addr_gen_mode": "1",
    "ipv6/conf/{}/accept_dad": "0",
    "ipv4/conf/{}/accept_redirects": "0",
    "ipv4/conf/{}/send_redirects": "0",
    "ipv6/conf/{}/accept_redirects": "0",
}


def owner_tag(home: str) -> str:
    """Five letters for a yurt that is not the host's own; the host's own has none. Pure."""
    number = int.from_bytes(hashlib.sha256(home.encode()).digest()[:8], "big")
    letters = ""
    for _ in range(5):
        number, digit = divmod(number, 26)
        letters += chr(ord("a") + digit)
    return letters


def bridge_mac(alias: str, name: str) -> str:
    """A bridge's own address: given, as otherwise it changes with its ports. Pure."""
    digest = bytearray(hashlib.sha256(f"{alias} {name}".encode()).digest()[:6])
    digest[0] = digest[0] & 0xFC | 0x02
    return digest.hex(":")


def exists(name: str) -> bool:
    """Whether this namespace has a link of that name."""
    try:
        socket.if_nametoindex(name)
    except OSError:
        return False
    return True


def make_bridge(network: Network, alias: str) -> bool:
    """Make a network's bridge (then True), or bring one of ours in order. Raises Exists for somebody else's."""
    with Netlink() as netlink:
        there = exists(network.bridge)
        if there:
            owner = netlink.aliases().get(network.bridge, "")
            if owner != alias:
                raise Exists(
                    f"the host has a link `{network.bridge}` that is not ours",
                    hint=f"rename or delete it: `ip link show {network.bridge}`",
                )
        else:
            netlink.add_bridge(network.bridge, bridge_mac(alias, network.bridge), network.mtu)
            netlink.set_link(network.bridge, alias=alias)
        for name, value in BRIDGE_SYSCTLS.items():
            set_sysctl(name.format(network.bridge), value)
        set_sysctl(f"ipv6/conf/{network.bridge}/disable_ipv6", "0" if network.ipv6 else "1")
        netlink.set_link(network.bridge, up=True, mtu=network.mtu)
        if network.ipv4:
            prefix = ip_network(network.ipv4).prefixlen
            netlink.add_address(network.bridge, ip_interface(f"{network.gateway4}/{prefix}"))
        if network.ipv6:
            netlink.add_address(network.bridge, ip_interface(LINK_LOCAL))
            netlink.add_address(network.bridge, ip_interface(f"{network.gateway6}/64"))
    if not network.isolated:
        allow_forwarding(ipv6=bool(network.ipv6))
    return not there


def allow_forwarding(*, ipv6: bool) -> None:
    """Let this host route. One that learns its own IPv6 routes from advertisements goes on doing so."""
    if read_sysctl("ipv4/ip_forward") == "0":
        set_sysctl("ipv4/ip_forward", "1")
    if ipv6 and read_sysctl("ipv6/conf/all/forwarding") == "0":
        for place in (SYSCTL / "ipv6/conf").iterdir():
            if read_sysctl(f"ipv6/conf/{place.name}/accept_ra") == "1":
                set_sysctl(f"ipv6/conf/{place.name}/accept_ra", "2")
        set_sysctl("ipv6/conf/all/forwarding", "1")


def read_sysctl(name: str) -> str:
    try:
        return (SYSCTL / name).read_text().strip()
    except OSError:
        return ""


def set_sysctl(name: str, value: str) -> None:
    """Set one, unless it is so already or this kernel does not have it. Raises Unavailable where that is forbidden."""
    if (now := read_sysctl(name)) == value or not now:
        return
    try:
        (SYSCTL / name).write_text(value)
    except OSError as error:
        raise Unavailable(f"cannot set the sysctl `net/{name}` to {value}: {error.strerror}") from error


def make_port(name: str, peer: str, mac: str, mtu: int, alias: str) -> None:
    """Make a NIC's end on the host, down and on no bridge: a veth whose `peer` waits, or without one a tap.

    One of that name that was left over is replaced.
    """
    with Netlink() as netlink:
        netlink.delete_link(name)
        if peer:
            netlink.add_veth(name, peer, mac, mtu)
            netlink.set_link(peer, alias=alias)
        else:
            make_tap(name)
        netlink.set_link(name, alias=alias, mtu=mtu)
        set_sysctl(
            f"ipv6/conf/{name}/disable_ipv6", "1"
        )  # the host itself is on the bridge, not on its ports


def plug_port(name: str, bridge: str) -> None:
    """Put a port on its bridge and bring it up. Safe to repeat."""
    with Netlink() as netlink:
        netlink.set_link(name, master=bridge, up=True)


def delete_links(*names: str) -> None:
    """Take links away. Safe to repeat."""
    with Netlink() as netlink:
        for name in names:
            netlink.delete_link(name)


def links_of(alias: str) -> set[str]:
    """All links of this yurt."""
    with Netlink() as netlink:
        return {name for name, owner in netlink.aliases().items() if owner == alias}
