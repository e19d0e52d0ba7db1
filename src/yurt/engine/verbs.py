"""The verbs that change an instance: each is a plan of journaled steps with undo."""

from pathlib import Path

import msgspec
from msgspec.structs import replace

from yurt.engine import attach, networking, policy, traffic
from yurt.engine.attach_volumes import check_sources
from yurt.engine.capacity import verdict_on_create, verdict_on_start
from yurt.engine.core import ACTIVE, Core
from yurt.engine.imageverbs import ensure_image
from yurt.engine.operation import Step
from yurt.engine.records import Writes, now, put_instance
from yurt.engine.resolve import kind_of, resolve
from yurt.engine.resolve_volumes import checked_uses
from yurt.engine.setverbs import SetSettings
from yurt.engine.small import Pause, Rename, Resume
from yurt.engine.steps import InstancePlan, Launching, Stopping, take_down
from yurt.engine.volumeclaims import claim_all
from yurt.errors import Denied, WrongState, YurtError
from yurt.model.instance import Instance, InstanceSpec, Phase
from yurt.model.names import InstanceId, Name
from yurt.model.operation import Operation
from yurt.state.base import Put


class Create(InstancePlan):
    """create, and with `start` also start: all of it or nothing."""

    verb = "create"

    def begin(self) -> Writes:
        name = str(self.arguments["name"])
        self.core.records.require_free(name)
        slot = self.core.records.free_slot()
        verdict, reserved = verdict_on_create(self.core, self.spec, start=bool(self.arguments["start"]))
        verdict.require()
        self.arguments |= {"slot": slot, "reserved": msgspec.to_builtins(reserved)}
        volumes, _ = checked_uses(self.spec)
        publish = traffic.check_publish(self.spec.publish)
        return [
            *traffic.reserve(self.core.records, publish, self.instance_id, traffic.heard(publish)),
            *claim_all(self.core.records, volumes, kind_of(self.spec), self.instance_id),
            Put(f"names/{name}", self.instance_id.encode()),
            Put(f"slots/{slot}", self.instance_id.encode()),
        ]

    def steps(self) -> list[Step]:
        self._launching = Launching(self)
        steps = [
            Step(name="image", text="finding the image", do=self.image),
            Step(name="disk", text="making the disk", do=self.disk, undo=self.remove_files),
            Step(name="record", text="recording the instance", do=self.record),  # undone by the rollback
        ]
        return [*steps, self._launching.step()] if self.arguments["start"] else steps

    @property
    def spec(self) -> InstanceSpec:
        return msgspec.convert(self.arguments["spec"], InstanceSpec)

    async def image(self) -> None:
        spec = self.spec
        self._image = await ensure_image(self.core, spec.image, self.report)
        resolved = resolve(spec, self._image, self.core.facts, self.core.settings)
        driver = self.core.drivers[resolved.kind]
        driver.check(resolved, driver.capabilities(self.core.facts))
        check_sources(self.core, resolved.shares)
        self._resolved = resolved
        self._base: Path = await attach.make_base(self.core, self._image, resolved.kind, self.report)

    async def disk(self) -> None:
        await attach.make_disk(
            self.core, self.instance_id, self._resolved.kind, self._base, self._resolved.disk_bytes
        )

    async def record(self) -> None:
        starting = bool(self.arguments["start"])
        slot = int(str(self.arguments["slot"]))
        wishes = networking.wishes_of(self.spec, self._resolved.network)
        used = await self.core.networks.used_subnets() if wishes else []
        instance = Instance(
            id=InstanceId(self.instance_id),
            name=Name(str(self.arguments["name"])),
            spec=self._resolved,
            phase=Phase.STARTING if starting else Phase.STOPPED,
            slot=slot,
            base=str(self._base),
            created_at=now(),
            operation=self.operation_id,
        )

        def make() -> Writes:
            nics, reserved = networking.plan_nics(self.core, wishes, self.instance_id, slot, used)
            spec = replace(self._resolved, nics=nics)
            traffic.require_reachable(self.core.records, spec)
            return [put_instance(replace(instance, spec=spec)), *reserved]

        await self.core.records.write(make)
        self.core.note(instance, f"created from {self._resolved.image} as {self._resolved.kind}")
        self.core.bus.publish("instance.created", instance.name, target_id=instance.id)

    def commit(self) -> Writes:
        if not self.arguments["start"]:
            return [put_instance(replace(self.instance, operation=None))]
        return [put_instance(running(self.core, self.instance, self._launching))]

    def rollback(self, error: YurtError) -> Writes:
        return self.forget_writes()

    def result(self) -> dict[str, object]:
        told = self.core.announcement(self._launching.launched)
        return {"id": self.instance_id, "name": self.arguments["name"], **told}

    async def ended(self, operation: Operation) -> None:
        await self.core.settle_if_free(self.instance_id)


