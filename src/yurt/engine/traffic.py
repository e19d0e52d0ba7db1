"""Rules and published ports of instances: brought into one form, and each published port held by one instance only.

What becomes of them on the host is `yurt.network`'s business.
"""

import re
from collections.abc import Iterable
from ipaddress import IPv4Address, ip_address, ip_network

from msgspec.structs import replace

from yurt.engine.records import Records, Writes
from yurt.errors import Exists, Invalid, Unsupported
from yurt.host.listeners import Listener, listeners
from yurt.model.instance import NetworkMode, ResolvedSpec
from yurt.model.names import printable
from yurt.model.network import Action, Direction, FirewallRule, Protocol, PublishedPort
from yurt.state.base import Delete, Put

MOST_NAMED_PORTS = 16
_LABEL = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")


def check_rules(rules: Iterable[FirewallRule]) -> tuple[FirewallRule, ...]:
    """The same rules in one form: ports sorted and joined, peers as CIDR, names in lower case. Pure. Raises Invalid."""
    return tuple(_checked(rule) for rule in rules)


def _checked(rule: FirewallRule) -> FirewallRule:
    ports = _checked_ports(rule.ports)
    if ports and rule.protocol is Protocol.ICMP:
        raise Invalid("ICMP has no ports", hint="leave the ports out")
    peer = _checked_peer(rule)
    if peer and "/" not in peer and ("-" in ports or ports.count(",") >= MOST_NAMED_PORTS):
        raise Invalid(
            f"a rule for a name takes at most {MOST_NAMED_PORTS} single ports, and no ranges",
            hint="name the ports",
        )
    return replace(rule, ports=ports, peer=peer)


def _checked_ports(text: str) -> str:
    spans = []
    for part in text.split(",") if text else []:
        first, dash, last = part.partition("-")
        words = (first, last if dash else first)
        if not all(word.isascii() and word.isdecimal() and 0 < int(word[:6]) <= 65535 for word in words):
            raise Invalid(f"`{printable(text)}` are no ports", hint="write them as `22`, `80-90` or `80,443`")
        spans.append((int(words[0]), int(words[1])))
        if spans[-1][0] > spans[-1][1]:
            raise Invalid(f"the ports `{part}` run backwards")
    joined: list[tuple[int, int]] = []
    for start, end in sorted(spans):
        if joined and start <= joined[-1][1] + 1:
            joined[-1] = (joined[-1][0], max(end, joined[-1][1]))
        else:
            joined.append((start, end))
    return ",".join(str(start) if start == end else f"{start}-{end}" for start, end in joined)


def _checked_peer(rule: FirewallRule) -> str:
    text = rule.peer
    if not text:
        return ""
    try:
        return str(ip_network(text, strict=False))
    except ValueError:
        pass
    name = text.lower().rstrip(".")
    labels = name.removeprefix("*.").split(".")
    if len(labels) < 2 or len(name) > 253 or labels[-1].isdecimal() or not all(map(_LABEL.fullmatch, labels)):
        raise Invalid(
            f"`{printable(text)}` is neither an address nor a subnet nor a domain name",
            hint="for example 10.0.0.0/8, [fd00::/8], example.org or *.example.org",
        )
    if (
        rule.direction is not Direction.OUT
        or rule.action is not Action.ALLOW
        or rule.protocol is Protocol.ICMP
    ):
        raise Invalid(
            f"`{name}`: names can only be allowed, and only for what goes out by tcp or udp",
            hint="name an address or a subnet",
        )
    return name


def overlap(one: str, other: str) -> bool:
    """Whether two host addresses of published ports mean some address in common. Empty: all of both families."""

    def everything(text: str) -> tuple[int, ...]:
        if not text:
            return (4, 6)
        address = ip_address(text)
        return (address.version,) if address.is_unspecified else ()

    def version(text: str) -> tuple[int, ...]:
        return (4, 6) if not text else (ip_address(text).version,)

    wide = bool(set(everything(one)) & set(version(other)) or set(everything(other)) & set(version(one)))
    return wide or one == other


def check_publish(ports: Iterable[PublishedPort]) -> tuple[PublishedPort, ...]:
    """The same ports with addresses in one form. Pure. Raises Invalid for what cannot be, and for a port named twice."""
    found: list[PublishedPort] = []
    for port in ports:
        if port.protocol not in (Protocol.TCP, Protocol.UDP):
            raise Invalid(f"`{port.protocol}` cannot be published", hint="only tcp and udp have ports")
        try:
            address = ip_address(port.host_address) if port.host_address else None
        except ValueError as error:
            raise Invalid(f"`{printable(port.host_address)}` is not an address of this host") from error
        if address is not None and (address.is_multicast or address == IPv4Address("255.255.255.255")):
            raise Invalid(f"`{address}` is not an address of one host")
        made = replace(port, host_address=str(address) if address is not None else "")
        for other in found:
            if same_place(made, other):
                raise Invalid(f"the host's {made.protocol} port {made.host_port} is published twice")
        found.append(made)
    return tuple(found)


