"""The Driver protocol, the plain data that goes into a driver and comes out of it.

Call order for one instance: `check` (pure) -> `start` -> any of `observe`, `stop`, `kill`, `pause`,
`resume`, `events` -> `cleanup`. Every method works in a new daemon too, from the run directory alone.
"""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, runtime_checkable

import msgspec

from yurt.host import layout
from yurt.host.files import write_atomic
from yurt.model.host import Accelerator, HostFacts
from yurt.model.image import DiskFormat
from yurt.model.instance import Instance, Kind, Phase, ResolvedSpec, Usage

if TYPE_CHECKING:
    from yurt.drivers.agent.client import AgentClient


class DiskAttachment(msgspec.Struct, frozen=True, kw_only=True):
    """The root disk: an overlay of its own over a shared, read-only base.

    `virtio`: what is on it can boot from a virtio disk, which also grows while a VM runs (a SATA disk does not).
    """

    path: Path
    format: DiskFormat
    base: Path | None = None
    base_format: DiskFormat = DiskFormat.RAW
    virtio: bool = False


class KernelAttachment(msgspec.Struct, frozen=True, kw_only=True):
    """A kernel to boot directly (microVM): ELF `vmlinux` for PVH, the initrd, and extra words for the command line."""

    kernel: Path
    initrd: Path
    version: str
    cmdline: tuple[str, ...] = ()


class RootfsAttachment(msgspec.Struct, frozen=True, kw_only=True):
    """A container's root: a shared read-only `lower`, and directories of its own for what it changes.

    `size_bytes` > 0: `data` is to be a file system of that size (a loop-mounted sparse file).
    """

    lower: Path
    data: Path
    size_bytes: int = 0


class NicAttachment(msgspec.Struct, frozen=True, kw_only=True):
    """One NIC. `device` exists on the host: a tap (machines), or a veth whose other end `peer` waits to be moved in.

    Addresses are written with their prefix (`10.7.0.2/24`), gateways without; empty means none.
    """

    index: int
    device: str
    peer: str = ""
    mac: str
    mtu: int = 1500
    ipv4: str = ""
    ipv6: str = ""
    gateway4: str = ""
    gateway6: str = ""
    dns: tuple[str, ...] = ()
    domain: str = ""


class VolumeAttachment(msgspec.Struct, frozen=True, kw_only=True):
    """A volume: an image file of this format (block), or a tree (filesystem). `name` is the volume's own.

    `directory`: `path` is a directory, or with `format` RAW a file that holds an ext4 file system. Its owners are
    those that the guest sees: 0 is the guest's root. `tag` is what a machine mounts it by.
    """

    name: str
    path: Path
    format: DiskFormat = DiskFormat.QCOW2
    directory: bool = False
    tag: str = ""
    target: str = ""  # where it is mounted in the guest; empty: the guest deals with the disk itself
    read_only: bool = False


class ShareAttachment(msgspec.Struct, frozen=True, kw_only=True):
    """A directory of the host that the guest sees under `target`."""

    source: Path
    target: str
    tag: str
    read_only: bool = False


class Attachments(msgspec.Struct, frozen=True, kw_only=True):
    """Everything a driver is given besides the instance. The engine made it; the driver only uses it."""

    run_dir: Path  # <run>/instances/<id>, exists, mode 0711
    state_dir: Path  # <state>/instances/<id>
    uid: int  # the unprivileged user that QEMU runs as
    gid: int
    disk: DiskAttachment | None = None
    kernel: KernelAttachment | None = None
    rootfs: RootfsAttachment | None = None
    agent_binary: Path | None = None
    host_ids: tuple[int, int] = (0, 0)  # container: first host uid/gid and how many
    nics: tuple[NicAttachment, ...] = ()
    volumes: tuple[VolumeAttachment, ...] = ()
    shares: tuple[ShareAttachment, ...] = ()
    cgroup: str = ""  # name below yurt's own cgroup, such as `yurt/<id>`
    accelerator: Accelerator | None = None
    config: bytes = b""  # what the agent reads at boot, see agent/protocol.md


