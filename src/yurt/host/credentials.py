"""Gives a *thread* the rights of an unprivileged user, for good; programs started from it have no others.

The C library changes all threads of a process at once; the kernel's own calls change the one that makes them. So the
daemon stays what it is, and the thread must end soon after.
"""

import ctypes
import os
import platform
import struct
from collections.abc import Sequence

from yurt.errors import Denied, Unsupported

PR_CAPBSET_READ, PR_CAPBSET_DROP, PR_SET_KEEPCAPS, PR_SET_NO_NEW_PRIVS = 23, 24, 8, 38
PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, PR_CAP_AMBIENT_CLEAR_ALL = 47, 2, 4
CAPABILITY_VERSION_3 = 0x20080522
# setgroups, setresgid, setresuid, capset
NUMBERS = {"x86_64": (116, 119, 117, 126), "aarch64": (159, 149, 147, 91)}
CAPABILITIES = {
    "CAP_CHOWN": 0,
    "CAP_DAC_OVERRIDE": 1,
    "CAP_DAC_READ_SEARCH": 2,
    "CAP_FOWNER": 3,
    "CAP_FSETID": 4,
    "CAP_SETGID": 6,
    "CAP_SETUID": 7,
    "CAP_NET_BIND_SERVICE": 10,
    "CAP_NET_ADMIN": 12,
    "CAP_NET_RAW": 13,
    "CAP_SYS_CHROOT": 18,
    "CAP_SYS_ADMIN": 21,
    "CAP_MKNOD": 27,
    "CAP_SETFCAP": 31,
}

_libc = ctypes.CDLL(None, use_errno=True)
_libc.syscall.restype = ctypes.c_long


def become(uid: int, gid: int, groups: Sequence[int] | None = (), capabilities: Sequence[str] = ()) -> None:
    """Make the calling thread that user: no groups but those (`None`: as they are), no capability but those, in any set.

    What it starts can never rise again. Raises Denied without the rights to do so, Unsupported on other machines.
    """
    if (numbers := NUMBERS.get(platform.machine())) is None:
        raise Unsupported(f"there is no jail for `{platform.machine()}` yet")
    set_groups, set_gids, set_uids, set_capabilities = numbers
    kept = sum(1 << CAPABILITIES[name] for name in capabilities)
    for number in range(64):
        held = _libc.prctl(PR_CAPBSET_READ, number, 0, 0, 0)
        if held < 0:
            break  # beyond the kernel's last one
        if held and not kept >> number & 1:
            _check(_libc.prctl(PR_CAPBSET_DROP, number, 0, 0, 0), "dropping a capability")
    _check(_libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), "setting no-new-privileges")
    _check(_libc.prctl(PR_SET_KEEPCAPS, 1 if kept else 0, 0, 0, 0), "keeping capabilities")
    if groups is not None:
        listed = (ctypes.c_uint32 * max(1, len(groups)))(*groups)
        _check(_libc.syscall(set_groups, len(groups), listed), "setting groups")
    _check(_libc.syscall(set_gids, gid, gid, gid), "setting the group")
    _check(_libc.syscall(set_uids, uid, uid, uid), "setting the user")
    header = struct.pack("=Ii", CAPABILITY_VERSION_3, 0)
    _check(_libc.syscall(set_capabilities, header, capability_sets(kept)), "setting capabilities")
    _check(_libc.prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0), "clearing capabilities")
    for name in capabilities:
        raised = _libc.prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, CAPABILITIES[name], 0, 0)
        _check(raised, f"keeping {name}")


def capability_sets(kept: int) -> bytes:
    """`struct __user_cap_data_struct[2]`: the same effective, permitted and inheritable. Pure."""
    low, high = kept & 0xFFFFFFFF, kept >> 32
    return struct.pack("=6I", low, low, low, high, high, high)


def _check(result: int, what: str) -> None:
    if result < 0:
        raise Denied(f"{what}: {os.strerror(ctypes.get_errno())}", hint="the jail needs root")
