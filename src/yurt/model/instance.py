"""Instances: what was asked for (InstanceSpec), what that means here (ResolvedSpec), what is (Observed)."""

from enum import StrEnum
from typing import Annotated

import msgspec
from msgspec import Meta

from yurt.model.limits import Limits
from yurt.model.names import NAME_PATTERN, InstanceId, Name
from yurt.model.network import MAX_NICS, FirewallRule, Nic, NicSpec, PublishedPort
from yurt.model.policy import Policy, PolicyWish
from yurt.model.volume import Share, VolumeUse

GIB = 1 << 30
MIB = 1 << 20
MAX_INT = 2**62


class Kind(StrEnum):
    """What an instance is made of."""

    VM = "vm"
    MICROVM = "microvm"
    CONTAINER = "container"


class Phase(StrEnum):
    """Where an instance stands. What cannot be read is `broken`, with the reason beside it."""

    STOPPED = "stopped"
    STARTING = "starting"
    RUNNING = "running"
    PAUSED = "paused"
    STOPPING = "stopping"
    CRASHED = "crashed"
    BROKEN = "broken"


class Init(StrEnum):
    """What runs as the guest's first program: its own init, or only the command."""

    AUTO = "auto"
    IMAGE = "image"
    COMMAND = "command"


class NetworkMode(StrEnum):
    """`user`: out through the host's own sockets; `managed`: NICs on yurt's networks; `none`: no NIC but loopback."""

    USER = "user"
    MANAGED = "managed"
    NONE = "none"


class Privilege(StrEnum):
    """A wall that a container goes without, each by its own flag.

    `nesting`: it may run containers itself. `privileged`: root in it is root of this host; nothing holds it.
    """

    NESTING = "nesting"
    PRIVILEGED = "privileged"


class AccelMode(StrEnum):
    """Which QEMU accelerator is wished for."""

    AUTO = "auto"
    KVM = "kvm"
    TCG = "tcg"


Cpus = Annotated[int, Meta(ge=1, le=256)]
MemoryBytes = Annotated[int, Meta(ge=32 * MIB, le=16 << 40)]
DiskBytes = Annotated[int, Meta(ge=16 * MIB, le=64 << 40)]
ShortText = Annotated[str, Meta(max_length=4096)]
Argument = Annotated[str, Meta(max_length=128 * 1024)]
Labels = Annotated[dict[str, str], Meta(max_length=64)]
Environment = Annotated[dict[str, Argument], Meta(max_length=512)]
Command = Annotated[tuple[Argument, ...], Meta(max_length=1024)]
Nics = Annotated[tuple[NicSpec, ...], Meta(max_length=MAX_NICS)]
Published = Annotated[tuple[PublishedPort, ...], Meta(max_length=256)]
Rules = Annotated[tuple[FirewallRule, ...], Meta(max_length=256)]
Volumes = Annotated[tuple[VolumeUse, ...], Meta(max_length=32)]
Shares = Annotated[tuple[Share, ...], Meta(max_length=32)]
Privileges = Annotated[tuple[Privilege, ...], Meta(max_length=4)]