class Launched(msgspec.Struct, frozen=True, kw_only=True):
    """What *really* was started; written to `<run>/launched.json` by the driver before `start` returns.

    `process_start` is field 22 of /proc/PID/stat, so that a reused pid is not taken for ours.
    """

    driver: str
    pid: int
    process_start: int
    argv: tuple[str, ...]
    versions: dict[str, str]
    accelerator: str = ""
    helpers: dict[str, tuple[int, int]] = {}  # name -> (pid, process_start)
    spec: ResolvedSpec | None = None
    attachments: Attachments | None = None


def encode_launched(launched: Launched) -> bytes:
    """The text of `launched.json`."""
    return msgspec.json.encode(launched, enc_hook=str)  # the only foreign type in it is Path


def decode_launched(data: bytes) -> Launched:
    """Read the text of `launched.json` back. Raises msgspec.DecodeError when it is not one."""
    return msgspec.json.decode(data, type=Launched, dec_hook=lambda wanted, value: wanted(value))


def write_launched(run_dir: Path, launched: Launched) -> None:
    """Write down what was started; a crash leaves the old record or the new one."""
    write_atomic(run_dir / layout.LAUNCHED, encode_launched(launched), durable=False)


def read_launched(run_dir: Path) -> Launched | None:
    """Read the record of what was started; None when there is none or it cannot be understood."""
    try:
        return decode_launched((run_dir / layout.LAUNCHED).read_bytes())
    except (FileNotFoundError, NotADirectoryError, msgspec.DecodeError):
        return None


class Observed(msgspec.Struct, frozen=True, kw_only=True):
    """What is, as far as it can be seen. `exit_code` where a finished main process is known."""

    phase: Phase  # STOPPED, RUNNING, PAUSED, CRASHED or BROKEN
    reason: str = ""
    pid: int | None = None
    exit_code: int | None = None


class DriverEvent(msgspec.Struct, frozen=True, kw_only=True):
    """A change a driver saw by itself.

    `type`: `running`, `paused`, `shutdown` (the guest asked for it), `reset`, `panicked`, `failed` (the machine, not
    the guest: `reason` and `hint` say why) and, always last, `exited` (`exit_code` where known).
    """

    type: str
    reason: str = ""
    hint: str = ""
    exit_code: int | None = None


class Capabilities(msgspec.Struct, frozen=True, kw_only=True):
    """What a driver can do on this host. `available` False comes with `reason` and `fix`."""

    kinds: frozenset[Kind]
    available: bool = True
    reason: str = ""
    fix: str = ""
    pause: bool = True
    console: bool = True
    exit_code: bool = False  # the main process's own exit code is known without the agent
    min_memory_bytes: int = 0


class Driver(Protocol):
    """Ten methods, and no more: what else a driver can do is an optional protocol below."""

    name: str

    def capabilities(self, facts: HostFacts) -> Capabilities:
        """Say what this driver can do here. Pure."""

    def check(self, spec: ResolvedSpec, capabilities: Capabilities) -> None:
        """Raise Invalid or Unsupported if this spec cannot be started. Pure; changes nothing."""

    async def start(self, instance: Instance, attachments: Attachments) -> Launched:
        """Start the guest and return once its machine runs (not: once it has booted).

        On failure nothing of it is left running or mounted, and the error says why (ToolFailed with the log).
        """

    async def observe(self, run_dir: Path) -> Observed:
        """Say what is there now. Works after a daemon restart; STOPPED when nothing was ever started."""

    async def stop(self, run_dir: Path, *, timeout_s: float) -> None:
        """Ask the guest to stop and return when it has. Raises Timeout; the guest then runs on."""

    async def kill(self, run_dir: Path) -> None:
        """End the guest now, without asking it. Returns when no process is left. Safe to repeat."""

    async def pause(self, run_dir: Path) -> None:
        """Hold the guest's processors. Safe to repeat."""

    async def resume(self, run_dir: Path) -> None:
        """Let a paused guest go on. Safe to repeat."""

    async def cleanup(self, run_dir: Path) -> None:
        """Take away what `start` left on the host: mounts, cgroups, helper processes, sockets. Idempotent."""

    def events(self, run_dir: Path) -> AsyncIterator[DriverEvent]:
        """Yield what happens to the guest until, and including, `exited`. One reader at a time."""


