"""Dry runs: what a verb would do, as an operation that has ended and is kept nowhere."""

from contextlib import suppress

import msgspec

from yurt.engine.attach_volumes import check_sources
from yurt.engine.capacity import verdict_on_create, verdict_on_start
from yurt.engine.core import Core
from yurt.engine.records import now
from yurt.engine.resolve import kind_of, resolve
from yurt.engine.resolve_volumes import checked_uses
from yurt.engine.verbs import require_rest
from yurt.engine.volumeclaims import claim_all
from yurt.errors import NotFound
from yurt.model.instance import InstanceSpec
from yurt.model.names import Name, parse_reference
from yurt.model.operation import Operation, OperationStatus


def rehearsed(verb: str, target: str, result: dict[str, object]) -> Operation:
    """The answer to a dry run."""
    moment = now()
    return Operation(
        id="dry-run",
        verb=verb,
        target=target,
        status=OperationStatus.DONE,
        result=result,
        created_at=moment,
        ended_at=moment,
    )


async def rehearse_create(core: Core, spec: InstanceSpec, name: Name, *, start: bool) -> Operation:
    """What a create (and with `start` a start) would make, and whether it fits. The image need not be built yet."""
    verdict, _ = verdict_on_create(core, spec, start=start)
    claim_all(core.records, checked_uses(spec)[0], kind_of(spec), "")
    result: dict[str, object] = {"name": str(name), "admission": msgspec.to_builtins(verdict)}
    with suppress(NotFound):
        image = await core.images.get(parse_reference(spec.image))
        resolved = resolve(spec, image, core.facts, core.settings)
        driver = core.drivers[resolved.kind]
        driver.check(resolved, driver.capabilities(core.facts))
        check_sources(core, resolved.shares)
        result["resolved"] = msgspec.to_builtins(resolved)
    if "resolved" not in result:
        result["note"] = f"image `{spec.image}` would be built first"
    return rehearsed("create", name, result)


def rehearse_start(core: Core, name: str) -> Operation:
    """Whether a start would fit. Raises NotFound, WrongState."""
    instance = core.records.get(name)
    require_rest(instance)
    verdict = verdict_on_start(core, instance.spec, besides=instance.id)
    return rehearsed("start", instance.name, {"admission": msgspec.to_builtins(verdict)})
