"""set: change settings of an instance; what a running guest cannot take now waits for its next start.

The journal holds the wish; the record changes only in the commit. Until then any failure, the daemon's death
included, puts the old limits back.
"""

import contextlib

import msgspec
from msgspec.structs import replace

from yurt.drivers.base import Adjusted
from yurt.drivers.container.bundle import DEFAULT_PIDS
from yurt.engine import traffic
from yurt.engine.capacity import verdict_on_change
from yurt.engine.core import Core
from yurt.engine.operation import Step
from yurt.engine.records import Writes, now, put_instance
from yurt.engine.resolve import check_change
from yurt.engine.settable import RUNS, SETTINGS, Apply, Change, at_once, effective, find_setting
from yurt.engine.steps import InstancePlan
from yurt.errors import Invalid, NotFound, WrongState, YurtError
from yurt.model.host import HostFacts
from yurt.model.instance import Instance, Kind, PendingSetting, Phase, ResolvedSpec, Usage
from yurt.model.operation import Changed, Operation, OperationStatus
from yurt.units import exact_size

REST = (Phase.STOPPED, Phase.CRASHED)


def make_change(instance: Instance, settings: dict[str, str], facts: HostFacts) -> Change:
    """The change that these settings are. Pure. Raises Invalid, Exhausted, Unsupported."""
    if not settings:
        raise Invalid("there is nothing to set", hint="write `yurt set NAME cpus=4 memory=2G`")
    after = instance.spec
    for key, text in settings.items():
        after = find_setting(key).write(after, text.strip(), facts)
    if instance.spec.disk_bytes and after.disk_bytes < instance.spec.disk_bytes:
        raise Invalid(
            f"a disk cannot be made smaller: it has {exact_size(instance.spec.disk_bytes)}",
            hint="copy what is on it to a new instance with a smaller disk",
        )
    check_change(after, facts)
    before = effective(instance, facts)
    return Change(before, after, tuple(s.key for s in SETTINGS if s.read(before) != s.read(after)))


async def apply_change(core: Core, instance: Instance, change: Change, *, dry_run: bool = False) -> Adjusted:
    """Bring a running guest from one spec to the other, each kind of setting in its own way."""
    applied: list[str] = []
    pending: dict[str, str] = {}
    notes: dict[str, str] = {}
    ways: dict[Apply, list[str]] = {}
    for setting in SETTINGS:
        if setting.key in change.keys:
            ways.setdefault(setting.apply, []).append(setting.key)
    for way, keys in ways.items():
        done = await way(core, instance, Change(change.before, change.after, tuple(keys)), dry_run)
        applied += [key for key in done.applied if key in keys]
        pending |= {key: why for key, why in done.pending.items() if key in keys}
        notes |= done.notes
    return Adjusted(applied=tuple(applied), pending=pending, notes=notes)


def outcome(
    instance: Instance, change: Change, given: tuple[str, ...], adjusted: Adjusted
) -> tuple[list[Changed], dict[str, PendingSetting]]:
    """What is told about a change, and what is pending after it. Pure."""
    told: list[Changed] = []
    pending: dict[str, PendingSetting] = {}
    runs = instance.phase in RUNS
    for setting in SETTINGS:
        key = setting.key
        before, after = setting.read(change.before), setting.read(change.after)
        when, why = "unchanged", ""
        if key in change.keys:
            when = "now" if key in adjusted.applied else "next-start"
            why = adjusted.notes.get(key, "") if when == "now" else ""
            if runs and when == "next-start":
                why = adjusted.pending.get(key) or "it cannot change while the guest runs"
                pending[key] = PendingSetting(now=before, why=why)
        if key in given or (key in instance.pending and when == "now"):
            told.append(Changed(setting=key, before=before, after=after, when=when, why=why))
    return told, pending


def at_rest(change: Change) -> Adjusted:
    """What of a change takes effect while the guest rests: what only the daemon looks at. Pure."""
    return Adjusted(applied=tuple(key for key in change.keys if find_setting(key).apply is at_once))