def running(core: Core, instance: Instance, launching: Launching, *, automatic: bool = False) -> Instance:
    """The record of a guest that has just been started, `automatic`: by its policy."""
    launched = launching.launched
    assert launched is not None
    return replace(
        policy.started(instance, automatic=automatic, now=core.clock.now()),
        phase=Phase.RUNNING,
        pid=launched.pid,
        accelerator=launched.accelerator,
        started_at=now(),
        stopped_at=None,
        exit_code=None,
        reason="",
        operation=None,
        pending={},
    )


def require_rest(instance: Instance) -> None:
    """Raise WrongState unless the instance can be started."""
    if instance.phase not in policy.RESTING:
        raise WrongState(
            kind="instance",
            name=instance.name,
            actual=instance.phase,
            wanted="stopped",
            hint=f"resume it with `yurt resume {instance.name}`" if instance.phase is Phase.PAUSED else "",
        )


class Start(InstancePlan):
    """start: a stopped or crashed instance runs again."""

    verb = "start"

    def begin(self) -> Writes:
        instance = self.instance
        require_rest(instance)
        traffic.require_unheard(instance.spec.publish)
        claimed = self.core.claim(instance, self.operation_id, Phase.STARTING)
        verdict_on_start(self.core, instance.spec, besides=instance.id).require()
        return [put_instance(claimed)]

    def steps(self) -> list[Step]:
        self._launching = Launching(self)
        return [self._launching.step()]

    @property
    def automatic(self) -> bool:
        """Whether the instance's own policy asked for it."""
        return bool(self.arguments.get("automatic"))

    def commit(self) -> Writes:
        return [put_instance(running(self.core, self.instance, self._launching, automatic=self.automatic))]

    def rollback(self, error: YurtError) -> Writes:
        rests = replace(self.instance, phase=Phase.STOPPED, pid=None, operation=None)
        if self.automatic:
            rests = policy.after_failed_restart(rests, now=self.core.clock.now())
        return [put_instance(rests)]

    def result(self) -> dict[str, object]:
        return self.core.announcement(self._launching.launched)

    async def ended(self, operation: Operation) -> None:
        await self.core.settle_if_free(self.instance_id)


class Stop(InstancePlan):
    """stop: ask, wait, escalate. With `force` it is kill."""

    verb = "stop"
    redo = True

    def begin(self) -> Writes:
        instance = self.instance
        waits = instance.phase in policy.RESTING and instance.next_restart_at is not None
        if instance.phase not in (Phase.RUNNING, Phase.PAUSED) and not waits:
            raise WrongState(kind="instance", name=instance.name, actual=instance.phase, wanted="running")
        return [put_instance(self.core.claim(instance, self.operation_id, Phase.STOPPING))]

    def steps(self) -> list[Step]:
        self._stopping = Stopping(
            self, timeout_s=float(str(self.arguments["timeout_s"])), force=bool(self.arguments["force"])
        )
        return [*self._stopping.steps(), *([self.removal()] if self.instance.spec.ephemeral else [])]

    def commit(self) -> Writes:
        if self.instance.spec.ephemeral:
            return self.forget_writes()
        code = self._stopping.ending.get("exit_code", self.instance.exit_code)
        return [put_instance(stopped(self.instance, exit_code=code if isinstance(code, int) else None))]

    def rollback(self, error: YurtError) -> Writes:
        phase = Phase.RUNNING if self.instance_id in self.core.lives else Phase.STOPPED
        return [put_instance(replace(self.instance, phase=phase, operation=None))]

    def result(self) -> dict[str, object]:
        return {"escalated": self._stopping.escalated}


def stopped(
    instance: Instance, *, exit_code: int | None = None, crashed: bool = False, reason: str = ""
) -> Instance:
    """The record of a guest that has ended."""
    return replace(
        instance,
        spec=replace(instance.spec, attach=False),  # whoever waited for its first run has had it
        phase=Phase.CRASHED if crashed else Phase.STOPPED,
        reason=reason if crashed else "",
        pid=None,
        exit_code=exit_code,
        stopped_at=now(),
        next_restart_at=None,
        operation=None,
        pending={},
    )


