"""volume import: a new block volume with what an uploaded disk image holds.

The upload is looked at, flattened and compared in a cell (images/outside/disk.py); then it is copied, in another cell,
into an empty image of ours, because a volume's image has room to grow from the start. Nothing but that image gets
the volume's name, and what it has become is checked before.
"""

import asyncio
import os
from collections.abc import AsyncIterator
from pathlib import Path
from typing import TYPE_CHECKING

from msgspec.structs import replace

from yurt.engine.operation import Step
from yurt.engine.records import Writes, now, put_volume
from yurt.engine.volumeclaims import require_free_name
from yurt.engine.volumeverbs import VolumePlan, resolved
from yurt.errors import Denied, Internal, Invalid, YurtError
from yurt.host.files import publish, remove_tree
from yurt.images.inspect import Format
from yurt.images.outside.cell import Cell, last_words, lend, run_in_cell
from yurt.images.outside.disk import DiskQuotas, import_disk
from yurt.images.outside.spool import Spool
from yurt.model.names import Name
from yurt.model.volume import MAX_BYTES, MIN_BYTES, Volume, VolumeForm, VolumeSpec
from yurt.state.base import Delete
from yurt.storage import volumes as storage
from yurt.units import format_size

if TYPE_CHECKING:
    from yurt.engine.core import Core
    from yurt.model.operation import Operation

VERB = "volume-import"
FLAT = "flat"  # in the upload's folder: the flattened image
COPY_TIMEOUT_S = 3600.0
METADATA_SHARE, ROUND_BYTES = 64, 8 << 20


class VolumeImports:
    """Takes uploads. Holds those that an operation works on."""

    def __init__(self, core: "Core") -> None:
        self._core = core
        self._spools: dict[str, Spool] = {}

    async def begin(
        self, volume_id: str, name: str, form: Format, chunks: AsyncIterator[bytes]
    ) -> "Operation":
        """Take an upload, then begin to make a volume of it. Raises Exists, Invalid, Denied before anything was read."""
        resolved(VolumeSpec(name=name))
        require_free_name(self._core.records, name)
        if os.geteuid() != 0:
            raise Denied("importing a disk needs root", hint="start yurt as root, or with sudo")
        spool = await self._core.images.new_spool()
        try:
            await spool.fill(chunks, max_bytes=self._core.settings.imports.upload_size)
            self._spools[spool.folder.name] = spool
            arguments: dict[str, object] = {"spool": spool.folder.name, "format": form.value}
            return await self._core.operations.begin(VERB, name, volume_id, arguments)
        except BaseException:
            self._spools.pop(spool.folder.name, None)
            await asyncio.to_thread(spool.remove)
            raise

    def plan(self, operation: "Operation") -> "ImportVolume":
        """The plan of an operation, also of one that an earlier daemon began."""
        plan = ImportVolume(self._core, operation.target, operation.target_id, operation.arguments)
        plan.spools = self._spools
        return plan


class ImportVolume(VolumePlan):
    """The record reserves the name; all or nothing of the image becomes its content."""

    verb = VERB
    spools: dict[str, Spool]

    def __init__(self, core: "Core", name: str, volume_id: str, arguments: dict[str, object]) -> None:
        super().__init__(core, name, volume_id, arguments)
        self._size = 0

    @property
    def folder(self) -> Path:
        return self.core.images.forms / str(self.arguments["spool"])

    def begin(self) -> Writes:
        require_free_name(self.core.records, self.name)
        volume = Volume(
            id=self.volume_id,
            name=Name(self.name),
            form=VolumeForm.BLOCK,
            size_bytes=0,
            created_at=now(),
            operation=self.operation_id,
        )
        return [put_volume(volume)]

    def steps(self) -> list[Step]:
        return [
            Step(name="flatten", text="looking at the image", do=self.flatten, undo=self.clean),
            Step(name="copy", text="making the volume", do=self.copy, undo=self.remove),
        ]

    async def flatten(self) -> None:
        spool = self.spools.get(self.folder.name)
        if spool is None:
            raise Internal("the upload is gone")
        form = Format(str(self.arguments["format"]))
        flat = self.folder / FLAT
        found = await import_disk(spool.upload, form, flat, DiskQuotas(virtual_bytes=MAX_BYTES), self.report)
        self._size = -(-found.virtual_bytes // 512) * 512
        if self._size < MIN_BYTES:
            raise Invalid(
                f"a disk of {format_size(self._size)} is too small for a volume",
                hint=f"the least is {format_size(MIN_BYTES)}",
            )

    async def copy(self) -> None:
        """Copy the flattened image into an empty one of ours."""
        self.report("making the volume", None)
        flat, scratch = self.folder / FLAT, self.folder / "volume"
        await storage.create_block(scratch, self._size)
        image = scratch / storage.IMAGE
        for path in (flat, scratch, image):
            await asyncio.to_thread(lend, path)
        room = self._size + self._size // METADATA_SHARE + ROUND_BYTES
        cell = Cell(read=((flat, "/disk"),), write=((scratch, "/out"),), file_bytes=room)
        words = ["-n", "--target-is-zero", "-f", "qcow2", "-O", "qcow2", "/disk", f"/out/{storage.IMAGE}"]
        done = await run_in_cell(cell, ["qemu-img", "convert", *words], timeout_s=COPY_TIMEOUT_S)
        if done.status != 0:
            raise Internal(f"the image could not be copied: {last_words(done)}")
        await asyncio.to_thread(self._take, image)
        await self.clean()

    def _take(self, image: Path) -> None:
        """What the cell left is ours from here on, if it is what we made, filled."""
        os.chown(image, os.geteuid(), os.getegid())
        image.chmod(0o600)
        storage.check_ours(image, self._size)
        remove_tree(self.directory)
        self.directory.mkdir(mode=0o700, parents=True)
        publish(image, self.directory / storage.IMAGE)

    async def remove(self) -> None:
        await storage.remove(self.directory)

    async def clean(self) -> None:
        """Remove the upload and what was made of it on the way. Safe to repeat."""
        if spool := self.spools.pop(self.folder.name, None):
            await asyncio.to_thread(spool.remove)
        else:
            await asyncio.to_thread(remove_tree, self.folder)

    def commit(self) -> Writes:
        return [put_volume(replace(self.volume, size_bytes=self._size, operation=None))]

    def rollback(self, error: YurtError) -> Writes:
        return [Delete(f"volumes/{self.name}")]

    def result(self) -> dict[str, object]:
        return {"id": self.volume_id, "name": self.name, "size_bytes": self._size}

    async def ended(self, operation: "Operation") -> None:
        self.tell("created", operation)
