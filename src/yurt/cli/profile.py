"""`yurt profile ls|info|create|set|delete`."""

from yurt.cli.arguments import Arguments
from yurt.cli.local import connect
from yurt.cli.output import note, print_fields, print_json, print_table, safe, write
from yurt.cli.run import shape
from yurt.client import requests
from yurt.client.operations import as_document, as_documents
from yurt.errors import Invalid
from yurt.units import exact_size

TYPE_CHECKING = False
if TYPE_CHECKING:
    from yurt.client.transport import Transport

HEADS = ("PROFILE", "BUILT IN", "USED BY", "SETTINGS")


def settings_of(profile: "dict[str, object]") -> "dict[str, str]":
    """What a profile holds, one line each; what it leaves to others is not there."""
    given = profile.get("settings")
    shown: dict[str, str] = {}
    for key, value in (given if isinstance(given, dict) else {}).items():
        text = _text(key, value)
        if text:
            shown[key.removesuffix("_bytes")] = text
    return shown


def _text(key: str, value: object) -> str:
    if isinstance(value, dict):
        return " ".join(f"{name}={_text(name, part)}" for name, part in value.items() if part is not None)
    if isinstance(value, list):
        return " ".join(f"({_text('', part)})" if isinstance(part, dict) else str(part) for part in value)
    if key.endswith("_bytes") and isinstance(value, int):
        return exact_size(value)
    return "" if value is None else str(value)


def users(profile: "dict[str, object]") -> "list[str]":
    found = profile.get("used_by")
    return [str(name) for name in found] if isinstance(found, list) else []


def show_list(transport: "Transport", arguments: Arguments) -> int:
    profiles = as_documents(transport.call(requests.list_profiles()))
    if arguments.flag("json"):
        print_json(profiles)
    elif arguments.flag("quiet"):
        write("".join(f"{safe(each.get('name'))}\n" for each in profiles))
    else:
        rows = [
            [
                each.get("name"),
                "yes" if each.get("builtin") else "",
                len(users(each)),
                " ".join(f"{key}={text}" for key, text in settings_of(each).items()),
            ]
            for each in profiles
        ]
        print_table(HEADS, rows, right=frozenset(("USED BY",)))
    return 0


def info(transport: "Transport", arguments: Arguments) -> int:
    profile = as_document(transport.call(requests.get_profile(arguments.word("NAME"))))
    if arguments.flag("json"):
        print_json(profile)
        return 0
    print_fields(
        {
            "name": profile.get("name"),
            **({"built in": "yes"} if profile.get("builtin") else {}),
            **settings_of(profile),
            "used by": " ".join(users(profile)),
        }
    )
    return 0


def create(transport: "Transport", arguments: Arguments) -> int:
    made = as_document(
        transport.call(requests.create_profile(arguments.word("NAME"), profile_settings(arguments)))
    )
    write(safe(made.get("name")) + "\n")
    return 0


def change(transport: "Transport", arguments: Arguments) -> int:
    settings, unset = profile_settings(arguments), arguments.texts("unset")
    if not settings and not unset:
        raise Invalid("there is nothing to set", hint="give settings as for `yurt create`, or `--unset KEY`")
    request = requests.set_profile(arguments.word("NAME"), settings, [field(word) for word in unset])
    changed = as_document(transport.call(request))
    write(safe(changed.get("name")) + "\n")
    if count := len(users(changed)):
        note(f"{count} {'instance' if count == 1 else 'instances'} created with it before stay as they are")
    return 0


def delete(transport: "Transport", arguments: Arguments) -> int:
    for name in arguments.words("NAME"):
        transport.call(requests.delete_profile(name, force=arguments.flag("force")))
        write(safe(name) + "\n")
    return 0


def profile_settings(arguments: Arguments) -> "dict[str, object]":
    """The settings that the flags ask for. Raises Invalid."""
    init, without = arguments.flag("init"), arguments.flag("no-init")
    if init and without:
        raise Invalid("`--init` and `--no-init` contradict each other")
    given = shape(arguments) | {"init": "image" if init else "command" if without else None}
    return {key: value for key, value in given.items() if value not in (None, {}, [], "")}


def field(word: str) -> str:
    """The name of a setting inside, for the name that is shown: `memory` is kept as `memory_bytes`."""
    return word + "_bytes" if word in ("memory", "disk") else word


def main(arguments: Arguments) -> int:
    verbs = {
        "profile ls": show_list,
        "profile info": info,
        "profile create": create,
        "profile set": change,
        "profile delete": delete,
    }
    return verbs[arguments.command.name](connect(), arguments)
