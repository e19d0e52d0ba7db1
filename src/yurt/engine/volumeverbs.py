"""The verbs that change a volume by itself: create, resize, delete. Attaching is in attachverbs.py."""

import asyncio
from pathlib import Path

import msgspec
from msgspec.structs import replace

from yurt.drivers.base import SupportsVolumes
from yurt.engine.core import Core
from yurt.engine.operation import Plan, Step
from yurt.engine.records import Writes, now, put_instance, put_volume
from yurt.engine.volumeclaims import get_volume, require_detached, require_free_name, require_idle
from yurt.engine.volumemounts import mount_now
from yurt.errors import Invalid, Unsupported, WrongState, YurtError
from yurt.model.instance import Instance, Phase
from yurt.model.names import Name, parse_name
from yurt.model.operation import Operation
from yurt.model.volume import MAX_SERIAL, Volume, VolumeForm, VolumeSpec
from yurt.state.base import Delete
from yurt.storage import volumes as storage
from yurt.storage.space import require
from yurt.units import format_size

DEFAULT_BYTES = 10 << 30
MIN_FREE = 16 << 20
RUNNING = (Phase.RUNNING, Phase.PAUSED)


def resolved(spec: VolumeSpec) -> VolumeSpec:
    """A wish with its defaults filled in. Raises Invalid."""
    parse_name(spec.name)
    block = spec.form is VolumeForm.BLOCK
    if block and len(spec.name) > MAX_SERIAL:
        raise Invalid(
            f"`{spec.name}` is too long for a block volume",
            hint=f"guests know it by its name, and a disk's serial number has {MAX_SERIAL} characters at most",
        )
    size = DEFAULT_BYTES if block and spec.size_bytes is None else spec.size_bytes
    if size is not None and size % 512:
        raise Invalid(f"{size} bytes are not a whole number of sectors", hint="give the size in M or G")
    return replace(spec, size_bytes=size)


class VolumePlan(Plan):
    """A plan whose target is one volume."""

    def __init__(self, core: Core, name: str, volume_id: str, arguments: dict[str, object]) -> None:
        self.core, self.name, self.volume_id, self.arguments = core, name, volume_id, arguments

    @property
    def volume(self) -> Volume:
        return get_volume(self.core.records, self.name)

    @property
    def directory(self) -> Path:
        return self.core.layout.volumes / self.volume_id

    def claimed(self) -> Volume:
        """The record as held by this operation. Raises NotFound, Busy."""
        volume = self.volume
        require_idle(self.core.records, volume, self.operation_id)
        return replace(volume, operation=self.operation_id)

    def let_go(self) -> Writes:
        """The write after which nobody holds the volume; none when it is gone."""
        found = self.core.records.volumes.get(self.name)
        return [put_volume(replace(found, operation=None))] if found is not None else []

    def rollback(self, error: YurtError) -> Writes:
        return self.let_go()

    def tell(self, what: str, operation: Operation) -> None:
        if operation.error is None:
            self.core.bus.publish(f"volume.{what}", self.name, target_id=self.volume_id)


class CreateVolume(VolumePlan):
    """volume create: the record reserves the name; the files come after it."""

    verb = "volume-create"

    @property
    def spec(self) -> VolumeSpec:
        return msgspec.convert(self.arguments["spec"], VolumeSpec)

    def begin(self) -> Writes:
        require_free_name(self.core.records, self.name)
        require(self.core.layout.state, MIN_FREE, "the new volume")
        spec = self.spec
        volume = Volume(
            id=self.volume_id,
            name=Name(self.name),
            form=spec.form,
            size_bytes=spec.size_bytes or 0,
            labels=spec.labels,
            created_at=now(),
            operation=self.operation_id,
        )
        return [put_volume(volume)]

    def steps(self) -> list[Step]:
        return [Step(name="files", text="making the volume", do=self.make, undo=self.remove)]

    async def make(self) -> None:
        spec = self.spec
        create = storage.create_block if spec.form is VolumeForm.BLOCK else storage.create_tree
        await create(self.directory, spec.size_bytes or 0)

    async def remove(self) -> None:
        await storage.remove(self.directory)

    def commit(self) -> Writes:
        return self.let_go()

    def rollback(self, error: YurtError) -> Writes:
        return [Delete(f"volumes/{self.name}")]

    def result(self) -> dict[str, object]:
        return {"id": self.volume_id, "name": self.name}

    async def ended(self, operation: Operation) -> None:
        self.tell("created", operation)


