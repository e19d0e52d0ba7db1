"""Making images of archives that clients upload: the upload comes first, as the request's body, then an operation begins."""

import asyncio
import os
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING

from yurt.engine.operation import Plan, Step
from yurt.engine.records import Writes
from yurt.errors import Busy, Denied, Exists, Internal
from yurt.host.files import remove_tree
from yurt.images.importing import Imported, import_archive
from yurt.images.outside.extract import Quotas
from yurt.images.outside.spool import Spool
from yurt.model.names import parse_reference
from yurt.model.settings import ImportSettings

if TYPE_CHECKING:
    from yurt.engine.core import Core
    from yurt.model.operation import Operation

VERB = "image-import"


class Imports:
    """What the API calls. Holds the uploads that no operation has taken over yet."""

    def __init__(self, core: "Core") -> None:
        self._core = core
        self._spools: dict[str, Spool] = {}

    async def image(self, reference: str, chunks: AsyncIterator[bytes]) -> "Operation":
        """Take an upload, then begin to make an image of it. Raises Exists, Denied before anything was read."""
        name = parse_reference(reference)
        await self._require_free(name)
        if os.geteuid() != 0:
            raise Denied("importing an image needs root", hint="start yurt as root, or with sudo")
        spool = await self._core.images.new_spool()
        try:
            await spool.fill(chunks, max_bytes=self._core.settings.imports.upload_size)
            await self._require_free(name)  # an upload takes its time
            self._spools[spool.folder.name] = spool
            return await self._core.operations.begin(VERB, name, "", {"spool": spool.folder.name})
        except BaseException:
            self._spools.pop(spool.folder.name, None)
            await asyncio.to_thread(spool.remove)
            raise

    async def _require_free(self, name: str) -> None:
        if name in await asyncio.to_thread(self._core.images.blobs.tagged):
            raise Exists(
                kind="image", name=name, hint=f"delete it with `yurt image delete {name}`, or use another tag"
            )

    def plan(self, operation: "Operation") -> "ImportImage":
        """The plan of an operation, also of one that an earlier daemon began."""
        return ImportImage(
            self._core, operation.target, str(operation.arguments.get("spool", "")), self._spools
        )


class ImportImage(Plan):
    """Make an image of an upload. The store makes it visible at its very end; the upload goes in any case."""

    verb = VERB

    def __init__(self, core: "Core", reference: str, folder: str, spools: dict[str, Spool]) -> None:
        self.core, self.reference, self.folder, self._spools = core, reference, folder, spools
        self._imported: Imported | None = None

    def begin(self) -> Writes:
        for operation in self.core.records.operations.values():
            if (
                operation.verb == self.verb
                and operation.target == self.reference
                and not operation.status.ended
            ):
                raise Busy(
                    kind="image",
                    name=self.reference,
                    operation=self.verb,
                    hint=f"follow it with `yurt operation {operation.id} --wait`",
                )
        return []

    def steps(self) -> list[Step]:
        return [
            Step(
                name="import",
                text=f"importing image `{self.reference}`",
                do=self.make,
                undo=self.clean,
            )
        ]

    async def make(self) -> None:
        spool = self._spools.get(self.folder)
        if spool is None:
            raise Internal("the upload is gone")
        self._imported = await import_archive(
            self.core.images,
            self.reference,
            spool,
            quotas_of(self.core.settings.imports),
            self.core.facts.architecture,
            self.report,
        )
        await self.clean()

    async def clean(self) -> None:
        """Remove the upload. Safe to repeat."""
        if spool := self._spools.pop(self.folder, None):
            await asyncio.to_thread(spool.remove)
        elif self.folder:
            await asyncio.to_thread(remove_tree, self.core.images.forms / self.folder)

    def result(self) -> dict[str, object]:
        assert self._imported is not None
        found = self._imported
        result: dict[str, object] = {
            "reference": found.image.reference,
            "digest": found.image.digest,
            "kind": found.kind,
            "members": found.members,
        }
        if found.devices:
            result["notice"] = (
                f"left out {found.devices} device nodes below `/dev`, where guests have their own"
            )
        return result

    async def ended(self, operation: "Operation") -> None:
        if operation.error is None:
            self.core.bus.publish("image.imported", operation.target)


def quotas_of(settings: ImportSettings) -> Quotas:
    """The host owner's settings as quotas of one archive."""
    return Quotas(tree_bytes=settings.tree_size, members=settings.members, seconds=settings.seconds)
