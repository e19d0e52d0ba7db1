"""What the verbs share: records, events, drivers, stores of images and kernels, and the running guests."""

import asyncio
import hashlib
import logging
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path

from msgspec.structs import replace

from yurt.drivers.agent.build import agent_binary, source_dir
from yurt.drivers.agent.config import BootConfig, encode_config
from yurt.drivers.base import Driver, DriverEvent, Launched, NicAttachment, SupportsDetach
from yurt.drivers.qemu.accel import choose
from yurt.engine.events import EventBus
from yurt.engine.live import Live
from yurt.engine.logs import LIFECYCLE_LIMIT, BoundedLog, lifecycle_line
from yurt.engine.networking import nic_attachments
from yurt.engine.operation import Operations
from yurt.engine.records import Records
from yurt.engine.tally import ACTIVE as ACTIVE
from yurt.engine.tally import Tally
from yurt.engine.timers import Clock, SystemClock
from yurt.engine.volumemounts import guest_mounts
from yurt.errors import Busy, WrongState, YurtError
from yurt.host import layout as names
from yurt.host.ids import IdPlan
from yurt.host.layout import Layout
from yurt.host.rootless import current_ids
from yurt.images.kernel import KernelStore
from yurt.images.store import ImageStore
from yurt.model.host import Accelerator, HostFacts
from yurt.model.image import Image
from yurt.model.instance import Init, Instance, Kind, NetworkMode, Phase, Privilege
from yurt.model.isolation import NESTING
from yurt.model.operation import Progress
from yurt.model.settings import Settings
from yurt.model.volume import ROOT_SERIAL
from yurt.network.ipam import Addresses
from yurt.network.service import Networks

log = logging.getLogger("yurt.core")


