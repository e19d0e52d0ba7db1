"""What people and programs read: safe text, aligned tables, JSON, errors in two lines. Data on stdout, all else on stderr.

Text from guests and images may hold anything; `safe` makes it harmless on a terminal. JSON is pure ASCII and exact.
"""

import os
import sys

from yurt.errors import YurtError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

BOLD, RED, GREEN, YELLOW, CYAN, OFF = "\x1b[1m", "\x1b[31m", "\x1b[32m", "\x1b[33m", "\x1b[36m", "\x1b[0m"
PHASE_COLOURS = {"running": GREEN, "crashed": RED, "broken": RED, "paused": YELLOW}


def safe(text: object) -> str:
    """Text on one line with nothing that moves a cursor, reorders or hides: such characters are shown as escapes."""
    plain = text if isinstance(text, str) else str(text)
    if plain.isprintable():
        return plain
    return "".join(
        char if char.isprintable() else char.encode("unicode_escape").decode("ascii") for char in plain
    )


def colours(stream: object = None) -> bool:
    """Whether to colour: only on a terminal, and never under NO_COLOR or a dumb terminal."""
    descriptor = 1 if stream is None else 2
    return (
        os.isatty(descriptor)
        and not os.environ.get("NO_COLOR")
        and os.environ.get("TERM", "") not in ("", "dumb")
    )


def terminal_width(descriptor: int = 1) -> "int | None":
    """Columns of the terminal, or None when it is no terminal."""
    try:
        return os.get_terminal_size(descriptor).columns or None
    except OSError:
        return None


def width_of(text: str) -> int:
    """How many columns printable text takes."""
    if text.isascii():
        return len(text)
    from unicodedata import combining, east_asian_width

    return sum(0 if combining(char) else 2 if east_asian_width(char) in "WF" else 1 for char in text)


def cut(text: str, width: int) -> str:
    """Shorten text to a number of columns, with an ellipsis."""
    if width_of(text) <= width:
        return text
    kept, used = "", 0
    for char in text:
        used += width_of(char)
        if used > width - 1:
            break
        kept += char
    return kept + "…" if width > 0 else ""


def render_table(
    heads: "Sequence[str]",
    rows: "Sequence[Sequence[object]]",
    *,
    width: "int | None" = None,
    right: "frozenset[str]" = frozenset(),
    colour: bool = False,
) -> str:
    """Aligned columns, two spaces apart, each cell made safe. With `width` the widest columns are shortened to fit."""
    cells = [
        list(heads),
        *([safe("-" if cell is None or cell == "" else cell) for cell in row] for row in rows),
    ]
    widths = [max(width_of(row[i]) for row in cells) for i in range(len(heads))]
    if width is not None:
        while sum(widths) + 2 * (len(widths) - 1) > width and max(widths) > 8:
            widths[widths.index(max(widths))] -= 1
    lines = []
    for number, row in enumerate(cells):
        parts = []
        for i, cell in enumerate(row):
            text = cut(cell, widths[i])
            pad = " " * (widths[i] - width_of(text))
            if colour and number and cell in PHASE_COLOURS:
                text = PHASE_COLOURS[cell] + text + OFF
            parts.append(pad + text if heads[i] in right else text + pad)
        line = "  ".join(parts).rstrip()
        lines.append(BOLD + line + OFF if colour and number == 0 else line)
    return "\n".join(lines) + "\n"


def print_table(
    heads: "Sequence[str]", rows: "Sequence[Sequence[object]]", *, right: "frozenset[str]" = frozenset()
) -> None:
    """Print a table on stdout; when there are no rows, only its head."""
    write(render_table(heads, rows, width=terminal_width(), right=right, colour=colours()))


def print_fields(fields: "Mapping[str, object]") -> None:
    """Print `name  value` lines."""
    wide = max((len(name) for name in fields), default=0)
    bold, off = (BOLD, OFF) if colours() else ("", "")
    write(
        "".join(
            f"{bold}{name:<{wide}}{off}  {safe('-' if value in (None, '') else value)}\n"
            for name, value in fields.items()
        )
    )


def print_json(value: object) -> None:
    """Print a value as indented ASCII JSON."""
    import json

    write(json.dumps(value, indent=2) + "\n")


def write(text: str) -> None:
    """Write to stdout; what its encoding lacks is shown as an escape."""
    sys.stdout.write(text)


def note(text: str) -> None:
    """Say something to the person, on stderr."""
    sys.stderr.write(text + "\n")
    sys.stderr.flush()


def error_lines(error: YurtError, *, colour: bool = False) -> str:
    """The two lines an error is shown as."""
    red, cyan, off = (BOLD + RED, BOLD + CYAN, OFF) if colour else ("", "", "")
    lines = f"{red}error:{off} {safe(error.message)}\n"
    if error.hint:
        lines += f"{cyan}hint:{off} {safe(error.hint)}\n"
    return lines
