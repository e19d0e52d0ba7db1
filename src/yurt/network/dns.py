"""dnsmasq: its configuration and what it is told of each guest. Pure; golden files in tests/golden/network show it.

No word that a user wrote becomes a line of its own: names are DNS labels, addresses come out of `ipaddress`, MACs out of
a pattern, and all that before they are stored. What guests claim to be called is ignored; names come from files that
dnsmasq reads again by itself (inotify), one file a guest, so that one more guest costs the same whatever their number.
"""

from collections.abc import Sequence
from ipaddress import ip_network
from pathlib import Path

from yurt.model.network import Network, Nic

CONFIG, HOSTS, LEASES_OF, OWN, RECORD = "dnsmasq.conf", "hosts", "dhcp", "own", "dnsmasq.json"
UPSTREAM = (
    "resolv.conf"  # the host's own, copied: who has replaced that file would be unseen from within a jail
)
LEASE_S = 600  # short, so that an address that was given back is soon free for somebody else
CACHE = 1000
# DHCP and router advertisements need raw packets and neighbour entries; dnsmasq refuses to serve them without
CAPABILITIES = ("CAP_NET_ADMIN", "CAP_NET_BIND_SERVICE", "CAP_NET_RAW")


def dnsmasq_argv(program: str, directory: Path) -> list[str]:
    """The command of one network's server, in the foreground."""
    return [program, "--keep-in-foreground", f"--conf-file={directory / CONFIG}", "--log-facility=-"]


def dnsmasq_config(network: Network, directory: Path) -> str:
    """The whole configuration of one network's server."""
    lines = [
        "bind-dynamic",
        f"interface={network.bridge}",
        "except-interface=lo",
        "user=",  # it is started as the user that it stays
        "no-hosts",
        f"domain={network.domain}",
        f"local=/{network.domain}/",
        "expand-hosts",
        "domain-needed",
        "bogus-priv",
        f"cache-size={CACHE}",
        f"hostsdir={directory / HOSTS}",
        f"dhcp-hostsdir={directory / LEASES_OF}",
        f"dhcp-leasefile={directory / OWN / 'leases'}",
        f"pid-file={directory / OWN / 'pid'}",
        "dhcp-authoritative",
        "dhcp-ignore=tag:!known",
        "dhcp-ignore-names",
        "no-ping",
        "quiet-dhcp",
        "quiet-dhcp6",
        "quiet-ra",
        "no-resolv" if network.isolated else f"resolv-file={directory / UPSTREAM}",
        *_dhcp4(network),
        *_dhcp6(network),
    ]
    return "\n".join(lines) + "\n"


def _dhcp4(network: Network) -> list[str]:
    if not network.ipv4:
        return []
    subnet = ip_network(network.ipv4)
    return [
        f"dhcp-range={subnet.network_address},static,{subnet.netmask},{LEASE_S}",
        "dhcp-option=option:router" + ("" if network.isolated else f",{network.gateway4}"),
        f"dhcp-option=option:dns-server,{network.gateway4}",
        f"dhcp-option=option:domain-search,{network.domain}",
        f"dhcp-option=option:mtu,{network.mtu}",
    ]


def _dhcp6(network: Network) -> list[str]:
    if not network.ipv6:
        return []
    subnet = ip_network(network.ipv6)
    lifetime = (
        ",0,0" if network.isolated else ",60"
    )  # seconds between advertisements; and: no way out through here
    return [
        f"dhcp-range={subnet.network_address},static,{subnet.prefixlen},{LEASE_S}",
        f"dhcp-option=option6:dns-server,[{network.gateway6}]",
        f"dhcp-option=option6:domain-search,{network.domain}",
        "enable-ra",
        f"ra-param={network.bridge},mtu:{network.mtu}{lifetime}",
    ]


def names_of(name: str, nics: Sequence[Nic]) -> str:
    """One guest's lines for `hosts/`: every address it has here leads to and from its name."""
    return "".join(f"{address} {name}\n" for nic in nics for address in (nic.ipv4, nic.ipv6) if address)


def leases_of(nics: Sequence[Nic]) -> str:
    """One guest's lines for `dhcp/`: which MAC gets which addresses, and no other MAC gets any."""
    lines = []
    for nic in nics:
        words = [nic.mac, *([nic.ipv4] if nic.ipv4 else []), *([f"[{nic.ipv6}]"] if nic.ipv6 else [])]
        lines.append(",".join(words) + "\n")
    return "".join(lines)
