"""Links, addresses and routes of a network namespace, by rtnetlink. Only the dozen messages that yurt needs.

One message takes some tens of microseconds, where starting `ip` takes milliseconds and loading a netlink library a
hundred; every start of a guest pays for it (docs/adr/0013-networks.md). A socket belongs to the network namespace that
its thread was in when it was opened. Source: rtnetlink(7), linux/if_link.h.
"""

import errno
import os
import socket
import struct
from collections.abc import Iterator
from ipaddress import IPv4Interface, IPv4Network, IPv6Interface, IPv6Network, ip_address, ip_network

from yurt.errors import Exists, NotFound, ToolFailed

RTM_NEWLINK, RTM_DELLINK, RTM_GETLINK, RTM_NEWADDR, RTM_GETADDR, RTM_NEWROUTE, RTM_GETROUTE = (
    16,
    17,
    18,
    20,
    22,
    24,
    26,
)
REQUEST, ACK, EXCLUSIVE, CREATE, REPLACE, DUMP = 1, 4, 0x200, 0x400, 0x100, 0x300
ERROR, DONE = 2, 3
IFLA_ADDRESS, IFLA_IFNAME, IFLA_MTU, IFLA_MASTER, IFLA_LINKINFO, IFLA_NET_NS_FD, IFLA_IFALIAS = (
    1,
    3,
    4,
    10,
    18,
    28,
    20,
)
IFLA_INFO_KIND, IFLA_INFO_DATA, VETH_INFO_PEER = 1, 2, 1
IFLA_BR_MULTI_BOOLOPT, NO_LINK_LOCAL_LEARN = 46, 1
IFA_ADDRESS, IFA_LOCAL, IFA_FLAGS = 1, 2, 8
RTA_DST, RTA_OIF, RTA_GATEWAY, RTA_TABLE = 1, 4, 5, 15
NODAD, PERMANENT = 0x02, 0x80
MAIN_TABLE, PROTO_STATIC, UNICAST, LOCAL_TABLE = 254, 4, 1, 255
IFF_UP = 1
GROUP_LINK = 1
_HEAD, _LINK, _ADDRESS, _ROUTE = (
    struct.Struct("=IHHII"),
    struct.Struct("=BxHiII"),
    struct.Struct("=BBBBI"),
    struct.Struct("=BBBBBBBBI"),
)
Interface = IPv4Interface | IPv6Interface
Subnet = IPv4Network | IPv6Network


def attribute(kind: int, value: bytes) -> bytes:
    """One attribute, padded to four bytes. Pure."""
    return struct.pack("=HH", 4 + len(value), kind) + value + bytes(-len(value) % 4)


def text(kind: int, value: str) -> bytes:
    return attribute(kind, value.encode() + b"\0")


def number(kind: int, value: int) -> bytes:
    return attribute(kind, struct.pack("=I", value))


def mac_bytes(mac: str) -> bytes:
    return bytes.fromhex(mac.replace(":", ""))


