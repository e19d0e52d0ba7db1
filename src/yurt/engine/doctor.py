"""`yurt doctor`: what this host can do, what is missing, and the exact command that mends it.

Every check is a pure function of facts and a few readings; `checks` takes the readings and calls them in the order in
which a person would mend things. Nothing here goes to the network or changes anything.
"""

import asyncio
import os
import time
from pathlib import Path

import msgspec

from yurt.host.data import data_path
from yurt.host.ids import CONTAINER_IDS
from yurt.host.layout import Layout
from yurt.host.memory import available_bytes
from yurt.host.packages import Package, install_command, missing_packages, parse_packages
from yurt.host.space import free_bytes
from yurt.model.host import Accelerator, Check, HostFacts
from yurt.network.service import unfit
from yurt.units import format_size

OK, WARN, FAIL = "ok", "warn", "fail"
PARTS = {
    "microvm": "run microVMs",
    "container": "run containers",
    "vm": "run virtual machines",
    "image": "build images",
    "agent": "build yurt-agent",
    "networks": "have networks with addresses and names",
}
OLDEST_QEMU = (7, 2)
SPACE_WANTED = 4 << 30  # the debian image with all its forms, and a few guests
MEMORY_WANTED = 1 << 30
GUESTS_IN_BYTES = 512 << 20


class Readings(msgspec.Struct, frozen=True, kw_only=True):
    """What the checks need and facts do not have, because it changes while the daemon runs. Bytes and seconds."""

    free_bytes: int
    available_bytes: int
    clock: float  # seconds since the epoch, as the host believes
    installed_at: float  # when yurt's own files were written
    tun: bool
    kvm: bool
    sources: bool  # apt knows where packages come from
    kernels: tuple[str, ...]
    socket_mode: int | None  # None: there is no socket


async def checks(facts: HostFacts, layout: Layout, accelerator: Accelerator | None) -> list[Check]:
    """Check everything that guests need. `accelerator` is None when it could not be measured."""
    packages = parse_packages(data_path("tools/packages.txt").read_text())
    return judge(facts, layout, accelerator, packages, await asyncio.to_thread(read, layout))


def read(layout: Layout) -> Readings:
    """Take the readings. Makes and changes nothing."""
    kernels = (
        [entry.name for entry in layout.kernels.iterdir() if entry.is_dir()]
        if layout.kernels.is_dir()
        else []
    )
    return Readings(
        free_bytes=free_bytes(layout.state),
        available_bytes=available_bytes(),
        clock=time.time(),
        installed_at=Path(__file__).stat().st_mtime,
        tun=os.access("/dev/net/tun", os.R_OK | os.W_OK),
        kvm=os.access("/dev/kvm", os.R_OK | os.W_OK),
        sources=_has_sources(Path("/etc/apt")),
        kernels=tuple(sorted(name for name in kernels if not name.startswith("."))),
        socket_mode=layout.socket.stat().st_mode & 0o777 if layout.socket.exists() else None,
    )


def _has_sources(apt: Path) -> bool:
    listed = (apt / "sources.list", *sorted((apt / "sources.list.d").glob("*.list")))
    deb822 = sorted((apt / "sources.list.d").glob("*.sources"))
    return any(
        any(line.lstrip().startswith("deb ") for line in path.read_text(errors="replace").splitlines())
        for path in listed
        if path.is_file()
    ) or any("URIs:" in path.read_text(errors="replace") for path in deb822)


def judge(
    facts: HostFacts,
    layout: Layout,
    accelerator: Accelerator | None,
    packages: tuple[Package, ...],
    readings: Readings,
) -> list[Check]:
    """All checks, in the order in which they are shown. Pure."""
    return [
        host(facts),
        *(programs(part, facts, packages) for part in PARTS),
        qemu(facts),
        acceleration(accelerator, readings),
        tsc(facts, accelerator),
        cgroups(facts),
        user_namespaces(facts),
        overlay(facts),
        network(facts, readings),
        sources(readings),
        space(layout, readings),
        memory(facts, readings),
        clock(readings),
        daemon(layout, readings),
    ]


