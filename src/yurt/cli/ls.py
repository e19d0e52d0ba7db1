"""`yurt ls`: the list of instances. The fastest command; keep its imports few."""

import time

from yurt.cli.arguments import Arguments
from yurt.cli.local import connect
from yurt.cli.nics import first_address
from yurt.cli.output import print_json, print_table, safe, write
from yurt.client import requests
from yurt.client.operations import as_documents
from yurt.units import format_duration, format_size

HEADS = ("NAME", "KIND", "PHASE", "IMAGE", "CPUS", "MEMORY", "ADDRESS", "UP", "LABELS")


def row(instance: "dict[str, object]", now: float) -> "list[object]":
    """One instance as table cells."""
    spec = instance.get("spec")
    spec = spec if isinstance(spec, dict) else {}
    started, memory, labels = instance.get("started_at"), spec.get("memory_bytes"), spec.get("labels")
    up = ""
    if isinstance(started, (int, float)) and instance.get("phase") in ("running", "paused", "stopping"):
        up = format_duration(max(0.0, now - started))
    return [
        instance.get("name"),
        spec.get("kind"),
        instance.get("phase"),
        str(spec.get("image", "")).removesuffix(":latest"),
        spec.get("cpus"),
        format_size(memory) if isinstance(memory, int) and memory else "",
        first_address(spec),
        up,
        " ".join(f"{key}={value}" for key, value in labels.items()) if isinstance(labels, dict) else "",
    ]


def main(arguments: Arguments) -> int:
    instances = as_documents(connect().call(requests.list_instances(arguments.texts("label")), timeout_s=60))
    if arguments.flag("json"):
        print_json(instances)
    elif arguments.flag("quiet"):
        write("".join(f"{safe(instance.get('name'))}\n" for instance in instances))
    else:
        now = time.time()
        print_table(
            HEADS, [row(instance, now) for instance in instances], right=frozenset(("CPUS", "MEMORY"))
        )
    return 0
