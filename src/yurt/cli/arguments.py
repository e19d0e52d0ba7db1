"""Reads a command line against a table: our own small parser, because the table also makes the help, the completion
scripts and the manual, and because loading argparse costs more time than the whole of `yurt ls`.
"""

from yurt.errors import Invalid
from yurt.units import parse_duration, parse_size

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence


class Option:
    """`--name` (and maybe `-n`). `value` names its argument; without one it is a flag."""

    __slots__ = ("choices", "complete", "help", "name", "repeat", "short", "value")

    def __init__(
        self,
        name: str,
        help: str,
        *,
        short: str = "",
        value: str = "",
        choices: "tuple[str, ...]" = (),
        repeat: bool = False,
        complete: str = "",
    ) -> None:
        self.name, self.help, self.short, self.value = name, help, short, value
        self.choices, self.repeat, self.complete = choices, repeat, complete


class Positional:
    """A word by place. `count` is `1`, `?`, `+` or `*`.

    `complete` is `instance`, `image`, `volume`, `recipe`, `file` or empty.
    """

    __slots__ = ("complete", "count", "help", "name")

    def __init__(self, name: str, help: str, *, count: str = "1", complete: str = "") -> None:
        self.name, self.help, self.count, self.complete = name, help, count, complete


class Command:
    """One command: its words, the module with `main(arguments)`, and what it takes.

    `rest` names what follows the positionals untouched (the command to run in a guest); options are read up to its
    first word or `--`.
    """

    __slots__ = ("details", "module", "name", "options", "positionals", "rest", "summary")

    def __init__(
        self,
        name: str,
        module: str,
        summary: str,
        *,
        options: "Sequence[Option]" = (),
        positionals: "Sequence[Positional]" = (),
        rest: str = "",
        details: str = "",
    ) -> None:
        self.name, self.module, self.summary, self.details = name, module, summary, details
        self.options, self.positionals, self.rest = (*options, *COMMON), tuple(positionals), rest

    def usage(self) -> str:
        """One line: `yurt run [OPTIONS] IMAGE [COMMAND...]`."""
        shapes = {"1": "{}", "?": "[{}]", "+": "{}...", "*": "[{}...]"}
        words = [shapes[place.count].format(place.name) for place in self.positionals]
        if self.rest:
            words.append(self.rest)
        return " ".join(["yurt", self.name, "[OPTIONS]", *words])


COMMON = (
    Option("help", "show this help", short="h"),
    Option("debug", "show where an error comes from (also YURT_DEBUG=1)"),
)


class Arguments:
    """What was written, with typed access. Asking for an option that the table lacks is a KeyError: a bug of ours."""

    def __init__(self, command: Command) -> None:
        self.command = command
        self._values: dict[str, list[str]] = {option.name: [] for option in command.options}
        self.order: list[tuple[str, str]] = []  # all options as they were written
        self._words: dict[str, list[str]] = {place.name: [] for place in command.positionals}
        self.rest: list[str] = []

    def add(self, option: Option, value: str) -> None:
        if option.choices and value not in option.choices:
            wanted = ", ".join(f"`{choice}`" for choice in option.choices)
            raise Invalid(f"`--{option.name}` cannot be `{value}`", hint=f"it takes {wanted}")
        if not option.repeat:
            self._values[option.name].clear()
        self._values[option.name].append(value)
        self.order.append((option.name, value))

    def flag(self, name: str) -> bool:
        return bool(self._values[name])

    def texts(self, name: str) -> "list[str]":
        return self._values[name]

    def text(self, name: str, default: str = "") -> str:
        found = self._values[name]
        return found[-1] if found else default

    def number(self, name: str) -> "int | None":
        """A whole number, or None when not given."""
        text = self.text(name)
        if not text:
            return None
        if not (text.isascii() and text.isdecimal()) or len(text) > 18:
            raise Invalid(f"`--{name}` needs a whole number and not `{text}`")
        return int(text)

    def size(self, name: str) -> "int | None":
        """A size in bytes, or None when not given."""
        return parse_size(self.text(name)) if self.flag(name) else None

    def seconds(self, name: str, default: float) -> float:
        return parse_duration(self.text(name)) if self.flag(name) else default

    def pairs(self, name: str) -> "dict[str, str]":
        """`K=V` words as a dict."""
        found = {}
        for text in self._values[name]:
            key, equals, value = text.partition("=")
            if not equals or not key:
                raise Invalid(f"`--{name} {text}` has no value", hint=f"write `--{name} KEY=VALUE`")
            found[key] = value
        return found

    def words(self, name: str) -> "list[str]":
        return self._words[name]

    def word(self, name: str, default: str = "") -> str:
        found = self._words[name]
        return found[0] if found else default


