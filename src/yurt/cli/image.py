"""`yurt image ls|build|info|delete|prune`."""

from yurt.cli.arguments import Arguments
from yurt.cli.info import moment, size, words
from yurt.cli.local import connect
from yurt.cli.output import note, print_fields, print_json, print_table, safe, write
from yurt.cli.progress import finish, run_operation
from yurt.client import requests
from yurt.client.operations import as_document, as_documents

TYPE_CHECKING = False
if TYPE_CHECKING:
    from yurt.client.transport import Transport

HEADS = ("IMAGE", "SIZE", "CREATED", "INIT", "DIGEST")


def config_of(image: "dict[str, object]") -> "dict[str, object]":
    config = image.get("config")
    return config if isinstance(config, dict) else {}


def show_list(transport: "Transport", arguments: Arguments) -> int:
    images = as_documents(transport.call(requests.list_images(), timeout_s=60))
    if arguments.flag("json"):
        print_json(images)
    elif arguments.flag("quiet"):
        write("".join(f"{safe(image.get('reference'))}\n" for image in images))
    else:
        rows = [
            [
                image.get("reference"),
                size(image.get("size_bytes")),
                moment(image.get("created_at")),
                config_of(image).get("init"),
                str(image.get("digest", "")).removeprefix("sha256:")[:12],
            ]
            for image in images
        ]
        print_table(HEADS, rows, right=frozenset(("SIZE",)))
    return 0


def build(transport: "Transport", arguments: Arguments) -> int:
    recipe = arguments.word("RECIPE")
    operation = as_document(transport.call(requests.build_image(recipe)))
    if arguments.flag("detach"):
        note(f"the build goes on: `yurt operation {safe(operation.get('id'))}`")
        return 0
    finish(transport, operation, cancels=True)
    write(safe(recipe) + "\n")
    return 0


def info(transport: "Transport", arguments: Arguments) -> int:
    image = as_document(transport.call(requests.get_image(arguments.word("IMAGE"))))
    if arguments.flag("json"):
        print_json(image)
        return 0
    config = config_of(image)
    shown = {
        "image": image.get("reference"),
        "digest": image.get("digest"),
        "size": size(image.get("size_bytes")),
        "created": moment(image.get("created_at")),
        "recipe": image.get("recipe"),
        "source": image.get("source"),
        "architecture": config.get("architecture"),
        "init": config.get("init"),
        "entrypoint": words(config.get("entrypoint")),
        "cmd": words(config.get("cmd")),
        "workdir": config.get("workdir"),
        "user": config.get("user"),
        "env": words(config.get("env")),
    }
    print_fields({key: value for key, value in shown.items() if value})
    return 0


def delete(transport: "Transport", arguments: Arguments) -> int:
    for reference in arguments.words("IMAGE"):
        run_operation(transport, requests.delete_image(reference))
        write(safe(reference) + "\n")
    return 0


def prune(transport: "Transport", arguments: Arguments) -> int:
    dry_run = arguments.flag("dry-run")
    operation = run_operation(transport, requests.prune_images(dry_run=dry_run))
    result = operation.get("result")
    result = result if isinstance(result, dict) else {}
    if arguments.flag("json"):
        print_json(result)
        return 0
    removed = result.get("removed")
    write("".join(safe(each) + "\n" for each in removed) if isinstance(removed, list) else "")
    note(f"{'would free' if dry_run else 'freed'} {size(result.get('freed_bytes')) or '0B'}")
    return 0


def main(arguments: Arguments) -> int:
    verbs = {"ls": show_list, "build": build, "info": info, "delete": delete, "prune": prune}
    return verbs[arguments.command.name.split()[1]](connect(), arguments)
