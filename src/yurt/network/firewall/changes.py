"""Rule sets as text: everything at once, or what one network or one port changes. Pure; every text may be loaded twice.

Removals first add what they remove: an element that is already there is no error, one that is missing would be.
"""

from collections.abc import Iterable, Iterator
from ipaddress import ip_address

from yurt.model.network import Direction, FirewallRule, Protocol, PublishedPort
from yurt.network.firewall.frame import BRIDGE, INET
from yurt.network.firewall.names import address, ethernet, interface, link_local, subnet, table_name
from yurt.network.firewall.rules import chain_of, is_domain, own_chains, restricted
from yurt.network.firewall.types import NetworkRules, PortBinding

Element = tuple[str, str, str, str]  # family, set or map, key, value (maps only)


def whole(tag: str, networks: Iterable[NetworkRules], ports: Iterable[PortBinding]) -> str:
    """The complete rule set; loading it replaces ours in one transaction and touches no table of others."""
    table, ports = table_name(tag), list(ports)
    lines = []
    for family, body in (("bridge", BRIDGE), ("inet", INET)):
        lines += [f"add table {family} {table}", f"delete table {family} {table}"]
        lines += [f"table {family} {table} {{", body.rstrip("\n"), "}"]
    for port in ports:
        lines += _add_own(table, port)
    elements = [element for network in networks for element in _of_network(network)]
    elements += [element for port in ports for element in _of_port(port)]
    return "\n".join([*lines, *_grouped(table, elements), ""])


def add_network(tag: str, network: NetworkRules) -> str:
    """What a new network needs."""
    return _text(_grouped(table_name(tag), _of_network(network)))


def remove_network(tag: str, network: NetworkRules) -> str:
    """Take a network away again."""
    table = table_name(tag)
    return _text(line for element in _of_network(network) for line in _remove(table, element))


def add_port(tag: str, port: PortBinding) -> str:
    """What a new port needs. From then on its guest is held to its own addresses and rules."""
    table = table_name(tag)
    return _text([*_add_own(table, port), *_grouped(table, _of_port(port))])


def remove_port(tag: str, port: PortBinding) -> str:
    """Take a port away again. Take the interface down first: without its entries it is an interface like any other."""
    table = table_name(tag)
    chains, lines = own_chains(port), []
    for family, name in chains:
        lines += [f"{verb} chain {family} {table} {name}" for verb in ("add", "flush")]
    lines += [line for element in _of_port(port) for line in _remove(table, element)]
    lines += [f"delete chain {family} {table} {name}" for family, name in chains]
    return _text(lines)


def change_port(tag: str, before: PortBinding, after: PortBinding) -> str:
    """Go from one binding of a port to another in one transaction; between the two no packet sees neither."""
    return remove_port(tag, before) + add_port(tag, after)


def learned(tag: str, port: PortBinding, name: str, answers: Iterable[tuple[str, int]]) -> str:
    """Let a guest reach the addresses of a domain name that its rules allow, each for so many seconds; 0 closes them."""
    table, lines = table_name(tag), []
    found = [(ip_address(text), int(seconds)) for text, seconds in answers]
    for rule in port.rules:
        if not is_domain(rule.peer) or not covers(rule.peer, name):
            continue
        for far, seconds in found:
            near = port.ipv4 if far.version == 4 else port.ipv6
            for kind, key in _reachable(rule, f"{near} . {far}") if near else ():
                place = f"element inet {table} {kind}{far.version}"
                # the time of an element is only set when it is new
                lines += [f"add {place} {{ {key} timeout 1s }}", f"delete {place} {{ {key} }}"]
                lines += [f"add {place} {{ {key} timeout {seconds}s }}"] if seconds else []
    return _text(lines)


def covers(pattern: str, name: str) -> bool:
    """Whether a rule's domain name means this one; `*.example.org` means all below, not itself."""
    name = name.lower().rstrip(".")
    return name.endswith(pattern[1:]) if pattern.startswith("*.") else name == pattern


def _reachable(rule: FirewallRule, pair: str) -> Iterator[tuple[str, str]]:
    if not rule.ports:
        yield "reached", pair
        return
    protocols = ("tcp", "udp") if rule.protocol is Protocol.ALL else (str(rule.protocol),)
    for protocol in protocols:
        for number in rule.ports.split(","):
            yield "named", f"{pair} . {protocol} . {number}"


