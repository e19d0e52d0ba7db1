"""Volumes of the engine in memory: a table, no files."""

from collections.abc import AsyncIterator

from msgspec.structs import replace

from yurt.errors import Exists, NotFound, WrongState
from yurt.model.operation import Operation
from yurt.model.volume import ImportFormat, VolumeForm, VolumeInfo, VolumeSpec


class DoubleVolumes:
    """The part of the double that deals with volumes; what a verb changes is changed at once."""

    _volumes: dict[str, VolumeInfo]

    def begin(self, verb: str, target: str) -> Operation:
        raise NotImplementedError  # the whole double has it

    def set_volume(self, name: str) -> None:
        """Put a volume there."""
        self._volumes[name] = VolumeInfo(id="2" * 12, name=name, form=VolumeForm.BLOCK, size_bytes=1 << 30)

    async def volumes(self) -> list[VolumeInfo]:
        return [self._volumes[name] for name in sorted(self._volumes)]

    async def volume(self, name: str) -> VolumeInfo:
        if name not in self._volumes:
            raise NotFound(kind="volume", name=name)
        return self._volumes[name]

    async def create_volume(self, spec: VolumeSpec) -> Operation:
        if spec.name in self._volumes:
            raise Exists(kind="volume", name=spec.name)
        self._volumes[spec.name] = VolumeInfo(
            id="1" * 12, name=spec.name, form=spec.form, size_bytes=spec.size_bytes or 0
        )
        return self.begin("volume-create", spec.name)

    async def import_volume(self, name: str, form: ImportFormat, chunks: AsyncIterator[bytes]) -> Operation:
        if name in self._volumes:
            raise Exists(kind="volume", name=name)
        size = 0
        async for chunk in chunks:
            size += len(chunk)
        self._volumes[name] = VolumeInfo(id="2" * 12, name=name, form=VolumeForm.BLOCK, size_bytes=size)
        return self.begin("volume-import", name)

    async def delete_volume(self, name: str, *, dry_run: bool = False) -> Operation:
        found = await self.volume(name)
        if found.instance:
            raise WrongState(f"volume `{name}` is attached to `{found.instance}`")
        if not dry_run:
            del self._volumes[name]
        return self.begin("volume-delete", name)

    async def resize_volume(self, name: str, size_bytes: int) -> Operation:
        self._volumes[name] = replace(await self.volume(name), size_bytes=size_bytes)
        return self.begin("volume-resize", name)

    async def attach_volume(
        self, name: str, instance: str, *, path: str = "", read_only: bool = False
    ) -> Operation:
        found = await self.volume(name)
        self._volumes[name] = replace(found, instance=instance, path=path, read_only=read_only)
        return self.begin("volume-attach", name)

    async def detach_volume(self, name: str) -> Operation:
        self._volumes[name] = replace(await self.volume(name), instance="", path="")
        return self.begin("volume-detach", name)
