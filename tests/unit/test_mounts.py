"""The pure parts of mounts, network namespaces, pidfds, root file systems and seccomp."""

import os
import struct
import subprocess
import sys
from ipaddress import IPv4Address, IPv4Interface
from pathlib import Path

import pytest

from yurt.drivers.container.endings import ending, halt_signal
from yurt.drivers.container.rootfs import shifted_capability
from yurt.drivers.container.seccomp import ABSENT, CLONE_NEW_ANY, seccomp_profile
from yurt.errors import Busy, Denied, Exhausted, Internal, NotFound, Unsupported, YurtError
from yurt.host import mounts, netns, pidfd, proc


def test_overlay_options_escape_what_means_something() -> None:
    lower, upper, work = Path("/a:b"), Path("/c,d"), Path("/e\\f")
    assert mounts.overlay_options(lower, upper, work) == "lowerdir=/a\\:b,upperdir=/c\\,d,workdir=/e\\\\f"


def test_the_loop_configuration_is_as_large_as_the_kernel_wants_and_clears_itself() -> None:
    config = mounts.loop_config(7)
    assert len(config) == 304
    assert struct.unpack_from("=II", config) == (7, 0)
    (flags,) = struct.unpack_from("=I", config, 8 + 5 * 8 + 3 * 4)
    assert flags == mounts.LO_FLAGS_AUTOCLEAR


@pytest.mark.parametrize(
    ("number", "kind"),
    [
        (1, Denied),
        (22, Unsupported),
        (38, Unsupported),
        (28, Exhausted),
        (16, Busy),
        (2, NotFound),
        (5, Internal),
    ],
)
def test_errors_of_the_kernel_become_ours(number: int, kind: type[YurtError]) -> None:
    error = mounts._error(number, "mounting x")
    assert type(error) is kind
    assert error.message == f"mounting x: {os.strerror(number)}"


def test_what_is_not_mounted_can_be_unmounted(tmp_path: Path) -> None:
    mounts.unmount(tmp_path / "nothing")


def test_structures_have_the_kernels_sizes() -> None:
    assert netns.interface_request(b"tap0", b"\1\0") == b"tap0" + bytes(12) + b"\1" + bytes(23)
    route = netns.default_route(IPv4Address("10.0.2.2"))
    assert len(route) == 120
    assert route[8 + 16 : 8 + 32] == b"\2\0\0\0\x0a\0\2\2" + bytes(8)  # the gateway, after the destination
    assert struct.unpack_from("=H", route, 56) == (netns.RTF_UP | netns.RTF_GATEWAY,)


def test_a_process_that_is_gone_has_no_network() -> None:
    with pytest.raises(NotFound):
        netns.configure_ipv4(2**22 + 1, "tap0", IPv4Interface("10.0.2.15/24"), IPv4Address("10.0.2.2"), 1500)


@pytest.mark.parametrize(
    ("script", "status"), [("import os; os._exit(7)", 7), ("import os; os.kill(os.getpid(), 9)", -9)]
)
def test_how_a_process_ended_is_known_until_it_is_collected(script: str, status: int) -> None:
    child = subprocess.Popen([sys.executable, "-I", "-S", "-c", f"input(); {script}"], stdin=subprocess.PIPE)
    try:
        start = proc.process_start(child.pid)
        assert start is not None and child.stdin is not None
        descriptor = os.pidfd_open(child.pid)
        assert pidfd.exit_status(descriptor, child.pid, start) is None
        child.stdin.write(b"\n")
        child.stdin.close()
        os.waitid(os.P_PIDFD, descriptor, os.WEXITED | os.WNOWAIT)
        assert pidfd.exit_status(descriptor, child.pid, start) == status
    finally:
        child.wait()
    assert pidfd.exit_status(descriptor, child.pid, start) in (status, None)  # None before Linux 6.15
    os.close(descriptor)


def test_file_capabilities_are_made_for_the_shifted_root() -> None:
    version_2 = struct.pack("<5I", 0x02000001, 1 << 13, 0, 0, 0)
    assert shifted_capability(version_2, 70000) == struct.pack("<6I", 0x03000001, 1 << 13, 0, 0, 0, 70000)
    version_3 = version_2 + struct.pack("<I", 5)
    assert shifted_capability(version_3, 70000)[20:] == struct.pack("<I", 70000)


def test_how_a_container_ended_in_words() -> None:
    assert ending(None, killed=False).exit_code is None
    assert ending(3, killed=False).exit_code == 3
    assert (ending(-2, killed=False).exit_code, ending(-2, killed=False).reason) == (0, "")  # its init halted
    crashed = ending(-11, killed=False)
    assert crashed.exit_code == 139 and "SIGSEGV" in crashed.reason
    assert ending(-9, killed=True).reason == ""
    assert halt_signal(None) == 15


def test_new_namespaces_are_denied_one_by_one_and_old_ways_stay_open() -> None:
    rules = seccomp_profile("x86_64")["syscalls"]
    masks = {rule["args"][0]["value"] for rule in rules if "unshare" in rule["names"]}
    assert sum(masks) == CLONE_NEW_ANY and all(mask & (mask - 1) == 0 for mask in masks)
    absent = next(rule for rule in rules if "clone3" in rule["names"])
    assert absent["errnoRet"] == 38 and set(absent["names"]) == set(ABSENT)
    plain = {name for rule in rules if "args" not in rule for name in rule["names"]}
    assert {"mount", "bpf", "init_module", "keyctl", "open_by_handle_at"} <= plain
    assert not {"clone", "fork", "execve", "socket", "ptrace", "chroot", "reboot"} & plain
    assert seccomp_profile("riscv64")["architectures"] == []
