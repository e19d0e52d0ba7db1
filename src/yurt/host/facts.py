"""What this host can do: processors, memory, programs, control groups, namespaces.

Found once per daemon start, so it must be cheap. What costs (QEMU's version 16 ms, the time stamp counter's rate
10 ms) is kept in the run directory for this boot of the host. Whether KVM works is not decided here: that takes a guest.
"""

import asyncio
import importlib.util
import os
import platform
import re
from collections.abc import Iterable, Mapping
from pathlib import Path

import msgspec

from yurt.errors import YurtError
from yurt.host import cgroup, files, proc, tsc
from yurt.host.data import data_path
from yurt.host.layout import Layout
from yurt.host.packages import parse_packages
from yurt.host.rootless import current_ids
from yurt.model.host import CgroupLayout, HostFacts

# programs that a kind can use in place of one in the list, or that only some hosts have
OPTIONAL_TOOLS = ("passt", "pasta", "runc", "newuidmap", "newgidmap", "nft", "ip", "systemctl", "apt-get")
NO_CGROUPS = CgroupLayout(version=0, hybrid=False, root="", controllers=(), own={})


class _Remembered(msgspec.Struct, frozen=True):
    """What facts.json keeps. `qemu` is the program's path, size and change time, as they were when it told its version."""

    boot_id: str = ""
    tsc_khz: int = 0
    qemu: tuple[str, int, int] = ("", 0, 0)
    qemu_version: str = ""


async def find_facts(layout: Layout) -> HostFacts:
    """Find out what this host can do. Makes nothing but `facts.json`, and that only where the run directory exists.

    Never fails for something missing: an absent program is absent from `tools`, a host without control groups has
    version 0. About 10 ms, the first time after a boot 40 ms.
    """
    memory, kernel, ids = _read("/proc/meminfo"), platform.release(), current_ids()
    tools = await asyncio.to_thread(find_tools, needed_programs(), proc.CLEAN_ENVIRONMENT["PATH"])
    remembered = await _remember(layout, tools)
    return HostFacts(
        hostname=platform.node(),
        architecture=platform.machine(),
        kernel=kernel,
        boot_id=remembered.boot_id,
        cpus=len(os.sched_getaffinity(0)),
        memory_bytes=memory_of_meminfo(memory),
        root=os.geteuid() == 0,
        rootless=ids.rootless,
        ids=ids.total,
        cgroups=_cgroups(),
        tools=tools,
        qemu_version=remembered.qemu_version,
        tsc_khz=remembered.tsc_khz,
        user_namespaces=user_namespaces_of(_sysctls(), root=os.geteuid() == 0),
        overlay=overlay_of(_read("/proc/filesystems"), has_module=_has_module(kernel, "overlay")),
        distribution=distribution_of(_read("/etc/os-release")),
    )


def needed_programs() -> tuple[str, ...]:
    """Every program or file that tools/packages.txt or OPTIONAL_TOOLS names."""
    return (
        *(package.need for package in parse_packages(data_path("tools/packages.txt").read_text())),
        *OPTIONAL_TOOLS,
    )


def find_tools(wanted: Iterable[str], search_path: str) -> dict[str, str]:
    """Map each wanted program (by name) or file (by path) that is there to its path."""
    found = {}
    for need in wanted:
        if need == "python3-ensurepip":  # no program: whether this Python can make environments
            places = ["ensurepip"] if importlib.util.find_spec("ensurepip") else []
        elif need.startswith("/"):
            places = [need] if Path(need).exists() else []
        else:
            candidates = (f"{directory}/{need}" for directory in search_path.split(":"))
            places = [place for place in candidates if os.access(place, os.X_OK) and Path(place).is_file()]
        if places:
            found[need] = places[0]
    return found