def host(facts: HostFacts) -> Check:
    """Which host this is; only x86-64 can run yurt's kernels today."""
    detail = f"{facts.distribution}, Linux {facts.kernel}, {facts.architecture}, {facts.cpus} CPUs"
    if facts.architecture != "x86_64":
        return Check(name="host", status=FAIL, detail=f"{detail}: only x86_64 hosts run guests")
    if not facts.root:
        return Check(
            name="host",
            status=FAIL,
            detail=f"{detail}; an ordinary user's yurt needs user namespaces, and this host refuses them",
            fix="sysctl -w user.max_user_namespaces=15000 (Ubuntu: kernel.apparmor_restrict_unprivileged_userns=0), "
            "or run yurt as root",
        )
    if facts.rootless and facts.ids < CONTAINER_IDS:
        return Check(
            name="host",
            status=WARN,
            detail=f"{detail}; without root and with {facts.ids} user id: no image of many users can be built or run",
            fix="apt-get install uidmap; usermod --add-subuids 100000-165535 --add-subgids 100000-165535 USER",
        )
    if facts.rootless:
        detail += f"; without root, with {facts.ids} user ids: user-mode networks only (docs/rootless.md)"
    return Check(name="host", status=OK, detail=detail)


def programs(part: str, facts: HostFacts, packages: tuple[Package, ...]) -> Check:
    """Whether all programs that one part of yurt needs are there. Pure."""
    missing = missing_packages(packages, facts.tools, part)
    if not missing:
        return Check(name=part, status=OK, detail=f"every program to {PARTS[part]} is installed")
    listed = ", ".join(f"{package.need} ({package.why})" for package in missing)
    status = WARN if part == "networks" else FAIL  # without them guests reach out in user mode
    return Check(
        name=part, status=status, detail=f"to {PARTS[part]} it lacks {listed}", fix=install_command(missing)
    )


def qemu(facts: HostFacts) -> Check:
    """Whether QEMU is there, answers, and is new enough. Pure."""
    if "qemu-system-x86_64" not in facts.tools:
        return Check(
            name="qemu",
            status=FAIL,
            detail="not installed",
            fix="apt-get install --no-install-recommends qemu-system-x86",
        )
    program = facts.tools["qemu-system-x86_64"]
    if not facts.qemu_version:
        return Check(
            name="qemu",
            status=FAIL,
            detail=f"`{program} --version` fails",
            fix="apt-get install --reinstall qemu-system-x86",
        )
    version = tuple(int(number) for number in facts.qemu_version.split(".")[:2])
    if version < OLDEST_QEMU:
        least = ".".join(map(str, OLDEST_QEMU))
        return Check(
            name="qemu",
            status=FAIL,
            detail=f"version {facts.qemu_version}; yurt needs {least} or later",
            fix="apt-get install qemu-system-x86",
        )
    return Check(name="qemu", status=OK, detail=f"version {facts.qemu_version} at {program}")


def acceleration(accelerator: Accelerator | None, readings: Readings) -> Check:
    """The verdict on KVM, with its reason. TCG works and is slow, so it warns. Pure."""
    if accelerator is None:
        return Check(name="accelerator", status=WARN, detail="not measured: there is no QEMU to measure with")
    if accelerator.name == "kvm":
        return Check(name="accelerator", status=OK, detail=f"KVM: {accelerator.reason}")
    detail = f"TCG, which is slow, because {accelerator.reason}"
    if not readings.kvm:
        detail += "; it takes virtualization enabled in the firmware (in a guest: nested virtualization in its host)"
    return Check(name="accelerator", status=WARN, detail=detail)


def tsc(facts: HostFacts, accelerator: Accelerator | None) -> Check:
    """A microVM under TCG hangs when nobody tells it the rate of the time stamp counter. Pure."""
    if facts.tsc_khz:
        return Check(name="tsc", status=OK, detail=f"{facts.tsc_khz / 1000:.3f} MHz")
    slow = accelerator is None or accelerator.name == "tcg"
    return Check(
        name="tsc",
        status=WARN,
        detail="rate unknown" + ("; microVMs may hang while booting, `--as vm` does not" if slow else ""),
    )


def cgroups(facts: HostFacts) -> Check:
    """Which control groups there are and which limits they can hold. Pure."""
    layout = facts.cgroups
    if layout.version == 0 and facts.rootless:
        return Check(
            name="cgroups",
            status=WARN,
            detail="none that this user may arrange: no limits, no pause, no systemd in containers",
            fix="log in through systemd, or `systemd-run --user --scope -p Delegate=yes yurt daemon`",
        )
    if layout.version == 0:
        return Check(
            name="cgroups",
            status=FAIL,
            detail="no control groups are mounted: no container can start, no limit holds",
            fix="mount -t cgroup2 none /sys/fs/cgroup",
        )
    form = "version 1 beside 2 (hybrid)" if layout.hybrid else f"version {layout.version}"
    lacking = [name for name in ("cpu", "memory", "pids") if name not in layout.controllers]
    if lacking:
        limits = ", ".join(lacking)
        return Check(
            name="cgroups",
            status=WARN,
            detail=f"{form} at {layout.root}, without {limits}: those limits do not hold",
        )
    return Check(
        name="cgroups", status=OK, detail=f"{form} at {layout.root}: {', '.join(layout.controllers)}"
    )