@dataclass
class Core:
    """The daemon's one set of services; every plan gets it."""

    layout: Layout
    facts: HostFacts
    records: Records
    bus: EventBus
    drivers: dict[Kind, Driver]
    images: ImageStore
    kernels: KernelStore
    probe: Callable[[], Awaitable[Accelerator]]
    settings: Settings = field(default_factory=Settings)
    clock: Clock = field(default_factory=SystemClock)
    ids: IdPlan = field(default_factory=current_ids)
    operations: Operations = field(init=False)
    tally: Tally = field(default_factory=Tally)
    networks: Networks = field(init=False)
    addresses: Addresses = field(default_factory=Addresses)
    lives: dict[str, Live] = field(default_factory=dict)
    lent: dict[str, int] = field(default_factory=dict)  # bytes that a machine lends to the host, by instance
    on_machine: Callable[[], None] | None = None  # called when a guest has begun to run
    building: dict[str, asyncio.Lock] = field(default_factory=dict)  # by recipe
    _lifecycle: dict[str, BoundedLog] = field(default_factory=dict)
    _agent: Path | None = None
    _verdict: asyncio.Task[Accelerator] | None = None
    _watchers: set[asyncio.Task[None]] = field(default_factory=set)

    @property
    def new_boot(self) -> bool:
        """Whether the host has booted since those who start with it were last started."""
        return bool(self.facts.boot_id) and self.records.boot_id != self.facts.boot_id

    def __post_init__(self) -> None:
        self.records.watchers.append(self.tally.mark)
        for instance in self.records.instances.values():
            self.tally.mark(instance.id, instance)
        self.networks = Networks(self.layout, self.facts, self._network_news)

    async def agent(self) -> Path:
        """The yurt-agent binary for this host's guests, built on first use."""
        if self._agent is None:
            self.layout.agents.mkdir(parents=True, exist_ok=True)
            self._agent = await agent_binary(self.layout.agents, source_dir(), self.facts.architecture)
        return self._agent

    async def boot_disk(self, image: Image, report: Progress) -> Path:
        """The image's bootable disk, with the agent as a service in it."""
        kernel = await self.kernels.generic(report)
        # what the initrd on that disk is told: find the root partition and hand over to the image's init
        told = BootConfig(mode="vm", hostname="", init=image.config.init, root_device="LABEL=root")
        return await self.images.boot_disk(
            image, kernel, self.kernels, await self.agent(), encode_config(told), report
        )

    async def accelerator(self) -> Accelerator:
        """The probe's verdict; the probe runs once, when somebody first asks."""
        if self._verdict is None:
            self._verdict = asyncio.ensure_future(self.probe())
        return await asyncio.shield(self._verdict)

    async def accelerator_for(self, instance: Instance) -> Accelerator:
        """The accelerator of one start: the user's word wins, else the probe's. Raises Unsupported."""
        return choose(instance.spec.accel, await self.accelerator())

    def announcement(self, launched: Launched | None) -> dict[str, object]:
        """What a client that starts a guest is told as `notice`, or nothing.

        Always which wall a container goes without; that guests run under TCG once per boot of the host.
        """
        if launched is None:
            return {}
        if launched.spec is not None and Privilege.NESTING in launched.spec.privileges:
            return {"notice": f"with `--nesting`, {NESTING}"}
        verdict = self._verdict.result() if self._verdict is not None and self._verdict.done() else None
        if launched.accelerator != "tcg" or verdict is None or verdict.name != "tcg":
            return {}
        try:
            self.layout.accel_announced.touch(exist_ok=False)
        except OSError:
            return {}
        return {
            "notice": f"without hardware assistance, so slower: {verdict.reason} (`yurt doctor` has more)"
        }

    def boot_config(self, instance: Instance) -> BootConfig:
        """What the agent is told at boot, mounts included."""
        nics = nic_attachments(instance, self.records.networks, self.networks.tag)
        return replace(boot_config(instance, nics), mounts=guest_mounts(self.records, instance))

    def driver(self, instance: Instance) -> Driver:
        return self.drivers[instance.spec.kind]

    def run_dir(self, instance_id: str) -> Path:
        return self.layout.instance_run(instance_id)

    def shown(self, instance: Instance) -> Instance:
        """The record with what only the running daemon knows."""
        live = self.lives.get(instance.id)
        return replace(
            instance,
            agent=live is not None and live.agent_ready.is_set(),
            lent_bytes=self.lent.get(instance.id, 0),
        )

    def claim(self, instance: Instance, operation_id: str, phase: Phase | None = None) -> Instance:
        """The record as held by an operation. Raises Busy when another one holds it."""
        if instance.operation is not None and instance.operation != operation_id:
            holder = self.records.operations.get(instance.operation)
            if holder is not None and not holder.status.ended:
                raise Busy(
                    kind="instance",
                    name=instance.name,
                    operation=holder.verb,
                    hint=f"wait for it with `yurt operation {holder.id} --wait`",
                )
        return replace(instance, operation=operation_id, phase=phase or instance.phase)

    def adopt(self, instance: Instance) -> Live:
        """Begin to follow a guest that runs."""
        live = Live(
            instance,
            self.driver(instance),
            self.run_dir(instance.id),
            self.layout.instance_state(instance.id),
            configure=(lambda: self.boot_config(self.records.instances[instance.id]))
            if instance.spec.kind is Kind.VM
            else None,
            on_event=lambda event: self._driver_event(instance.id, event),
            on_agent=lambda ready: self._agent_event(instance.id, ready),
        )
        self.lives[instance.id] = live
        live.begin()
        if self.on_machine is not None:
            self.on_machine()
        watcher = asyncio.create_task(self._watch_exit(live))
        self._watchers.add(watcher)
        watcher.add_done_callback(self._watchers.discard)
        return live

    async def let_go(self, instance_id: str) -> None:
        """Stop following a guest. Safe to repeat."""
        live = self.lives.pop(instance_id, None)
        if live is not None:
            await live.end()

    async def _watch_exit(self, live: Live) -> None:
        await live.exited
        await self.settle_if_free(live.instance_id)

    async def settle_if_free(self, instance_id: str) -> None:
        """If a guest has ended and no operation holds it, record its end."""
        live, instance = self.lives.get(instance_id), self.records.instances.get(instance_id)
        if live is None or instance is None or not live.exited.done() or instance.operation is not None:
            return
        if instance.phase not in ACTIVE:
            return
        if live.main is not None and not live.main.done.done():
            await asyncio.wait([live.main.done], timeout=0.5)
        try:
            await self.operations.begin("settle", instance.name, instance_id, ending(live))
        except (Busy, WrongState) as error:
            log.debug("settle %s: %s", instance.name, error)
        except YurtError as error:
            log.error("could not record the end of %s: %s", instance.name, error)

    def _driver_event(self, instance_id: str, event: DriverEvent) -> None:
        instance = self.records.instances.get(instance_id)
        if instance is None:
            return
        text = event.type + (f": {event.reason}" if event.reason else "")
        self.note(instance, f"guest {text}")
        self.bus.publish(
            f"instance.{event.type}",
            instance.name,
            target_id=instance_id,
            data={"reason": event.reason, "hint": event.hint},
        )

    def _network_news(self, what: str, name: str, data: dict[str, object]) -> None:
        self.bus.publish(what, name, data=data)

    def _agent_event(self, instance_id: str, ready: bool) -> None:
        instance = self.records.instances.get(instance_id)
        if instance is not None:
            self.note(instance, "agent answers" if ready else "agent gone")
            self.bus.publish("instance.agent", instance.name, target_id=instance_id, data={"ready": ready})

    def note(self, instance: Instance, text: str) -> None:
        """Add a line to the instance's lifecycle log."""
        entry = self.lifecycle(instance.id)
        if entry is not None:
            entry.append(lifecycle_line(text, time.time()))

    def lifecycle(self, instance_id: str) -> BoundedLog | None:
        """The lifecycle log of an instance, opened on first use; None when it has no state directory."""
        found = self._lifecycle.get(instance_id)
        if found is None:
            directory = self.layout.instance_state(instance_id)
            if not directory.is_dir():
                return None
            found = self._lifecycle[instance_id] = BoundedLog(
                directory / names.LIFECYCLE_LOG, LIFECYCLE_LIMIT
            )
        return found

    def forget(self, instance_id: str) -> None:
        """Close what is kept open for a deleted instance."""
        if entry := self._lifecycle.pop(instance_id, None):
            entry.close()

    async def close(self) -> None:
        """Let go of all guests; they run on."""
        await self.operations.close()
        for task in list(self._watchers):
            task.cancel()
        await asyncio.gather(*self._watchers, return_exceptions=True)
        for instance_id in list(self.lives):
            await self.let_go(instance_id)
        for entry in self._lifecycle.values():
            entry.close()
        await self.networks.close()
        for driver in self.drivers.values():
            if isinstance(driver, SupportsDetach):
                await driver.detach()


