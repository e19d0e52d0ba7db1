"""JSON and sockets without what their Python halves load: together that is most of the time of a short command.

`json` compiles regular expressions that its C half does not need, and `socket` makes enums of all its constants. Both C
halves are CPython's own; where they are missing or say anything unexpected, the modules themselves do the work.
"""

try:
    import _socket as socket
except ImportError:  # another Python
    import socket  # type: ignore[no-redef]
try:
    from _json import make_scanner as _make_scanner
except ImportError:
    _make_scanner = None  # type: ignore[assignment, misc]

SPACE = " \t\n\r"


class _Settings:
    """What the C scanner asks for: plain JSON, as `json.loads` reads it."""

    strict = True
    object_hook = None
    object_pairs_hook = None
    parse_float = float
    parse_int = int
    parse_constant = {"-Infinity": float("-inf"), "Infinity": float("inf"), "NaN": float("nan")}.__getitem__


_scan = None if _make_scanner is None else _make_scanner(_Settings)  # type: ignore[arg-type]  # any object with these attributes will do


def loads(data: bytes) -> object:
    """`json.loads` of UTF-8 bytes, with the same errors."""
    if _scan is not None:
        try:
            text = data.decode("utf-8")
            value, end = _scan(text, len(text) - len(text.lstrip(SPACE)))
            if not text[end:].strip(SPACE):
                return value
        except (StopIteration, ValueError):
            pass  # the slow way says what is wrong with it
    import json

    return json.loads(data)


def dumps(value: object) -> str:
    """Compact ASCII JSON."""
    import json

    return json.dumps(value, separators=(",", ":"))


__all__ = ["dumps", "loads", "socket"]
