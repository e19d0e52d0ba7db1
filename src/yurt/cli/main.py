"""Finds the command, loads its module, runs it, and turns errors into two lines and an exit code."""

import os
import sys

from yurt.errors import Invalid, YurtError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from yurt.cli.arguments import Arguments, Command

INTERRUPTED, BROKEN_PIPE = 130, 141


def entry() -> None:
    """The program: runs the command line and ends the process with its exit code."""
    code = main(sys.argv[1:])
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        code = BROKEN_PIPE
        _silence()
    sys.exit(code)


def main(argv: "list[str]") -> int:
    """Run one command line and return its exit code."""
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]
    debug = os.environ.get("YURT_DEBUG", "") not in ("", "0")
    try:
        command, arguments = _read(argv)
        if command is None or arguments is None:
            return 0
        if arguments.flag("debug"):
            debug = True
            os.environ["YURT_DEBUG"] = "1"
        # a fixed table names the modules: nothing from the command line reaches the import
        module = __import__(f"yurt.cli.{command.module}", fromlist=["main"])
        return int(module.main(arguments))
    except BrokenPipeError:
        _silence()
        return BROKEN_PIPE
    except KeyboardInterrupt as interrupt:
        if type(interrupt) is KeyboardInterrupt:  # a subclass has said what it did
            sys.stderr.write("\n")
        return INTERRUPTED
    except YurtError as error:
        return report(error, debug=debug)
    except OSError as error:
        from yurt.cli.local import translated

        return report(translated(error), debug=debug)


def _read(argv: "list[str]") -> "tuple[Command | None, Arguments | None]":
    from yurt.cli.arguments import parse
    from yurt.cli.commands import find

    first = argv[0] if argv else "--help"
    if first in ("-h", "--help", "help"):
        from yurt.cli.help import print_help

        print_help(argv[1:])
        return None, None
    if first == "--version":
        argv = ["version", *argv[1:]]
    found = find(argv)
    if found is None:
        raise _unknown(argv)
    command, count = found
    arguments = parse(command, argv[count:])
    if arguments.flag("help"):
        from yurt.cli.help import print_help

        print_help(command.name.split())
        return None, None
    return command, arguments


def _unknown(words: "list[str]") -> Invalid:
    from yurt.cli.commands import COMMANDS
    from yurt.cli.output import safe
    from yurt.cli.suggest import suggestion

    group = [command.name for command in COMMANDS if command.name.startswith(words[0] + " ")]
    if group:
        return Invalid(
            f"`yurt {safe(words[0])}` needs one more word",
            hint="one of " + ", ".join(f"`yurt {name}`" for name in group),
        )
    known = [command.name for command in COMMANDS]
    near = suggestion(" ".join(words[:2]), known) or suggestion(words[0], [name.split()[0] for name in known])
    hint = f"did you mean `yurt {near}`?" if near else "see `yurt --help`"
    return Invalid(f"yurt has no command `{safe(words[0])}`", hint=hint)


def report(error: YurtError, *, debug: bool) -> int:
    """Show an error and return its exit code."""
    from yurt.cli.output import colours, error_lines

    if debug:
        import traceback

        traceback.print_exception(error)
    try:
        sys.stdout.flush()
        sys.stderr.write(error_lines(error, colour=colours(sys.stderr)))
        sys.stderr.flush()
    except BrokenPipeError:
        _silence()
    return error.exit


def _silence() -> None:
    """Make later writes to a closed pipe harmless: Python flushes once more at the end."""
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, 1)