async def _remember(layout: Layout, tools: Mapping[str, str]) -> _Remembered:
    """Take what an earlier daemon of this boot wrote down, find out what has changed, and write that down."""
    try:
        known = msgspec.json.decode(layout.facts_cache.read_bytes(), type=_Remembered)
    except (OSError, msgspec.MsgspecError):
        known = _Remembered()
    now = known
    # YURT_BOOT_ID lets a test boot the host without booting it
    boot_id = os.environ.get("YURT_BOOT_ID") or _read("/proc/sys/kernel/random/boot_id").strip()
    if not known.tsc_khz or known.boot_id != boot_id:
        now = msgspec.structs.replace(now, boot_id=boot_id, tsc_khz=await asyncio.to_thread(tsc.find_tsc_khz))
    stamp = _stamp(tools.get("qemu-system-x86_64", ""))
    if known.qemu != stamp:
        now = msgspec.structs.replace(now, qemu=stamp, qemu_version=await _qemu_version(stamp[0]))
    if now != known and layout.run.is_dir():
        files.write_atomic(layout.facts_cache, msgspec.json.encode(now), durable=False)
    return now


def _stamp(program: str) -> tuple[str, int, int]:
    if not program:
        return ("", 0, 0)
    status = Path(program).stat()
    return (program, status.st_size, status.st_mtime_ns)


async def _qemu_version(program: str) -> str:
    if not program:
        return ""
    try:
        finished = await proc.run([program, "--version"], timeout_s=20)
    except YurtError:  # a QEMU that cannot even say this is as good as none; doctor shows an empty version
        return ""
    return version_of_qemu(finished.stdout.decode(errors="replace"))


def _cgroups() -> CgroupLayout:
    try:
        layout = cgroup.detect_layout()
    except YurtError:
        return NO_CGROUPS
    # a hierarchy in which we may make nothing is as good as none: an ordinary user's, unless systemd delegated a part
    own = [Path(layout.mounts[key] + layout.own[key]) for key in layout.controllers if key in layout.own]
    ours = own if layout.version == 1 else [Path(layout.mounts[""] + layout.own[""])]
    if all(os.access(path, os.W_OK) for path in ours):
        return layout
    return msgspec.structs.replace(layout, version=0, controllers=())


def _read(path: str) -> str:
    try:
        return Path(path).read_text(errors="replace")
    except OSError:
        return ""


def _sysctls() -> dict[str, str]:
    names = (
        "user/max_user_namespaces",
        "kernel/unprivileged_userns_clone",
        "kernel/apparmor_restrict_unprivileged_userns",
    )
    return {name: text for name in names if (text := _read(f"/proc/sys/{name}").strip())}


def _has_module(kernel: str, name: str) -> bool:
    """Whether the kernel's module list has it. `modules.dep` is one file, where searching the tree would be hundreds."""
    return f"/{name}.ko" in _read(f"/lib/modules/{kernel}/modules.dep")


def version_of_qemu(text: str) -> str:
    """Return `7.2.22` out of what `qemu-system-x86_64 --version` prints, or nothing. Pure."""
    found = re.search(r"version (\d+(?:\.\d+)+)", text)
    return found[1] if found else ""


def memory_of_meminfo(text: str) -> int:
    """Return the host's memory in bytes out of /proc/meminfo; 0 when it does not say. Pure."""
    found = re.search(r"^MemTotal:\s+(\d+) kB", text, re.MULTILINE)
    return int(found[1]) << 10 if found else 0


def distribution_of(text: str) -> str:
    """Return the distribution's name for people out of /etc/os-release. Pure."""
    found = re.search(r'^PRETTY_NAME=(["\']?)(.*)\1$', text, re.MULTILINE)
    return found[2] if found else "unknown"


def user_namespaces_of(sysctls: Mapping[str, str], *, root: bool) -> bool:
    """Whether this user may make user namespaces, by the kernel's settings (an absent one forbids nothing). Pure."""
    if sysctls.get("user/max_user_namespaces", "0") == "0":
        return False
    if root:
        return True
    return (
        sysctls.get("kernel/unprivileged_userns_clone", "1") != "0"
        and sysctls.get("kernel/apparmor_restrict_unprivileged_userns", "0") == "0"
    )


def overlay_of(filesystems: str, *, has_module: bool) -> bool:
    """Whether the kernel has overlayfs, built in, loaded, or as a module it can load. Pure."""
    return has_module or any(line.split()[-1:] == ["overlay"] for line in filesystems.splitlines())
