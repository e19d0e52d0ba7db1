"""Spec to OCI runtime config. Pure: no I/O, no clock; golden files in tests/golden/crun show the result.

PID 1 is always yurt-agent, bind-mounted into the container's /dev so that no trace of it gets into the image's
tree. Limits are not in here: the process is born into its control group (host/cgroup.py), which works alike on
version 1, hybrid and 2. Source: OCI runtime specification 1.0.2.
"""

from typing import Any

import msgspec

from yurt.drivers.base import Attachments
from yurt.drivers.container.seccomp import seccomp_profile
from yurt.drivers.trees import place_of, trees_of
from yurt.model.host import CgroupLayout
from yurt.model.instance import Init, Privilege, ResolvedSpec

AGENT_PATH = "/dev/.yurt/agent"
DEFAULT_PIDS = 4096
USUAL_SOFT_FILES = 1024
AGENT_FDS = 2  # 3: the listening agent socket, 4: the boot config
# Enough to install packages and run services as other users. Left out of the list that OCI engines commonly give:
# MKNOD (useless in a user namespace). NET_RAW stays for ping: it reaches only the container's own network namespace.
CAPABILITIES = (
    "CAP_AUDIT_WRITE",
    "CAP_CHOWN",
    "CAP_DAC_OVERRIDE",
    "CAP_FOWNER",
    "CAP_FSETID",
    "CAP_KILL",
    "CAP_NET_BIND_SERVICE",
    "CAP_NET_RAW",
    "CAP_SETFCAP",
    "CAP_SETGID",
    "CAP_SETPCAP",
    "CAP_SETUID",
    "CAP_SYS_CHROOT",
)
# what running containers takes besides, all of it inside the container's own user namespace
NESTING_CAPABILITIES = (
    "CAP_DAC_READ_SEARCH",
    "CAP_IPC_OWNER",
    "CAP_LINUX_IMMUTABLE",
    "CAP_MKNOD",
    "CAP_NET_ADMIN",
    "CAP_NET_BROADCAST",
    "CAP_SYS_ADMIN",
    "CAP_SYS_NICE",
    "CAP_SYS_PTRACE",
    "CAP_SYS_RESOURCE",
)
# reboot(2) ends only the pid namespace it is called in, and tells a halt from a restart; an init needs it to finish
INIT_CAPABILITIES = ("CAP_SYS_BOOT",)
MASKED_PATHS = (
    "/proc/acpi",
    "/proc/asound",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/sched_debug",
    "/proc/scsi",
    "/proc/timer_list",
    "/sys/firmware",
    "/sys/devices/virtual/powercap",
)
READONLY_PATHS = ("/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger")
# null zero full random urandom tty, pseudo-terminals; for the device controller of control groups version 1
DEVICE_RULES = (
    "c 1:3 rwm",
    "c 1:5 rwm",
    "c 1:7 rwm",
    "c 1:8 rwm",
    "c 1:9 rwm",
    "c 5:0 rwm",
    "c 5:2 rwm",
    "c 136:* rwm",
)
PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


class BundleFacts(msgspec.Struct, frozen=True, kw_only=True):
    """What the config depends on besides the spec."""

    rootfs: str  # where the root is mounted in the runtime's mount namespace
    userns: str  # path of the user namespace to join
    architecture: str  # as `uname -m` says it
    hybrid: bool  # both versions of control groups are mounted
    open_files: int  # the hard limit of open files that we have ourselves


def systemd_arguments(layout: CgroupLayout) -> tuple[str, ...]:
    """Arguments that make systemd, as a container's init, use the control groups it was given.

    On a hybrid host it works in the unified hierarchy (hybrid mode): without that it would never be told that a
    delegated unit is empty, and shutting down would wait for the user manager's timeout.
    """
    if layout.version == 2:
        return ()
    if layout.hybrid:
        return ("systemd.unified_cgroup_hierarchy=0",)
    return ("systemd.unified_cgroup_hierarchy=0", "systemd.legacy_systemd_cgroup_controller=1")


def boots_systemd(spec: ResolvedSpec) -> bool:
    return spec.systemd and spec.init is Init.IMAGE


def nests(spec: ResolvedSpec) -> bool:
    """Whether it may run containers itself."""
    return Privilege.NESTING in spec.privileges


