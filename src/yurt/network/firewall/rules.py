"""One guest's own rules as chains: what leaves it, what arrives; in both tables. Pure.

The inet table sees what is routed (the host, the outside, other networks) and tracks connections. The bridge table sees
what goes from guest to guest on one bridge; this kernel tracks no connections there, so `frame.py` recognises replies
by sets of its own. A packet meets a guest's rules in one of the two, never in both.

Chains use no sets of their own: the kernel looks sets up in a list, so sets per guest would make each change slower
the more guests there are.
"""

from collections.abc import Iterator
from ipaddress import ip_network

from yurt.model.network import Action, Direction, FirewallRule, Protocol
from yurt.network.firewall.names import interface
from yurt.network.firewall.types import PortBinding

BRIDGE, INET = "bridge", "inet"


def is_domain(peer: str) -> bool:
    """Whether a rule's peer is a name and not an address, a subnet or nothing."""
    try:
        return bool(peer) and ip_network(peer, strict=False) is None
    except ValueError:
        return True


def is_default(rule: FirewallRule) -> bool:
    """Whether a rule matches everything: such a rule is its direction's default, wherever it stands."""
    return rule.protocol is Protocol.ALL and not rule.ports and not rule.peer


def default_action(port: PortBinding, direction: Direction) -> Action:
    """What happens to what no rule matches: as the last catch-all rule says; without one, any `allow` means deny."""
    mine = [rule for rule in port.rules if rule.direction is direction]
    for rule in reversed(mine):
        if is_default(rule):
            return rule.action
    return Action.DENY if any(rule.action is Action.ALLOW for rule in mine) else Action.ALLOW


def restricted(port: PortBinding, direction: Direction) -> bool:
    """Whether the port has rules for that direction."""
    return any(rule.direction is direction for rule in port.rules)


def chain_of(port: PortBinding, direction: Direction) -> str:
    """The name of a port's chain, the same in both tables."""
    return f"{direction}_{interface(port.interface)}"


def own_chains(port: PortBinding) -> dict[tuple[str, str], list[str]]:
    """The chains of this port's rules: family and name, to statements."""
    if not port.rules:
        return {}
    chains = {}
    for direction in Direction:
        chains[BRIDGE, chain_of(port, direction)] = list(_bridged(port, direction))
        if restricted(port, direction):
            chains[INET, chain_of(port, direction)] = list(_routed(port, direction))
    return chains


def _bridged(port: PortBinding, direction: Direction) -> Iterator[str]:
    allow = "goto new_sent" if direction is Direction.OUT else "goto new_received"
    if restricted(port, direction):
        yield from _decisions(port, direction, allow, allow)
    else:
        yield allow


def _routed(port: PortBinding, direction: Direction) -> Iterator[str]:
    """`return` goes on to what holds for all guests; a rule that names one single address also opens what that closes:
    the host's own services, other networks, the cloud's metadata.
    """
    opening = "accept" if direction is Direction.OUT else "return"
    yield from _decisions(port, direction, "return", opening)


def _decisions(port: PortBinding, direction: Direction, allow: str, opening: str) -> Iterator[str]:
    for rule in port.rules:
        if rule.direction is not direction or is_default(rule):
            continue
        if is_domain(rule.peer):
            yield from _named(rule, allow) if allow == "return" else ()
            continue
        single = bool(rule.peer) and ip_network(rule.peer).num_addresses == 1
        verdict = "counter drop" if rule.action is Action.DENY else opening if single else allow
        for match in matches(rule):
            yield f"{match} {verdict}"
    if direction is Direction.IN:
        for protocol, number in dict.fromkeys((each.protocol, each.guest_port) for each in port.publish):
            yield f"{protocol} dport {number} {allow}"
    yield allow if default_action(port, direction) is Action.ALLOW else "counter drop"


def _named(rule: FirewallRule, allow: str) -> Iterator[str]:
    """A rule by domain name: the daemon puts addresses, as it learns them, into sets that all guests share."""
    for version, family in (("4", "ip"), ("6", "ip6")):
        if rule.ports:
            key = f"{family} saddr . {family} daddr . meta l4proto . th dport"
            yield f"meta l4proto @transports {key} @named{version} {allow}"
        else:
            yield f"{family} saddr . {family} daddr @reached{version} {allow}"


def matches(rule: FirewallRule) -> Iterator[str]:
    """What a rule by address matches, as nft expressions that are alternatives of each other."""
    side, peer, version = ("daddr" if rule.direction is Direction.OUT else "saddr"), "", 0
    if rule.peer:
        subnet = ip_network(rule.peer)
        version, family = subnet.version, "ip" if subnet.version == 4 else "ip6"
        peer = f" {family} {side} {subnet}" if subnet.prefixlen else f" {family} version {subnet.version}"
    for packet in _kinds_of_packet(rule, version):
        yield f"{packet}{peer}".strip()


def _kinds_of_packet(rule: FirewallRule, version: int) -> list[str]:
    if rule.protocol is Protocol.ICMP:
        words = {4: ["icmp"], 6: ["ipv6-icmp"]}.get(version, ["icmp", "ipv6-icmp"])
        return [f"meta l4proto {word}" for word in words]
    ports = rule.ports.split(",") if rule.ports else []
    if rule.protocol is Protocol.ALL:
        return [f"meta l4proto @transports th dport {each}" for each in ports] or [""]
    return [f"{rule.protocol} dport {each}" for each in ports] or [f"meta l4proto {rule.protocol}"]
