"""The outer system call filter of the jail: classic BPF, assembled here from a table. Pure, but for `install`.

A list of denials: what runs in the jail is other people's programs, and what is denied reaches the kernel's wide-open
parts (mounts, namespaces, eBPF, io_uring, keyrings, tracing) or has a state that belongs to the whole host. QEMU's own
`-sandbox` filter comes on top. Calls newer than the table are answered "no such call", which programs fall back from.
Sources: seccomp(2), linux/filter.h, linux/audit.h; numbers from asm/unistd_64.h and asm-generic/unistd.h.
"""

import ctypes
import os
import struct
from collections.abc import Iterable

from yurt.errors import Unsupported

EPERM, ENOSYS, EAFNOSUPPORT = 1, 38, 97
ALLOW, KILL, ERRNO = 0x7FFF0000, 0x80000000, 0x00050000
LOAD, JUMP_EQUAL, JUMP_GREATER, JUMP_SET, RETURN = 0x20, 0x15, 0x25, 0x45, 0x06
OFFSET_NUMBER, OFFSET_ARCHITECTURE, OFFSET_ARGUMENTS = 0, 4, 16  # in struct seccomp_data
CLONE_NEW_ANY = 0x7E020080  # NEWTIME | NEWNS | NEWCGROUP | NEWUTS | NEWIPC | NEWUSER | NEWPID | NEWNET
TIOCSTI, TIOCLINUX = 0x5412, 0x541C
NEWEST = 456  # futex_requeue; the numbers from 424 on are the same on every architecture
SECCOMP_SET_MODE_FILTER = 1

# name: its number on x86_64 and on aarch64 (-1: does not exist there)
FORBIDDEN = {
    "_sysctl": (156, -1),
    "acct": (163, 89),
    "add_key": (248, 217),
    "adjtimex": (159, 171),
    "bpf": (321, 280),
    "chroot": (161, 51),
    "clock_adjtime": (305, 266),
    "clock_settime": (227, 112),
    "create_module": (174, -1),
    "delete_module": (176, 106),
    "fanotify_init": (300, 262),
    "finit_module": (313, 273),
    "fsconfig": (431, 431),
    "fsmount": (432, 432),
    "fsopen": (430, 430),
    "fspick": (433, 433),
    "init_module": (175, 105),
    "ioperm": (173, -1),
    "iopl": (172, -1),
    "kcmp": (312, 272),
    "kexec_file_load": (320, 294),
    "kexec_load": (246, 104),
    "keyctl": (250, 219),
    "lookup_dcookie": (212, 18),
    "migrate_pages": (256, 238),
    "modify_ldt": (154, -1),
    "mount": (165, 40),
    "mount_setattr": (442, 442),
    "move_mount": (429, 429),
    "move_pages": (279, 239),
    "name_to_handle_at": (303, 264),
    "nfsservctl": (180, 42),
    "open_by_handle_at": (304, 265),
    "open_tree": (428, 428),
    "perf_event_open": (298, 241),
    "personality": (135, 92),
    "pidfd_getfd": (438, 438),
    "pivot_root": (155, 41),
    "process_madvise": (440, 440),
    "process_vm_readv": (310, 270),
    "process_vm_writev": (311, 271),
    "ptrace": (101, 117),
    "query_module": (178, -1),
    "quotactl": (179, 60),
    "quotactl_fd": (443, 443),
    "reboot": (169, 142),
    "request_key": (249, 218),
    "setdomainname": (171, 162),
    "sethostname": (170, 161),
    "setns": (308, 268),
    "settimeofday": (164, 170),
    "swapoff": (168, 225),
    "swapon": (167, 224),
    "sysfs": (139, -1),
    "syslog": (103, 116),
    "umount2": (166, 39),
    "unshare": (272, 97),
    "uselib": (134, -1),
    "userfaultfd": (323, 282),
    "ustat": (136, -1),
    "vhangup": (153, 58),
}
# their arguments cannot be looked at, or nobody misses them: a program that gets ENOSYS takes its older way
ABSENT = {
    "clone3": (435, 435),
    "execveat": (322, 281),
    "io_uring_enter": (426, 426),
    "io_uring_register": (427, 427),
    "io_uring_setup": (425, 425),
}
CLONE, SOCKET, IOCTL = (56, 220), (41, 198), (16, 29)
SECCOMP = (317, 277)
# architecture: column of the tables above, AUDIT_ARCH_* of linux/audit.h
ARCHITECTURES = {"x86_64": (0, 0xC000003E), "aarch64": (1, 0xC00000B7)}
X32_BIT = 0x40000000
AF_UNIX, AF_INET, AF_INET6 = 1, 2, 10

