"""Networks, NICs, published ports and firewall rules: the words that everyone shares. No I/O."""

from enum import StrEnum
from typing import Annotated

import msgspec
from msgspec import Meta

from yurt.model.names import Name

MAX_NICS = 8
Address = Annotated[str, Meta(max_length=64)]
Port = Annotated[int, Meta(ge=1, le=65535)]
DEFAULT_NETWORK = "default"
NO_NETWORK, USER_NETWORK = "none", "user"  # words that no managed network may be called


class Protocol(StrEnum):
    """What a port belongs to; ICMP has none."""

    TCP = "tcp"
    UDP = "udp"
    ICMP = "icmp"
    ALL = "all"


class NetworkSpec(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A wish for a network. Subnets are CIDR; `auto` takes a free private one, empty means none of that family.

    `nat`: guests get out under the host's addresses. `isolated`: no way out and no way in, only to each other.
    """

    name: Annotated[str, Meta(max_length=255)]
    ipv4: Address = "auto"
    ipv6: Address = "auto"
    nat: bool = True
    isolated: bool = False
    mtu: Annotated[int, Meta(ge=1280, le=65520)] = 1500
    domain: Annotated[str, Meta(max_length=63)] = "yurt"


class Network(msgspec.Struct, frozen=True, kw_only=True):
    """The stored record of a managed network. Subnets are CIDR and the gateways lie in them; empty: not that family.

    `number` is unique on this host and names the bridge.
    """

    name: Name
    number: int
    bridge: str
    ipv4: str
    ipv6: str
    gateway4: str
    gateway6: str
    nat: bool
    isolated: bool
    mtu: int
    domain: str
    created_at: float = 0.0
    operation: str | None = None
    version: int = 1


class NicSpec(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A wish for a NIC on a managed network; addresses that are left out are chosen."""

    network: Annotated[str, Meta(min_length=1, max_length=255)] = DEFAULT_NETWORK
    ipv4: Address = ""
    ipv6: Address = ""
    mac: Annotated[str, Meta(max_length=17)] = ""


class Nic(msgspec.Struct, frozen=True, kw_only=True):
    """A NIC as it is: `device` is its end on the host (a tap or a veth), `index` its place in the guest (eth0 is 0)."""

    network: str
    index: int
    device: str
    mac: str
    ipv4: str = ""  # plain addresses, without a prefix
    ipv6: str = ""


class PublishedPort(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A port of the host that leads to one of the guest. An empty `host_address` means all of the host's addresses."""

    host_port: Port
    guest_port: Port
    protocol: Protocol = Protocol.TCP
    host_address: Address = ""


class Direction(StrEnum):
    """As the guest sees it."""

    IN = "in"
    OUT = "out"


class Action(StrEnum):
    """What happens to a packet that a rule matches."""

    ALLOW = "allow"
    DENY = "deny"


class FirewallRule(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One rule of an instance. `peer`: a CIDR, an address, a domain name (out, allow only), or empty for everybody.

    `ports`: `22`, `80-90`, comma-separated; empty for all. Rules are tried in order, and replies to what is allowed
    always pass. A rule for everything (no protocol, ports or peer) is its direction's default wherever it stands, the
    last one counts; without one, a direction that has an `allow` rule denies what no rule matches. Published ports
    are allowed before that default.
    """

    direction: Direction
    action: Action
    protocol: Protocol = Protocol.ALL
    ports: Annotated[str, Meta(max_length=255)] = ""
    peer: Annotated[str, Meta(max_length=255)] = ""