def user_namespaces(facts: HostFacts) -> Check:
    """Containers run in a user namespace of their own. Pure."""
    if facts.user_namespaces:
        return Check(name="user namespaces", status=OK, detail="allowed")
    return Check(
        name="user namespaces",
        status=FAIL,
        detail="forbidden by this host's settings: containers cannot start",
        fix="sysctl -w user.max_user_namespaces=15000"
        + ("" if facts.root else " kernel.unprivileged_userns_clone=1"),
    )


def overlay(facts: HostFacts) -> Check:
    """A container's root is an overlay over its image. Pure."""
    if facts.overlay:
        return Check(name="overlayfs", status=OK, detail="in this kernel")
    return Check(
        name="overlayfs",
        status=FAIL,
        detail="not in this kernel: containers cannot start",
        fix="modprobe overlay",
    )


def network(facts: HostFacts, readings: Readings) -> Check:
    """Managed networks where this host can; in user mode VMs bring their own way out, containers have a helper. Pure."""
    if not readings.tun:
        return Check(
            name="network",
            status=WARN,
            detail="/dev/net/tun cannot be opened: containers have no network but `--network none`",
            fix="modprobe tun",
        )
    helper = next((name for name in ("slirp4netns", "pasta") if name in facts.tools), "")
    if not helper:
        return Check(
            name="network",
            status=WARN,
            detail="no helper for containers: they have no network but `--network none`",
            fix="apt-get install --no-install-recommends slirp4netns",
        )
    reason = unfit(facts)[0]
    default = f"user mode by default: {reason}" if reason else "managed, unless `yurt.toml` says otherwise"
    return Check(
        name="network",
        status=OK,
        detail=f"{default}; in user mode QEMU's own for VMs, {helper} for containers",
    )


def sources(readings: Readings) -> Check:
    """Kernels and the debian image come from apt's sources; whether they answer is not tried here. Pure."""
    if readings.kernels:
        return Check(name="kernels", status=OK, detail=", ".join(readings.kernels))
    if readings.sources:
        return Check(
            name="kernels", status=OK, detail="none yet; the first image build fetches one from apt's sources"
        )
    return Check(
        name="kernels",
        status=FAIL,
        detail="none yet, and apt knows no source to fetch one from",
        fix="list Debian's repository in /etc/apt/sources.list.d/debian.sources",
    )


def space(layout: Layout, readings: Readings) -> Check:
    """Room for images and disks. Pure."""
    detail = f"{format_size(readings.free_bytes)} free at {layout.state}"
    if readings.free_bytes < SPACE_WANTED:
        return Check(
            name="space",
            status=WARN,
            detail=f"{detail}; the debian image wants {format_size(SPACE_WANTED)}",
            fix="yurt image prune",
        )
    return Check(name="space", status=OK, detail=detail)


def memory(facts: HostFacts, readings: Readings) -> Check:
    """Memory for guests, in guests of the default size. Pure."""
    detail = f"{format_size(readings.available_bytes)} of {format_size(facts.memory_bytes)} available"
    if readings.available_bytes < MEMORY_WANTED:
        return Check(
            name="memory",
            status=WARN,
            detail=f"{detail}; that is room for {readings.available_bytes // GUESTS_IN_BYTES} guests of 512M",
        )
    return Check(name="memory", status=OK, detail=detail)


def clock(readings: Readings) -> Check:
    """A clock that lags makes every download fail with a message about certificates. Pure."""
    if readings.clock + 86400 < readings.installed_at:
        return Check(
            name="clock",
            status=FAIL,
            detail="the host's clock is behind the time at which yurt was installed: downloads will fail",
            fix="timedatectl set-ntp true",
        )
    return Check(
        name="clock", status=OK, detail=time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(readings.clock))
    )


def daemon(layout: Layout, readings: Readings) -> Check:
    """The API socket is as powerful as root, so nobody else may open it. Pure."""
    if readings.socket_mode is None:
        return Check(
            name="daemon", status=OK, detail=f"not listening at {layout.socket}; the next command starts it"
        )
    if readings.socket_mode & 0o077:
        return Check(
            name="daemon",
            status=FAIL,
            detail=f"{layout.socket} has mode {readings.socket_mode:04o}: others can open it",
            fix=f"chmod 0600 {layout.socket}",
        )
    return Check(name="daemon", status=OK, detail=f"listening at {layout.socket}")
