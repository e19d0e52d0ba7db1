"""`yurt operation`: list, follow and cancel operations."""

from yurt.cli.arguments import Arguments
from yurt.cli.info import moment
from yurt.cli.local import connect
from yurt.cli.output import print_fields, print_json, print_table
from yurt.cli.progress import finish
from yurt.client import requests
from yurt.client.operations import as_document, as_documents, failure_of
from yurt.errors import Invalid

TYPE_CHECKING = False
if TYPE_CHECKING:
    from yurt.client.transport import Transport

HEADS = ("ID", "VERB", "TARGET", "STATUS", "BEGUN", "STEP")


def what(operation: "dict[str, object]") -> object:
    """What it is doing, or why it failed."""
    error = operation.get("error")
    return error.get("message") if isinstance(error, dict) else operation.get("step")


def show_list(transport: "Transport", *, as_json: bool) -> int:
    operations = as_documents(transport.call(requests.list_operations(), timeout_s=60))
    if as_json:
        print_json(operations)
        return 0
    keys = ("id", "verb", "target", "status")
    rows = [
        [*(each.get(key) for key in keys), moment(each.get("created_at")), what(each)] for each in operations
    ]
    print_table(HEADS, rows)
    return 0


def main(arguments: Arguments) -> int:
    transport, as_json = connect(), arguments.flag("json")
    if arguments.command.name == "operation ls" or not arguments.word("ID"):
        if arguments.command.name == "operation" and arguments.flag("cancel"):
            raise Invalid("`--cancel` needs the operation's ID", hint="see `yurt operation ls`")
        return show_list(transport, as_json=as_json)
    operation_id = arguments.word("ID")
    if arguments.flag("cancel"):
        operation = as_document(transport.call(requests.cancel_operation(operation_id)))
    else:
        operation = as_document(transport.call(requests.get_operation(operation_id)))
        if not as_json and operation.get("status") in ("running", "undoing"):
            operation = finish(transport, operation, cancels=False)
    if as_json:
        print_json(operation)
        return 0
    print_fields(
        {
            "id": operation.get("id"),
            "verb": operation.get("verb"),
            "target": operation.get("target"),
            "status": operation.get("status"),
            "begun": moment(operation.get("created_at")),
            "ended": moment(operation.get("ended_at")),
        }
    )
    if not arguments.flag("cancel") and (error := failure_of(operation)) is not None:
        raise error
    return 0