class SetSettings(InstancePlan):
    """set: all of the settings or none of them."""

    verb = "set"

    def begin(self) -> Writes:
        instance = self.instance
        if instance.phase not in (*RUNS, *REST):
            raise WrongState(
                kind="instance", name=instance.name, actual=instance.phase, wanted="running or stopped"
            )
        driver, change = self.core.driver(instance), self.change
        driver.check(change.after, driver.capabilities(self.core.facts))
        verdict, growth = verdict_on_change(self.core, instance, change.after)
        verdict.require()
        self.arguments["growth"] = msgspec.to_builtins(growth)
        records = self.core.records
        traffic.require_reachable(records, change.after)
        publish = change.after.publish
        ports = traffic.reserve(records, publish, self.instance_id, traffic.heard(publish), besides=True)
        return [put_instance(self.core.claim(instance, self.operation_id)), *ports]

    def _ports(self, spec: ResolvedSpec) -> Writes:
        """The writes that give back what it published besides the ports of this spec."""
        return traffic.reserve(self.core.records, spec.publish, self.instance_id, ())

    @property
    def settings(self) -> dict[str, str]:
        return msgspec.convert(self.arguments["settings"], dict[str, str])

    @property
    def change(self) -> Change:
        return make_change(self.instance, self.settings, self.core.facts)

    def steps(self) -> list[Step]:
        """None for a guest that rests: its next start reads all from the record, and grows a disk that is too small."""
        if self.instance.phase not in RUNS:
            return []
        return [Step(name="apply", text="changing the guest", do=self.apply, undo=self.back)]

    async def apply(self) -> None:
        self._adjusted = await apply_change(self.core, self.instance, self.change)

    async def back(self) -> None:
        """Put the old limits back; a disk that has grown stays grown, which harms nobody."""
        with contextlib.suppress(NotFound):  # the guest has ended meanwhile
            await apply_change(self.core, self.instance, self.change.turned_round())

    def _outcome(self) -> tuple[list[Changed], dict[str, PendingSetting]]:
        adjusted = self._adjusted if self.instance.phase in RUNS else at_rest(self.change)
        return outcome(self.instance, self.change, tuple(self.settings), adjusted)

    def result(self) -> dict[str, object]:
        return {"changes": msgspec.to_builtins(self._outcome()[0])}

    def commit(self) -> Writes:
        told, pending = self._outcome()
        self.core.note(self.instance, "set " + " ".join(f"{each.setting}={each.after}" for each in told))
        return [
            put_instance(replace(self.instance, spec=self.change.after, pending=pending, operation=None)),
            *self._ports(self.change.after),
        ]

    def rollback(self, error: YurtError) -> Writes:
        return [put_instance(replace(self.instance, operation=None)), *self._ports(self.instance.spec)]

    async def ended(self, operation: Operation) -> None:
        if operation.error is None:
            self.core.bus.publish(
                "instance.set", operation.target, target_id=self.instance_id, data=operation.result
            )
        await self.core.settle_if_free(self.instance_id)


def with_limits(usage: Usage, instance: Instance, facts: HostFacts) -> Usage:
    """A driver's counters with the instance's name and the limits that hold now. Pure."""
    spec = effective(instance, facts)
    least = DEFAULT_PIDS if spec.kind is Kind.CONTAINER else 0
    quota = spec.limits.cpu_quota or float(spec.cpus)
    return replace(
        usage,
        name=instance.name,
        cpu_limit=min(float(spec.cpus), quota) if spec.kind is Kind.CONTAINER else quota,
        pids_limit=spec.limits.pids or least,
    )


async def rehearse_set(core: Core, name: str, settings: dict[str, str]) -> Operation:
    """What `set` would do, as an operation that has ended; changes nothing."""
    instance = core.records.get(name)
    change = make_change(instance, settings, core.facts)
    driver = core.driver(instance)
    driver.check(change.after, driver.capabilities(core.facts))
    verdict_on_change(core, instance, change.after)[0].require()
    runs = instance.phase in RUNS
    adjusted = await apply_change(core, instance, change, dry_run=True) if runs else at_rest(change)
    told, _ = outcome(instance, change, tuple(settings), adjusted)
    moment = now()
    return Operation(
        id="dry-run",
        verb="set",
        target=name,
        status=OperationStatus.DONE,
        result={"changes": msgspec.to_builtins(told)},
        created_at=moment,
        ended_at=moment,
    )
