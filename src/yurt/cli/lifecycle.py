"""start, stop, kill, restart, pause, resume, delete and rename: one verb on one or many instances."""

from yurt.cli.arguments import Arguments
from yurt.cli.dryrun import rehearsed
from yurt.cli.local import connect
from yurt.cli.output import error_lines, note, safe, write
from yurt.cli.progress import Interrupted, finish
from yurt.client import requests
from yurt.client.operations import as_document, as_documents
from yurt.errors import Invalid, YurtError
from yurt.units import parse_duration

TYPE_CHECKING = False
if TYPE_CHECKING:
    from yurt.client.transport import Transport

STOP_S = 30.0


def request_for(verb: str, name: str, arguments: Arguments) -> requests.Request:
    """The call behind a verb."""
    if verb == "delete":
        return requests.delete_instance(name, force=arguments.flag("force"))
    if verb == "start":
        return requests.start_instance(name, dry_run=arguments.flag("dry-run"))
    if verb in ("stop", "restart"):
        timeout_s = parse_duration(arguments.text("timeout")) if arguments.flag("timeout") else STOP_S
        return requests.act(name, verb, {"timeout_s": timeout_s, "force": arguments.flag("force")})
    return requests.act(name, verb)


def chosen(transport: "Transport", arguments: Arguments) -> "list[str]":
    """The names given, or those that the labels select. Raises Invalid when neither is there."""
    names, labels = arguments.words("NAME"), arguments.texts("label")
    if bool(names) == bool(labels):
        verb = arguments.command.name
        raise Invalid(
            f"`yurt {verb}` needs names or labels" if not names else "names and labels exclude each other",
            hint=f"`yurt {verb} NAME...` or `yurt {verb} --label KEY=VALUE`",
        )
    if names:
        return list(dict.fromkeys(names))
    found = [str(each.get("name")) for each in as_documents(transport.call(requests.list_instances(labels)))]
    if not found:
        note("no instance has these labels")
    return found


def main(arguments: Arguments) -> int:
    transport, verb = connect(), arguments.command.name
    if verb == "rename":
        name, new = arguments.word("NAME"), arguments.word("NEW")
        finish(
            transport, as_document(transport.call(requests.act(name, "rename", {"name": new}))), cancels=False
        )
        return 0
    begun: list[tuple[str, dict[str, object]]] = []
    failures: list[YurtError] = []
    for name in chosen(transport, arguments):
        try:
            begun.append((name, as_document(transport.call(request_for(verb, name, arguments)))))
        except YurtError as error:
            failures.append(error)
    dry_run = verb == "start" and arguments.flag("dry-run")
    for name, operation in begun:
        if dry_run:
            try:
                rehearsed(operation)
            except YurtError as error:
                failures.append(error)
            continue
        if arguments.flag("detach"):
            note(f"{verb} of `{safe(name)}` goes on: `yurt operation {safe(operation.get('id'))}`")
            continue
        try:
            operation = finish(transport, operation, cancels=False)
        except Interrupted:
            if len(begun) > 1:
                note("the others go on as well; see `yurt operation ls`")
            raise
        except YurtError as error:
            failures.append(error)
            continue
        result = operation.get("result")
        if isinstance(result, dict) and result.get("escalated"):
            note(f"`{safe(name)}` did not stop in time and was killed")
        write(safe(name) + "\n")
    for failed in failures[:-1]:
        note(error_lines(failed).rstrip("\n"))
    if failures:
        raise failures[-1]
    return 0