class InstanceSpec(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A wish, as a client writes it. Sizes are bytes. `None` means "yurt decides".

    `kind` left out: microvm.

    `network` left out: the host's default. `nics` are for `managed`; none given means one on the network `default`.

    `ephemeral`: the instance is deleted when it ends. `attach`: a client is about to attach to the main
    process, so its output waits for that client (for ten seconds) instead of going to the log only. `profiles` add
    what the wish leaves open; later ones win.
    """

    image: Annotated[str, Meta(min_length=1, max_length=255)]
    # the pattern is only published here: `parse_name` checks it, and says in words what is wrong
    name: Annotated[str, Meta(max_length=255, extra_json_schema={"pattern": NAME_PATTERN})] | None = None
    kind: Kind | None = None
    cpus: Cpus | None = None
    memory_bytes: MemoryBytes | None = None
    disk_bytes: DiskBytes | None = None
    env: Environment = {}
    workdir: ShortText | None = None
    user: Annotated[str, Meta(max_length=255)] | None = None
    labels: Labels = {}
    command: Command = ()
    init: Init = Init.AUTO
    stdin: bool = False
    tty: bool = False
    network: NetworkMode | None = None
    nics: Nics = ()
    publish: Published = ()
    rules: Rules = ()
    limits: Limits = Limits()
    policy: PolicyWish = PolicyWish()
    volumes: Volumes = ()
    shares: Shares = ()
    privileges: Privileges = ()
    profiles: Annotated[tuple[Annotated[str, Meta(max_length=255)], ...], Meta(max_length=16)] = ()
    accel: AccelMode | None = None
    ephemeral: bool = False
    attach: bool = False


class ResolvedSpec(msgspec.Struct, frozen=True, kw_only=True):
    """The same with every default filled in; drivers see only this.

    `boot_command`: the program that is the guest's main process when `init` is COMMAND.
    `disk_bytes` 0 (containers only) means the host's file system sets the limit.
    """

    image: str
    image_digest: str
    kind: Kind
    cpus: int
    memory_bytes: int
    disk_bytes: int
    env: dict[str, str]
    workdir: str
    user: str
    labels: dict[str, str]
    command: tuple[str, ...]
    init: Init  # IMAGE or COMMAND
    init_path: str  # the image's init, such as `/sbin/init`; empty when it has none
    systemd: bool  # that init is systemd
    stdin: bool
    tty: bool
    network: NetworkMode
    accel: AccelMode
    ephemeral: bool
    attach: bool = False
    nics: tuple[Nic, ...] = ()
    publish: tuple[PublishedPort, ...] = ()
    rules: tuple[FirewallRule, ...] = ()
    limits: Limits = Limits()
    policy: Policy = Policy()
    volumes: tuple[VolumeUse, ...] = ()
    shares: tuple[Share, ...] = ()
    privileges: tuple[Privilege, ...] = ()
    profiles: tuple[str, ...] = ()


class PendingSetting(msgspec.Struct, frozen=True, kw_only=True):
    """A setting that the record already has and the running guest does not: what holds until its next start, and why.

    `now` is written as `yurt set` takes it; empty means no limit.
    """

    now: str
    why: str


class Instance(msgspec.Struct, frozen=True, kw_only=True):
    """The stored record of one instance. Times are seconds since the epoch."""

    id: InstanceId
    name: Name
    spec: ResolvedSpec
    phase: Phase
    reason: str = ""  # why it is crashed or broken
    slot: int = 0  # selects its uid and its container id range
    base: str = ""  # the shared, read-only form that its disk or tree lies over
    created_at: float = 0.0
    started_at: float | None = None
    stopped_at: float | None = None
    pid: int | None = None
    agent: bool = False  # the agent has answered since the last start
    exit_code: int | None = None
    accelerator: str = ""  # what runs it: kvm, tcg, or empty for containers
    operation: str | None = None  # the operation that holds it
    pending: dict[str, PendingSetting] = {}  # by setting; empty unless it runs
    restarts: int = 0  # by policy, since somebody started it or it last ran for long
    next_restart_at: float | None = None  # when the policy starts it again
    lives_from: float | None = None  # what its `ttl` counts from: its last start that was not by policy
    lent_bytes: int = 0  # of its memory, what the host has borrowed; known while the daemon runs
    version: int = 1


class Usage(msgspec.Struct, frozen=True, kw_only=True):
    """Counters of one running instance, cumulative since its start. Sampled, not smoothed."""

    name: str
    kind: Kind
    at: float  # seconds, monotonic clock of the host
    cpu_s: float
    memory_bytes: int
    memory_limit_bytes: int
    read_bytes: int
    write_bytes: int
    pids: int
    balloon_bytes: int = 0  # of its memory, what the host has taken back for now
    cpu_limit: float = 0.0  # processors' worth of time that it may use
    pids_limit: int = 0  # 0: none
