"""Ethernet frames made by hand, honest ones and forged ones. Each ends in (or carries) a marker to find it again."""

import socket
import struct
from ipaddress import ip_address

BROADCAST = "ff:ff:ff:ff:ff:ff"
ACKNOWLEDGEMENT = 0x10
ARP, IP4, IP6, VLAN, QINQ = 0x0806, 0x0800, 0x86DD, 0x8100, 0x88A8


def hardware(mac: str) -> bytes:
    return bytes.fromhex(mac.replace(":", ""))


def ethernet(target: str, source: str, kind: int, payload: bytes) -> bytes:
    return hardware(target) + hardware(source) + struct.pack("!H", kind) + payload


def tagged(frame: bytes, *tags: tuple[int, int]) -> bytes:
    """The same frame with VLAN tags (protocol, number)."""
    return frame[:12] + b"".join(struct.pack("!HH", *tag) for tag in tags) + frame[12:]


def checksum(data: bytes) -> int:
    words = struct.unpack(f"!{len(data + bytes(len(data) % 2)) // 2}H", data + bytes(len(data) % 2))
    total: int = sum(words)
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def arp(
    operation: int, sha: str, spa: str, tha: str, tpa: str, *, htype: int = 1, marker: bytes = b""
) -> bytes:
    head = struct.pack("!HHBBH", htype, IP4, 6, 4, operation)
    body = hardware(sha) + socket.inet_aton(spa) + hardware(tha) + socket.inet_aton(tpa)
    return head + body + marker


def ipv4(
    source: str, target: str, protocol: int, payload: bytes, *, fragment: int = 0, ident: int = 7
) -> bytes:
    """`fragment` is the whole field: flags and offset."""
    head = struct.pack("!BBHHHBBH", 0x45, 0, 20 + len(payload), ident, fragment, 64, protocol, 0)
    head += socket.inet_aton(source) + socket.inet_aton(target)
    return head[:10] + struct.pack("!H", checksum(head)) + head[12:] + payload


def ipv6(source: str, target: str, following: int, payload: bytes, *, hops: int = 255) -> bytes:
    head = struct.pack("!IHBB", 6 << 28, len(payload), following, hops)
    return head + ip_address(source).packed + ip_address(target).packed + payload


def pseudo(source: str, target: str, protocol: int, length: int) -> bytes:
    return ip_address(source).packed + ip_address(target).packed + struct.pack("!II", length, protocol)


def udp(source: str, target: str, sport: int, dport: int, payload: bytes) -> bytes:
    """With a checksum only for IPv6, where one is needed."""
    plain = struct.pack("!HHHH", sport, dport, 8 + len(payload), 0) + payload
    if ":" not in source:
        return plain
    total = checksum(pseudo(source, target, 17, len(plain)) + plain)
    return plain[:6] + struct.pack("!H", total) + plain[8:]


def tcp(sport: int, dport: int, flags: int) -> bytes:
    """A segment without data; its checksum is left to whoever needs it."""
    return struct.pack("!HHIIBBHHH", sport, dport, 1, 1, 0x50, flags, 1024, 0, 0)


def icmpv6(source: str, target: str, kind: int, rest: bytes, *, code: int = 0) -> bytes:
    plain = struct.pack("!BBH", kind, code, 0) + rest
    total = checksum(pseudo(source, target, 58, len(plain)) + plain)
    return plain[:2] + struct.pack("!H", total) + plain[4:]


def option(kind: int, data: bytes) -> bytes:
    return struct.pack("!BB", kind, (len(data) + 2) // 8) + data


def dhcp(
    operation: int, chaddr: str, marker: bytes, *, giaddr: str = "0.0.0.0", hlen: int = 6, kind: int = 1
) -> bytes:
    head = struct.pack("!BBBBIHH", operation, 1, hlen, 0, 0x1234, 0, 0x8000)
    addresses = bytes(12) + socket.inet_aton(giaddr)
    body = head + addresses + hardware(chaddr).ljust(16, b"\0") + bytes(192)
    return (
        body + bytes.fromhex("63825363") + bytes([53, 1, kind]) + bytes([224, len(marker)]) + marker + b"\xff"
    )