class Restart(InstancePlan):
    """restart: stop if it runs, then start. After a crash of the daemon it goes on from where it was."""

    verb = "restart"
    redo = True

    def begin(self) -> Writes:
        instance = self.instance
        if instance.phase in (Phase.STARTING, Phase.STOPPING):
            raise WrongState(
                kind="instance", name=instance.name, actual=instance.phase, wanted="running or stopped"
            )
        if instance.spec.ephemeral:
            raise WrongState(
                f"instance `{instance.name}` is deleted when it ends (--rm), so it cannot be restarted",
                hint="run it without --rm",
            )
        claimed = self.core.claim(instance, self.operation_id, Phase.STOPPING)
        # what it uses now, it gives back first: only the promises count here, what is unused counts at the launch
        verdict_on_start(self.core, instance.spec, besides=instance.id, measured=False).require()
        return [put_instance(claimed)]

    def steps(self) -> list[Step]:
        self._launching = Launching(self)
        stopping = Stopping(
            self, timeout_s=float(str(self.arguments["timeout_s"])), force=bool(self.arguments["force"])
        )
        return [*stopping.steps(), self._launching.step()]

    def commit(self) -> Writes:
        return [put_instance(running(self.core, self.instance, self._launching))]

    def rollback(self, error: YurtError) -> Writes:
        alive = self.instance_id in self.core.lives
        return [
            put_instance(
                replace(self.instance, phase=Phase.RUNNING if alive else Phase.STOPPED, operation=None)
            )
        ]

    async def ended(self, operation: Operation) -> None:
        await self.core.settle_if_free(self.instance_id)


class DeleteInstance(InstancePlan):
    """delete: nothing of the instance remains."""

    verb = "delete"
    redo = True

    def begin(self) -> Writes:
        instance = self.instance
        if instance.spec.policy.protect:
            raise Denied(
                f"instance `{instance.name}` is protected against deletion",
                hint=f"allow it first with `yurt set {instance.name} protect=off`",
            )
        if instance.phase in ACTIVE and not self.arguments["force"]:
            raise WrongState(
                kind="instance",
                name=instance.name,
                actual=instance.phase,
                wanted="stopped",
                hint=f"stop it first with `yurt stop {instance.name}`, or add --force",
            )
        return [put_instance(self.core.claim(instance, self.operation_id))]

    def steps(self) -> list[Step]:
        return [
            Step(name="end", text="ending the guest", do=self.end),
            self.removal(),
        ]

    async def end(self) -> None:
        await take_down(self.core, self.instance_id, self.instance)

    def commit(self) -> Writes:
        return self.forget_writes()

    def rollback(self, error: YurtError) -> Writes:
        return [put_instance(replace(self.instance, phase=Phase.STOPPED, operation=None))]

    async def ended(self, operation: Operation) -> None:
        if operation.error is None:
            self.core.bus.publish("instance.deleted", operation.target, target_id=self.instance_id)


class Settle(InstancePlan):
    """A guest ended by itself: take down its machine and record how it ended; an ephemeral one is deleted."""

    verb = "settle"
    redo = True

    def begin(self) -> Writes:
        return [put_instance(self.core.claim(self.instance, self.operation_id))]

    def steps(self) -> list[Step]:
        steps = [Step(name="cleanup", text="taking down the machine", do=self.cleanup)]
        if self.instance.spec.ephemeral:
            steps.append(self.removal())
        return steps

    async def cleanup(self) -> None:
        crashed, code = self.arguments.get("crashed"), self.arguments.get("exit_code")
        what = f"crashed: {self.arguments.get('reason')}" if crashed else "ended"
        self.core.note(self.instance, what + (f", exit code {code}" if code is not None else ""))
        await take_down(self.core, self.instance_id, self.instance)

    def commit(self) -> Writes:
        if self.instance.spec.ephemeral:
            return self.forget_writes()
        code = self.arguments.get("exit_code")
        reason = str(self.arguments.get("reason") or "")
        if hint := str(self.arguments.get("hint") or ""):
            reason += f" ({hint})"
        ended = stopped(
            self.instance,
            exit_code=code if isinstance(code, int) else None,
            crashed=bool(self.arguments.get("crashed")),
            reason=reason,
        )
        if not self.arguments.get("host_booted"):  # a boot of the host is nobody's failure: autostart decides
            failure = policy.failed(
                ended,
                crashed=ended.phase is Phase.CRASHED,
                exit_code=ended.exit_code,
                seen=self.arguments.get("seen", True) is True,
            )
            ended = policy.after_end(ended, failure=failure, now=self.core.clock.now())
        return [put_instance(ended)]

    def rollback(self, error: YurtError) -> Writes:
        broken = replace(self.instance, phase=Phase.BROKEN, reason=error.message, operation=None)
        return [put_instance(broken)]

    async def ended(self, operation: Operation) -> None:
        instance = self.core.records.instances.get(self.instance_id)
        kind = f"instance.{instance.phase.value}" if instance is not None else "instance.deleted"
        self.core.bus.publish(kind, operation.target, target_id=self.instance_id, data=dict(self.arguments))


INSTANCE_VERBS: tuple[type[InstancePlan], ...] = (
    Create,
    Start,
    Stop,
    Restart,
    DeleteInstance,
    Settle,
    Pause,
    Resume,
    Rename,
    SetSettings,
)
