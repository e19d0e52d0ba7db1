"""`yurt run` and `yurt create`."""

import os

from yurt.cli.arguments import Arguments
from yurt.cli.dryrun import rehearsed
from yurt.cli.execute import SHELL, open_program, streams
from yurt.cli.local import connect
from yurt.cli.nics import network_wish
from yurt.cli.output import note, safe, write
from yurt.cli.policy import policy_wish
from yurt.cli.progress import finish, run_operation
from yurt.cli.terminal import relay
from yurt.cli.volume import parse_share, parse_use
from yurt.client import requests
from yurt.client.limits import LIMITS, limits_document
from yurt.client.operations import as_document, ended
from yurt.client.session import Session
from yurt.errors import Busy, Invalid, NotFound, WrongState, YurtError
from yurt.rules import WORDS, parse_publish, parse_rule

TYPE_CHECKING = False
if TYPE_CHECKING:
    from yurt.client.transport import Transport

AGENT_WAIT_S = 300.0


def shape(arguments: Arguments) -> "dict[str, object]":
    """The part of a wish that a profile can hold as well. Raises Invalid."""
    return {
        "kind": arguments.text("as") or None,
        "cpus": arguments.number("cpus"),
        "memory_bytes": arguments.size("memory"),
        "disk_bytes": arguments.size("disk"),
        "env": arguments.pairs("env"),
        "labels": arguments.pairs("label"),
        **network_wish(arguments.texts("network")),
        "accel": arguments.text("accel") or None,
        "privileges": [name for name in ("nesting", "privileged") if arguments.flag(name)],
        "policy": policy_wish(arguments),
        "volumes": [parse_use(text) for text in arguments.texts("volume")],
        "shares": [parse_share(text) for text in arguments.texts("mount")],
        "rules": [parse_rule(word, text) for word, text in arguments.order if word in WORDS],
        "publish": [parse_publish(text) for text in arguments.texts("publish")],
        "limits": limits_document({key: arguments.text(key) for key in LIMITS if arguments.flag(key)}),
    }


def make_spec(
    arguments: Arguments, *, run: bool, attended: bool, stdin: bool, tty: bool
) -> "dict[str, object]":
    """What to create, from the flags. `attended`: a client stays, so a command's streams are its own. Raises Invalid."""
    command, kind = arguments.rest, arguments.text("as")
    removed = run and arguments.flag("rm")
    if arguments.flag("init") and arguments.flag("no-init"):
        raise Invalid("`--init` and `--no-init` contradict each other")
    if arguments.flag("no-init") and not command:
        raise Invalid("`--no-init` needs a command to run", hint="add the command after the image")
    if command and run and not attended and (kind == "vm" or arguments.flag("init")):
        raise Invalid(
            "a guest with an init cannot take a command along with `--detach`",
            hint="start it without the command, then use `yurt exec`",
        )
    alone = arguments.flag("no-init") or bool(command and run and not attended)
    init = "command" if alone else "image" if arguments.flag("init") else "auto"
    main = bool(command) and (alone or removed) and kind != "vm" and init != "image"
    spec: dict[str, object] = {
        **shape(arguments),
        "image": arguments.word("IMAGE"),
        "name": arguments.text("name") or None,
        "workdir": arguments.text("workdir") or None,
        "user": arguments.text("user") or None,
        "command": command,
        "init": init,
        # a size says more about this instance than a profile does, so it comes last and wins
        "profiles": [*arguments.texts("profile"), *arguments.texts("size")],
        "ephemeral": removed,
        "attach": attended and bool(command),
        "stdin": stdin and main,
        "tty": tty and main,
    }
    if main and tty and attended:
        spec["env"] = {"TERM": os.environ.get("TERM") or "xterm", **arguments.pairs("env")}
    return {key: value for key, value in spec.items() if value not in (None, {}, [], False)}


def main(arguments: Arguments) -> int:
    run = arguments.command.name == "run" and not arguments.flag("no-start")
    if arguments.command.name == "create":
        stdin, tty, attended = False, False, False
    else:
        stdin, tty = streams(arguments)
        attended = run and not arguments.flag("detach") and bool(arguments.rest or tty)
    if not run and arguments.command.name == "run" and arguments.flag("rm"):
        raise Invalid("`--rm` and `--no-start` contradict each other")
    spec = make_spec(arguments, run=run, attended=attended, stdin=stdin, tty=tty)
    transport = connect()
    if arguments.flag("dry-run"):
        operation = as_document(transport.call(requests.create_instance(spec, start=run, dry_run=True)))
        return rehearsed(operation)
    operation = run_operation(transport, requests.create_instance(spec, start=run), cancels=True)
    result = operation.get("result")
    name = str(result["name"] if isinstance(result, dict) and "name" in result else operation.get("target"))
    if not attended:
        write(safe(name) + "\n")
        return 0
    return attend(transport, name, arguments, stdin=stdin, tty=tty)


def attend(transport: "Transport", name: str, arguments: Arguments, *, stdin: bool, tty: bool) -> int:
    """Stay with a guest that was just started: run the command or a shell in it; clean up when `--rm` asks for it."""
    removed = arguments.flag("rm")
    try:
        if arguments.rest and (session := _attached(transport, name)) is not None:
            return relay(session, stdin=stdin, tty=tty)
        transport.call(requests.wait_instance(name, "agent", AGENT_WAIT_S), timeout_s=AGENT_WAIT_S + 30)
        session = open_program(transport, name, arguments.rest or SHELL, arguments, stdin=stdin, tty=tty)
        return relay(session, stdin=stdin, tty=tty)
    finally:
        if removed:
            remove(transport, name)
        elif not arguments.rest:
            note(
                f"`{safe(name)}` keeps running: `yurt shell {safe(name)}` to get back, `yurt stop {safe(name)}` to stop it"
            )


def _attached(transport: "Transport", name: str) -> "Session | None":
    """The main process, if the command is the guest's main process; None when the guest boots its own init."""
    instance = as_document(transport.call(requests.get_instance(name)))
    spec = instance.get("spec")
    if not isinstance(spec, dict) or spec.get("init") != "command":
        return None
    return Session.open(transport, requests.attach(name))


def remove(transport: "Transport", name: str) -> None:
    """See that an instance made with `--rm` is gone: the daemon deletes it when it ends by itself, else we do."""
    try:
        instance = as_document(transport.call(requests.get_instance(name)))
        holder = instance.get("operation")
        if holder is None:
            try:
                run_operation(transport, requests.delete_instance(name, force=True))
                return
            except (Busy, WrongState):  # its own end began in between
                holder = as_document(transport.call(requests.get_instance(name))).get("operation")
        if holder is not None:
            operation = as_document(transport.call(requests.get_operation(str(holder))))
            if not ended(operation):
                finish(transport, operation, cancels=False)
    except NotFound:
        return
    except YurtError as error:
        note(f"could not delete `{safe(name)}`: {safe(error.message)}")