def ending(live: Live) -> dict[str, object]:
    """How a guest ended: `exit_code`, `crashed`, `reason`."""
    event = live.exited.result()
    finished = live.main is not None and live.main.done.done()
    code = live.main.done.result() if live.main is not None and finished else event.exit_code
    if live.failure is not None:
        reason = live.failure.reason or live.failure.type
        return {"exit_code": code, "crashed": True, "reason": reason, "hint": live.failure.hint}
    crashed = bool(event.reason) and not finished
    return {"exit_code": code, "crashed": crashed, "reason": event.reason, "hint": event.hint}


def boot_config(instance: Instance, nics: tuple[NicAttachment, ...] = ()) -> BootConfig:
    """What the agent is told at boot. Pure.

    The addresses of user-mode networks are those of QEMU and slirp4netns. A container's NICs are configured from outside.
    """
    spec = instance.spec
    command = spec.init is Init.COMMAND
    user_network = spec.network is NetworkMode.USER
    return BootConfig(
        mode=spec.kind.value,
        hostname=instance.name,
        init="" if command else spec.init_path,
        init_args=(),
        command=spec.command if command else (),
        env=spec.env,
        workdir=spec.workdir,
        user=spec.user,
        tty=spec.tty and command,
        stdin=spec.stdin and command,
        network=spec.network.value,
        nics=() if spec.kind is Kind.CONTAINER else nics,
        search=next((nic.domain for nic in nics if nic.dns), ""),
        address="10.0.2.15/24" if user_network else "",
        gateway="10.0.2.2" if user_network else "",
        dns="10.0.2.3" if user_network else next((nic.dns[0] for nic in nics if nic.dns), ""),
        root_device=f"SERIAL={ROOT_SERIAL}",
        machine_id=hashlib.sha256(b"yurt machine-id " + instance.id.encode()).hexdigest()[:32],
    )
