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
from typing import Any, TypeVar

import msgspec
from msgspec.structs import replace

from yurt.drivers.base import Adjusted, SupportsAdjust
from yurt.engine import policyrows
from yurt.engine.core import Core
from yurt.engine.resolve import default_sizes
from yurt.errors import Invalid
from yurt.model.host import HostFacts
from yurt.model.instance import Cpus, DiskBytes, Instance, Kind, MemoryBytes, ResolvedSpec
from yurt.units import exact_size, parse_size

T = TypeVar("T")


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
    return await driver.adjust(core.run_dir(instance.id), change.before, change.after, dry_run=dry_run)


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


def bounded(key: str, text: str, parse: Callable[[str], T], kind: Any) -> T:  # Any: an annotated type
    """Parse a value and hold it to its type's bounds. Raises Invalid that names the setting."""
    value = parse(text)
    try:
        msgspec.convert(value, kind)
    except msgspec.ValidationError as error:
        raise Invalid(f"`{key}={text}` cannot be: {str(error)[:1].lower()}{str(error)[1:]}") from error
    return value


def whole(text: str) -> int:
    """A whole number. Raises Invalid."""
    if not (text.isascii() and text.isdecimal()) or len(text) > 18:
        raise Invalid(f"`{text}` is not a whole number")
    return int(text)


def _cpus(spec: ResolvedSpec, text: str, facts: HostFacts) -> ResolvedSpec:
    default = default_sizes(spec.kind, facts)[0]
    return replace(spec, cpus=bounded("cpus", text, whole, Cpus) if text else default)


def _memory(spec: ResolvedSpec, text: str, facts: HostFacts) -> ResolvedSpec:
    default = default_sizes(spec.kind, facts)[1]
    return replace(spec, memory_bytes=bounded("memory", text, parse_size, MemoryBytes) if text else default)


def _disk(spec: ResolvedSpec, text: str, facts: HostFacts) -> ResolvedSpec:
    if not text and spec.kind is not Kind.CONTAINER:
        raise Invalid(f"a {spec.kind} cannot be without a disk size", hint="write it as `disk=20G`")
    return replace(spec, disk_bytes=bounded("disk", text, parse_size, DiskBytes) if text else 0)


SETTINGS: tuple[Setting, ...] = (
    Setting("cpus", "virtual CPUs", lambda spec: str(spec.cpus), _cpus),
    Setting("memory", "memory", lambda spec: exact_size(spec.memory_bytes), _memory),
    Setting(
        "disk",
        "size of its disk",
        lambda spec: exact_size(spec.disk_bytes) if spec.disk_bytes else "",
        _disk,
    ),
    Setting("restart", "when it is started again", *policyrows.RESTART, apply=at_once),
    Setting("autostart", "start it with the host", *policyrows.AUTOSTART, apply=at_once),
    Setting("autostart-order", "lower ones first", *policyrows.AUTOSTART_ORDER, apply=at_once),
    Setting("autostart-delay", "time before the next order", *policyrows.AUTOSTART_DELAY, apply=at_once),
    Setting("ttl", "end it after this time", *policyrows.TTL, apply=at_once),
    Setting("ttl-action", "what happens then", *policyrows.TTL_ACTION, apply=at_once),
    Setting("protect", "refuse to delete it", *policyrows.PROTECT, apply=at_once),
)


def find_setting(key: str) -> Setting:
    """The row of that name. Raises Invalid with the list of all."""
    for setting in SETTINGS:
        if setting.key == key:
            return setting
    known = ", ".join(setting.key for setting in SETTINGS)
    raise Invalid(f"there is no setting `{key}`", hint=f"one of {known}")