def attributes(data: bytes) -> dict[int, bytes]:
    """The attributes of a message, by kind. Pure."""
    found, at = {}, 0
    while at + 4 <= len(data):
        size, kind = struct.unpack_from("=HH", data, at)
        if size < 4:
            break
        found[kind & 0x3FFF] = data[at + 4 : at + size]
        at += -(-size // 4) * 4
    return found


def index_of(name: str) -> int:
    """A link's index in this thread's namespace. Raises NotFound."""
    try:
        return socket.if_nametoindex(name)
    except OSError as error:
        raise NotFound(kind="link", name=name) from error


class Netlink:
    """One socket; use it in a `with` block. Calls block for well under a millisecond, taking links away for some."""

    def __init__(self) -> None:
        self._socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, 0)
        self._socket.bind((0, 0))
        self._sequence = 0

    def __enter__(self) -> "Netlink":
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()

    def _send(self, kind: int, flags: int, payload: bytes) -> None:
        self._sequence += 1
        head = _HEAD.pack(_HEAD.size + len(payload), kind, REQUEST | flags, self._sequence, 0)
        self._socket.send(head + payload)

    def _answers(self) -> Iterator[tuple[int, bytes]]:
        while True:
            data = self._socket.recv(1 << 20)
            at = 0
            while at + _HEAD.size <= len(data):
                size, kind, _, sequence, _ = _HEAD.unpack_from(data, at)
                if sequence == self._sequence:
                    yield kind, data[at + _HEAD.size : at + size]
                at += -(-size // 4) * 4

    def _do(self, kind: int, flags: int, payload: bytes, what: str) -> None:
        self._send(kind, flags | ACK, payload)
        for answer, body in self._answers():
            if answer == ERROR:
                (code,) = struct.unpack_from("=i", body)
                if code:
                    raise failure(-code, what)
                return

    def _dump(self, kind: int, payload: bytes) -> Iterator[bytes]:
        self._send(kind, DUMP, payload)
        for answer, body in self._answers():
            if answer == DONE:
                return
            if answer == ERROR:
                raise failure(-struct.unpack_from("=i", body)[0], "listing")
            yield body

    # links

    def add_bridge(self, name: str, mac: str, mtu: int) -> None:
        """Make a bridge that is down. Raises Exists.

        It learns nothing from frames to link-local groups: those to LLDP's reach it without meeting the firewall, so a
        guest could take another's MAC for itself with them.
        """
        options = attribute(
            IFLA_BR_MULTI_BOOLOPT, struct.pack("=II", NO_LINK_LOCAL_LEARN, NO_LINK_LOCAL_LEARN)
        )
        kind = text(IFLA_INFO_KIND, "bridge") + attribute(IFLA_INFO_DATA, options)
        info = attribute(IFLA_LINKINFO, kind)
        self._add_link(name, mac, mtu, info)

    def add_veth(self, name: str, peer: str, mac: str, mtu: int) -> None:
        """Make a pair of ends that are down; `mac` is the peer's. Raises Exists."""
        other = _LINK.pack(0, 0, 0, 0, 0) + text(IFLA_IFNAME, peer) + number(IFLA_MTU, mtu)
        other += attribute(IFLA_ADDRESS, mac_bytes(mac))
        data = attribute(IFLA_INFO_DATA, attribute(VETH_INFO_PEER, other))
        self._add_link(name, "", mtu, attribute(IFLA_LINKINFO, text(IFLA_INFO_KIND, "veth") + data))

    def _add_link(self, name: str, mac: str, mtu: int, info: bytes) -> None:
        payload = _LINK.pack(0, 0, 0, 0, 0) + text(IFLA_IFNAME, name) + number(IFLA_MTU, mtu) + info
        if mac:
            payload += attribute(IFLA_ADDRESS, mac_bytes(mac))
        self._do(RTM_NEWLINK, CREATE | EXCLUSIVE, payload, f"making `{name}`")

    def set_link(
        self,
        name: str,
        *,
        up: bool | None = None,
        master: str = "",
        alias: str = "",
        mtu: int = 0,
        mac: str = "",
        new_name: str = "",
        namespace: int = -1,
    ) -> None:
        """Change a link; what is left out stays. `namespace` is a descriptor of the one to move it to."""
        flags = IFF_UP if up else 0
        payload = _LINK.pack(0, 0, index_of(name), flags, 0 if up is None else IFF_UP)
        if master:
            payload += number(IFLA_MASTER, index_of(master))
        if alias:
            payload += attribute(IFLA_IFALIAS, alias.encode())
        if mtu:
            payload += number(IFLA_MTU, mtu)
        if mac:
            payload += attribute(IFLA_ADDRESS, mac_bytes(mac))
        if new_name:
            payload += text(IFLA_IFNAME, new_name)
        if namespace >= 0:
            payload += number(IFLA_NET_NS_FD, namespace)
        self._do(RTM_NEWLINK, 0, payload, f"changing `{name}`")

    def delete_link(self, name: str) -> None:
        """Take a link away, and with one end of a pair the other. Safe to repeat."""
        try:
            self._do(RTM_DELLINK, 0, _LINK.pack(0, 0, index_of(name), 0, 0), f"deleting `{name}`")
        except NotFound:
            return

    def aliases(self) -> dict[str, str]:
        """The alias of every link that has one, by name."""
        found = {}
        for body in self._dump(RTM_GETLINK, _LINK.pack(0, 0, 0, 0, 0)):
            fields = attributes(body[_LINK.size :])
            if IFLA_IFALIAS in fields:
                found[_text(fields[IFLA_IFNAME])] = _text(fields[IFLA_IFALIAS])
        return found

    # addresses and routes

    def add_address(self, name: str, address: Interface) -> None:
        """Give a link an address, or leave it when it has it. No duplicate detection: our own books know who has what."""
        local = address.ip.packed
        family = socket.AF_INET if address.version == 4 else socket.AF_INET6
        payload = _ADDRESS.pack(family, address.network.prefixlen, PERMANENT, 0, index_of(name))
        payload += (
            attribute(IFA_LOCAL, local) + attribute(IFA_ADDRESS, local) + number(IFA_FLAGS, NODAD | PERMANENT)
        )
        self._do(RTM_NEWADDR, CREATE | REPLACE, payload, f"giving `{name}` the address {address}")

    def add_default_route(self, name: str, gateway: str) -> None:
        """Route everything of the gateway's family through it."""
        hop = ip_address(gateway)
        family = socket.AF_INET if hop.version == 4 else socket.AF_INET6
        payload = _ROUTE.pack(family, 0, 0, 0, MAIN_TABLE, PROTO_STATIC, 0, UNICAST, 0)
        payload += attribute(RTA_GATEWAY, hop.packed) + number(RTA_OIF, index_of(name))
        self._do(RTM_NEWROUTE, CREATE | REPLACE, payload, f"routing through {gateway}")

    def used_subnets(self) -> list[Subnet]:
        """Every subnet that an address or a route of this host lies in; default routes are left out."""
        found: set[Subnet] = set()
        for body in self._dump(RTM_GETADDR, _ADDRESS.pack(0, 0, 0, 0, 0)):
            value = attributes(body[_ADDRESS.size :]).get(IFA_ADDRESS, b"")
            if len(value) in (4, 16):
                found.add(ip_network((ip_address(value), body[1]), strict=False))
        for body in self._dump(RTM_GETROUTE, _ROUTE.pack(0, 0, 0, 0, 0, 0, 0, 0, 0)):
            value = attributes(body[_ROUTE.size :]).get(RTA_DST, b"")
            if body[1] and len(value) in (4, 16):
                found.add(ip_network((ip_address(value), body[1]), strict=False))
        return [subnet for subnet in found if not subnet.is_multicast]


def _text(value: bytes) -> str:
    return value.rstrip(b"\0").decode(errors="replace")


def failure(number: int, what: str) -> Exception:
    """The error for an errno of the kernel."""
    if number == errno.EEXIST:
        return Exists(f"{what}: there is one of that name already")
    if number in (errno.ENODEV, errno.ESRCH):
        return NotFound(f"{what}: it is not there")
    return ToolFailed(f"{what}: {os.strerror(number)}", status=errno.errorcode.get(number, str(number)))


def watch_links() -> socket.socket:
    """A socket that becomes readable when any link of this namespace comes, goes or changes."""
    watcher = socket.socket(
        socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK, 0
    )
    watcher.bind((0, GROUP_LINK))
    return watcher


def changes(watcher: socket.socket) -> list[tuple[str, bool]]:
    """What has happened to links since the last call: (name, whether it is gone). Empty text: too much to tell."""
    found: list[tuple[str, bool]] = []
    while True:
        try:
            data = watcher.recv(1 << 16)
        except BlockingIOError:
            return found
        except OSError:  # the kernel's buffer ran over
            return [*found, ("", True)]
        at = 0
        while at + _HEAD.size <= len(data):
            size, kind, _, _, _ = _HEAD.unpack_from(data, at)
            if kind in (RTM_NEWLINK, RTM_DELLINK):
                fields = attributes(data[at + _HEAD.size + _LINK.size : at + size])
                found.append((_text(fields.get(IFLA_IFNAME, b"")), kind == RTM_DELLINK))
            at += -(-max(size, _HEAD.size) // 4) * 4
