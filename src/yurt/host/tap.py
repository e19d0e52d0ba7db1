"""Taps: Ethernet interfaces whose other end is a descriptor, which QEMU is handed. Source: linux/if_tun.h."""

import errno
import fcntl
import os
import socket
import struct

from yurt.errors import Busy, NotFound, Unavailable

TUN, VHOST = "/dev/net/tun", "/dev/vhost-net"
TUNSETIFF, TUNSETPERSIST = 0x400454CA, 0x400454CB
IFF_TAP, IFF_NO_PI, IFF_VNET_HDR = 0x0002, 0x1000, 0x4000


def open_tap(name: str) -> int:
    """A descriptor of a tap that is there. Raises NotFound, Busy while somebody has it open, Unavailable."""
    try:
        socket.if_nametoindex(name)
    except OSError as error:
        raise NotFound(kind="tap", name=name) from error
    return _attach(name)


def make_tap(name: str) -> None:
    """Make a tap that stays when nobody has it open. One that is there stays as it is."""
    descriptor = _attach(name)
    try:
        fcntl.ioctl(descriptor, TUNSETPERSIST, 1)
    finally:
        os.close(descriptor)


def _attach(name: str) -> int:
    try:
        descriptor = os.open(TUN, os.O_RDWR | os.O_CLOEXEC | os.O_NONBLOCK)
    except OSError as error:
        raise Unavailable(f"cannot open {TUN}: {error.strerror}", hint="modprobe tun") from error
    try:
        request = struct.pack("=16sH22x", name.encode(), IFF_TAP | IFF_NO_PI | IFF_VNET_HDR)
        fcntl.ioctl(descriptor, TUNSETIFF, request)
    except OSError as error:
        os.close(descriptor)
        if error.errno == errno.EBUSY:
            raise Busy(f"the tap `{name}` is in use") from error
        raise Unavailable(f"cannot open the tap `{name}`: {error.strerror}") from error
    return descriptor


def open_vhost() -> int:
    """A descriptor of the kernel's own virtio network backend; -1 where this kernel has none."""
    try:
        return os.open(VHOST, os.O_RDWR | os.O_CLOEXEC)
    except OSError:
        return -1
