"""What an instance's policy looks like on the command line: the flags, and the lines of `yurt info`."""

from yurt.cli.arguments import Arguments
from yurt.units import format_duration


def policy_wish(arguments: Arguments) -> "dict[str, object]":
    """The policy that the flags ask for; what was not given is left out. Raises Invalid."""
    wish: dict[str, object] = {
        "restart": arguments.text("restart") or None,
        "autostart": True if arguments.flag("autostart") else None,
        "autostart_order": arguments.number("autostart-order"),
        "autostart_delay_s": arguments.seconds("autostart-delay", 0.0)
        if arguments.flag("autostart-delay")
        else None,
        "ttl_s": arguments.seconds("ttl", 0.0) if arguments.flag("ttl") else None,
        "ttl_action": arguments.text("ttl-action") or None,
        "protect": True if arguments.flag("protect") else None,
    }
    return {key: value for key, value in wish.items() if value is not None}


def lines(instance: "dict[str, object]", policy: object, now: float) -> "dict[str, object]":
    """What `yurt info` says of a policy, by title; only what differs from doing nothing."""
    given = policy if isinstance(policy, dict) else {}
    restart = str(given.get("restart", "no"))
    shown: dict[str, object] = {
        "restart": restart if restart != "no" else "",
        "restarts": _restarts(instance, now) if restart != "no" else "",
        "autostart": _autostart(given),
        "ttl": _ttl(instance, given, now),
        "protected": "against deletion" if given.get("protect") else "",
    }
    return {key: value for key, value in shown.items() if value}


def _number(value: object) -> float:
    return float(value) if isinstance(value, int | float) else 0.0


def _restarts(instance: "dict[str, object]", now: float) -> str:
    count, at = _number(instance.get("restarts")), instance.get("next_restart_at")
    text = f"{count:.0f}" if count or at is not None else ""
    return text if at is None else f"{text}, next in {max(0.0, _number(at) - now):.0f} s"


def _autostart(policy: "dict[str, object]") -> str:
    if not policy.get("autostart"):
        return ""
    text = f"order {_number(policy.get('autostart_order')):.0f}"
    delay = _number(policy.get("autostart_delay_s"))
    return text + (f", {format_duration(delay)} before the next" if delay else "")


def _ttl(instance: "dict[str, object]", policy: "dict[str, object]", now: float) -> str:
    ttl, begun = _number(policy.get("ttl_s")), instance.get("lives_from")
    if not ttl:
        return ""
    text = f"{format_duration(ttl)}, then {policy.get('ttl_action')}"
    if begun is None or (
        policy.get("ttl_action") == "stop" and instance.get("phase") not in ("running", "paused")
    ):
        return text
    return f"{text} (in {format_duration(max(0.0, _number(begun) + ttl - now))})"