def runtime_config(
    spec: ResolvedSpec, hostname: str, attachments: Attachments, facts: BundleFacts
) -> dict[str, Any]:
    """The whole config.json of one container. (`Any`: JSON of another project's schema.)"""
    systemd, nesting = boots_systemd(spec), nests(spec)
    return {
        "ociVersion": "1.0.2",
        "hostname": hostname,
        "root": {"path": facts.rootfs, "readonly": False},
        "process": _process(spec, facts),
        "mounts": [
            *_mounts(systemd, facts.hybrid, str(attachments.agent_binary), nesting=nesting),
            *_tree_mounts(attachments),
        ],
        "linux": {
            "namespaces": [
                {"type": "user", "path": facts.userns},
                *({"type": kind} for kind in ("pid", "ipc", "uts", "mount", "network", "cgroup")),
            ],
            "seccomp": seccomp_profile(facts.architecture, nesting=nesting),
            # the kernel lets nobody mount a /proc that shows more than the one there is
            "maskedPaths": [] if nesting else list(MASKED_PATHS),
            # systemd mounts over and writes below some of these; ownership protects them in a user namespace
            "readonlyPaths": [] if systemd or nesting else list(READONLY_PATHS),
        },
    }


def _process(spec: ResolvedSpec, facts: BundleFacts) -> dict[str, Any]:
    capabilities = [*CAPABILITIES, *(INIT_CAPABILITIES if spec.init is Init.IMAGE else ())]
    capabilities += NESTING_CAPABILITIES if nests(spec) else ()
    return {
        "terminal": False,
        "user": {"uid": 0, "gid": 0, "umask": 0o022},
        "args": [AGENT_PATH, "--container"],
        "env": [f"PATH={PATH}", "container=oci"],
        "cwd": "/",
        "capabilities": dict.fromkeys(("bounding", "effective", "permitted"), capabilities),
        "rlimits": _rlimits(spec, facts),
        "noNewPrivileges": False,  # su and sudo are part of a guest; they rise only inside the user namespace
    }


def _rlimits(spec: ResolvedSpec, facts: BundleFacts) -> list[dict[str, Any]]:
    """Every program of the guest inherits these from its first one."""

    def limit(kind: str, soft: int, hard: int) -> dict[str, Any]:
        return {"type": f"RLIMIT_{kind}", "soft": soft, "hard": hard}

    files, processes = spec.limits.open_files, spec.limits.processes
    return [
        limit("NOFILE", files or min(USUAL_SOFT_FILES, facts.open_files), files or facts.open_files),
        limit("CORE", 0, 0),
        *([limit("NPROC", processes, processes)] if processes else []),
    ]


def _mounts(systemd: bool, hybrid: bool, agent: str, *, nesting: bool) -> list[dict[str, Any]]:
    def tmpfs(destination: str, *options: str) -> dict[str, Any]:
        return _mount(destination, "tmpfs", "tmpfs", "nosuid", "nodev", *options)

    mounts = [
        _mount("/proc", "proc", "proc", "nosuid", "noexec", "nodev"),
        _mount("/dev", "tmpfs", "tmpfs", "nosuid", "noexec", "strictatime", "mode=755", "size=4m"),
        _mount(
            "/dev/pts",
            "devpts",
            "devpts",
            "nosuid",
            "noexec",
            "newinstance",
            "ptmxmode=0666",
            "mode=0620",
            "gid=5",
        ),
        _mount("/dev/mqueue", "mqueue", "mqueue", "nosuid", "noexec", "nodev"),
        tmpfs("/dev/shm", "noexec", "mode=1777"),
        _mount("/sys", "sysfs", "sysfs", "nosuid", "noexec", "nodev", "ro"),
        _mount(
            "/sys/fs/cgroup",
            "cgroup",
            "cgroup",
            "nosuid",
            "noexec",
            "nodev",
            "relatime",
            "rw" if systemd or nesting else "ro",
        ),
        _mount(AGENT_PATH, "bind", agent, "bind", "ro", "nosuid", "nodev"),
    ]
    if systemd and hybrid:
        unified = ("nosuid", "noexec", "nodev", "relatime", "rw")
        mounts.append(_mount("/sys/fs/cgroup/unified", "cgroup2", "cgroup2", *unified))
    if systemd:
        mounts += [
            tmpfs("/run", "mode=755"),
            tmpfs("/run/lock", "noexec", "mode=1777", "size=5m"),
            tmpfs("/tmp", "mode=1777"),
        ]
    return mounts


def _tree_mounts(attachments: Attachments) -> list[dict[str, Any]]:
    """Volumes and shares; they lie mounted, with their owners mapped, in the run directory."""
    return [
        _mount(
            tree.target,
            "bind",
            str(place_of(attachments.run_dir, number)),
            "bind",
            "nodev",
            *(() if tree.mapped else ("nosuid",)),
            "ro" if tree.read_only else "rw",
        )
        for number, tree in enumerate(trees_of(attachments))
    ]


def _mount(destination: str, kind: str, source: str, *options: str) -> dict[str, Any]:
    return {"destination": destination, "type": kind, "source": source, "options": list(options)}
