"""The verbs of one step or none: pause, resume, rename."""

from msgspec.structs import replace

from yurt.engine import networking
from yurt.engine.operation import Step
from yurt.engine.records import Writes, put_instance
from yurt.engine.steps import InstancePlan
from yurt.errors import WrongState, YurtError
from yurt.model.instance import Phase
from yurt.model.names import parse_name
from yurt.model.operation import Operation
from yurt.state.base import Delete, Put


class Pause(InstancePlan):
    """pause: hold the processors; memory stays."""

    verb = "pause"
    wanted, after = Phase.RUNNING, Phase.PAUSED

    def begin(self) -> Writes:
        instance = self.instance
        if instance.phase is not self.wanted:
            raise WrongState(kind="instance", name=instance.name, actual=instance.phase, wanted=self.wanted)
        return [put_instance(self.core.claim(instance, self.operation_id))]

    def steps(self) -> list[Step]:
        return [Step(name=self.verb, text=f"{self.verb} the guest", do=self.act, undo=self.back)]

    async def act(self) -> None:
        await self.core.driver(self.instance).pause(self.run_dir)

    async def back(self) -> None:
        await self.core.driver(self.instance).resume(self.run_dir)

    def commit(self) -> Writes:
        return [put_instance(replace(self.instance, phase=self.after, operation=None))]

    def rollback(self, error: YurtError) -> Writes:
        return [put_instance(replace(self.instance, operation=None))]

    async def ended(self, operation: Operation) -> None:
        self.core.bus.publish(
            f"instance.{self.instance.phase.value}", operation.target, target_id=self.instance_id
        )
        await self.core.settle_if_free(self.instance_id)


class Resume(Pause):
    """resume: let a paused guest go on."""

    verb = "resume"
    wanted, after = Phase.PAUSED, Phase.RUNNING

    async def act(self) -> None:
        await self.core.driver(self.instance).resume(self.run_dir)

    async def back(self) -> None:
        await self.core.driver(self.instance).pause(self.run_dir)


class Rename(InstancePlan):
    """rename: one transaction; the guest's own host name changes at its next start."""

    verb = "rename"

    def begin(self) -> Writes:
        new = parse_name(str(self.arguments["new_name"]))
        self.core.records.require_free(new)
        return [put_instance(self.core.claim(self.instance, self.operation_id))]

    def steps(self) -> list[Step]:
        return []

    def commit(self) -> Writes:
        instance, new = self.instance, parse_name(str(self.arguments["new_name"]))
        self.core.records.require_free(new)
        return [
            Delete(f"names/{instance.name}"),
            Put(f"names/{new}", instance.id.encode()),
            put_instance(replace(instance, name=new, operation=None)),
        ]

    def rollback(self, error: YurtError) -> Writes:
        return [put_instance(replace(self.instance, operation=None))]

    def result(self) -> dict[str, object]:
        return {"name": self.arguments["new_name"]}

    async def ended(self, operation: Operation) -> None:
        if operation.error is None:
            networking.introduce(self.core, self.instance)
