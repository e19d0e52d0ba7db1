"""Which subnet a network gets, and which address, MAC and device a NIC. Pure: what is taken is handed in.

Addresses are handed out in turn, so a search begins where the last one ended: constant time until a subnet is nearly
full, and an address that was given back rests before it is somebody else's.
"""

import hashlib
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

from msgspec import Struct

from yurt.errors import Exhausted, Exists, Invalid, NotFound
from yurt.model.names import Name, parse_name, printable
from yurt.model.network import NO_NETWORK, USER_NETWORK, Network, NetworkSpec, Nic, NicSpec

AUTO = "auto"
RESERVED = (NO_NETWORK, USER_NETWORK, "managed")
# a bridge takes 1023 ports, but what is stopped keeps its address: 8190 of them
AUTO_PREFIX = 19
AUTO_BLOCKS = (IPv4Network("10.64.0.0/10"), IPv4Network("172.20.0.0/14"), IPv4Network("192.168.128.0/17"))
MAX_NUMBER = 9999
MAX_SEARCH = 1 << 20
_DOMAIN = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?(\.[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?)*")
_MAC = re.compile(r"([0-9a-f]{2}:){5}[0-9a-f]{2}")
Subnet = IPv4Network | IPv6Network
Taken = Mapping[str, str]  # `network/address` -> who has it
Held = Callable[[str], bool]


def parse_network_name(text: str) -> Name:
    """Check a network's name. Raises Invalid."""
    if text in RESERVED:
        raise Invalid(
            f"a network cannot be called `{text}`: that word means something else", hint="choose another name"
        )
    return parse_name(text)


def define(spec: NetworkSpec, number: int, tag: str, used: Sequence[Subnet], seed: bytes) -> Network:
    """Make a network out of a wish; `used` are subnets that it must keep away from. Raises Invalid, Exhausted."""
    name = parse_network_name(spec.name)
    if not _DOMAIN.fullmatch(spec.domain):
        raise Invalid(
            f"`{printable(spec.domain)}` is not a domain", hint="use words such as `yurt` or `lab.example`"
        )
    four = subnet4(spec.ipv4, used)
    six = subnet6(spec.ipv6, used, seed)
    if four is None and six is None:
        raise Invalid(
            "a network needs addresses of at least one family", hint="leave out `--ipv4` or `--ipv6`"
        )
    return Network(
        name=name,
        number=number,
        bridge=f"yt{tag}b{number}",
        ipv4=str(four or ""),
        ipv6=str(six or ""),
        gateway4=str(four[1]) if four else "",
        gateway6=str(six[1]) if six else "",
        nat=spec.nat and not spec.isolated,
        isolated=spec.isolated,
        mtu=spec.mtu,
        domain=spec.domain,
    )


def subnet4(wish: str, used: Sequence[Subnet]) -> IPv4Network | None:
    """The IPv4 subnet of a new network; None for the empty wish. Raises Invalid, Exhausted."""
    if wish == AUTO:
        for block in AUTO_BLOCKS:
            for candidate in block.subnets(new_prefix=AUTO_PREFIX):
                if not any(candidate.overlaps(other) for other in used if isinstance(other, IPv4Network)):
                    return candidate
        raise Exhausted("no private IPv4 subnet is free", hint="choose one with `--ipv4 10.1.2.0/24`")
    found = _subnet(wish, used)
    if isinstance(found, IPv6Network):
        raise Invalid(f"`{wish}` is IPv6", hint="give it with `--ipv6`")
    if found is not None and not 8 <= found.prefixlen <= 29:
        raise Invalid(f"`{wish}` is no size for a network", hint="use a prefix between /8 and /29")
    return found


def subnet6(wish: str, used: Sequence[Subnet], seed: bytes) -> IPv6Network | None:
    """The IPv6 subnet of a new network: `auto` makes a unique local one (RFC 4193) of `seed`. Raises Invalid."""
    if wish == AUTO:
        for attempt in range(64):
            digest = hashlib.sha256(b"%d " % attempt + seed).digest()
            candidate = IPv6Network((b"\xfd" + digest[:7] + bytes(8), 64))
            if not any(candidate.overlaps(other) for other in used if isinstance(other, IPv6Network)):
                return candidate
        raise Exhausted("no private IPv6 subnet is free", hint="choose one with `--ipv6 fd12:3456::/64`")
    found = _subnet(wish, used)
    if isinstance(found, IPv4Network):
        raise Invalid(f"`{wish}` is IPv4", hint="give it with `--ipv4`")
    if found is not None and found.prefixlen != 64:
        raise Invalid(f"`{wish}` is no size for a network", hint="use a /64")
    return found


def _subnet(wish: str, used: Sequence[Subnet]) -> Subnet | None:
    if wish in ("", NO_NETWORK):
        return None
    try:
        found = ip_network(wish)
    except ValueError as error:
        raise Invalid(
            f"`{printable(wish)}` is not a subnet: {printable(str(error))}", hint="write `10.1.2.0/24`"
        ) from error
    if found.is_multicast or found.is_loopback or found.is_link_local or found.is_unspecified:
        raise Invalid(f"`{wish}` cannot be used for a network")
    for other in used:
        if found.version == other.version and found.overlaps(other):
            raise Invalid(
                f"`{wish}` overlaps with {other}, which is in use on this host",
                hint="choose another, or `auto`",
            )
    return found


def free_number(networks: Iterable[Network]) -> int:
    """The lowest number that no network has. Raises Exhausted."""
    taken = {network.number for network in networks}
    for number in range(1, MAX_NUMBER + 1):
        if number not in taken:
            return number
    raise Exhausted(f"there are {MAX_NUMBER} networks already")


def device_name(tag: str, slot: int, index: int, end: str = "n") -> str:
    """The host's end of a NIC (`n`), or the end that waits to be moved into a container (`p`). At most 15 letters.

    `tag` is empty or five letters, a slot begins with a digit, bridges have `b` before theirs: no two are ever alike.
    """
    return f"yt{tag}{slot}{end}{index}"


def make_mac(instance_id: str, index: int, attempt: int = 0) -> str:
    """A locally administered address out of the instance's id. Equal arguments give equal addresses."""
    digest = bytearray(hashlib.sha256(f"{instance_id} {index} {attempt}".encode()).digest()[:6])
    digest[0] = digest[0] & 0xFC | 0x02
    return digest.hex(":")


class Plan(Struct, frozen=True):
    """NICs and what is to be reserved for them (`network/address`)."""

    nics: tuple[Nic, ...]
    reserved: tuple[str, ...]


class Addresses:
    """Hands out addresses. It remembers only where the last search of each network and family ended."""

    def __init__(self) -> None:
        self._next: dict[str, int] = {}

    def plan(
        self,
        wishes: Sequence[NicSpec],
        networks: Mapping[str, Network],
        taken: Taken,
        *,
        instance_id: str,
        slot: int,
        tag: str,
        first_index: int = 0,
    ) -> Plan:
        """Choose addresses for the NICs of an instance. Raises Invalid, NotFound, Exists and Exhausted."""
        nics, reserved = [], dict[str, str]()
        for index, wish in enumerate(wishes, first_index):
            network = networks.get(wish.network)
            if network is None:
                raise NotFound(kind="network", name=printable(wish.network), hint="see `yurt network ls`")

            def held(key: str) -> bool:
                return key in taken or key in reserved

            mac = self._mac(wish, network, instance_id, index, held)
            four = self._address(wish.ipv4, network, network.ipv4, held)
            six = self._address(wish.ipv6, network, network.ipv6, held)
            for address in (mac, four, six):
                if address:
                    reserved[f"{network.name}/{address}"] = instance_id
            device = device_name(tag, slot, index)
            nics.append(Nic(network=network.name, index=index, device=device, mac=mac, ipv4=four, ipv6=six))
        return Plan(tuple(nics), tuple(reserved))

    def _mac(self, wish: NicSpec, network: Network, instance_id: str, index: int, held: Held) -> str:
        if wish.mac:
            mac = wish.mac.lower()
            if not _MAC.fullmatch(mac) or int(mac[:2], 16) & 1 or mac == "00:00:00:00:00:00":
                raise Invalid(
                    f"`{printable(wish.mac)}` is not a NIC's MAC", hint="write it as `52:54:00:12:34:56`"
                )
            if held(f"{network.name}/{mac}"):
                raise Exists(f"MAC `{mac}` is taken on network `{network.name}`", hint="choose another")
            return mac
        for attempt in range(16):
            if not held(f"{network.name}/{(mac := make_mac(instance_id, index, attempt))}"):
                return mac
        raise Exhausted("no MAC is free")  # never met: 16 digests of 46 bits would have to be taken

    def _address(self, wish: str, network: Network, subnet: str, held: Held) -> str:
        if wish:
            return _static(wish, network, subnet, held)
        if not subnet:
            return ""
        whole = ip_network(subnet)
        # the first is the subnet's own name, the second the gateway, the last of IPv4 the broadcast
        first, count = int(whole.network_address) + 2, min(whole.num_addresses - 3, MAX_SEARCH)
        make: type[IPv4Address | IPv6Address] = IPv4Address if whole.version == 4 else IPv6Address
        place = f"{network.name}/{subnet}"
        start = self._next.get(place, 0)
        for step in range(count):
            at = (start + step) % count
            address = str(make(first + at))
            if not held(f"{network.name}/{address}"):
                self._next[place] = at + 1
                return address
        raise Exhausted(
            f"all {count} addresses of network `{network.name}` are taken",
            hint="delete instances, or make a larger network with `yurt network create`",
        )


def _static(wish: str, network: Network, subnet: str, held: Held) -> str:
    try:
        address = ip_address(wish)
    except ValueError as error:
        raise Invalid(f"`{printable(wish)}` is not an address", hint="write it as `10.1.2.3`") from error
    if not subnet or address not in (whole := ip_network(subnet)):
        raise Invalid(
            f"`{address}` is not in network `{network.name}`",
            hint=f"it has {' and '.join(filter(None, (network.ipv4, network.ipv6)))}",
        )
    kept = {whole.network_address, whole[1]} | ({whole.broadcast_address} if whole.version == 4 else set())
    if address in kept:
        raise Invalid(f"`{address}` is kept for network `{network.name}` itself", hint="choose another")
    if held(f"{network.name}/{address}"):
        raise Exists(
            f"address `{address}` is taken on network `{network.name}`",
            hint="choose another, or leave it out",
        )
    return str(address)