def same_place(one: PublishedPort, other: PublishedPort) -> bool:
    """Whether two published ports cannot both be."""
    return (
        one.protocol is other.protocol
        and one.host_port == other.host_port
        and overlap(one.host_address, other.host_address)
    )


def check_traffic(
    rules: tuple[FirewallRule, ...], publish: tuple[PublishedPort, ...], mode: NetworkMode
) -> tuple[tuple[FirewallRule, ...], tuple[PublishedPort, ...]]:
    """Both, checked for an instance with that kind of network. Raises Invalid, Unsupported."""
    if rules and mode is not NetworkMode.MANAGED:
        raise Unsupported(
            f"firewall rules need a managed network; this instance has `{mode}`",
            hint="add --network default (or another from `yurt network ls`)",
        )
    if publish and mode is not NetworkMode.MANAGED:
        raise Unsupported(
            f"ports are published on managed networks; this instance has `{mode}`",
            hint="add --network default, or use `yurt forward`, which needs no network",
        )
    return check_rules(rules), check_publish(publish)


def require_reachable(records: Records, spec: ResolvedSpec) -> None:
    """Raise Unsupported when ports are published on a network through which nothing can come in."""
    network = records.networks.get(spec.nics[0].network) if spec.nics else None
    if spec.publish and network is not None and network.isolated:
        raise Unsupported(
            f"network `{network.name}` is isolated, so no port can be published on it",
            hint="use `yurt forward`, or a first NIC on another network",
        )


def heard(publish: Iterable[PublishedPort]) -> list[Listener]:
    """Who of this host listens on these ports now."""
    numbers = {port.host_port for port in publish}
    return listeners(numbers) if numbers else []


def key_of(port: PublishedPort) -> str:
    """Where the store keeps who holds a port: protocol, address (`*` for all), port."""
    return f"ports/{port.protocol}/{port.host_address or '*'}/{port.host_port}"


def _port_of(key: str) -> PublishedPort:
    _, protocol, address, number = key.split("/")
    return PublishedPort(
        host_port=int(number),
        guest_port=1,
        protocol=Protocol(protocol),
        host_address="" if address == "*" else address,
    )


def reserve(
    records: Records,
    wanted: tuple[PublishedPort, ...],
    instance_id: str,
    listening: Iterable[Listener],
    *,
    besides: bool = False,
) -> Writes:
    """The writes that make these, and no others, an instance's published ports; for use inside `records.write`.

    With `besides` it keeps those that it had as well, until the change that they are replaced by is certain.
    Raises Exists, with who holds it, for a port that another instance has or a program of the host listens on.
    """
    mine = {key for key, holder in records.ports.items() if holder == instance_id}
    for port in wanted:
        _require_free(records, port, instance_id)
    _require_unheard([port for port in wanted if key_of(port) not in mine], list(listening))
    keys = {key_of(port) for port in wanted}
    return [
        *(Put(key, instance_id.encode()) for key in sorted(keys - mine)),
        *(Delete(key) for key in sorted(mine - keys) if not besides),
    ]


def _require_unheard(wanted: Iterable[PublishedPort], listening: list[Listener]) -> None:
    for port in wanted:
        for listener in listening:
            same = (listener.protocol, listener.port) == (str(port.protocol), port.host_port)
            if same and overlap(port.host_address, listener.address):
                raise Exists(
                    f"{listener.program} of this host listens on {port.protocol} port {port.host_port} already",
                    hint="choose another host port",
                )


def require_unheard(wanted: tuple[PublishedPort, ...]) -> None:
    """Raise Exists when a program of this host listens on one of these ports now; the daemon itself does not count."""
    _require_unheard(wanted, heard(wanted))


def _require_free(records: Records, port: PublishedPort, instance_id: str) -> None:
    for key, holder in records.ports.items():
        if (
            holder == instance_id
            or not key.endswith(f"/{port.host_port}")
            or not same_place(port, _port_of(key))
        ):
            continue
        known = records.instances.get(holder)
        name = f"instance `{known.name}`" if known is not None else "another instance"
        raise Exists(
            f"the host's {port.protocol} port {port.host_port} is published by {name} already",
            hint="choose another host port",
        )


def release(records: Records, instance_id: str) -> Writes:
    """The writes that give back all ports of an instance."""
    return [Delete(key) for key, holder in records.ports.items() if holder == instance_id]
