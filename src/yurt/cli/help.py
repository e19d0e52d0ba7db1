"""Help text from the table of commands."""

from yurt.cli.arguments import Command, Option
from yurt.cli.commands import COMMANDS, find
from yurt.cli.output import BOLD, OFF, colours, terminal_width, write
from yurt.errors import NotFound


def option_name(option: Option) -> str:
    """`-e, --env K=V` or `    --rm`."""
    short = f"-{option.short}, " if option.short else "    "
    return f"{short}--{option.name}" + (f" {option.value}" if option.value else "")


def option_help(option: Option) -> str:
    """What an option does, with its choices."""
    return option.help + (f"; one of: {', '.join(option.choices)}" if option.choices else "")


def overview() -> str:
    """What `yurt --help` prints."""
    wide = max(len(command.name) for command in COMMANDS) + 2
    lines = ["yurt runs other computers on your computer: virtual machines, microVMs and containers.", ""]
    lines += ["usage: yurt COMMAND [OPTIONS] ...", "", "commands:"]
    lines += [f"  {command.name:<{wide}}{command.summary}" for command in COMMANDS]
    lines += ["", "`yurt COMMAND --help` tells more. `yurt run debian` is a good start."]
    return "\n".join(lines) + "\n"


def manual(command: Command, width: int = 100) -> str:
    """What `yurt COMMAND --help` prints."""
    import textwrap

    lines = [f"usage: {command.usage()}", "", command.summary]
    if command.details:
        lines += ["", *textwrap.wrap(command.details, width)]
    rows = [(place.name, place.help) for place in command.positionals]
    options = [(option_name(option), option_help(option)) for option in command.options]
    for title, entries in (("arguments:", rows), ("options:", options)):
        if not entries:
            continue
        wide = min(26, max(len(name) for name, _ in entries)) + 2
        lines += ["", title]
        for name, text in entries:
            wrapped = textwrap.wrap(text, max(20, width - wide - 2)) or [""]
            if len(name) > wide - 2:
                lines.append(f"  {name}")
            else:
                lines.append(f"  {name:<{wide}}{wrapped.pop(0)}")
            lines += [f"  {'':<{wide}}{line}" for line in wrapped]
    return "\n".join(lines) + "\n"


def print_help(words: "list[str]") -> None:
    """Print the help of a command, or of all. Raises NotFound."""
    if not words:
        write(overview())
        return
    found = find(words)
    group = [command for command in COMMANDS if command.name.startswith(words[0] + " ")]
    if found is None and not group:
        raise NotFound(kind="command", name=" ".join(words), hint="see `yurt --help`")
    commands = [found[0]] if found is not None else group
    text = "\n".join(manual(command, min(100, terminal_width() or 100)) for command in commands)
    write(text.replace("usage:", f"{BOLD}usage:{OFF}") if colours() else text)
