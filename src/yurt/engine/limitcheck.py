"""Whether limits make sense for a kind of instance and fit this host. Pure."""

from yurt.errors import Exhausted, Invalid, Unsupported, YurtError
from yurt.model.host import HostFacts
from yurt.model.instance import Kind, NetworkMode
from yurt.model.limits import Limits

# below these a guest cannot start, or ends when it needs one more: QEMU has threads for its vCPUs and up to 64 for disks
LEAST_PIDS = {Kind.CONTAINER: 16, Kind.MICROVM: 128, Kind.VM: 128}
LEAST_FILES = {Kind.CONTAINER: 64, Kind.MICROVM: 256, Kind.VM: 256}


def parse_processors(text: str) -> tuple[int, ...]:
    """The numbers in `0-3,6`. Raises Invalid."""
    found: set[int] = set()
    for part in text.split(","):
        first, dash, last = part.partition("-")
        if not first.isdecimal() or (dash and not last.isdecimal()) or len(part) > 16:
            raise Invalid(f"`{text}` does not name processors", hint="write them as `0-3,6`")
        low, high = int(first), int(last or first)
        if low > high or high > 65535:
            raise Invalid(f"`{part}` is no range of processors", hint="write them as `0-3,6`")
        found.update(range(low, high + 1))
    return tuple(sorted(found))


def check_limits(limits: Limits, kind: Kind, cpus: int, network: NetworkMode, facts: HostFacts) -> None:
    """Raise Invalid for limits that a guest cannot live with, Exhausted for what this host does not have."""
    if limits.cpu_pin is not None and (last := parse_processors(limits.cpu_pin)[-1]) >= facts.cpus:
        raise Exhausted(
            f"this host has no processor {last}", hint=f"it has {facts.cpus}, from 0 to {facts.cpus - 1}"
        )
    if limits.cpu_quota is not None and limits.cpu_quota > facts.cpus:
        raise Exhausted(
            f"time of {limits.cpu_quota:g} processors asked for, this host has {facts.cpus}",
            hint="ask for less with --cpu-quota",
        )
    threads = 0 if kind is Kind.CONTAINER else cpus
    for name, value, least in (
        ("pids", limits.pids, LEAST_PIDS[kind] + threads),
        ("processes", limits.processes, LEAST_PIDS[kind] + threads),
        ("open-files", limits.open_files, LEAST_FILES[kind]),
    ):
        if value is not None and value < least:
            raise _too_little(name, value, kind, least)
    if limits.net_in_bps or limits.net_out_bps:
        if network is NetworkMode.NONE:
            raise Invalid("there is no network whose rate could be limited", hint="leave out --network none")
        if network is NetworkMode.USER and kind is not Kind.CONTAINER:
            raise Unsupported(
                f"the user-mode network of a {kind} has no device on the host whose rate could be limited",
                hint="put it on a managed network, or limit a container",
            )


def _too_little(name: str, value: int, kind: Kind, least: int) -> YurtError:
    return Invalid(f"a {kind} cannot live with {name}={value}", hint=f"give it at least {least}")
