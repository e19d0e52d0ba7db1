"""What the firewall has to know of a network and of one guest's port on it."""

import msgspec

from yurt.model.network import FirewallRule, PublishedPort


class NetworkRules(msgspec.Struct, frozen=True, kw_only=True):
    """A managed network. `ipv4`/`ipv6` are its subnets as CIDR, gateways are plain addresses; empty: not that family."""

    bridge: str
    ipv4: str
    ipv6: str
    gateway4: str
    gateway6: str
    nat: bool
    isolated: bool


class PortBinding(msgspec.Struct, frozen=True, kw_only=True):
    """The host's end of a guest's NIC, the only addresses it may speak with, and what its owner allows.

    `dns`: this guest asks for names through the daemon, on this port of its gateway (egress lists by domain name).
    """

    interface: str
    bridge: str
    instance_id: str
    mac: str
    ipv4: str = ""
    ipv6: str = ""
    rules: tuple[FirewallRule, ...] = ()
    publish: tuple[PublishedPort, ...] = ()
    dns: int = 0
