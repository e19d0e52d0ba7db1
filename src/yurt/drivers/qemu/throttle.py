"""Limits of what a machine may read from and write to its disks: one throttle group that all of its disks share.

The group and a filter above each disk are always there, so that limits can come, change and go while the machine runs;
a group without limits lets everything through. Source: QEMU QMP reference, `ThrottleLimits`; docs/throttle.txt.
"""

from yurt.drivers.qemu.monitor import Monitor
from yurt.model.limits import Limits

GROUP = "disks"
MAX_VALUE = 10**15  # the most that QEMU takes, and more than there is
# a setting's name on the command line -> QEMU's name of the limit; network rates are nobody's business here
RATES = {
    "disk-read-iops": "iops-read",
    "disk-write-iops": "iops-write",
    "disk-read-bps": "bps-read",
    "disk-write-bps": "bps-write",
}


def rate(limits: Limits, setting: str) -> int:
    """One of the limits by its setting's name; 0 means none. Pure."""
    value = getattr(limits, setting.replace("-", "_"))
    return min(value or 0, MAX_VALUE)


def throttle_limits(limits: Limits) -> dict[str, int]:
    """All four limits as QEMU takes them. Pure. None is written as 0, as a missing one would stay what it was."""
    return {name: rate(limits, setting) for setting, name in RATES.items()}


def differing(before: Limits, after: Limits) -> tuple[str, ...]:
    """The settings of this module in which two specs differ. Pure."""
    return tuple(setting for setting in RATES if rate(before, setting) != rate(after, setting))


def limit_node(name: str) -> str:
    """The name of the filter above a disk's format node."""
    return f"{name}-limit"


def limit_options(name: str, *, read_only: bool = False) -> dict[str, object]:
    """The filter above the disk `name`, as a block node. QEMU refuses a writable one above a read-only disk."""
    way: dict[str, object] = {"read-only": True} if read_only else {}
    return {"driver": "throttle", "node-name": limit_node(name), "throttle-group": GROUP, "file": name, **way}


def group_options(limits: Limits) -> dict[str, object]:
    """The throttle group, as an object."""
    return {"qom-type": "throttle-group", "id": GROUP, "limits": throttle_limits(limits)}


async def set_limits(monitor: Monitor, limits: Limits) -> None:
    """Give all disks of a running machine these limits together. Safe to repeat."""
    wanted = {"path": f"/objects/{GROUP}", "property": "limits", "value": throttle_limits(limits)}
    await monitor.execute("qom-set", wanted)
