"""Images."""

from typing import Annotated

import msgspec
from msgspec import Meta

from yurt.api.table import Call, Nothing, Permission, operation
from yurt.api.views import Seconds, WaitQuery
from yurt.api.waiting import answer
from yurt.model.image import Image
from yurt.model.names import NAME_PATTERN
from yurt.model.operation import Operation

MUTATES = (200, 202)


class BuildBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The recipe to build from; the image gets its name."""

    recipe: Annotated[str, Meta(pattern=NAME_PATTERN)]


class PruneQuery(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`dry_run`: only say what would be removed."""

    dry_run: bool = False
    wait_s: Seconds = 0.0


@operation("GET", "/v1/images", "List images", permission=Permission.VIEW, response=list[Image])
async def list_images(call: Call[Nothing, Nothing]) -> object:
    """All images."""
    return await call.engine.images()


@operation(
    "POST",
    "/v1/images/build",
    "Build an image",
    query=WaitQuery,
    body=BuildBody,
    response=Operation,
    statuses=MUTATES,
)
async def build_image(call: Call[WaitQuery, BuildBody]) -> object:
    """Build an image from a recipe."""
    return await answer(call, await call.engine.build_image(call.body.recipe), call.query.wait_s)


@operation(
    "POST",
    "/v1/images/prune",
    "Remove what nothing uses",
    query=PruneQuery,
    response=Operation,
    statuses=MUTATES,
)
async def prune_images(call: Call[PruneQuery, Nothing]) -> object:
    """Remove forms, layers and kernels that nothing uses."""
    begun = await call.engine.prune_images(dry_run=call.query.dry_run)
    return await answer(call, begun, call.query.wait_s)


@operation(
    "GET",
    "/v1/images/{reference}",
    "Describe an image",
    permission=Permission.VIEW,
    response=Image,
    notes="A reference without a tag means `:latest`.",
)
async def get_image(call: Call[Nothing, Nothing]) -> object:
    """One image."""
    return await call.engine.image(call.path["reference"])


@operation(
    "DELETE",
    "/v1/images/{reference}",
    "Delete an image",
    query=WaitQuery,
    response=Operation,
    statuses=MUTATES,
)
async def delete_image(call: Call[WaitQuery, Nothing]) -> object:
    """Delete an image that no instance uses."""
    return await answer(call, await call.engine.delete_image(call.path["reference"]), call.query.wait_s)


ENDPOINTS = (list_images, build_image, prune_images, get_image, delete_image)
