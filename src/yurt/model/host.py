"""What this host can do."""

import msgspec


class Accelerator(msgspec.Struct, frozen=True, kw_only=True):
    """The verdict of the accelerator probe. `name` is `kvm` or `tcg`; `reason` is one line for people."""

    name: str
    reason: str
    probed: bool = True


class CgroupLayout(msgspec.Struct, frozen=True, kw_only=True):
    """How control groups are mounted.

    `version` 2: `root` is the cgroup2 mount. `version` 1 (also for hybrid): one mount per controller.
    `own` gives our own path per controller (key `""` for version 2), below which we nest; `mounts` gives
    each controller's mount point, with the same keys. Paths in `own` are relative to that mount.
    """

    version: int
    hybrid: bool
    root: str
    controllers: tuple[str, ...]
    own: dict[str, str]
    mounts: dict[str, str] = {}


class HostFacts(msgspec.Struct, frozen=True, kw_only=True):
    """Facts found once per daemon start. Memory and disk in bytes; `tools` maps a program to its path."""

    hostname: str
    architecture: str
    kernel: str
    boot_id: str
    cpus: int
    memory_bytes: int
    root: bool
    rootless: bool = False  # root only in a user namespace of our own, which has so many `ids`
    ids: int = 1 << 32
    cgroups: CgroupLayout
    tools: dict[str, str]
    qemu_version: str
    tsc_khz: int
    user_namespaces: bool
    overlay: bool
    distribution: str


class Check(msgspec.Struct, frozen=True, kw_only=True):
    """One line of `yurt doctor`. `status` is `ok`, `warn` or `fail`; `fix` is a command or empty."""

    name: str
    status: str
    detail: str
    fix: str = ""
