"""Network namespaces: interfaces in somebody's namespace, configured from a thread that visits it."""

import ctypes
import fcntl
import os
import socket
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Interface, IPv6Interface

from yurt.errors import Denied, Internal, NotFound
from yurt.host.netlink import Netlink
from yurt.host.visit import in_own_thread

CLONE_NEWNET = 0x40000000
SIOCADDRT, SIOCGIFFLAGS, SIOCSIFFLAGS, SIOCSIFADDR, SIOCSIFNETMASK, SIOCSIFMTU = (
    0x890B,
    0x8913,
    0x8914,
    0x8916,
    0x891C,
    0x8922,
)
IFF_UP, RTF_UP, RTF_GATEWAY = 1, 1, 2

_libc = ctypes.CDLL(None, use_errno=True)


def configure_ipv4(pid: int, interface: str, address: IPv4Interface, gateway: IPv4Address, mtu: int) -> None:
    """Give an interface in a process's network namespace its address, bring it up, and route all through `gateway`.

    Blocks for well under a millisecond. Raises NotFound when process or interface is gone.
    """

    def visit() -> None:
        _enter(pid)
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as control:
            _configure(control.fileno(), interface, address, gateway, mtu)

    try:
        in_own_thread("netns-visit", visit)
    except FileNotFoundError as error:
        raise NotFound(kind="process", name=pid) from error
    except OSError as error:
        raise Internal(f"configuring `{interface}`: {error.strerror}") from error


@dataclass(frozen=True, slots=True)
class End:
    """A link of ours that is to become an interface in somebody's namespace. Gateways may be empty."""

    link: str
    name: str
    mtu: int
    addresses: tuple[IPv4Interface | IPv6Interface, ...]
    gateways: tuple[str, ...]


def move_in(pid: int, ends: Sequence[End]) -> None:
    """Move links into a process's network namespace, and give them there their names, addresses and default routes.

    Blocks for some milliseconds. Raises NotFound when the process or a link is gone, ToolFailed.
    """
    try:
        namespace = os.open(f"/proc/{pid}/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError as error:
        raise NotFound(kind="process", name=pid) from error
    try:
        with Netlink() as here:
            for end in ends:
                here.set_link(end.link, new_name=end.name, namespace=namespace)
        in_own_thread("netns-visit", lambda: _settle(namespace, ends))
    finally:
        os.close(namespace)


def _settle(namespace: int, ends: Sequence[End]) -> None:
    if _libc.setns(namespace, CLONE_NEWNET) != 0:
        raise Denied(f"entering a network namespace: {os.strerror(ctypes.get_errno())}")
    with Netlink() as there:
        for end in ends:
            there.set_link(end.name, mtu=end.mtu, up=True)
            for address in end.addresses:
                there.add_address(end.name, address)
            for gateway in end.gateways:
                there.add_default_route(end.name, gateway)


def _enter(pid: int) -> None:
    namespace = os.open(f"/proc/{pid}/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    try:
        if _libc.setns(namespace, CLONE_NEWNET) != 0:
            raise Denied(f"entering a network namespace: {os.strerror(ctypes.get_errno())}")
    finally:
        os.close(namespace)


def _configure(control: int, interface: str, address: IPv4Interface, gateway: IPv4Address, mtu: int) -> None:
    name = interface.encode()
    for request, value in (
        (SIOCSIFADDR, socket_address(address.ip)),
        (SIOCSIFNETMASK, socket_address(address.network.netmask)),
        (SIOCSIFMTU, struct.pack("=i", mtu)),
    ):
        fcntl.ioctl(control, request, interface_request(name, value))
    answer = fcntl.ioctl(control, SIOCGIFFLAGS, interface_request(name, b""))
    (flags,) = struct.unpack_from("=h", answer, 16)
    fcntl.ioctl(control, SIOCSIFFLAGS, interface_request(name, struct.pack("=h", flags | IFF_UP)))
    fcntl.ioctl(control, SIOCADDRT, default_route(gateway))


def socket_address(address: IPv4Address) -> bytes:
    """`struct sockaddr_in`. Pure."""
    return struct.pack("=HH", socket.AF_INET, 0) + address.packed + bytes(8)


def interface_request(name: bytes, value: bytes) -> bytes:
    """`struct ifreq` (40 bytes on 64-bit machines). Pure."""
    return (name.ljust(16, b"\0") + value).ljust(40, b"\0")


def default_route(gateway: IPv4Address) -> bytes:
    """`struct rtentry` of a default route (120 bytes on 64-bit machines). Pure."""
    nowhere = socket_address(IPv4Address(0))
    addresses = nowhere + socket_address(gateway) + nowhere
    return (bytes(8) + addresses + struct.pack("=H", RTF_UP | RTF_GATEWAY)).ljust(120, b"\0")
