"""`yurt set`: change settings of an instance, and hear what took effect now and what waits for its next start."""

from yurt.cli.arguments import Arguments
from yurt.cli.local import connect
from yurt.cli.output import print_json, safe, write
from yurt.cli.progress import finish
from yurt.client import requests
from yurt.client.limits import LIMITS
from yurt.client.operations import as_document
from yurt.errors import Invalid

# what completion offers; the daemon has the table, and says so for a name that it does not know
KEYS = (
    *("cpus", "memory", "disk", *LIMITS),
    *(
        "rules",
        "publish",
        "restart",
        "autostart",
        "autostart-order",
        "autostart-delay",
        "ttl",
        "ttl-action",
        "reclaim",
        "protect",
    ),
)


def settings_of(words: "list[str]") -> "dict[str, str]":
    """`KEY=VALUE` words as a dict. Raises Invalid."""
    found: dict[str, str] = {}
    for word in words:
        key, equals, value = word.partition("=")
        if not equals or not key:
            raise Invalid(f"`{word}` sets nothing", hint="write `KEY=VALUE`, such as `memory=2G`")
        if key in found:
            raise Invalid(f"`{key}` is given twice")
        found[key] = value
    return found


def line(change: "dict[str, object]") -> str:
    """One change in words: `memory 1G -> 2G at the next start: ...`."""
    before, after = (safe(change.get(key) or "none") for key in ("before", "after"))
    name, why = safe(change.get("setting")), safe(change.get("why") or "")
    if change.get("when") == "unchanged":
        return f"{name} {after} as before"
    when = "now" if change.get("when") == "now" else "at the next start"
    return f"{name} {before} -> {after} {when}" + (f": {why}" if why else "")


def main(arguments: Arguments) -> int:
    settings = settings_of(arguments.words("KEY=VALUE"))
    transport = connect()
    request = requests.set_instance(arguments.word("NAME"), settings, dry_run=arguments.flag("dry-run"))
    operation = finish(transport, as_document(transport.call(request)), cancels=False)
    result = operation.get("result")
    changes = result.get("changes", []) if isinstance(result, dict) else []
    if arguments.flag("json"):
        print_json(changes)
    else:
        write("".join(line(each) + "\n" for each in changes))
    return 0
