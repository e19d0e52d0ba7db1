"""Instances: the verbs, what they are, their logs and counters."""

import contextlib
from enum import StrEnum
from typing import Annotated

import msgspec
from msgspec import Meta

from yurt.api.table import ByteStream, Call, Nothing, Permission, operation
from yurt.api.views import InstanceView, Seconds, WaitQuery, view
from yurt.api.waiting import answer
from yurt.model.instance import InstanceSpec, Usage
from yurt.model.names import NAME_PATTERN, parse_label
from yurt.model.operation import Operation

MUTATES = (200, 202)
_WAITS = "202: the operation runs on. 200: it has ended, well or badly, within `wait_s`."


class ListQuery(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`label`: only instances with this `key=value`; all given must hold."""

    label: Annotated[tuple[Annotated[str, Meta(max_length=512)], ...], Meta(max_length=64)] = ()


class CreateQuery(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`dry_run`: check and fill in the defaults, change nothing."""

    start: bool = False
    dry_run: bool = False
    wait_s: Seconds = 0.0


class StartQuery(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`dry_run`: say whether it fits on this host, with the sums, and change nothing."""

    dry_run: bool = False
    wait_s: Seconds = 0.0


class DeleteQuery(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`force`: kill it first if it runs."""

    force: bool = False
    wait_s: Seconds = 0.0


class StopBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`timeout_s`: how long the guest may take; `force`: kill it when that time is over."""

    timeout_s: Seconds = 30.0
    force: bool = False


class RenameBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The new name."""

    name: Annotated[str, Meta(pattern=NAME_PATTERN)]


class Condition(StrEnum):
    """What can be waited for."""

    RUNNING = "running"
    AGENT = "agent"
    EXIT = "exit"


class WaitForQuery(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What to wait for, and how long."""

    condition: Condition = msgspec.field(name="for")
    timeout_s: Seconds = 60.0


class LogSource(StrEnum):
    """Which log."""

    CONSOLE = "console"
    LIFECYCLE = "lifecycle"


class LogsQuery(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`tail_bytes`: how much of the past; `follow`: and then what comes, until the instance stops."""

    source: LogSource = LogSource.CONSOLE
    tail_bytes: Annotated[int, Meta(ge=0, le=1 << 30)] = 65536
    follow: bool = False


@operation(
    "GET",
    "/v1/instances",
    "List instances",
    permission=Permission.VIEW,
    query=ListQuery,
    response=list[InstanceView],
)
async def list_instances(call: Call[ListQuery, Nothing]) -> object:
    """All instances that have the labels asked for."""
    selector = dict(parse_label(label) for label in call.query.label)
    return [view(each) for each in await call.engine.instances(selector)]


@operation(
    "POST",
    "/v1/instances",
    "Create an instance",
    query=CreateQuery,
    body=InstanceSpec,
    response=Operation,
    statuses=MUTATES,
    notes=_WAITS,
)
async def create_instance(call: Call[CreateQuery, InstanceSpec]) -> object:
    """Create, and with `start` also start, an instance."""
    made = await call.engine.create(call.body, start=call.query.start, dry_run=call.query.dry_run)
    return await answer(call, made, call.query.wait_s)


@operation(
    "GET", "/v1/instances/{name}", "Describe an instance", permission=Permission.VIEW, response=InstanceView
)
async def get_instance(call: Call[Nothing, Nothing]) -> object:
    """One instance."""
    return view(await call.engine.instance(call.path["name"]))


@operation(
    "DELETE",
    "/v1/instances/{name}",
    "Delete an instance",
    query=DeleteQuery,
    response=Operation,
    statuses=MUTATES,
    notes=_WAITS,
)
async def delete_instance(call: Call[DeleteQuery, Nothing]) -> object:
    """Delete an instance and its disk."""
    begun = await call.engine.delete(call.path["name"], force=call.query.force)
    return await answer(call, begun, call.query.wait_s)


@operation(
    "POST",
    "/v1/instances/{name}/start",
    "Start an instance",
    query=StartQuery,
    response=Operation,
    statuses=MUTATES,
    notes=_WAITS,
)
async def start_instance(call: Call[StartQuery, Nothing]) -> object:
    """Start a stopped instance."""
    begun = await call.engine.start(call.path["name"], dry_run=call.query.dry_run)
    return await answer(call, begun, call.query.wait_s)


@operation(
    "POST",
    "/v1/instances/{name}/stop",
    "Ask an instance to stop",
    query=WaitQuery,
    body=StopBody,
    response=Operation,
    statuses=MUTATES,
    notes=_WAITS,
)
async def stop_instance(call: Call[WaitQuery, StopBody]) -> object:
    """Ask the guest to stop."""
    begun = await call.engine.stop(call.path["name"], timeout_s=call.body.timeout_s, force=call.body.force)
    return await answer(call, begun, call.query.wait_s)


@operation(
    "POST",
    "/v1/instances/{name}/restart",
    "Stop and start an instance",
    query=WaitQuery,
    body=StopBody,
    response=Operation,
    statuses=MUTATES,
    notes=_WAITS,
)
async def restart_instance(call: Call[WaitQuery, StopBody]) -> object:
    """Stop the guest, then start it."""
    begun = await call.engine.restart(call.path["name"], timeout_s=call.body.timeout_s, force=call.body.force)
    return await answer(call, begun, call.query.wait_s)


@operation(
    "POST",
    "/v1/instances/{name}/kill",
    "End an instance at once",
    query=WaitQuery,
    response=Operation,
    statuses=MUTATES,
    notes=_WAITS,
)
async def kill_instance(call: Call[WaitQuery, Nothing]) -> object:
    """End the guest without asking it."""
    return await answer(call, await call.engine.kill(call.path["name"]), call.query.wait_s)


@operation(
    "POST",
    "/v1/instances/{name}/pause",
    "Hold an instance",
    query=WaitQuery,
    response=Operation,
    statuses=MUTATES,
    notes=_WAITS,
)
async def pause_instance(call: Call[WaitQuery, Nothing]) -> object:
    """Hold the guest's processors."""
    return await answer(call, await call.engine.pause(call.path["name"]), call.query.wait_s)


@operation(
    "POST",
    "/v1/instances/{name}/resume",
    "Let a held instance go on",
    query=WaitQuery,
    response=Operation,
    statuses=MUTATES,
    notes=_WAITS,
)
async def resume_instance(call: Call[WaitQuery, Nothing]) -> object:
    """Let a paused guest go on."""
    return await answer(call, await call.engine.resume(call.path["name"]), call.query.wait_s)


@operation(
    "POST",
    "/v1/instances/{name}/rename",
    "Rename an instance",
    query=WaitQuery,
    body=RenameBody,
    response=Operation,
    statuses=MUTATES,
    notes=_WAITS,
)
async def rename_instance(call: Call[WaitQuery, RenameBody]) -> object:
    """Give an instance another name."""
    begun = await call.engine.rename(call.path["name"], call.body.name)
    return await answer(call, begun, call.query.wait_s)


@operation(
    "GET",
    "/v1/instances/{name}/wait",
    "Wait for an instance",
    permission=Permission.VIEW,
    query=WaitForQuery,
    response=InstanceView,
)
async def wait_instance(call: Call[WaitForQuery, Nothing]) -> object:
    """Answer when the condition holds; a timeout is an error."""
    query = call.query
    waiting = call.engine.wait(call.path["name"], query.condition.value, query.timeout_s)
    return view(await call.until_gone(waiting))


@operation("GET", "/v1/usage", "Count what instances use", permission=Permission.VIEW, response=list[Usage])
async def list_usage(call: Call[Nothing, Nothing]) -> object:
    """Counters of all running instances."""
    return await call.engine.usage()


@operation(
    "GET",
    "/v1/instances/{name}/logs",
    "Read a log",
    permission=Permission.VIEW,
    query=LogsQuery,
    media="text/plain; charset=utf-8",
    notes="The bytes as the guest wrote them: not safe for a terminal.",
)
async def get_logs(call: Call[LogsQuery, Nothing]) -> object:
    """The end of a log, and what is added to it."""
    name, query = call.path["name"], call.query
    await call.engine.instance(name)  # so that an unknown name is an error and not an empty log
    chunks = call.engine.logs(
        name, source=query.source.value, tail_bytes=query.tail_bytes, follow=query.follow
    )
    first = b""
    if not query.follow:
        with contextlib.suppress(StopAsyncIteration):
            first = await anext(chunks)
    return ByteStream(chunks, "text/plain; charset=utf-8", first)


ENDPOINTS = (
    list_instances,
    create_instance,
    get_instance,
    delete_instance,
    start_instance,
    stop_instance,
    restart_instance,
    kill_instance,
    pause_instance,
    resume_instance,
    rename_instance,
    wait_instance,
    list_usage,
    get_logs,
)