def gone(tag: str) -> str:
    """Take away all that is ours."""
    table = table_name(tag)
    families = ("bridge", "inet")
    return _text(f"{verb} table {family} {table}" for family in families for verb in ("add", "delete"))


def _text(lines: Iterable[str]) -> str:
    return "".join(f"{line}\n" for line in lines)


def _add_own(table: str, port: PortBinding) -> list[str]:
    lines = []
    for (family, name), statements in own_chains(port).items():
        lines += [f"{verb} chain {family} {table} {name}" for verb in ("add", "flush")]
        lines += [f"add rule {family} {table} {name} {statement}" for statement in statements]
    return lines


def _grouped(table: str, elements: Iterable[Element]) -> list[str]:
    groups: dict[tuple[str, str], list[str]] = {}
    for family, name, key, value in elements:
        groups.setdefault((family, name), []).append(f"{key} : {value}" if value else key)
    return [
        f"add element {family} {table} {name} {{ {', '.join(found)} }}"
        for (family, name), found in groups.items()
    ]


def _remove(table: str, element: Element) -> list[str]:
    family, name, key, value = element
    place = f"element {family} {table} {name}"
    return [
        f"add {place} {{ {key} : {value} }}" if value else f"add {place} {{ {key} }}",
        f"delete {place} {{ {key} }}",
    ]


def _of_network(network: NetworkRules) -> Iterator[Element]:
    bridge = f'"{interface(network.bridge)}"'
    yield "inet", "bridges", bridge, ""
    yield "inet", "same", f"{bridge} . {bridge}", ""
    if network.isolated:
        yield "inet", "isolated", bridge, ""
    elif not network.nat:
        yield "inet", "routed", bridge, ""
    for version, cidr, gateway in ((4, network.ipv4, network.gateway4), (6, network.ipv6, network.gateway6)):
        if not cidr:
            continue
        yield "inet", f"gateways{version}", f"{bridge} . {address(gateway, version)}", ""
        yield "inet", f"subnets{version}", str(subnet(cidr, version)), ""
        if network.nat and not network.isolated:
            yield "inet", f"hidden{version}", str(subnet(cidr, version)), ""


def _of_port(port: PortBinding) -> Iterator[Element]:
    name, mac = f'"{interface(port.interface)}"', ethernet(port.mac)
    yield "bridge", "ports", name, ""
    yield "bridge", "macs", f"{name} . {mac}", ""
    yield "bridge", "hardware", f"{name} . 0x{mac.replace(':', '')}", ""
    if port.ipv4:
        yield "bridge", "own4", f"{name} . {mac} . {address(port.ipv4, 4)}", ""
    for own in (address(port.ipv6, 6), link_local(mac)) if port.ipv6 else ():
        yield "bridge", "own6", f"{name} . {mac} . {own}", ""
        yield "bridge", "targets6", f"{name} . {int(own):#034x}", ""
    if port.rules:
        yield "bridge", "ruled", name, ""
        yield "bridge", "leaving", name, f"goto {chain_of(port, Direction.OUT)}"
        yield "bridge", "arriving", name, f"goto {chain_of(port, Direction.IN)}"
    bridge = interface(port.bridge)
    for version, text in ((4, port.ipv4), (6, port.ipv6)):
        key = f'"{bridge}" . {address(text, version)}' if text else ""
        if key and port.dns:
            yield "inet", f"names{version}", key, str(port.dns)
        for direction in Direction:
            if key and restricted(port, direction):
                yield "inet", f"{direction}{version}", key, f"jump {chain_of(port, direction)}"
    for published in port.publish:
        yield from _of_published(port, published)


def _of_published(port: PortBinding, published: PublishedPort) -> Iterator[Element]:
    """Where packets to a published port go; loopback addresses are served by a program instead (docs/firewall.md)."""
    wanted = ip_address(published.host_address) if published.host_address else None
    if wanted is not None and wanted.is_loopback:
        return
    service = f"{published.protocol} . {published.host_port}"
    for version, guest in ((4, port.ipv4), (6, port.ipv6)):
        if not guest or (wanted is not None and wanted.version != version):
            continue
        target = f"{address(guest, version)} . {published.guest_port}"
        if wanted is None:
            yield "inet", f"any{version}", service, target
        else:
            yield "inet", f"at{version}", f"{wanted} . {service}", target
