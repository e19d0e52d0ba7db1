"""Names of our tables and chains, and the checks that keep foreign text out of rule sets. Pure."""

import re
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

from yurt.errors import Internal

_TAG = re.compile(r"[a-z0-9]{1,16}")
_INTERFACE = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,14}")
_MAC = re.compile(r"[0-9a-f]{2}(:[0-9a-f]{2}){5}")


def table_name(tag: str) -> str:
    """`yurt_` and the tag of one yurt home, in the families `inet` and `bridge`."""
    if not _TAG.fullmatch(tag):
        raise Internal(f"`{tag}` cannot be part of a table's name")
    return f"yurt_{tag}"


def interface(name: str) -> str:
    """An interface's name as it may stand in a rule set, without quotes."""
    if not _INTERFACE.fullmatch(name):
        raise Internal(f"`{name}` cannot be an interface of ours")
    return name


def ethernet(mac: str) -> str:
    """A MAC address in lower case."""
    if not _MAC.fullmatch(mac.lower()):
        raise Internal(f"`{mac}` is no MAC address")
    return mac.lower()


def address(text: str, version: int) -> IPv4Address | IPv6Address:
    """An address of that IP version."""
    found = ip_address(text)
    if found.version != version:
        raise Internal(f"`{text}` is no IPv{version} address")
    return found


def subnet(text: str, version: int) -> IPv4Network | IPv6Network:
    """A subnet of that IP version."""
    found = ip_network(text)
    if found.version != version:
        raise Internal(f"`{text}` is no IPv{version} subnet")
    return found


def link_local(mac: str) -> IPv6Address:
    """The link-local address that a Linux guest makes of its MAC (EUI-64, RFC 4291)."""
    octets = bytearray(int(word, 16) for word in ethernet(mac).split(":"))
    octets[0] ^= 2
    return IPv6Address(bytes.fromhex("fe80000000000000") + octets[:3] + b"\xff\xfe" + octets[3:])
