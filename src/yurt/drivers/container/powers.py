"""Refuses what a container cannot have where yurt is not root, or has no control groups of its own. Pure."""

from yurt.drivers.container.adjust import RATES, first_limits, has_rates
from yurt.drivers.container.bundle import boots_systemd
from yurt.errors import Unsupported
from yurt.host.cgroup_limits import require_controllers
from yurt.model.host import HostFacts
from yurt.model.instance import ResolvedSpec

DELEGATE = "log in through systemd, or start the daemon with `systemd-run --user --scope -p Delegate=yes yurt daemon`"

# limits that only a control group can hold
OF_GROUPS = ("cpu_shares", "cpu_quota", "cpu_pin", "pids", *RATES)


def check_powers(spec: ResolvedSpec, facts: HostFacts) -> None:
    """Raise Unsupported, with the way out, for the first thing of this spec that could not be kept here."""
    if facts.rootless and spec.disk_bytes:
        raise Unsupported(
            "a container's disk limit takes a loop device, which only root's yurt can have",
            hint="leave out --disk, or take --as microvm",
        )
    if facts.cgroups.version != 0:
        require_controllers(first_limits(spec), facts.cgroups, rates=has_rates(spec))
        return
    if boots_systemd(spec):
        raise Unsupported(
            "systemd as a container's init needs control groups, and none are ours",
            hint=f"run a command, or {DELEGATE}",
        )
    limited = any(getattr(spec.limits, name) is not None for name in OF_GROUPS)
    if limited or spec.cpus < facts.cpus or spec.memory_bytes < facts.memory_bytes:
        raise Unsupported("no control groups are ours, so no limit of a container would hold", hint=DELEGATE)
