"""`yurt host info`, `doctor`, `version` and `serve`."""

import os
import sys

from yurt import __version__
from yurt.cli.arguments import Arguments
from yurt.cli.info import size
from yurt.cli.local import connect
from yurt.cli.output import GREEN, OFF, RED, YELLOW, colours, print_fields, print_json, safe, write
from yurt.client import requests
from yurt.client.operations import as_document, as_documents
from yurt.errors import YurtError
from yurt.units import format_size

MARKS = {"ok": ("ok  ", GREEN), "warn": ("warn", YELLOW), "fail": ("FAIL", RED)}


def host_info(arguments: Arguments) -> int:
    host = as_document(connect().call(requests.host(), timeout_s=120))
    if arguments.flag("json"):
        print_json(host)
        return 0
    shown: dict[str, object] = {}
    for key, value in host.items():
        title = key.removesuffix("_bytes").replace("_", " ")
        if key == "kinds" and isinstance(value, dict):
            shown.update({f"kind {kind}": kind_line(facts) for kind, facts in value.items()})
        elif key == "resources" and isinstance(value, dict):
            shown.update({name: resource_line(name, numbers) for name, numbers in value.items()})
        elif key == "accelerator" and isinstance(value, dict):
            shown[title] = f"{value.get('name')}: {value.get('reason')}"
        else:
            shown[title] = size(value) if key.endswith("_bytes") else value
    print_fields(shown)
    return 0


def resource_line(name: str, numbers: object) -> str:
    """How much of a resource there is, is in use, is promised, and may still be promised."""
    given = numbers if isinstance(numbers, dict) else {}

    def show(key: str) -> str:
        if name == "cpu":
            return f"{given.get(key, 0):g}"
        return format_size(int(given.get(key + "_bytes", 0)))

    return (
        f"total {show('total')}, used {show('used')}, free {show('free')}; "
        f"reserved {show('reserved')} of {show('limit')} (overcommit {given.get('overcommit', 1):g})"
    )


def kind_line(facts: object) -> str:
    """Whether this host can run a kind, and if not why and what helps."""
    if not isinstance(facts, dict):
        return ""
    if facts.get("available"):
        return "available" + (f" ({facts['reason']})" if facts.get("reason") else "")
    return f"not available: {facts.get('reason')}" + (f"; fix: {facts['fix']}" if facts.get("fix") else "")


def doctor(arguments: Arguments) -> int:
    checks = as_documents(connect().call(requests.doctor(), timeout_s=300))
    if arguments.flag("json"):
        print_json(checks)
    else:
        coloured = colours()
        wide = max((len(safe(check.get("name"))) for check in checks), default=0)
        for check in checks:
            mark, colour = MARKS.get(str(check.get("status")), ("?   ", ""))
            shown = f"{colour}{mark}{OFF}" if coloured and colour else mark
            write(f"{shown}  {safe(check.get('name')):<{wide}}  {safe(check.get('detail'))}\n")
            if check.get("fix"):
                write(f"{'':<{wide + 6}}  fix: {safe(check.get('fix'))}\n")
    return 1 if any(check.get("status") == "fail" for check in checks) else 0


def version(arguments: Arguments) -> int:
    from yurt.client.transport import Transport

    shown: dict[str, object] = {"client": __version__, "daemon": None, "api": None}
    try:  # asking for the version starts no daemon
        answer = as_document(Transport(start=False).call(requests.version(), timeout_s=10))
        shown.update(daemon=answer.get("version"), api=answer.get("api"))
    except YurtError as error:
        shown["daemon"] = None if arguments.flag("json") else f"not reached: {error.message}"
    if arguments.flag("json"):
        print_json(shown)
    else:
        print_fields({key: value for key, value in shown.items() if value})
    return 0


def serve(arguments: Arguments) -> int:
    from yurt.client.spawn import become_daemon

    sys.stdout.flush()
    become_daemon("--foreground", *(["--debug"] if os.environ.get("YURT_DEBUG") else []))
    return 0


def main(arguments: Arguments) -> int:
    verbs = {"host info": host_info, "doctor": doctor, "version": version, "serve": serve}
    return verbs[arguments.command.name](arguments)
