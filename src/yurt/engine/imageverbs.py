"""The verbs that change images, and finding (or building) the image a new instance needs."""

import asyncio
from typing import TYPE_CHECKING

from yurt.engine.operation import Plan, Step
from yurt.engine.records import Writes
from yurt.errors import Busy, NotFound
from yurt.model.image import Image
from yurt.model.names import parse_reference

if TYPE_CHECKING:
    from yurt.engine.core import Core
    from yurt.model.operation import Operation, Progress


async def ensure_image(core: "Core", reference: str, report: "Progress") -> Image:
    """Return the image, building it when it is one of our recipes and not there yet. Raises NotFound."""
    full = parse_reference(reference)
    recipe, _, tag = full.partition(":")
    if tag != "latest" or recipe not in core.images.recipes():
        return await core.images.get(full)
    async with core.building.setdefault(
        recipe, asyncio.Lock()
    ):  # who comes second takes what the first has built
        try:
            return await core.images.get(full)
        except NotFound:
            report(f"building image `{recipe}`", None)
            return await core.images.build(recipe, report)


class BuildImage(Plan):
    """Build an image from a recipe that ships. The store makes it visible at its very end, so there is nothing to undo."""

    verb = "image-build"

    def __init__(self, core: "Core", recipe: str) -> None:
        self.core, self.recipe = core, recipe
        self._image: Image | None = None

    def begin(self) -> Writes:
        if self.recipe not in self.core.images.recipes():
            raise NotFound(
                kind="recipe",
                name=self.recipe,
                hint="there are: " + ", ".join(sorted(self.core.images.recipes())),
            )
        for operation in self.core.records.operations.values():
            if operation.verb == self.verb and operation.target == self.recipe and not operation.status.ended:
                raise Busy(
                    kind="image",
                    name=self.recipe,
                    operation=self.verb,
                    hint=f"follow it with `yurt operation {operation.id} --wait`",
                )
        return []

    def steps(self) -> list[Step]:
        return [Step(name="build", text=f"building image `{self.recipe}`", do=self.build)]

    async def build(self) -> None:
        self._image = await self.core.images.build(self.recipe, self.report)

    def result(self) -> dict[str, object]:
        assert self._image is not None
        return {"reference": self._image.reference, "digest": self._image.digest}

    async def ended(self, operation: "Operation") -> None:
        if operation.error is None:
            self.core.bus.publish("image.built", operation.target)


class DeleteImage(Plan):
    """Remove an image's name; what nothing uses any longer goes with the next prune."""

    verb = "image-delete"

    def __init__(self, core: "Core", reference: str) -> None:
        self.core, self.reference = core, reference

    def begin(self) -> Writes:
        users = [i.name for i in self.core.records.instances.values() if i.spec.image == self.reference]
        if users:
            raise Busy(
                f"image `{self.reference}` is used by {', '.join(sorted(users)[:5])}",
                hint="delete these instances first",
            )
        return []

    def steps(self) -> list[Step]:
        return [Step(name="delete", text="deleting the image", do=self.delete)]

    async def delete(self) -> None:
        await self.core.images.delete(self.reference)

    async def ended(self, operation: "Operation") -> None:
        if operation.error is None:
            self.core.bus.publish("image.deleted", operation.target)


class PruneImages(Plan):
    """Remove blobs and forms that no image and no instance uses."""

    verb = "image-prune"
    redo = True

    def __init__(self, core: "Core") -> None:
        self.core = core
        self._result: dict[str, object] = {}

    def begin(self) -> Writes:
        return []

    def steps(self) -> list[Step]:
        return [Step(name="prune", text="removing what nothing uses", do=self.prune)]

    async def prune(self) -> None:
        self._result = await prune_report(self.core, dry_run=False)

    def result(self) -> dict[str, object]:
        return self._result


async def prune_report(core: "Core", *, dry_run: bool) -> dict[str, object]:
    """What prune removes (or would): `removed` paths and `freed_bytes`."""
    used = {instance.base for instance in core.records.instances.values()}
    report = await core.images.prune(dry_run=dry_run, used=used)
    return {"removed": list(report.removed), "freed_bytes": report.freed_bytes}
