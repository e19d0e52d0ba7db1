"""`yurt exec` and `yurt shell`."""

from yurt.cli.arguments import Arguments
from yurt.cli.local import connect
from yurt.cli.terminal import relay, wants, window_size
from yurt.client import requests
from yurt.client.session import Session
from yurt.errors import Invalid

TYPE_CHECKING = False
if TYPE_CHECKING:
    from yurt.client.transport import Transport

# bash where the guest has it, as a login shell; else what every guest has
SHELL = ["/bin/sh", "-c", "if [ -x /bin/bash ]; then exec /bin/bash -l; fi; exec /bin/sh -l"]


def open_program(
    transport: "Transport", name: str, command: "list[str]", arguments: Arguments, *, stdin: bool, tty: bool
) -> Session:
    """Start a program in a guest with the options every such command has."""
    env = arguments.pairs("env")
    rows, columns = (window_size() or (0, 0)) if tty else (0, 0)
    if tty:
        import os

        env.setdefault("TERM", os.environ.get("TERM") or "xterm")
    request = requests.execute(
        name,
        command,
        env=env,
        workdir=arguments.text("workdir"),
        user=arguments.text("user"),
        tty=tty,
        stdin=stdin,
        rows=rows,
        columns=columns,
    )
    return Session.open(transport, request)


def streams(arguments: Arguments) -> "tuple[bool, bool]":
    """(stdin, tty) as the flags and the terminal say."""
    return wants(
        interactive=arguments.flag("interactive"),
        tty=arguments.flag("tty"),
        no_tty=arguments.flag("no-tty"),
        no_stdin=arguments.flag("no-stdin"),
    )


def main(arguments: Arguments) -> int:
    name = arguments.word("NAME")
    if arguments.command.name == "shell":
        stdin, tty, command = *streams(arguments), SHELL
    else:
        command = arguments.rest
        if not command:
            raise Invalid("`yurt exec` needs a command", hint=f"for a shell, `yurt shell {name}`")
        stdin, tty = streams(arguments)
    session = open_program(connect(), name, command, arguments, stdin=stdin, tty=tty)
    return relay(session, stdin=stdin, tty=tty)
