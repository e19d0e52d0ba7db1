"""What `yurt set` knows of rules and published ports: how each is read, written, and brought to a guest that runs."""

from typing import TYPE_CHECKING

import msgspec
from msgspec.structs import replace

from yurt.drivers.base import Adjusted
from yurt.engine import networking
from yurt.engine.traffic import check_publish, check_rules
from yurt.errors import Invalid
from yurt.model.host import HostFacts
from yurt.model.instance import Instance, ResolvedSpec
from yurt.model.network import FirewallRule, PublishedPort
from yurt.rules import format_publish, format_rule, parse_publish, parse_rules

if TYPE_CHECKING:
    from yurt.engine.core import Core
    from yurt.engine.settable import Change


def _read_rules(spec: ResolvedSpec) -> str:
    return "; ".join(format_rule(**msgspec.to_builtins(rule)) for rule in spec.rules)


def _write_rules(spec: ResolvedSpec, text: str, facts: HostFacts) -> ResolvedSpec:
    try:
        rules = msgspec.convert(parse_rules(text), tuple[FirewallRule, ...])
    except msgspec.ValidationError as error:
        raise Invalid(f"`rules={text}` cannot be: {error}") from error
    return replace(spec, rules=check_rules(rules))


def _read_publish(spec: ResolvedSpec) -> str:
    return ",".join(
        format_publish(port.host_address, port.host_port, port.guest_port, port.protocol)
        for port in spec.publish
    )


def _write_publish(spec: ResolvedSpec, text: str, facts: HostFacts) -> ResolvedSpec:
    words = [parse_publish(word) for word in text.split(",")] if text else []
    try:
        ports = msgspec.convert(words, tuple[PublishedPort, ...])
    except msgspec.ValidationError as error:
        raise Invalid(f"`publish={text}` cannot be: {error}") from error
    return replace(spec, publish=check_publish(ports))


RULES = (_read_rules, _write_rules)
PUBLISH = (_read_publish, _write_publish)


async def rewire(core: "Core", instance: Instance, change: "Change", dry_run: bool) -> Adjusted:
    """Put other rules and published ports in the place of those that hold, in one transaction."""
    if not dry_run:
        before, after = (
            networking.ports_of(core, replace(instance, spec=spec)) for spec in (change.before, change.after)
        )
        await core.networks.rebind(before, after)
    return Adjusted(applied=change.keys)