@runtime_checkable
class SupportsAgent(Protocol):
    """A driver whose guests carry yurt-agent: exec, shell, cp, orderly shutdown."""

    async def agent(self, run_dir: Path) -> "AgentClient":
        """Connect to the guest's agent; returns at once, `AgentClient.wait_ready` waits for its hello.

        One connection per guest at a time: the caller keeps it and closes it before asking again.
        """


@runtime_checkable
class SupportsConsole(Protocol):
    """A driver whose guests have a serial console (or a pty) of their own."""

    async def console(self, run_dir: Path) -> "Console":
        """Connect to the guest's console. One connection per guest at a time."""


class Console(Protocol):
    """A byte stream to and from a guest's console. `read` returns b"" at its end."""

    async def read(self) -> bytes: ...
    async def write(self, data: bytes) -> None: ...
    async def resize(self, rows: int, columns: int) -> None: ...
    async def close(self) -> None: ...


@runtime_checkable
class SupportsUsage(Protocol):
    """A driver that can count what a guest uses."""

    async def usage(self, run_dir: Path) -> Usage:
        """Return the counters now. Raises NotFound when the guest does not run."""


@runtime_checkable
class SupportsDetach(Protocol):
    """A driver that holds connections to its guests and can let go of them."""

    async def detach(self) -> None:
        """Let go of every guest without touching it, as a daemon does that is about to end. Safe to repeat."""


class Adjusted(msgspec.Struct, frozen=True, kw_only=True):
    """What a change of settings did: `applied` took effect now, `pending` waits for a restart (setting -> why).

    `notes`: remarks on settings that were applied.
    """

    applied: tuple[str, ...] = ()
    pending: dict[str, str] = {}
    notes: dict[str, str] = {}


@runtime_checkable
class SupportsAdjust(Protocol):
    """A driver that can change limits and sizes of a guest that runs."""

    async def adjust(
        self, run_dir: Path, before: ResolvedSpec, after: ResolvedSpec, *, dry_run: bool = False
    ) -> Adjusted:
        """Bring a running guest from one spec to the other as far as that goes while it runs. Safe to repeat.

        `before` is what holds in the guest now. Settings are named as the command line names them (`cpus`, `memory`,
        `disk-read-iops`); each that differs comes back in `applied` or `pending`. Whatever fails part of the way is
        followed by a call with the two specs swapped, which puts the old limits back. `dry_run`: only say what would
        be, as far as it can be known. Raises Unsupported, with nothing changed, for what this kind cannot do even
        after a restart. Network rates are not the driver's (engine/settable.py).
        """


class GuestMemory(msgspec.Struct, frozen=True, kw_only=True):
    """A running guest's memory: `total_bytes`, of which it has `given_bytes` now; its balloon (if any) holds the rest."""

    total_bytes: int
    given_bytes: int
    balloon: bool


@runtime_checkable
class SupportsBalloon(Protocol):
    """A driver that can take memory back from a running guest for a while, with the guest's help."""

    async def memory(self, run_dir: Path) -> GuestMemory:
        """How much it has. Raises NotFound when it does not run."""

    async def set_balloon(self, run_dir: Path, given_bytes: int) -> int:
        """Let it have this much; returns how much it really has after some seconds. Safe to repeat."""


@runtime_checkable
class SupportsVolumes(Protocol):
    """A driver whose guests' disks can grow while they run."""

    async def resize_disk(self, run_dir: Path, name: str, size_bytes: int) -> bool:
        """Let a volume's disk have this size and tell the guest; False when the guest has no such disk.

        Safe to repeat. What lies on the disk grows by another hand.
        """


@runtime_checkable
class SupportsHotplug(Protocol):
    """A driver that can give a running guest devices and take them away."""

    async def attach_disk(self, run_dir: Path, volume: VolumeAttachment) -> None:
        """Add a disk whose serial number is the volume's name. Safe to repeat."""

    async def detach_disk(self, run_dir: Path, name: str) -> None:
        """Take it away; returns when the guest has let go of it. Raises Timeout when it does not. Safe to repeat."""

    async def attach_nic(self, run_dir: Path, nic: NicAttachment) -> None:
        """Add a NIC whose host device exists. Safe to repeat."""

    async def detach_nic(self, run_dir: Path, index: int) -> None:
        """Take it away, as with disks. Safe to repeat."""
