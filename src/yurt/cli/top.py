"""`yurt top`: what running instances use, between two readings of their counters."""

import os
import sys
import time

from yurt.cli.arguments import Arguments
from yurt.cli.local import connect
from yurt.cli.output import colours, print_json, render_table, terminal_width, write
from yurt.client import requests
from yurt.client.operations import as_documents
from yurt.units import format_size

INTERVAL_S = 2.0
FIRST_S = 0.5
HEADS = ("NAME", "KIND", "CPU", "CPUS", "MEMORY", "LIMIT", "READ/S", "WRITE/S", "PIDS")
RIGHT = frozenset(HEADS[2:])


def number(document: "dict[str, object]", key: str) -> float:
    value = document.get(key)
    return float(value) if isinstance(value, (int, float)) else 0.0


def rates(before: "list[dict[str, object]]", after: "list[dict[str, object]]") -> "list[dict[str, object]]":
    """The later reading with `cpu_percent` (of one CPU), `read_bps` and `write_bps`; None where there is no earlier one."""
    earlier = {each.get("name"): each for each in before}
    found = []
    for now in after:
        past = earlier.get(now.get("name"))
        spent = number(now, "at") - number(past, "at") if past is not None else 0.0
        made: dict[str, object] = dict(now)
        for key, source, factor in (
            ("cpu_percent", "cpu_s", 100),
            ("read_bps", "read_bytes", 1),
            ("write_bps", "write_bytes", 1),
        ):
            # a counter that went down belongs to a guest that was started again
            grown = number(now, source) - number(past, source) if past is not None else -1.0
            made[key] = round(grown / spent * factor, 1) if spent > 0 and grown >= 0 else None
        found.append(made)
    return sorted(found, key=lambda each: (-number(each, "cpu_percent"), str(each.get("name"))))


def size(value: object) -> str:
    return format_size(int(value)) if isinstance(value, (int, float)) else ""


def row(usage: "dict[str, object]") -> "list[object]":
    cpu, limit = usage.get("cpu_percent"), number(usage, "memory_limit_bytes")
    limit -= number(usage, "balloon_bytes")  # what it may use now
    cpus, pids = number(usage, "cpu_limit"), number(usage, "pids_limit")
    return [
        usage.get("name"),
        usage.get("kind"),
        f"{cpu:.1f}%" if isinstance(cpu, (int, float)) else "",
        f"{cpus:g}" if cpus else "",
        size(usage.get("memory_bytes")),
        size(limit) if limit else "",
        size(usage.get("read_bps")),
        size(usage.get("write_bps")),
        f"{usage.get('pids')}/{pids:g}" if pids else usage.get("pids"),
    ]


def main(arguments: Arguments) -> int:
    transport = connect()

    def reading() -> "list[dict[str, object]]":
        return as_documents(transport.call(requests.usage(), timeout_s=60))

    live = os.isatty(1) and not arguments.flag("once") and not arguments.flag("json")
    before = reading()
    time.sleep(FIRST_S)
    if live:
        write("\x1b[2J")
    while True:
        after = reading()
        shown = rates(before, after)
        if arguments.flag("json"):
            print_json(shown)
        else:
            text = render_table(
                HEADS, [row(each) for each in shown], width=terminal_width(), right=RIGHT, colour=colours()
            )
            if live:  # home, each line cleared behind its text, then all below
                text = "\x1b[H" + text.replace("\n", "\x1b[K\n") + "\x1b[J"
            write(text)
        if not live:
            return 0
        sys.stdout.flush()
        before = after
        time.sleep(INTERVAL_S)
