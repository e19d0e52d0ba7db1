"""Opens taps: network interfaces of this host whose other end is a descriptor."""

import fcntl
import os
import struct

from yurt.errors import Unavailable

TUN = "/dev/net/tun"
IFF_TAP, IFF_NO_PI, IFF_VNET_HDR = 0x0002, 0x1000, 0x4000
TUNSETIFF = 0x400454CA


def open_tap(name: str) -> int:
    """A descriptor of the tap of that name, made where there is none. Raises Unavailable when somebody else has it open.

    Source: linux/if_tun.h, Documentation/networking/tuntap.rst.
    """
    try:
        descriptor = os.open(TUN, os.O_RDWR | os.O_CLOEXEC | os.O_NONBLOCK)
    except OSError as error:
        raise Unavailable(f"cannot open `{TUN}`: {error.strerror}") from error
    try:
        request = struct.pack("=16sH22x", name.encode(), IFF_TAP | IFF_NO_PI | IFF_VNET_HDR)
        fcntl.ioctl(descriptor, TUNSETIFF, request)
    except (OSError, struct.error) as error:
        os.close(descriptor)
        raise Unavailable(f"cannot open the tap `{name}`: {error}") from error
    return descriptor
