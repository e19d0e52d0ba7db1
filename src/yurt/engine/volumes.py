"""The engine's face for volumes: questions, and verbs that return their operation at once."""

import asyncio
import secrets
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING

import msgspec

from yurt.engine.attachverbs import AttachVolume, DetachVolume
from yurt.engine.operation import PlanFactory
from yurt.engine.rehearse import rehearsed
from yurt.engine.volumeclaims import get_volume, holder_name, require_detached, require_free_name
from yurt.engine.volumeimport import VolumeImports
from yurt.engine.volumeverbs import (
    CreateVolume,
    DeleteVolume,
    ResizeVolume,
    VolumePlan,
    check_growth,
    resolved,
)
from yurt.errors import WrongState
from yurt.images.inspect import Format
from yurt.model.operation import Operation
from yurt.model.volume import ImportFormat, Volume, VolumeInfo, VolumeSpec, VolumeUse
from yurt.storage.volumes import used_bytes

if TYPE_CHECKING:
    from yurt.engine.core import Core

VOLUME_VERBS: tuple[type[VolumePlan], ...] = (
    CreateVolume,
    DeleteVolume,
    ResizeVolume,
    AttachVolume,
    DetachVolume,
)


def volume_factories(core: "Core") -> dict[str, PlanFactory]:
    """The plans of all volume verbs, by verb."""

    def factory(cls: type[VolumePlan]) -> PlanFactory:
        return lambda operation: cls(core, operation.target, operation.target_id, operation.arguments)

    return {cls.verb: factory(cls) for cls in VOLUME_VERBS}


class VolumesFace:
    """The part of the engine that deals with volumes."""

    core: "Core"
    volume_imports: VolumeImports

    async def volumes(self) -> list[VolumeInfo]:
        """All volumes, by name."""
        found = sorted(self.core.records.volumes.values(), key=lambda volume: volume.name)
        return await asyncio.to_thread(lambda: [self._volume_info(volume) for volume in found])

    async def volume(self, name: str) -> VolumeInfo:
        """One volume. Raises NotFound."""
        return await asyncio.to_thread(self._volume_info, get_volume(self.core.records, name))

    def _volume_info(self, volume: Volume) -> VolumeInfo:
        records = self.core.records
        instance = records.instances.get(volume.attached_to)
        uses = instance.spec.volumes if instance is not None else ()
        use = next((use for use in uses if use.volume == volume.name), VolumeUse(volume=volume.name))
        return VolumeInfo(
            id=volume.id,
            name=volume.name,
            form=volume.form,
            size_bytes=volume.size_bytes,
            used_bytes=used_bytes(self.core.layout.volumes / volume.id),
            labels=volume.labels,
            instance=holder_name(records, volume) if volume.attached_to else "",
            path=use.path,
            read_only=use.read_only,
            created_at=volume.created_at,
            operation=volume.operation,
        )

    async def create_volume(self, spec: VolumeSpec) -> Operation:
        """Make an empty volume. Raises Exists at once when the name is taken."""
        spec = resolved(spec)
        require_free_name(self.core.records, spec.name)
        arguments: dict[str, object] = {"spec": msgspec.to_builtins(spec)}
        return await self.core.operations.begin("volume-create", spec.name, secrets.token_hex(6), arguments)

    async def import_volume(self, name: str, form: ImportFormat, chunks: AsyncIterator[bytes]) -> Operation:
        """Make a block volume of a disk image that comes as `chunks`. Raises Exists, Invalid, Denied at once."""
        return await self.volume_imports.begin(secrets.token_hex(6), name, Format(form.value), chunks)

    async def _volume_verb(self, verb: str, name: str, **arguments: object) -> Operation:
        volume = get_volume(self.core.records, name)
        return await self.core.operations.begin(verb, volume.name, volume.id, arguments)

    async def delete_volume(self, name: str, *, dry_run: bool = False) -> Operation:
        """Delete a volume that no instance has; `dry_run` only says whether that would work and what it would free."""
        volume = get_volume(self.core.records, name)
        if dry_run:
            require_detached(self.core.records, volume)
            used = await asyncio.to_thread(used_bytes, self.core.layout.volumes / volume.id)
            return rehearsed("volume-delete", volume.name, {"freed_bytes": used})
        return await self._volume_verb("volume-delete", name)

    async def resize_volume(self, name: str, size_bytes: int) -> Operation:
        """Let a volume grow."""
        check_growth(get_volume(self.core.records, name), size_bytes)
        return await self._volume_verb("volume-resize", name, size_bytes=size_bytes)

    async def attach_volume(
        self, name: str, instance: str, *, path: str = "", read_only: bool = False
    ) -> Operation:
        """Give a volume to an instance; it has it until it is detached or deleted."""
        found = self.core.records.get(instance)
        return await self._volume_verb(
            "volume-attach", name, instance_id=found.id, path=path, read_only=read_only
        )

    async def detach_volume(self, name: str) -> Operation:
        """Take a volume from the instance that has it."""
        volume = get_volume(self.core.records, name)
        if volume.attached_to not in self.core.records.instances:
            what = "is not attached to anything" if not volume.attached_to else "is just being attached"
            raise WrongState(f"volume `{name}` {what}", hint="see `yurt volume ls`")
        return await self._volume_verb("volume-detach", name, instance_id=volume.attached_to)
