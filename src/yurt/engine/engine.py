"""The engine's face: what the API calls. Every mutating verb returns its operation at once."""

import asyncio
import secrets
from collections.abc import AsyncIterator

import msgspec

from yurt.drivers.agent.client import AgentClient, ExecSession
from yurt.drivers.base import SupportsUsage
from yurt.engine import doctor as doctor_module
from yurt.engine.capacity import host_resources
from yurt.engine.consoles import ConsoleView
from yurt.engine.core import ACTIVE, Core
from yurt.engine.imageverbs import BuildImage, DeleteImage, PruneImages, prune_report
from yurt.engine.importverbs import Imports
from yurt.engine.keeper import Keeper
from yurt.engine.live import Live, MainAttachment
from yurt.engine.logs import read_tail
from yurt.engine.netverbs import ManagedNetworks
from yurt.engine.nicverbs import NIC_VERBS, Nics
from yurt.engine.operation import Operations, PlanFactory
from yurt.engine.policy import check_policy
from yurt.engine.profileverbs import Profiles
from yurt.engine.rehearse import rehearse_create, rehearse_start, rehearsed
from yurt.engine.setverbs import rehearse_set, with_limits
from yurt.engine.steps import InstancePlan
from yurt.engine.verbs import INSTANCE_VERBS
from yurt.engine.volumeimport import VolumeImports
from yurt.engine.volumes import VolumesFace, volume_factories
from yurt.errors import Invalid, NotFound, Timeout, WrongState, YurtError
from yurt.host import layout as names
from yurt.host.memory import available_bytes
from yurt.model.host import Check, HostFacts
from yurt.model.image import Image
from yurt.model.instance import Instance, InstanceSpec, Kind, Phase, Usage
from yurt.model.names import ADJECTIVES, NOUNS, Name, made_up_name, parse_name, parse_reference
from yurt.model.operation import Event, Operation

CONDITIONS = ("running", "agent", "exit")
STOP_TIMEOUT_S = 30.0


