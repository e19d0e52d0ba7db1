"""How each part of a policy is read and written as the text of `yurt set`. Pure; the rows are in `engine/settable.py`."""

from collections.abc import Callable
from typing import Any

import msgspec
from msgspec.structs import replace

from yurt.errors import Invalid
from yurt.model.host import HostFacts
from yurt.model.instance import ResolvedSpec
from yurt.model.policy import Delay, Order, Policy, RestartPolicy, Ttl, TtlAction
from yurt.units import parse_duration

Read = Callable[[ResolvedSpec], str]
Write = Callable[[ResolvedSpec, str, HostFacts], ResolvedSpec]


def exact_duration(seconds: float) -> str:
    """Seconds as text that `parse_duration` takes, in the largest unit that holds them exactly; nothing for 0."""
    if not seconds:
        return ""
    for unit, factor in (("d", 86400), ("h", 3600), ("m", 60)):
        if seconds % factor == 0:
            return f"{seconds / factor:.0f}{unit}"
    return f"{seconds:g}s"


def switch(text: str) -> bool:
    """`on` or `off`. Raises Invalid."""
    if text not in ("on", "off"):
        raise Invalid(f"`{text}` is neither `on` nor `off`")
    return text == "on"


def order(text: str) -> int:
    """A whole number. Raises Invalid."""
    if not (text.isascii() and text.isdecimal()) or len(text) > 18:
        raise Invalid(f"`{text}` is not a whole number")
    return int(text)


def _row(
    field: str,
    parse: Callable[[str], object],
    show: Callable[[Any], str],  # Any: each field has its own type
    kind: Any,  # Any: an annotated type
) -> tuple[Read, Write]:
    def read(spec: ResolvedSpec) -> str:
        return show(getattr(spec.policy, field))

    def write(spec: ResolvedSpec, text: str, facts: HostFacts) -> ResolvedSpec:
        if not text:
            value = getattr(Policy(), field)
        else:
            try:
                value = msgspec.convert(parse(text), kind)
            except msgspec.ValidationError as error:
                name = field.removesuffix("_s").replace("_", "-")
                raise Invalid(
                    f"`{name}={text}` cannot be: {str(error)[:1].lower()}{str(error)[1:]}"
                ) from error
        return replace(spec, policy=replace(spec.policy, **{field: value}))

    return read, write


RESTART = _row("restart", str, str, RestartPolicy)
AUTOSTART = _row("autostart", switch, lambda value: "on" if value else "off", bool)
AUTOSTART_ORDER = _row("autostart_order", order, str, Order)
AUTOSTART_DELAY = _row("autostart_delay_s", parse_duration, exact_duration, Delay)
TTL = _row("ttl_s", parse_duration, exact_duration, Ttl)
TTL_ACTION = _row("ttl_action", str, str, TtlAction)
PROTECT = _row("protect", switch, lambda value: "on" if value else "off", bool)
RECLAIM = _row("reclaim", switch, lambda value: "on" if value else "off", bool)
