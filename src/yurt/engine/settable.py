"""The table of what `yurt set` can change: one row per setting.

A row says how a setting is called, how it is read from and written into a resolved spec, and who brings a running
guest to it. To make another setting changeable, add a row; verb, API, SDK and command line need nothing new:

    Setting("ttl", "end it after this time", read=lambda spec: ..., write=_ttl, apply=at_once)

- `read` gives the value as text that `write` takes; empty text means that there is none (no limit).
- `write` gives the spec with that value; empty text takes the limit away. It raises Invalid for what makes no sense by
  itself; what fits the host and the kind is checked afterwards for the whole spec (`resolve.check_change`).
- `apply` is called for a guest that runs, once for all rows that name the same function, with the change and the keys
  that differ. It returns which keys took effect (`applied`) and which wait for a restart (`pending`, with the reason).
  When a later part fails it is called again with the change turned round. `at_once` is for what the daemon reads
  from the record anyway, `through_driver` for limits of the guest itself.

The command line knows the names for completion from `cli/set.py`; a test holds the two together.
"""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

import msgspec
from msgspec.structs import replace

from yurt.drivers.base import Adjusted, SupportsAdjust
from yurt.engine import policyrows, trafficrows
from yurt.engine.core import Core
from yurt.engine.rates import through_shaping
from yurt.engine.resolve import default_sizes
from yurt.engine.takeup import take_up
from yurt.errors import Invalid
from yurt.model.host import HostFacts
from yurt.model.instance import Instance, Kind, Phase, ResolvedSpec
from yurt.model.limits import Limits
from yurt.units import exact_bit_rate, exact_size, parse_amount, parse_bit_rate, parse_size, parse_whole

MOST_CPUS, LEAST_DISK, MOST_DISK = 256, 16 << 20, 64 << 40  # the bounds of InstanceSpec


RUNS = (Phase.RUNNING, Phase.PAUSED)


@dataclass(frozen=True, slots=True)
class Change:
    """Two specs and the settings in which they differ. `before` is what holds in the guest."""

    before: ResolvedSpec
    after: ResolvedSpec
    keys: tuple[str, ...]

    def turned_round(self) -> "Change":
        return Change(self.after, self.before, self.keys)


Apply = Callable[[Core, Instance, Change, bool], Awaitable[Adjusted]]


async def through_driver(core: Core, instance: Instance, change: Change, dry_run: bool) -> Adjusted:
    """Limits of the guest itself: its driver's business."""
    driver = core.driver(instance)
    if not isinstance(driver, SupportsAdjust):
        return Adjusted(pending=dict.fromkeys(change.keys, f"{driver.name} cannot change a guest that runs"))
    done = await driver.adjust(core.run_dir(instance.id), change.before, change.after, dry_run=dry_run)
    return done if dry_run else await take_up(core, instance, change.after, done)


async def at_once(core: Core, instance: Instance, change: Change, dry_run: bool) -> Adjusted:
    """What the daemon reads from the record: the record's change is all there is to do."""
    return Adjusted(applied=change.keys)


@dataclass(frozen=True, slots=True)
class Setting:
    """One row. See the module's text."""

    key: str
    help: str
    read: Callable[[ResolvedSpec], str]
    write: Callable[[ResolvedSpec, str, HostFacts], ResolvedSpec]
    apply: Apply = through_driver


def _lowered(text: str) -> str:
    return text[:1].lower() + text[1:]


def _cpus(spec: ResolvedSpec, text: str, facts: HostFacts) -> ResolvedSpec:
    cpus = parse_whole(text) if text else default_sizes(spec.kind, facts)[0]
    if not 1 <= cpus <= MOST_CPUS:
        raise Invalid(f"`cpus={text}` cannot be", hint=f"from 1 to {MOST_CPUS}")
    return replace(spec, cpus=cpus)


def _memory(spec: ResolvedSpec, text: str, facts: HostFacts) -> ResolvedSpec:
    return replace(spec, memory_bytes=parse_size(text) if text else default_sizes(spec.kind, facts)[1])


def _disk(spec: ResolvedSpec, text: str, facts: HostFacts) -> ResolvedSpec:
    if not text and spec.kind is not Kind.CONTAINER:
        raise Invalid(f"a {spec.kind} cannot be without a disk size", hint="write it as `disk=20G`")
    size = parse_size(text) if text else 0
    if text and not LEAST_DISK <= size <= MOST_DISK:
        raise Invalid(
            f"`disk={text}` cannot be", hint=f"from {exact_size(LEAST_DISK)} to {exact_size(MOST_DISK)}"
        )
    return replace(spec, disk_bytes=size)


