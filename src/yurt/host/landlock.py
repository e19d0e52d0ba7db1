"""Landlock, the jail's second fence: which files may be opened at all, whatever is mounted. Per thread, for good.

Kernels without it (or with it switched off) leave the first fence, the private root. Source: landlock(7).
"""

import ctypes
import functools
import os
import struct
from collections.abc import Mapping
from pathlib import Path

from yurt.errors import Internal

CREATE_RULESET, ADD_RULE, RESTRICT_SELF = 444, 445, 446  # the same on every architecture
VERSION_FLAG, PATH_BENEATH = 1, 1
EXECUTE, WRITE_FILE, READ_FILE, READ_DIR = 1, 2, 4, 8
REFER, TRUNCATE, IOCTL_DEVICE = 1 << 13, 1 << 14, 1 << 15
FILE_RIGHTS = EXECUTE | WRITE_FILE | READ_FILE | TRUNCATE | IOCTL_DEVICE
READING = EXECUTE | READ_FILE | READ_DIR
EVERYTHING = (1 << 16) - 1
NET_RIGHTS = 3  # bind and connect TCP
SCOPES = 3  # abstract unix sockets and signals: none to the outside

_libc = ctypes.CDLL(None, use_errno=True)
_libc.syscall.restype = ctypes.c_long


@functools.cache
def abi() -> int:
    """The version of the kernel's Landlock; 0 when it has none."""
    return max(0, int(_libc.syscall(CREATE_RULESET, None, ctypes.c_size_t(0), VERSION_FLAG)))


def handled_files(version: int) -> int:
    """The rights on files that this version knows. Pure."""
    rights = (1 << 13) - 1
    for since, right in ((2, REFER), (3, TRUNCATE), (5, IOCTL_DEVICE)):
        rights |= right if version >= since else 0
    return rights


def ruleset(version: int, *, network: bool) -> bytes:
    """`struct landlock_ruleset_attr`, as long as this version knows it. Pure. `network`: TCP is left free."""
    fields = [handled_files(version)]
    if version >= 4:
        fields.append(0 if network else NET_RIGHTS)
    if version >= 6:
        fields.append(SCOPES)
    return struct.pack(f"={len(fields)}Q", *fields)


def restrict(rules: Mapping[str, int], *, network: bool) -> bool:
    """Forbid the calling thread and all that it starts every file but those beneath `rules` (path -> rights).

    No-new-privileges must be set. False, and nothing done, where the kernel has no Landlock. Raises Internal.
    """
    version = abi()
    if version == 0:
        return False
    attributes = ruleset(version, network=network)
    made = _check(_libc.syscall(CREATE_RULESET, attributes, ctypes.c_size_t(len(attributes)), 0))
    try:
        for path, rights in rules.items():
            place = os.open(path, os.O_PATH | os.O_CLOEXEC)
            try:
                known = rights & handled_files(version) & (EVERYTHING if Path(path).is_dir() else FILE_RIGHTS)
                rule = struct.pack("=Qi", known, place)
                _check(_libc.syscall(ADD_RULE, made, PATH_BENEATH, rule, 0))
            finally:
                os.close(place)
        _check(_libc.syscall(RESTRICT_SELF, made, 0))
    finally:
        os.close(made)
    return True


def _check(result: int) -> int:
    if result < 0:
        raise Internal(f"Landlock: {os.strerror(ctypes.get_errno())}")
    return int(result)
