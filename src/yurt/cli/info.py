"""`yurt info`: everything about one instance."""

import time

from yurt.cli import policy
from yurt.cli.arguments import Arguments
from yurt.cli.local import connect
from yurt.cli.nics import nic_line
from yurt.cli.output import print_fields, print_json
from yurt.client import requests
from yurt.client.operations import as_document
from yurt.rules import format_publish, format_rule
from yurt.units import format_duration, format_size


def moment(seconds: object) -> str:
    """A time as people write it, in the local zone."""
    if not isinstance(seconds, (int, float)) or not 0 < seconds < 1 << 40:
        return ""
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(seconds))


def size(value: object) -> str:
    return format_size(value) if isinstance(value, int) and value > 0 else ""


def memory(own: object, lent: object) -> str:
    """A guest's memory, and what of it the host has borrowed."""
    return size(own) + (f" ({size(lent)} of it lent to the host)" if size(lent) else "")


def words(value: object) -> str:
    """A command as one line."""
    from shlex import join

    return join(str(word) for word in value) if isinstance(value, list) else ""


def pairs(value: object) -> str:
    return " ".join(f"{key}={text}" for key, text in value.items()) if isinstance(value, dict) else ""


def limits(value: object) -> str:
    """Limits as `yurt set` takes them; those that are not set are left out."""
    from yurt.client.limits import LIMITS, limit_text

    if not isinstance(value, dict):
        return ""
    given = ((key, value.get(field)) for key, (field, _) in LIMITS.items())
    return " ".join(f"{key}={limit_text(key, each)}" for key, each in given if each is not None)


def pending(value: object) -> str:
    """Settings that wait for the next start, with what holds until then and why."""
    if not isinstance(value, dict):
        return ""
    return "; ".join(
        f"{key} (until the next start {each.get('now') or 'none'}: {each.get('why')})"
        for key, each in value.items()
        if isinstance(each, dict)
    )


def volumes(uses: object) -> str:
    """The volumes of an instance, `name at /path` each."""
    found = [use for use in uses if isinstance(use, dict)] if isinstance(uses, list) else []
    texts = []
    for use in found:
        at = f" at {use['path']}" if use.get("path") else ""
        texts.append(f"{use.get('volume')}{at}{' (read-only)' if use.get('read_only') else ''}")
    return ", ".join(texts)


def shares(found: object) -> str:
    """The shares of an instance, `/dir at /path` each."""
    each = [share for share in found if isinstance(share, dict)] if isinstance(found, list) else []
    return ", ".join(
        f"{share.get('source')} at {share.get('target')}{' (read-only)' if share.get('read_only') else ''}"
        for share in each
    )


def rules(found: object) -> str:
    """Firewall rules as `yurt set` takes them."""
    each = [rule for rule in found if isinstance(rule, dict)] if isinstance(found, list) else []
    names = ("direction", "action", "protocol", "ports", "peer")
    return "; ".join(
        format_rule(*(str(rule.get(name, "all" if name == "protocol" else "")) for name in names))
        for rule in each
    )


def published(found: object) -> str:
    """Published ports as `yurt set` takes them."""
    each = [port for port in found if isinstance(port, dict)] if isinstance(found, list) else []
    return ",".join(
        format_publish(
            str(port.get("host_address", "")),
            int(port.get("host_port", 0)),
            int(port.get("guest_port", 0)),
            str(port.get("protocol", "tcp")),
        )
        for port in each
    )


def isolation(instance: "dict[str, object]") -> str:
    """What stands between it and the host: the word, and what it means."""
    word, meaning = instance.get("isolation"), instance.get("isolation_meaning")
    return f"{word}: {meaning}" if word else ""


def nics(spec: "dict[str, object]") -> "dict[str, str]":
    """Each NIC by its name in the guest: its network, addresses and MAC."""
    found = spec.get("nics")
    shown = [nic for nic in found if isinstance(nic, dict)] if isinstance(found, list) else []
    return {f"eth{nic.get('index')}": nic_line(nic) for nic in shown}


def now_and_then(key: str, wanted: object, instance: "dict[str, object]") -> object:
    """A size as it is, with what it becomes where that waits for the next start."""
    waiting = instance.get("pending")
    one = waiting.get(key) if isinstance(waiting, dict) else None
    return f"{one.get('now') or 'none'} ({wanted} from the next start)" if isinstance(one, dict) else wanted


def fields(instance: "dict[str, object]") -> "dict[str, object]":
    """What is shown of an instance, by title."""
    spec = instance.get("spec")
    spec = spec if isinstance(spec, dict) else {}
    started = instance.get("started_at")
    up = ""
    if isinstance(started, (int, float)) and instance.get("phase") in ("running", "paused", "stopping"):
        up = f", {format_duration(max(0.0, time.time() - started))} ago"
    shown = {
        "name": instance.get("name"),
        "id": instance.get("id"),
        "kind": spec.get("kind"),
        "phase": instance.get("phase"),
        "reason": instance.get("reason"),
        "image": spec.get("image"),
        "cpus": now_and_then("cpus", spec.get("cpus"), instance),
        "memory": now_and_then(
            "memory", memory(spec.get("memory_bytes"), instance.get("lent_bytes")), instance
        ),
        "disk": now_and_then("disk", size(spec.get("disk_bytes")), instance),
        "limits": limits(spec.get("limits")),
        "pending": pending(instance.get("pending")),
        "network": spec.get("network"),
        "volumes": volumes(spec.get("volumes")),
        "shares": shares(spec.get("shares")),
        **nics(spec),
        "publish": published(spec.get("publish")),
        "rules": rules(spec.get("rules")),
        "accelerator": instance.get("accelerator"),
        "isolation": isolation(instance),
        "privileges": words(spec.get("privileges")),
        "agent": "answers" if instance.get("agent") else "",
        "pid": instance.get("pid"),
        "profiles": words(spec.get("profiles")),
        "labels": pairs(spec.get("labels")),
        "init": spec.get("init"),
        "command": words(spec.get("command")),
        **policy.lines(instance, spec.get("policy"), time.time()),
        "created": moment(instance.get("created_at")),
        "started": moment(started) + up if started else "",
        "stopped": moment(instance.get("stopped_at")),
        "exit code": instance.get("exit_code"),
        "operation": instance.get("operation"),
        "deleted at its end": "yes" if spec.get("ephemeral") else "",
    }
    return {key: value for key, value in shown.items() if value not in (None, "")}


def main(arguments: Arguments) -> int:
    instance = as_document(connect().call(requests.get_instance(arguments.word("NAME"))))
    if arguments.flag("json"):
        print_json(instance)
    else:
        print_fields(fields(instance))
    return 0
