"""Renders docs/cli.md from the table of commands: `python -m yurt.cli.reference > docs/cli.md`. A test compares them."""

from yurt.cli.arguments import COMMON, Command
from yurt.cli.commands import COMMANDS
from yurt.cli.help import option_help, option_name

INTRODUCTION = """# The command line

Made from the table in `src/yurt/cli/commands.py` by `python -m yurt.cli.reference > docs/cli.md`; a test compares them.

- Data goes to standard output, all else to standard error. Errors are two lines, `error:` and `hint:`; the exit status is
  that of the error's code ([errors.md](errors.md)).
- `--json` prints what the API sent, as ASCII. Tables are for people: text from guests is made harmless, and on a terminal
  columns are shortened to fit. Colours only on a terminal, never under `NO_COLOR`.
- What takes more than a second shows its progress: one live line on a terminal, a line per step elsewhere.
- Ctrl-C while an operation runs: `run`, `create` and `image build` cancel it and undo what it did; all others detach, and
  the operation goes on. Either way yurt says so, and ends with 130. In `exec`, `shell` and an attached `run` it goes to the
  program.
- Without a daemon that listens, any command starts one (`version` and `completion` do not).

| variable | meaning |
|---|---|
| `YURT_HOME` | keep state and run files below this directory |
| `YURT_SOCKET` | the socket of a daemon that runs already; none is started then |
| `YURT_DEBUG` | `1` shows tracebacks, and lets a daemon started now log every program it runs |
| `NO_COLOR` | no colours |

These options work with every command:

"""


def entry(name: str, text: str) -> str:
    return f"- `{name.strip()}`: {text}"


def section(command: Command) -> str:
    """One command."""
    lines = [
        f"## yurt {command.name}",
        "",
        f"`{command.usage()}`",
        "",
        command.summary[0].upper() + command.summary[1:] + ".",
    ]
    if command.details:
        lines += ["", command.details]
    own = [option for option in command.options if option not in COMMON]
    if command.positionals or own:
        lines.append("")
    lines += [entry(place.name, place.help) for place in command.positionals]
    lines += [entry(option_name(option), option_help(option)) for option in own]
    return "\n".join(lines) + "\n"


def reference() -> str:
    """The whole document."""
    common = "\n".join(entry(option_name(option), option_help(option)) for option in COMMON)
    return INTRODUCTION + common + "\n\n" + "\n".join(section(command) for command in COMMANDS)


if __name__ == "__main__":
    from yurt.cli.output import write

    write(reference())