def parse(command: Command, argv: "list[str]") -> Arguments:
    """Read the words after the command's name. Raises Invalid with the usage as hint."""
    arguments = Arguments(command)
    words: list[str] = []
    most = len(command.positionals) if all(p.count in "1?" for p in command.positionals) else len(argv)
    left = list(argv)
    options_end = False
    while left:
        word = left.pop(0)
        if not options_end and word == "--":
            options_end = True
            if command.rest and len(words) >= least(command):
                arguments.rest = left
                break
        elif not options_end and word.startswith("--"):
            _long(command, arguments, word, left)
        elif not options_end and word.startswith("-") and len(word) > 1:
            _short(command, arguments, word, left)
        elif command.rest and len(words) >= most:
            arguments.rest = [word, *left]
            break
        else:
            words.append(word)
    if not arguments.flag("help"):
        _assign(command, arguments, words)
    return arguments


def least(command: Command) -> int:
    """How many positionals must be there."""
    return sum(place.count in "1+" for place in command.positionals)


def _wrong(command: Command, message: str) -> Invalid:
    return Invalid(message, hint=f"usage: {command.usage()}; see `yurt {command.name} --help`")


def _long(command: Command, arguments: Arguments, word: str, left: "list[str]") -> None:
    name, equals, value = word[2:].partition("=")
    option = next((option for option in command.options if option.name == name), None)
    if option is None:
        from yurt.cli.suggest import suggestion

        near = suggestion(name, [option.name for option in command.options])
        message = f"`yurt {command.name}` has no option `--{name}`"
        raise Invalid(message, hint=f"did you mean `--{near}`?") if near else _wrong(command, message)
    if not option.value:
        if equals:
            raise _wrong(command, f"`--{name}` takes no value")
        value = "yes"
    elif not equals:
        if not left:
            raise _wrong(command, f"`--{name}` needs a value ({option.value})")
        value = left.pop(0)
    arguments.add(option, value)


def _short(command: Command, arguments: Arguments, word: str, left: "list[str]") -> None:
    letters = word[1:]
    while letters:
        letter, letters = letters[0], letters[1:]
        option = next((option for option in command.options if option.short == letter), None)
        if option is None:
            raise _wrong(command, f"`yurt {command.name}` has no option `-{letter}`")
        if not option.value:
            arguments.add(option, "yes")
            continue
        if not letters and not left:
            raise _wrong(command, f"`-{letter}` needs a value ({option.value})")
        arguments.add(option, letters.removeprefix("=") if letters else left.pop(0))
        break


def _assign(command: Command, arguments: Arguments, words: "list[str]") -> None:
    left = list(words)
    for index, place in enumerate(command.positionals):
        needed = sum(later.count in "1+" for later in command.positionals[index + 1 :])
        spare = len(left) - needed
        take = {"1": 1, "?": min(1, max(0, spare)), "+": max(1, spare), "*": max(0, spare)}[place.count]
        if len(left) < take:
            raise _wrong(command, f"`yurt {command.name}` needs {place.name}")
        arguments._words[place.name], left = left[:take], left[take:]
    if left:
        raise _wrong(command, f"`yurt {command.name}` cannot use `{left[0]}`")
