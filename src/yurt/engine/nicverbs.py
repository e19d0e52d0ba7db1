"""network attach and network detach: a NIC comes to an instance that is there, or leaves it.

A machine whose driver can do that gets and gives it while it runs; for others attaching waits for the next start, and
detaching is refused until the instance is stopped.
"""

import logging

import msgspec
from msgspec.structs import replace

from yurt.drivers.base import SupportsHotplug
from yurt.engine.core import Core
from yurt.engine.networking import free_addresses, nic_attachments, ports_of
from yurt.engine.operation import Step
from yurt.engine.rates import shape_nics, unshape
from yurt.engine.records import Writes, put_instance
from yurt.engine.steps import InstancePlan
from yurt.errors import Busy, Invalid, NotFound, Unsupported, WrongState, YurtError
from yurt.model.instance import Instance, NetworkMode, Phase
from yurt.model.network import MAX_NICS, Nic, NicSpec
from yurt.model.operation import Operation
from yurt.state.base import Put

log = logging.getLogger("yurt.nics")
RUNNING = (Phase.RUNNING, Phase.PAUSED)


def next_index(instance: Instance) -> int:
    """The number of one more NIC: above those that are there, so that none changes its place in the guest. Pure."""
    return max((nic.index for nic in instance.spec.nics), default=-1) + 1


def nic_on(instance: Instance, network: str) -> Nic:
    """The NIC on that network which came last. Raises NotFound."""
    for nic in reversed(instance.spec.nics):
        if nic.network == network:
            return nic
    raise NotFound(f"`{instance.name}` has no NIC on the network `{network}`", hint="see `yurt network info`")


class NicPlan(InstancePlan):
    """What attaching and detaching share. `index` in the arguments is the NIC's number."""

    def __init__(self, core: Core, instance_id: str, arguments: dict[str, object]) -> None:
        super().__init__(core, instance_id, arguments)
        self.index = int(str(arguments["index"]))
        self.pending = ""

    def result(self) -> dict[str, object]:
        return {"pending": self.pending} if self.pending else {}

    @property
    def alone(self) -> Instance:
        """The instance as if this NIC were its only one: what is done to the host is done for this one."""
        instance = self.instance
        nics = tuple(nic for nic in instance.spec.nics if nic.index == self.index)
        # published ports belong to its first NIC, which is none of those that come later
        return replace(instance, spec=replace(instance.spec, nics=nics, publish=()))

    def without(self) -> Instance:
        spec = self.instance.spec
        return replace(
            self.instance,
            spec=replace(spec, nics=tuple(nic for nic in spec.nics if nic.index != self.index)),
            operation=None,
        )

    def gone(self) -> Writes:
        """The writes after which the NIC is no more."""
        return [put_instance(self.without()), *free_addresses(self.alone.spec.nics)]

    def hot_driver(self) -> SupportsHotplug | None:
        """The driver, when it can plug NICs of this instance right now."""
        driver = self.core.driver(self.instance)
        running = self.instance.phase in RUNNING
        return driver if running and isinstance(driver, SupportsHotplug) else None

    async def pull(self) -> None:
        """Take the NIC out of the guest and off the host. Safe to repeat."""
        if driver := self.hot_driver():
            await driver.detach_nic(self.run_dir, self.index)
            await unshape(self.alone)
            await self.core.networks.disconnect(ports_of(self.core, self.alone))

    async def ended(self, operation: Operation) -> None:
        if operation.error is None:
            self.core.bus.publish(
                f"instance.{self.verb}", operation.target, target_id=self.instance_id, data=operation.result
            )
        await self.core.settle_if_free(self.instance_id)


