"""What a limit is in the kernel's words: values in, contents of control group files out, for version 1 (hybrid) and 2.

Pure. `host/cgroup.py` writes what stands here. Sources: the kernel's admin-guide/cgroup-v2.rst and cgroup-v1/.
"""

from typing import NamedTuple

import msgspec

from yurt.errors import Unsupported
from yurt.model.host import CgroupLayout

PERIOD_US = 100_000
LEAST_QUOTA_US = 1000
USUAL_SHARES = 100
IO_FILES = ("read_bps", "write_bps", "read_iops", "write_iops")
_IO_V2 = {"read_bps": "rbps", "write_bps": "wbps", "read_iops": "riops", "write_iops": "wiops"}


class IoLimits(msgspec.Struct, frozen=True, kw_only=True):
    """Bytes and operations a second on one block device (`254:0`, a whole disk); 0 is no limit."""

    device: str
    read_bps: int = 0
    write_bps: int = 0
    read_iops: int = 0
    write_iops: int = 0


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """What a group may use. `None` leaves a limit as it is; 0, and for `pin` an empty text, takes it away.

    `cpus` counts processors (1.5 is fine), `shares` is a weight whose usual value is 100, `pin` names processors of the
    host as `0-3,6`.
    """

    cpus: float | None = None
    shares: int | None = None
    pin: str | None = None
    memory_bytes: int | None = None
    pids: int | None = None
    io: IoLimits | None = None


class Put(NamedTuple):
    """One file to write: in the group of `controller`, its name, its content. `optional`: a kernel may lack it."""

    controller: str
    name: str
    value: str
    optional: bool = False


def lacking_controllers(limits: Limits, layout: CgroupLayout, *, rates: bool = False) -> list[str]:
    """The controllers that these limits (`rates`: and disk rates) need and this host does not give us. Pure."""
    needs = {
        "cpu": limits.cpus or limits.shares,
        "cpuset": limits.pin,
        "memory": limits.memory_bytes,
        "pids": limits.pids,
        "io" if layout.version == 2 else "blkio": limits.io or rates,
    }
    return [name for name, wanted in needs.items() if wanted and name not in layout.controllers]


def require_controllers(limits: Limits, layout: CgroupLayout, *, rates: bool = False) -> None:
    """Raise Unsupported, with the way out, for limits that this host's control groups cannot hold for us. Pure."""
    if lacking := lacking_controllers(limits, layout, rates=rates):
        names = " and ".join(f"`{name}`" for name in lacking)
        raise Unsupported(
            f"the control groups that are yurt's here lack {names}, which a limit needs",
            hint="without root: `Delegate=cpu cpuset io memory pids` in `systemctl edit user@.service`, then log in anew "
            "(docs/rootless.md); otherwise run the daemon as root, or as a systemd service with `Delegate=yes`",
        )


def cpu_quota_us(cpus: float) -> int:
    """Quota per period of 100 ms; never below the kernel's least of 1 ms."""
    return max(LEAST_QUOTA_US, int(cpus * PERIOD_US))


def cpu_puts(version: int, limits: Limits) -> list[Put]:
    """Quota and weight. 100 shares are 1024 of version 1 and the weight 100 of version 2, the defaults of both."""
    puts = []
    if limits.cpus is not None:
        quota = cpu_quota_us(limits.cpus) if limits.cpus else 0
        if version == 2:
            puts.append(Put("cpu", "cpu.max", f"{quota or 'max'} {PERIOD_US}"))
        else:
            puts.append(Put("cpu", "cpu.cfs_period_us", str(PERIOD_US)))
            puts.append(Put("cpu", "cpu.cfs_quota_us", str(quota or -1)))
    if limits.shares is not None:
        shares = limits.shares or USUAL_SHARES
        if version == 2:
            puts.append(Put("cpu", "cpu.weight", str(min(10000, shares))))
        else:
            puts.append(Put("cpu", "cpu.shares", str(min(262144, max(2, shares * 1024 // 100)))))
    return puts


def pin_puts(version: int, limits: Limits, everything: str) -> list[Put]:
    """Processors. `everything`: those of the group above, which on version 1 have to be named to lift a pin."""
    if limits.pin is None:
        return []
    return [Put("cpuset", "cpuset.cpus", limits.pin or (everything if version == 1 else "\n"))]


def memory_puts(version: int, limits: Limits) -> list[Put]:
    """Memory, and no more swap than that (version 1 counts both together). The order is right for raising.

    Version 1 wants `limit <= memsw` at each moment, so a limit that sinks needs them the other way round.
    """
    if limits.memory_bytes is None:
        return []
    size = limits.memory_bytes
    if version == 2:
        swap = Put("memory", "memory.swap.max", "0" if size else "max", optional=True)
        return [swap, Put("memory", "memory.max", str(size) if size else "max")]
    text = str(size) if size else "-1"
    both = Put("memory", "memory.memsw.limit_in_bytes", text, optional=True)
    return [both, Put("memory", "memory.limit_in_bytes", text)]


def pids_puts(version: int, limits: Limits) -> list[Put]:
    """How many processes and threads; the same on both versions."""
    return [] if limits.pids is None else [Put("pids", "pids.max", str(limits.pids or "max"))]


def io_puts(version: int, limits: Limits) -> list[Put]:
    """Rates of one block device."""
    if (io := limits.io) is None:
        return []
    if version == 2:
        words = [f"{_IO_V2[name]}={getattr(io, name) or 'max'}" for name in IO_FILES]
        return [Put("io", "io.max", " ".join([io.device, *words]))]
    return [
        Put("blkio", f"blkio.throttle.{name}_device", f"{io.device} {getattr(io, name)}") for name in IO_FILES
    ]
