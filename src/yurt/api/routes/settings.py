"""Settings of instances: what `yurt set` changes."""

from typing import Annotated

import msgspec
from msgspec import Meta

from yurt.api.routes.instances import MUTATES
from yurt.api.table import Call, operation
from yurt.api.views import Seconds
from yurt.api.waiting import answer
from yurt.model.operation import Operation

Settings = Annotated[
    dict[Annotated[str, Meta(max_length=64)], Annotated[str, Meta(max_length=4096)]],
    Meta(min_length=1, max_length=64),
]


class SetQuery(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`dry_run`: check everything and say what would be, change nothing."""

    dry_run: bool = False
    wait_s: Seconds = 0.0


class SetBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """By name, as on the command line; empty text takes a limit away."""

    settings: Settings


@operation(
    "POST",
    "/v1/instances/{name}/set",
    "Change settings",
    query=SetQuery,
    body=SetBody,
    response=Operation,
    statuses=MUTATES,
    notes="202: the operation runs on. 200: it has ended, well or badly, within `wait_s`. Its `result.changes` has one "
    "entry for each setting: `setting`, `before`, `after`, `when` (`now`, `next-start`, `unchanged`) and `why`.",
)
async def set_instance(call: Call[SetQuery, SetBody]) -> object:
    """Change settings of an instance, running or not."""
    name, settings = call.path["name"], dict(call.body.settings)
    begun = await call.engine.set(name, settings, dry_run=call.query.dry_run)
    return await answer(call, begun, call.query.wait_s)


ENDPOINTS = (set_instance,)
