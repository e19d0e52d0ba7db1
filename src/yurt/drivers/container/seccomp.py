"""The system calls a container may not make; pure data and one function that renders it for an OCI runtime.

A list of denials, because a guest that boots a whole distribution needs nearly everything else. What is denied
reaches the kernel's wide-open parts (new user namespaces, mounts, eBPF, io_uring, module loading, keyrings) or has
a state that is not namespaced (time, swap, accounting). Capabilities deny most of it a second time.
"""

from typing import Any

EPERM, ENOSYS, EAFNOSUPPORT = 1, 38, 97
AF_ALG, AF_VSOCK = 38, 40
TIOCSTI, TIOCLINUX = 0x5412, 0x541C
CLONE_NEW_ANY = 0x7E020080  # NEWTIME | NEWNS | NEWCGROUP | NEWUTS | NEWIPC | NEWUSER | NEWPID | NEWNET

# a program that gets ENOSYS takes its older way; EPERM would make it fail
ABSENT = ("clone3", "io_uring_enter", "io_uring_register", "io_uring_setup")
_FORBIDDEN = """
_sysctl acct add_key adjtimex bpf clock_adjtime clock_adjtime64 clock_settime clock_settime64 create_module
delete_module fanotify_init finit_module fsconfig fsmount fsopen fspick get_kernel_syms get_mempolicy init_module
ioperm iopl kcmp kexec_file_load kexec_load keyctl lookup_dcookie mbind migrate_pages modify_ldt mount
mount_setattr move_mount move_pages nfsservctl open_by_handle_at open_tree perf_event_open pidfd_getfd pivot_root
process_vm_readv process_vm_writev query_module quotactl quotactl_fd request_key set_mempolicy
set_mempolicy_home_node setns settimeofday stime swapoff swapon sysfs syslog umount umount2 uselib userfaultfd
ustat vhangup vm86 vm86old
"""
FORBIDDEN = tuple(_FORBIDDEN.split())
# what running containers takes: all of it works on the container's own namespaces only
NESTED = frozenset(
    """
    clone3 fsconfig fsmount fsopen fspick keyctl mount mount_setattr move_mount open_tree pivot_root setns umount umount2
    """.split()
)
ARCHITECTURES = {
    "x86_64": ("SCMP_ARCH_X86_64", "SCMP_ARCH_X86"),
    "aarch64": ("SCMP_ARCH_AARCH64", "SCMP_ARCH_ARM"),
}


def seccomp_profile(architecture: str, *, nesting: bool = False) -> dict[str, Any]:
    """The OCI `linux.seccomp` object for a machine (`x86_64`, `aarch64`). Calls of other ABIs (x32) end the program.

    `nesting` leaves it namespaces and mounts of its own.
    (`Any`: the object is JSON of another project's schema.)
    """

    def masked(index: int, value: int, mask: int) -> list[dict[str, Any]]:
        return [{"index": index, "value": mask, "valueTwo": value, "op": "SCMP_CMP_MASKED_EQ"}]

    def equal(index: int, value: int) -> list[dict[str, Any]]:
        return [{"index": index, "value": value, "op": "SCMP_CMP_EQ"}]

    def deny(names: list[str], errno: int, args: list[dict[str, Any]] | None = None) -> dict[str, Any]:
        rule: dict[str, Any] = {"names": names, "action": "SCMP_ACT_ERRNO", "errnoRet": errno}
        return rule | ({"args": args} if args else {})

    flags = [1 << bit for bit in range(32) if CLONE_NEW_ANY >> bit & 1]
    left = NESTED if nesting else frozenset()
    rules = [
        deny([name for name in names if name not in left], errno)
        for names, errno in ((ABSENT, ENOSYS), (FORBIDDEN, EPERM))
    ]
    if not nesting:
        rules += [deny(["clone", "unshare"], EPERM, masked(0, flag, flag)) for flag in flags]
    rules += [deny(["socket"], EAFNOSUPPORT, equal(0, family)) for family in (AF_ALG, AF_VSOCK)]
    rules += [deny(["ioctl"], EPERM, masked(1, number, 0xFFFFFFFF)) for number in (TIOCSTI, TIOCLINUX)]
    return {
        "defaultAction": "SCMP_ACT_ALLOW",
        "architectures": list(ARCHITECTURES.get(architecture, ())),
        "syscalls": rules,
    }