class DeleteVolume(VolumePlan):
    """volume delete: refused while an instance has it; once begun it is finished, also by the next daemon."""

    verb = "volume-delete"
    redo = True

    def begin(self) -> Writes:
        require_detached(self.core.records, self.volume)
        return [put_volume(self.claimed())]

    def steps(self) -> list[Step]:
        return [Step(name="files", text="deleting its files", do=self.remove)]

    async def remove(self) -> None:
        await storage.remove(self.directory)

    def commit(self) -> Writes:
        return [Delete(f"volumes/{self.name}")]

    async def ended(self, operation: Operation) -> None:
        self.tell("deleted", operation)


class ResizeVolume(VolumePlan):
    """volume resize: volumes only grow. A disk of a machine that runs grows at once, a tree when nobody uses it."""

    verb = "volume-resize"
    redo = True

    def __init__(self, core: Core, name: str, volume_id: str, arguments: dict[str, object]) -> None:
        super().__init__(core, name, volume_id, arguments)
        self.pending = ""

    @property
    def size(self) -> int:
        return int(str(self.arguments["size_bytes"]))

    @property
    def holder(self) -> Instance | None:
        return self.core.records.instances.get(self.volume.attached_to)

    def begin(self) -> Writes:
        check_growth(self.volume, self.size)
        writes: Writes = [put_volume(self.claimed())]
        if (holder := self.holder) is not None:
            writes.append(put_instance(self.core.claim(holder, self.operation_id)))
        return writes

    def steps(self) -> list[Step]:
        return [Step(name="grow", text="growing the volume", do=self.grow)]

    async def grow(self) -> None:
        holder = self.holder
        running = holder is not None and holder.phase in RUNNING
        if self.volume.form is VolumeForm.FILESYSTEM:
            await asyncio.to_thread(storage.enlarge_tree, self.directory, self.size)
            if running:
                self.pending = "its file system grows at the next start of the instance"
            else:
                await storage.settle_tree(self.directory)
        elif holder is None or not running:
            await storage.grow_block(self.directory / storage.IMAGE, self.size)
        else:
            await self._grow_live(holder)

    async def _grow_live(self, holder: Instance) -> None:
        driver = self.core.driver(holder)
        if not isinstance(driver, SupportsVolumes):
            raise WrongState(
                f"volume `{self.name}` cannot grow while `{holder.name}` runs",
                hint=f"stop it first with `yurt stop {holder.name}`",
            )
        if not await driver.resize_disk(self.core.run_dir(holder.id), self.name, self.size):
            # attached, but not plugged in before the next start
            await storage.grow_block(self.directory / storage.IMAGE, self.size)
            return
        use = next((use for use in holder.spec.volumes if use.volume == self.name), None)
        if use is not None and use.path and not use.read_only:
            self.pending = await mount_now(self.core, holder, self.volume, use)  # its file system follows

    def commit(self) -> Writes:
        return [put_volume(replace(self.volume, size_bytes=self.size, operation=None)), *self._holder_free()]

    def rollback(self, error: YurtError) -> Writes:
        return [*self.let_go(), *self._holder_free()]

    def _holder_free(self) -> Writes:
        holder = self.holder
        return [put_instance(replace(holder, operation=None))] if holder is not None else []

    def result(self) -> dict[str, object]:
        return {"size_bytes": self.size, **({"pending": self.pending} if self.pending else {})}

    async def ended(self, operation: Operation) -> None:
        self.tell("resized", operation)
        if (holder := self.holder) is not None:
            await self.core.settle_if_free(holder.id)


def check_growth(volume: Volume, size_bytes: int) -> None:
    """Refuse what is no growth. Raises Invalid, Unsupported."""
    if not volume.size_bytes:
        raise Unsupported(
            f"volume `{volume.name}` has no limit of its own",
            hint="it grows as far as the host's file system lets it",
        )
    if size_bytes <= volume.size_bytes:
        raise Invalid(
            f"volume `{volume.name}` has {format_size(volume.size_bytes)}, and volumes only grow",
            hint="make a smaller one and copy what is in it",
        )
    if size_bytes % 512:
        raise Invalid(f"{size_bytes} bytes are not a whole number of sectors", hint="give the size in M or G")