Instruction = tuple[int, int, int, int]  # code, jump if true, jump if false, operand


def deny_filter(architecture: str, families: Iterable[int]) -> bytes:
    """The filter as `struct sock_filter[]`, for seccomp(2). Pure.

    `families`: the socket families that may be made. Raises Unsupported for a machine without a table.
    """
    return b"".join(struct.pack("=HBBI", *line) for line in instructions(architecture, families))


def instructions(architecture: str, families: Iterable[int]) -> list[Instruction]:
    """The same before it is packed. Every jump goes a few lines forward at most, so none can be out of reach."""
    if architecture not in ARCHITECTURES:
        raise Unsupported(f"there is no system call filter for `{architecture}`")
    column, audit = ARCHITECTURES[architecture]
    lines: list[Instruction] = [
        (LOAD, 0, 0, OFFSET_ARCHITECTURE),
        (JUMP_EQUAL, 1, 0, audit),
        (RETURN, 0, 0, KILL),
        (LOAD, 0, 0, OFFSET_NUMBER),
    ]
    if architecture == "x86_64":  # the x32 ABI reaches the same calls by other numbers
        lines += [(JUMP_GREATER, 0, 1, X32_BIT - 1), (RETURN, 0, 0, KILL)]
    lines += [(JUMP_GREATER, 0, 1, NEWEST), (RETURN, 0, 0, ERRNO | ENOSYS)]
    for table, errno in ((FORBIDDEN, EPERM), (ABSENT, ENOSYS)):
        for numbers in table.values():
            if numbers[column] >= 0:
                lines += [(JUMP_EQUAL, 0, 1, numbers[column]), (RETURN, 0, 0, ERRNO | errno)]
    allowed = [(JUMP_EQUAL, 0, 1, family) for family in families]
    sockets = [line for jump in allowed for line in (jump, (RETURN, 0, 0, ALLOW))]
    terminals: list[Instruction] = []
    for request in (TIOCSTI, TIOCLINUX):
        terminals += [(JUMP_EQUAL, 0, 1, request), (RETURN, 0, 0, ERRNO | EPERM)]
    namespaces: list[Instruction] = [(JUMP_SET, 0, 1, CLONE_NEW_ANY), (RETURN, 0, 0, ERRNO | EPERM)]
    lines += _of_call(CLONE[column], 0, [*namespaces, (RETURN, 0, 0, ALLOW)])
    lines += _of_call(IOCTL[column], 1, [*terminals, (RETURN, 0, 0, ALLOW)])
    lines += _of_call(SOCKET[column], 0, [*sockets, (RETURN, 0, 0, ERRNO | EAFNOSUPPORT)])
    return [*lines, (RETURN, 0, 0, ALLOW)]


def _of_call(number: int, argument: int, body: list[Instruction]) -> list[Instruction]:
    """Lines for one call that look at the lower half of one argument. The body must end in RETURN."""
    load = (LOAD, 0, 0, OFFSET_ARGUMENTS + 8 * argument)  # little-endian, as both machines are
    return [(JUMP_EQUAL, 0, len(body) + 1, number), load, *body]


class _Program(ctypes.Structure):
    _fields_ = (("length", ctypes.c_ushort), ("filter", ctypes.c_void_p))


_libc = ctypes.CDLL(None, use_errno=True)
_libc.syscall.restype = ctypes.c_long


def install(architecture: str, program: bytes) -> None:
    """Put a filter on the calling *thread* and all that it starts; no-new-privileges must be set. For good.

    Raises Unsupported where the kernel has no seccomp filters.
    """
    buffer = ctypes.create_string_buffer(program, len(program))
    described = _Program(len(program) // 8, ctypes.addressof(buffer))
    number = SECCOMP[ARCHITECTURES[architecture][0]]
    if _libc.syscall(number, SECCOMP_SET_MODE_FILTER, 0, ctypes.byref(described)) != 0:
        raise Unsupported(f"installing a system call filter: {os.strerror(ctypes.get_errno())}")