class AttachNic(NicPlan):
    """network attach. The addresses are taken at once."""

    verb = "nic-attach"

    def begin(self) -> Writes:
        instance, core = self.instance, self.core
        if instance.spec.network is not NetworkMode.MANAGED:
            raise Unsupported(
                f"`{instance.name}` is on no managed network", hint="create it with `--network default`"
            )
        if len(instance.spec.nics) >= MAX_NICS:
            raise Unsupported(f"an instance has at most {MAX_NICS} NICs")
        if any(nic.index == self.index for nic in instance.spec.nics):
            raise Busy(f"`{instance.name}` has just got another NIC", hint="try again")
        wish = msgspec.convert(self.arguments["wish"], NicSpec)
        plan = core.addresses.plan(
            [wish],
            core.records.networks,
            core.records.addresses,
            instance_id=instance.id,
            slot=instance.slot,
            tag=core.networks.tag,
            first_index=self.index,
        )
        claimed = core.claim(instance, self.operation_id)
        spec = replace(claimed.spec, nics=(*claimed.spec.nics, *plan.nics))
        reserved = [Put(f"addresses/{key}", instance.id.encode()) for key in plan.reserved]
        return [put_instance(replace(claimed, spec=spec)), *reserved]

    def steps(self) -> list[Step]:
        return [
            Step(name="plug", text="attaching the NIC", do=self.plug, undo=self.pull),
            Step(name="configure", text="configuring it in the guest", do=self.configure),
        ]

    async def plug(self) -> None:
        driver = self.hot_driver()
        if driver is None:
            if self.instance.phase in RUNNING:
                self.pending = f"a {self.instance.spec.kind} gets it at its next start"
            return
        alone = self.alone
        await self.core.networks.connect(alone.id, alone.name, ports_of(self.core, alone))
        await shape_nics(alone.spec)
        every = nic_attachments(self.instance, self.core.records.networks, self.core.networks.tag)
        await driver.attach_nic(self.run_dir, next(nic for nic in every if nic.index == self.index))
        self.core.networks.introduce(alone.id, alone.name, ports_of(self.core, self.instance))

    async def configure(self) -> None:
        """Have the agent give the NIC its addresses; without an agent, the network's DHCP does."""
        live = self.core.lives.get(self.instance_id)
        if self.hot_driver() is None or live is None or live.client is None:
            return
        try:
            await live.client.configure(self.core.boot_config(self.instance))
        except YurtError as error:
            log.warning("%s has not configured its new NIC: %s", self.instance.name, error)

    def commit(self) -> Writes:
        self.core.note(self.instance, f"NIC {self.index} attached")
        return [put_instance(replace(self.instance, operation=None))]

    def rollback(self, error: YurtError) -> Writes:
        return self.gone()


class DetachNic(NicPlan):
    """network detach."""

    verb = "nic-detach"

    def begin(self) -> Writes:
        instance = self.instance
        if not any(nic.index == self.index for nic in instance.spec.nics):
            raise Busy(f"`{instance.name}` has just lost that NIC", hint="look again with `yurt info`")
        if self.index == instance.spec.nics[0].index:
            raise Invalid(
                f"the first NIC of `{instance.name}` stays: its published ports and its way out are there"
            )
        if instance.phase in RUNNING and self.hot_driver() is None:
            raise WrongState(
                f"`{instance.name}` runs, and a {instance.spec.kind} keeps its NICs until it stops",
                hint=f"stop it first with `yurt stop {instance.name}`",
            )
        return [put_instance(self.core.claim(instance, self.operation_id))]

    def steps(self) -> list[Step]:
        return [Step(name="unplug", text="detaching the NIC", do=self.pull)]

    def commit(self) -> Writes:
        self.core.note(self.instance, f"NIC {self.index} detached")
        return self.gone()

    def rollback(self, error: YurtError) -> Writes:
        return [put_instance(replace(self.instance, operation=None))]


NIC_VERBS: tuple[type[NicPlan], ...] = (AttachNic, DetachNic)


class Nics:
    """NICs of instances that are there already."""

    def __init__(self, core: Core) -> None:
        self.core = core

    async def attach(self, network: str, instance_name: str, wish: NicSpec) -> Operation:
        """Give an instance one more NIC. Raises NotFound, Unsupported, Busy, Exists, Exhausted."""
        instance = self.core.records.get(instance_name)
        arguments: dict[str, object] = {
            "index": next_index(instance),
            "wish": msgspec.to_builtins(replace(wish, network=network)),
        }
        return await self.core.operations.begin("nic-attach", instance.name, instance.id, arguments)

    async def detach(self, network: str, instance_name: str) -> Operation:
        """Take its last NIC on that network away. Raises NotFound, Busy, Invalid, WrongState."""
        instance = self.core.records.get(instance_name)
        arguments: dict[str, object] = {"index": nic_on(instance, network).index}
        return await self.core.operations.begin("nic-detach", instance.name, instance.id, arguments)
