"""`yurt wait` and `yurt events`."""

import json
import sys
import time

from yurt.cli.arguments import Arguments
from yurt.cli.local import connect
from yurt.cli.output import safe, write
from yurt.client import requests
from yurt.client.events import stream
from yurt.client.operations import as_document

WAIT_S = 300.0
MOST_S = 86400.0


def wait(arguments: Arguments) -> int:
    condition = arguments.text("for", "agent")
    timeout_s = min(arguments.seconds("timeout", WAIT_S), MOST_S)
    request = requests.wait_instance(arguments.word("NAME"), condition, timeout_s)
    instance = as_document(connect().call(request, timeout_s=timeout_s + 60))
    code = instance.get("exit_code")
    return code & 255 if condition == "exit" and isinstance(code, int) else 0


def line(event: "dict[str, object]") -> str:
    """One event for people."""
    at = event.get("at")
    clock = (
        time.strftime("%H:%M:%S", time.localtime(at))
        if isinstance(at, (int, float)) and 0 < at < 1 << 40
        else "?"
    )
    data = event.get("data")
    details = ""
    if isinstance(data, dict):
        shown = {key: value for key, value in data.items() if value not in (None, "", {}, [])}
        details = " ".join(f"{key}={json.dumps(value)}" for key, value in shown.items())
    return (
        f"{clock}  {safe(event.get('type')):<22}  {safe(event.get('target')):<20}  {safe(details)}".rstrip()
    )


def events(arguments: Arguments) -> int:
    for message in stream(connect(), arguments.number("since")):
        event = json.loads(message)
        write((json.dumps(event) if arguments.flag("json") else line(event)) + "\n")
        sys.stdout.flush()
    return 0


def main(arguments: Arguments) -> int:
    return wait(arguments) if arguments.command.name == "wait" else events(arguments)
