"""volume attach and volume detach: a volume comes to an instance that is there, or leaves it.

Both hold the volume and the instance. A disk comes and goes while a machine runs where its driver can do that;
everywhere else attaching waits for the next start, and detaching is refused until the instance is stopped.
"""

from msgspec.structs import replace

from yurt.drivers.base import SupportsHotplug
from yurt.engine.attach_volumes import prepare_volume, volume_attachment
from yurt.engine.core import Core
from yurt.engine.operation import Step
from yurt.engine.records import Writes, put_instance, put_volume
from yurt.engine.resolve_volumes import check_targets, checked_use
from yurt.engine.volumeclaims import claim_volume
from yurt.engine.volumemounts import mount_now, unmount_now
from yurt.engine.volumeverbs import RUNNING, VolumePlan
from yurt.errors import Busy, Unsupported, WrongState, YurtError
from yurt.model.instance import Instance
from yurt.model.operation import Operation
from yurt.model.volume import VolumeForm, VolumeUse


def hot_driver(core: Core, instance: Instance, form: VolumeForm) -> SupportsHotplug | None:
    """The driver when it can plug this volume in or out right now, else None."""
    driver = core.driver(instance)
    if form is VolumeForm.BLOCK and instance.phase in RUNNING and isinstance(driver, SupportsHotplug):
        return driver
    return None


class AttachmentPlan(VolumePlan):
    """What attaching and detaching share: the instance, and letting go of both."""

    def __init__(self, core: Core, name: str, volume_id: str, arguments: dict[str, object]) -> None:
        super().__init__(core, name, volume_id, arguments)
        self.pending = ""

    @property
    def instance(self) -> Instance:
        return self.core.records.instances[str(self.arguments["instance_id"])]

    @property
    def use(self) -> VolumeUse:
        return VolumeUse(
            volume=self.name,
            path=str(self.arguments.get("path") or ""),
            read_only=bool(self.arguments.get("read_only")),
        )

    def without(self) -> tuple[VolumeUse, ...]:
        return tuple(use for use in self.instance.spec.volumes if use.volume != self.name)

    def record(self, uses: tuple[VolumeUse, ...]) -> Writes:
        """The write of the instance with these volumes, free again."""
        spec = replace(self.instance.spec, volumes=uses)
        return [put_instance(replace(self.instance, spec=spec, operation=None))]

    def result(self) -> dict[str, object]:
        return {"pending": self.pending} if self.pending else {}

    async def ended(self, operation: Operation) -> None:
        self.tell(self.verb.removeprefix("volume-") + "ed", operation)
        await self.core.settle_if_free(str(self.arguments["instance_id"]))


class AttachVolume(AttachmentPlan):
    """volume attach. The claim on the volume is taken at once: of two that want it, one is refused."""

    verb = "volume-attach"

    def begin(self) -> Writes:
        instance, use = self.instance, checked_use(self.use, self.instance.spec.kind)
        self.claimed()  # raises when it is held
        volume = claim_volume(self.core.records, use, instance.spec.kind, instance.id, self.operation_id)
        if self.volume.attached_to == instance.id:
            raise WrongState(
                f"volume `{self.name}` is attached to `{instance.name}` already",
                hint=f"detach it first with `yurt volume detach {self.name}`",
            )
        if len(instance.spec.volumes) >= MAX_VOLUMES:
            raise Unsupported(f"an instance has at most {MAX_VOLUMES} volumes")
        targets = [use.path for use in (*instance.spec.volumes, use) if use.path]
        check_targets([*targets, *(share.target for share in instance.spec.shares)])
        return [
            put_volume(replace(volume, operation=self.operation_id)),
            put_instance(self.core.claim(instance, self.operation_id)),
        ]

    def steps(self) -> list[Step]:
        return [
            Step(name="plug", text="attaching the volume", do=self.plug, undo=self.unplug),
            Step(name="mount", text="mounting the volume", do=self.mount),
        ]

    async def plug(self) -> None:
        instance, volume = self.instance, self.volume
        driver = hot_driver(self.core, instance, volume.form)
        if driver is not None:
            await prepare_volume(self.core, volume, self.use)
            attachment = volume_attachment(self.core, volume, self.use)
            await driver.attach_disk(self.core.run_dir(instance.id), attachment)
        elif instance.phase in RUNNING:
            self.pending = f"a {instance.spec.kind} gets it at its next start"

    async def unplug(self) -> None:
        driver = hot_driver(self.core, self.instance, self.volume.form)
        if driver is not None:
            await driver.detach_disk(self.core.run_dir(self.instance.id), self.name)

    async def mount(self) -> None:
        if self.use.path and hot_driver(self.core, self.instance, self.volume.form) is not None:
            self.pending = await mount_now(self.core, self.instance, self.volume, self.use)

    def commit(self) -> Writes:
        use = checked_use(self.use, self.instance.spec.kind)
        return [
            put_volume(replace(self.volume, operation=None)),
            *self.record((*self.without(), use)),
        ]

    def rollback(self, error: YurtError) -> Writes:
        return [
            put_volume(replace(self.volume, attached_to="", operation=None)),
            *self.record(self.without()),
        ]


MAX_VOLUMES = 32


class DetachVolume(AttachmentPlan):
    """volume detach. Refused while a guest that cannot give it up runs; a disk that the guest uses stays."""

    verb = "volume-detach"

    def begin(self) -> Writes:
        if not self.volume.attached_to:
            raise WrongState(f"volume `{self.name}` is not attached to anything")
        instance = self.instance
        if instance.phase in RUNNING and hot_driver(self.core, instance, self.volume.form) is None:
            raise WrongState(
                f"`{instance.name}` runs, and a {instance.spec.kind} keeps its volumes until it stops",
                hint=f"stop it first with `yurt stop {instance.name}`",
            )
        return [put_volume(self.claimed()), put_instance(self.core.claim(instance, self.operation_id))]

    def steps(self) -> list[Step]:
        return [
            Step(name="unmount", text="unmounting the volume", do=self.unmount),
            Step(name="unplug", text="detaching the volume", do=self.unplug),
        ]

    def _used(self) -> VolumeUse:
        uses = self.instance.spec.volumes
        return next((use for use in uses if use.volume == self.name), VolumeUse(volume=self.name))

    async def unmount(self) -> None:
        use = self._used()
        if use.path and hot_driver(self.core, self.instance, self.volume.form) is not None:
            await unmount_now(self.core, self.instance, use)

    async def unplug(self) -> None:
        driver = hot_driver(self.core, self.instance, self.volume.form)
        if driver is None and self.instance.phase in RUNNING:
            raise Busy(f"`{self.instance.name}` has been started in the meantime")
        if driver is not None:
            await driver.detach_disk(self.core.run_dir(self.instance.id), self.name)

    def commit(self) -> Writes:
        return [
            put_volume(replace(self.volume, attached_to="", operation=None)),
            *self.record(self.without()),
        ]

    def rollback(self, error: YurtError) -> Writes:
        return [*self.let_go(), put_instance(replace(self.instance, operation=None))]
