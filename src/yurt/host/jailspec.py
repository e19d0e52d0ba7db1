"""What a jail is, as plain data: who a program is in it and all that it can see, open and use. Pure.

Nothing in here says *how* the walls are made: that is host/jail.py, for root's daemon and for an ordinary user's alike.
"""

import resource
from typing import Annotated

import msgspec
from msgspec import Meta

from yurt.host.seccomp import AF_UNIX

STANDARD_DEVICES = ("full", "null", "random", "urandom", "zero")
DEVICE_NUMBERS = {
    "null": (1, 3),
    "zero": (1, 5),
    "full": (1, 7),
    "random": (1, 8),
    "urandom": (1, 9),
    "kvm": (10, 232),
    "net/tun": (10, 200),
}
NO_NETWORK, HOST_NETWORK = "none", "host"
LIMITS = {
    "as": resource.RLIMIT_AS,
    "core": resource.RLIMIT_CORE,
    "cpu": resource.RLIMIT_CPU,
    "data": resource.RLIMIT_DATA,
    "fsize": resource.RLIMIT_FSIZE,
    "memlock": resource.RLIMIT_MEMLOCK,
    "msgqueue": resource.RLIMIT_MSGQUEUE,
    "nofile": resource.RLIMIT_NOFILE,
    "nproc": resource.RLIMIT_NPROC,
}
Absolute = Annotated[str, Meta(pattern="^/")]


class Bind(msgspec.Struct, frozen=True):
    """A file or directory of the host (one mount of it, without what is mounted below) at a place in the jail."""

    source: str
    target: str
    writable: bool = False


class JailSpec(msgspec.Struct, frozen=True, kw_only=True):
    """One jail. Its root holds nothing but what is listed here, and is read-only but for the writable binds.

    There is no /proc in it. Every jail has its own mount, pid, ipc, uts and control group namespaces, no way to gain
    privileges, an empty environment and the system call filter of host/seccomp.py.
    """

    uid: int
    gid: int
    groups: tuple[int, ...] = ()
    capabilities: tuple[str, ...] = ()  # normally none
    binds: tuple[Bind, ...] = ()
    links: tuple[tuple[str, str], ...] = ()  # symbolic links: place in the jail, what it says
    devices: tuple[str, ...] = STANDARD_DEVICES  # names below /dev, from DEVICE_NUMBERS
    scratch_bytes: int = 0  # size of a /tmp in memory; 0: none
    network: str = NO_NETWORK  # an empty namespace of its own, the host's (`host`), or the path of one
    families: tuple[int, ...] = (AF_UNIX,)  # the kinds of sockets it may make
    limits: tuple[tuple[str, int], ...] = (("core", 0),)  # names from LIMITS; soft and hard
