"""`yurt volume create|import|ls|info|attach|detach|resize|delete`."""

from yurt.cli.arguments import Arguments
from yurt.cli.imports import sent
from yurt.cli.info import moment, pairs, size
from yurt.cli.local import connect
from yurt.cli.output import note, print_fields, print_json, print_table, safe, write
from yurt.cli.progress import finish, run_operation
from yurt.client import volumerequests as requests
from yurt.client.operations import as_document, as_documents
from yurt.errors import Invalid
from yurt.units import parse_size

TYPE_CHECKING = False
if TYPE_CHECKING:
    from yurt.client.transport import Transport

FORMATS = ("raw", "qcow2", "vmdk", "vhd", "vhdx", "vdi", "parallels")
HEADS = ("VOLUME", "FORM", "SIZE", "USED", "ATTACHED TO", "PATH", "CREATED")


def parse_use(text: str) -> "dict[str, object]":
    """`NAME[:PATH][:ro]` as the API wants it. Raises Invalid."""
    name, _, rest = text.partition(":")
    read_only = rest == "ro" or rest.endswith(":ro")
    path = "" if rest == "ro" else rest.removesuffix(":ro").removesuffix(":rw")
    if not name or (path and not path.startswith("/")):
        raise Invalid(
            f"`{text}` names no volume and place", hint="write `NAME:/srv/data` or `NAME:/srv/data:ro`"
        )
    return {"volume": name, "path": path, "read_only": read_only}


def parse_share(text: str) -> "dict[str, object]":
    """`DIR:PATH[:ro]` as the API wants it, with DIR made absolute, which only a client can do. Raises Invalid."""
    from pathlib import Path

    mode = text.rpartition(":")[2]
    source, colon, target = (text.removesuffix(f":{mode}") if mode in ("ro", "rw") else text).rpartition(":")
    if not colon or not source or not target.startswith("/"):
        raise Invalid(
            f"`{text}` names no directory and place", hint="write `DIR:/srv/data` or `DIR:/srv/data:ro`"
        )
    full = Path.cwd() / Path(source).expanduser()  # links on the way are the daemon's to follow, once
    return {"source": str(full), "target": target, "read_only": mode == "ro"}


def create(transport: "Transport", arguments: Arguments) -> int:
    spec: dict[str, object] = {
        "name": arguments.word("VOLUME"),
        "form": "filesystem" if arguments.flag("filesystem") else "block",
        "labels": arguments.pairs("label"),
    }
    if arguments.flag("size"):
        spec["size_bytes"] = arguments.size("size")
    run_operation(transport, requests.create_volume(spec), cancels=True)
    write(arguments.word("VOLUME") + "\n")
    return 0


def load(transport: "Transport", arguments: Arguments) -> int:
    """`yurt volume import`."""
    name, path = arguments.word("VOLUME"), arguments.word("FILE")
    form = arguments.text("format") or path.rpartition(".")[2].lower()
    form = {"img": "raw", "vpc": "vhd", "hdd": "parallels"}.get(form, form)
    if form not in FORMATS:
        raise Invalid(f"what is `{path}`?", hint=f"name it with `--format`: {', '.join(FORMATS)}")
    operation = as_document(sent(transport, requests.import_volume(name, form), path))
    finish(transport, operation, cancels=True)
    write(name + "\n")
    return 0


def shown_size(volume: "dict[str, object]") -> str:
    return size(volume.get("size_bytes")) or "no limit"


def show_list(transport: "Transport", arguments: Arguments) -> int:
    volumes = as_documents(transport.call(requests.list_volumes(), timeout_s=60))
    if arguments.flag("json"):
        print_json(volumes)
    elif arguments.flag("quiet"):
        write("".join(f"{safe(volume.get('name'))}\n" for volume in volumes))
    else:
        rows = [
            [
                volume.get("name"),
                volume.get("form"),
                shown_size(volume),
                size(volume.get("used_bytes")),
                volume.get("instance"),
                place(volume),
                moment(volume.get("created_at")),
            ]
            for volume in volumes
        ]
        print_table(HEADS, rows, right=frozenset(("SIZE", "USED")))
    return 0


def place(use: "dict[str, object]") -> str:
    """Where it is mounted, and how."""
    return f"{use.get('path') or ''}{' (read-only)' if use.get('read_only') else ''}".strip()


def info(transport: "Transport", arguments: Arguments) -> int:
    volume = as_document(transport.call(requests.get_volume(arguments.word("VOLUME"))))
    if arguments.flag("json"):
        print_json(volume)
        return 0
    shown = {
        "name": volume.get("name"),
        "id": volume.get("id"),
        "form": volume.get("form"),
        "size": shown_size(volume),
        "used": size(volume.get("used_bytes")),
        "attached to": volume.get("instance"),
        "path": place(volume),
        "labels": pairs(volume.get("labels")),
        "created": moment(volume.get("created_at")),
        "operation": volume.get("operation"),
    }
    print_fields({key: value for key, value in shown.items() if value})
    return 0


def attach(transport: "Transport", arguments: Arguments) -> int:
    use = parse_use(arguments.word("VOLUME"))
    operation = run_operation(
        transport,
        requests.attach_volume(
            str(use["volume"]),
            arguments.word("NAME"),
            path=str(use["path"]),
            read_only=bool(use["read_only"]),
        ),
        cancels=True,
    )
    tell_pending(operation)
    return 0


def tell_pending(operation: "dict[str, object]") -> None:
    """Say what has not taken effect yet, and why."""
    result = operation.get("result")
    if isinstance(result, dict) and result.get("pending"):
        note(f"pending: {safe(result['pending'])}")


def detach(transport: "Transport", arguments: Arguments) -> int:
    for name in arguments.words("VOLUME"):
        run_operation(transport, requests.detach_volume(name))
    return 0


def resize(transport: "Transport", arguments: Arguments) -> int:
    size_bytes = parse_size(arguments.word("SIZE"))
    tell_pending(run_operation(transport, requests.resize_volume(arguments.word("VOLUME"), size_bytes)))
    return 0


def delete(transport: "Transport", arguments: Arguments) -> int:
    dry_run = arguments.flag("dry-run")
    for name in arguments.words("VOLUME"):
        operation = run_operation(transport, requests.delete_volume(name, dry_run=dry_run))
        result = operation.get("result")
        if dry_run and isinstance(result, dict):
            note(f"would delete `{safe(name)}` and free {size(result.get('freed_bytes')) or '0B'}")
        write(safe(name) + "\n")
    return 0


def main(arguments: Arguments) -> int:
    verbs = {
        "create": create,
        "import": load,
        "ls": show_list,
        "info": info,
        "attach": attach,
        "detach": detach,
        "resize": resize,
        "delete": delete,
    }
    return verbs[arguments.command.name.split()[1]](connect(), arguments)
