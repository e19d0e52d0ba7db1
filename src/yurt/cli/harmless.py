"""Makes a log that a guest wrote harmless on a terminal, as it streams in.

Colours are taken away; every other control byte is shown (`^G`, `\\x9b`) and does nothing. Line ends and tabs stay.
"""

from codecs import getincrementaldecoder

LONGEST_COLOUR = 64


class LogCleaner:
    """Feed bytes in any cut, get text that only prints. The cut does not change the result."""

    def __init__(self) -> None:
        self._decoder = getincrementaldecoder("utf-8")("replace")
        self._kept = ""

    def feed(self, data: bytes) -> str:
        """Clean some more of the log."""
        return self._clean(self._kept + self._decoder.decode(data), end=False)

    def close(self) -> str:
        """Clean what was held back in case more came."""
        return self._clean(self._kept + self._decoder.decode(b"", True), end=True)

    def _clean(self, text: str, *, end: bool) -> str:
        self._kept = ""
        if text.isascii() and text.replace("\n", "").isprintable():
            return text
        out, position = [], 0
        while position < len(text):
            char = text[position]
            if char.isprintable() or char in "\n\t":
                out.append(char)
            elif char in "\x1b\r" and (taken := _taken(text, position)) >= 0:
                if taken == 0 and not end:
                    self._kept = text[position:]
                    break
                if taken == 0:
                    out.append(shown(char))
                position += max(taken, 1)
                continue
            else:
                out.append(shown(char))
            position += 1
        return "".join(out)


def _taken(text: str, start: int) -> int:
    """How many characters vanish in a colour sequence or before a line end; -1: none; 0: the text ends too early to say."""
    window = text[start : start + LONGEST_COLOUR]
    undecided = 0 if len(window) < LONGEST_COLOUR else -1
    if window[0] == "\r":
        rest = window.lstrip("\r")
        if not rest:
            return undecided
        return len(window) - len(rest) if rest[0] == "\n" else -1
    if len(window) == 1:
        return undecided
    if window[1] != "[":
        return -1
    rest = window[2:].lstrip("0123456789;:")
    if not rest:
        return undecided
    return len(window) - len(rest) + 1 if rest[0] == "m" else -1


def shown(char: str) -> str:
    """A character that must not reach a terminal, in letters that may."""
    code = ord(char)
    if code < 32:
        return "^" + chr(code + 64)
    return "^?" if code == 127 else char.encode("unicode_escape", "backslashreplace").decode("ascii")