def _limit(
    key: str,
    field: str,
    help: str,
    parse: Callable[[str], Any],
    show: Callable[[Any], str],
    apply: Apply = through_driver,
) -> Setting:
    """A row for one field of `Limits`. (`Any`: numbers and texts alike.)"""

    def read(spec: ResolvedSpec) -> str:
        value = getattr(spec.limits, field)
        return "" if value is None else show(value)

    def write(spec: ResolvedSpec, text: str, facts: HostFacts) -> ResolvedSpec:
        fields = msgspec.to_builtins(spec.limits)
        fields[field] = parse(text) if text else None
        try:
            return replace(spec, limits=msgspec.convert(fields, Limits))
        except msgspec.ValidationError as error:
            raise Invalid(
                f"`{key}={text}` cannot be: {_lowered(str(error).partition(' - at')[0])}"
            ) from error

    return Setting(key, help, read, write, apply)


def _number(value: float) -> str:
    return f"{value:g}"


def _show_disk(spec: ResolvedSpec) -> str:
    return exact_size(spec.disk_bytes) if spec.disk_bytes else ""


SETTINGS: tuple[Setting, ...] = (
    Setting("cpus", "virtual CPUs", lambda spec: str(spec.cpus), _cpus),
    Setting("memory", "memory", lambda spec: exact_size(spec.memory_bytes), _memory),
    Setting("disk", "size of its disk", _show_disk, _disk),
    _limit("cpu-shares", "cpu_shares", "weight when processors are short", parse_whole, str),
    _limit("cpu-quota", "cpu_quota", "processors' worth of time", parse_amount, _number),
    _limit("cpu-pin", "cpu_pin", "host processors it may run on", str, str),
    _limit("pids", "pids", "processes and threads in all", parse_whole, str),
    _limit("disk-read-iops", "disk_read_iops", "reads a second", parse_whole, str),
    _limit("disk-write-iops", "disk_write_iops", "writes a second", parse_whole, str),
    _limit("disk-read-bps", "disk_read_bps", "bytes read a second", parse_size, exact_size),
    _limit("disk-write-bps", "disk_write_bps", "bytes written a second", parse_size, exact_size),
    _limit(
        "net-in",
        "net_in_bps",
        "bits a second towards the guest",
        parse_bit_rate,
        exact_bit_rate,
        through_shaping,
    ),
    _limit(
        "net-out",
        "net_out_bps",
        "bits a second from the guest",
        parse_bit_rate,
        exact_bit_rate,
        through_shaping,
    ),
    _limit("processes", "processes", "processes of one user in it", parse_whole, str),
    _limit("open-files", "open_files", "open files of one program in it", parse_whole, str),
    Setting("rules", "what may reach it and what it may reach", *trafficrows.RULES, apply=trafficrows.rewire),
    Setting("publish", "ports of the host that lead to it", *trafficrows.PUBLISH, apply=trafficrows.rewire),
    Setting("restart", "when it is started again", *policyrows.RESTART, apply=at_once),
    Setting("autostart", "start it with the host", *policyrows.AUTOSTART, apply=at_once),
    Setting("autostart-order", "lower ones first", *policyrows.AUTOSTART_ORDER, apply=at_once),
    Setting("autostart-delay", "time before the next order", *policyrows.AUTOSTART_DELAY, apply=at_once),
    Setting("ttl", "end it after this time", *policyrows.TTL, apply=at_once),
    Setting("ttl-action", "what happens then", *policyrows.TTL_ACTION, apply=at_once),
    Setting("reclaim", "lend idle memory to a short host", *policyrows.RECLAIM, apply=at_once),
    Setting("protect", "refuse to delete it", *policyrows.PROTECT, apply=at_once),
)


def find_setting(key: str) -> Setting:
    """The row of that name. Raises Invalid with the list of all."""
    for setting in SETTINGS:
        if setting.key == key:
            return setting
    known = ", ".join(setting.key for setting in SETTINGS)
    raise Invalid(f"there is no setting `{key}`", hint=f"one of {known}")


def effective(instance: Instance, facts: HostFacts) -> ResolvedSpec:
    """What holds in the guest now: the record's spec without what is pending. Pure."""
    spec = instance.spec
    for key, pending in instance.pending.items() if instance.phase in RUNS else ():
        spec = find_setting(key).write(spec, pending.now, facts)
    return spec