class Engine(VolumesFace):
    """Verbs and questions about instances, images, operations and the host."""

    def __init__(self, core: Core) -> None:
        self.core = core
        factories: dict[str, PlanFactory] = {
            cls.verb: _factory(core, cls) for cls in (*INSTANCE_VERBS, *NIC_VERBS)
        }
        factories["image-build"] = lambda op: BuildImage(core, op.target)
        factories["image-delete"] = lambda op: DeleteImage(core, op.target)
        factories["image-prune"] = lambda op: PruneImages(core)
        factories |= volume_factories(core)
        self.volume_imports = VolumeImports(core)
        factories["volume-import"] = self.volume_imports.plan
        self.imports = Imports(core)
        factories["image-import"] = self.imports.plan
        core.operations = Operations(core.records, core.bus, factories, core.layout.state)
        self.keeper = Keeper(core)
        self.profiles = Profiles(core)
        self.networks, self.nics = ManagedNetworks(core), Nics(core)

    @property
    def facts(self) -> HostFacts:
        return self.core.facts

    # instances

    async def instances(self, selector: dict[str, str]) -> list[Instance]:
        """All instances whose labels hold the selector, by name."""
        found = [
            self.core.shown(instance)
            for instance in self.core.records.instances.values()
            if selector.items() <= instance.spec.labels.items()
        ]
        return sorted(found, key=lambda instance: instance.name)

    async def instance(self, name: str) -> Instance:
        """One instance. Raises NotFound."""
        return self.core.shown(self.core.records.get(name))

    async def create(self, spec: InstanceSpec, *, start: bool, dry_run: bool = False) -> Operation:
        """Create, and with `start` also start, an instance. Raises Exists at once when the name is taken."""
        parse_reference(spec.image)
        spec = self.profiles.expanded(spec)
        check_policy(spec.policy.filled(), ephemeral=spec.ephemeral)
        name = parse_name(spec.name) if spec.name else self._free_name()
        self.core.records.require_free(name)
        await self._known_image(spec.image)
        if dry_run:
            return await rehearse_create(self.core, spec, name, start=start)
        arguments: dict[str, object] = {
            "spec": msgspec.to_builtins(spec),
            "name": str(name),
            "start": start,
            "image": spec.image,
        }
        return await self.core.operations.begin("create", name, secrets.token_hex(6), arguments)

    async def _known_image(self, reference: str) -> None:
        """Raise NotFound at once for an image that is neither there nor buildable."""
        full = parse_reference(reference)
        if full.removesuffix(":latest") not in self.core.images.recipes():
            await self.core.images.get(full)

    def _free_name(self) -> Name:
        for _ in range(64):
            name = made_up_name(secrets.randbelow(len(ADJECTIVES) * len(NOUNS)))
            if name not in self.core.records.names:
                return name
        return Name(f"{name}-{secrets.token_hex(2)}")

    async def _verb(self, verb: str, name: str, **arguments: object) -> Operation:
        instance = self.core.records.get(name)
        arguments |= {"name": str(instance.name), "slot": instance.slot}
        return await self.core.operations.begin(verb, instance.name, instance.id, arguments)

    async def start(self, name: str, *, dry_run: bool = False) -> Operation:
        """Start a stopped instance; `dry_run` only says whether it would fit."""
        if dry_run:
            return rehearse_start(self.core, name)
        return await self._verb("start", name)

    async def stop(self, name: str, *, timeout_s: float = STOP_TIMEOUT_S, force: bool = False) -> Operation:
        """Ask an instance to stop; after `timeout_s` seconds it is ended."""
        return await self._verb("stop", name, timeout_s=timeout_s, force=force)

    async def kill(self, name: str) -> Operation:
        """End an instance without asking it."""
        return await self._verb("stop", name, timeout_s=0.0, force=True)

    async def restart(
        self, name: str, *, timeout_s: float = STOP_TIMEOUT_S, force: bool = False
    ) -> Operation:
        """Stop (if it runs) and start."""
        return await self._verb("restart", name, timeout_s=timeout_s, force=force)

    async def pause(self, name: str) -> Operation:
        """Hold an instance's processors."""
        return await self._verb("pause", name)

    async def resume(self, name: str) -> Operation:
        """Let a paused instance go on."""
        return await self._verb("resume", name)

    async def delete(self, name: str, *, force: bool = False) -> Operation:
        """Delete an instance; with `force` also one that runs."""
        return await self._verb("delete", name, force=force)

    async def rename(self, name: str, new_name: str) -> Operation:
        """Give an instance another name. Raises Exists."""
        return await self._verb("rename", name, new_name=new_name)

    async def set(self, name: str, settings: dict[str, str], *, dry_run: bool = False) -> Operation:
        """Change settings, by the names of `yurt set`; empty text takes a limit away."""
        if dry_run:
            return await rehearse_set(self.core, name, settings)
        return await self._verb("set", name, settings=settings)

    async def wait(self, name: str, condition: str, timeout_s: float) -> Instance:
        """Return once the condition holds: `running`, `agent` (answers) or `exit` (has stopped). Raises Timeout.

        One that is just being created is waited for, too. Waiting for `running` or `agent` of one that has
        crashed raises WrongState with the reason.
        """
        if condition not in CONDITIONS:
            raise Invalid(f"cannot wait for `{condition}`", hint="wait for running, agent or exit")
        instance_id = self.core.records.names.get(name)
        if instance_id is None:
            raise NotFound(kind="instance", name=name, hint="see `yurt ls`")
        events = self.core.bus.subscribe()
        last: Instance | None = None
        try:
            async with asyncio.timeout(timeout_s):
                while True:
                    found = self.core.records.instances.get(instance_id)
                    if found is not None:
                        last = self.core.shown(found)
                        if self._holds(last, condition):
                            return last
                    elif instance_id not in self.core.records.names.values():
                        if condition == "exit" and last is not None:
                            return last
                        raise NotFound(
                            kind="instance", name=name, hint="it was deleted, or could not be created"
                        )
                    async for event in events:
                        if event.target_id == instance_id:
                            break
                    else:
                        raise WrongState("the daemon stops", hint="try again")
        except TimeoutError as error:
            raise Timeout(
                what=f"`{name}` ({condition})", timeout_s=timeout_s, hint=f"look at `yurt logs {name}`"
            ) from error

    def _holds(self, instance: Instance, condition: str) -> bool:
        ended = instance.phase not in ACTIVE
        if condition == "exit":
            return ended
        if ended and instance.operation is None:
            reason = f": {instance.reason}" if instance.reason else ""
            raise WrongState(
                f"instance `{instance.name}` is {instance.phase}{reason}",
                hint=f"look at `yurt logs {instance.name}`",
            )
        if condition == "running":
            return instance.phase is Phase.RUNNING
        return instance.agent and instance.phase is Phase.RUNNING

    def _live(self, name: str) -> Live:
        instance = self.core.records.get(name)
        live = self.core.lives.get(instance.id)
        if live is None:
            raise WrongState(
                kind="instance",
                name=name,
                actual=instance.phase,
                wanted="running",
                hint=f"start it with `yurt start {name}`"
                if instance.phase in (Phase.STOPPED, Phase.CRASHED)
                else "",
            )
        return live

    async def usage(self) -> list[Usage]:
        """What each running instance uses, by name."""
        running = [
            (i, self.core.drivers[i.spec.kind])
            for i in self.core.records.instances.values()
            if i.phase in (Phase.RUNNING, Phase.PAUSED)
        ]
        counted = await asyncio.gather(
            *(d.usage(self.core.run_dir(i.id)) for i, d in running if isinstance(d, SupportsUsage)),
            return_exceptions=True,
        )
        found = []
        for (instance, _), usage in zip(running, counted, strict=True):
            if isinstance(usage, Usage):
                found.append(with_limits(usage, instance, self.facts))
            elif not isinstance(usage, YurtError | OSError):
                raise usage
        return sorted(found, key=lambda usage: usage.name)

    async def agent(self, name: str) -> AgentClient:
        """The connected agent of a running instance; waits a moment for one that is just coming up."""
        live = self._live(name)
        if self.core.records.get(name).phase is Phase.PAUSED:
            raise WrongState(
                kind="instance",
                name=name,
                actual=Phase.PAUSED,
                wanted="running",
                hint=f"let it go on with `yurt resume {name}`",
            )
        return await live.agent(timeout_s=5.0)

    async def attach(self, name: str) -> MainAttachment | ExecSession:
        """The main process of an instance that runs a command instead of an init. Raises WrongState."""
        live = self._live(name)
        if live.main is None:
            raise WrongState(
                f"`{name}` boots its own init, there is no main process to attach to",
                hint=f"use `yurt console {name}` or `yurt exec {name} -- COMMAND`",
            )
        return live.main.attach()

    async def console(self, name: str) -> ConsoleView:
        """Open the console of a running instance."""
        live = self._live(name)
        if live.main is not None and live.kind is Kind.CONTAINER:
            raise WrongState(
                f"`{name}` runs a command and has no console", hint=f"see its output with `yurt logs {name}`"
            )
        return live.console_hub.view()

    async def logs(self, name: str, *, source: str, tail_bytes: int, follow: bool) -> AsyncIterator[bytes]:
        """Yield the end of a log and, with `follow`, what is added until the instance stops."""
        instance = self.core.records.get(name)
        if source not in ("console", "lifecycle"):
            raise Invalid(f"there is no log `{source}`", hint="take console or lifecycle")
        directory = self.core.layout.instance_state(instance.id)
        file = directory / (names.CONSOLE_LOG if source == "console" else names.LIFECYCLE_LOG)
        live = self.core.lives.get(instance.id)
        open_log = live.console_log if source == "console" and live else self.core.lifecycle(instance.id)
        later = (
            open_log.follow() if follow and open_log is not None and (live or source == "lifecycle") else None
        )
        if tail := await asyncio.to_thread(read_tail, file, tail_bytes):
            yield tail
        if later is not None:
            async for chunk in later:
                yield chunk

    # images

    async def images(self) -> list[Image]:
        """All images, by name."""
        return await self.core.images.list()

    async def image(self, reference: str) -> Image:
        """One image. Raises NotFound."""
        return await self.core.images.get(parse_reference(reference))

    async def build_image(self, recipe: str) -> Operation:
        """Build an image from a recipe that ships."""
        return await self.core.operations.begin("image-build", recipe, "", {})

    async def delete_image(self, reference: str) -> Operation:
        """Delete an image that no instance uses."""
        image = await self.core.images.get(parse_reference(reference))
        return await self.core.operations.begin("image-delete", image.reference, "", {})

    async def prune_images(self, *, dry_run: bool) -> Operation:
        """Remove what nothing uses; `dry_run` only says what that would be."""
        if dry_run:
            return rehearsed("image-prune", "images", await prune_report(self.core, dry_run=True))
        return await self.core.operations.begin("image-prune", "images", "", {})

    # operations and events

    async def operations(self) -> list[Operation]:
        """All operations that are kept, newest first."""
        return sorted(self.core.records.operations.values(), key=lambda op: -op.created_at)

    async def operation(self, operation_id: str) -> Operation:
        """One operation. Raises NotFound."""
        return self.core.operations.get(operation_id)

    async def wait_operation(self, operation_id: str, timeout_s: float) -> Operation:
        """The operation once it has ended, or as it is after the timeout."""
        return await self.core.operations.wait(operation_id, timeout_s)

    async def cancel_operation(self, operation_id: str) -> Operation:
        """Cancel an operation and undo what it did."""
        return await self.core.operations.cancel(operation_id)

    def events(self, *, since: int | None = None) -> AsyncIterator[Event]:
        """Everything that happens, from `since` on."""
        return self.core.bus.subscribe(since)

    # host

    async def host_info(self) -> dict[str, object]:
        """What this host is, and how much of it is used."""
        facts = self.facts
        running = [i for i in self.core.records.instances.values() if i.phase in ACTIVE]
        kinds = {
            kind.value: {
                "available": (caps := driver.capabilities(facts)).available,
                "reason": caps.reason,
                "fix": caps.fix,
            }
            for kind, driver in self.core.drivers.items()
        }
        return {
            "hostname": facts.hostname,
            "distribution": facts.distribution,
            "kernel": facts.kernel,
            "architecture": facts.architecture,
            "cpus": facts.cpus,
            "memory_bytes": facts.memory_bytes,
            "memory_available_bytes": available_bytes(),
            "instances": len(self.core.records.instances),
            "instances_running": len(running),
            "accelerator": msgspec.to_builtins(await self.core.accelerator()),
            "qemu_version": facts.qemu_version,
            "cgroups": facts.cgroups.version,
            "kinds": kinds,
            "resources": host_resources(self.core),
            "state": str(self.core.layout.state),
            "run": str(self.core.layout.run),
        }

    async def doctor(self) -> list[Check]:
        """Everything that `yurt doctor` shows."""
        return await doctor_module.checks(self.facts, self.core.layout, await self.core.accelerator())


def _factory(core: Core, cls: type[InstancePlan]) -> PlanFactory:
    return lambda operation: cls(core, operation.target_id, operation.arguments)
