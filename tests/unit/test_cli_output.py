"""What reaches a terminal: nothing that acts on it. What programs read: exactly what was sent."""

import json
import unicodedata

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from yurt.cli.harmless import LogCleaner, shown
from yurt.cli.output import cut, error_lines, render_table, safe, width_of
from yurt.cli.top import rates
from yurt.cli.watch import line
from yurt.errors import Busy

HOSTILE = "\x1b]0;owned\x07\x1b[2J\r\n\x9b31m\u202egnp\u2066\u200b\ud800\U000e0041"


def harmless(text: str, *, lines: bool = False) -> bool:
    allowed = "\n\t" if lines else ""
    return all(char in allowed or char.isprintable() for char in text) and all(
        unicodedata.category(char) not in ("Cf", "Cs", "Co", "Zl", "Zp") for char in text
    )


@given(st.text())
@example(HOSTILE)
def test_safe_text_only_prints(text: str) -> None:
    assert harmless(safe(text))


@given(st.text(alphabet=st.characters(categories=("L", "N", "P", "S"))))
def test_safe_leaves_honest_text_alone(text: str) -> None:
    assert safe(text) == text


@given(st.lists(st.lists(st.text(max_size=30), min_size=3, max_size=3), max_size=5), st.integers(20, 120))
@example([[HOSTILE, HOSTILE, HOSTILE]], 40)
def test_a_table_only_prints_and_fits(rows: list[list[str]], width: int) -> None:
    made = render_table(("ONE", "TWO", "THREE"), rows, width=max(width, 28))
    assert harmless(made, lines=True)
    assert len(made.splitlines()) == len(rows) + 1
    assert all(width_of(row) <= max(width, 28) for row in made.split("\n"))


@given(
    st.text(alphabet=st.characters(categories=("L", "N", "P", "S", "Mn")), max_size=40), st.integers(1, 20)
)
def test_cut_keeps_to_the_columns(text: str, width: int) -> None:
    assert width_of(cut(text, width)) <= width


def test_wide_letters_are_counted_as_two() -> None:
    assert width_of("日本") == 4
    assert width_of("e\u0301") == 1
    made = render_table(("A", "B"), [["日本", 1], ["ab", 2]])
    assert made == "A     B\n日本  1\nab    2\n"


def test_colours_are_beside_the_text_and_never_in_it() -> None:
    plain = render_table(("NAME", "PHASE"), [["a", "running"], ["b", "crashed"]])
    coloured = render_table(("NAME", "PHASE"), [["a", "running"], ["b", "crashed"]], colour=True)
    for code in ("\x1b[1m", "\x1b[31m", "\x1b[32m", "\x1b[0m"):
        assert code in coloured
        coloured = coloured.replace(code, "")
    assert coloured == plain


@pytest.mark.parametrize("size", [1, 2, 3, 7, 1000])
@given(
    st.binary(max_size=200) | st.text(alphabet="ab\r\n\t\x1b[0;31mH\x07é\x9b", max_size=60).map(str.encode)
)
def test_logs_only_print_and_the_cut_does_not_matter(size: int, data: bytes) -> None:
    cleaner, whole = LogCleaner(), LogCleaner()
    pieces = "".join(cleaner.feed(data[i : i + size]) for i in range(0, len(data), size)) + cleaner.close()
    assert pieces == whole.feed(data) + whole.close()
    assert harmless(pieces, lines=True)


@pytest.mark.parametrize(
    ("raw", "clean"),
    [
        (b"plain\nlines\n", "plain\nlines\n"),
        (b"one\r\ntwo\r\r\n", "one\ntwo\n"),
        (b"\x1b[0;32m ok \x1b[m\n", " ok \n"),
        (b"\x1b[2J\x1b[H", "^[[2J^[[H"),
        (b"\x1b]0;title\x07", "^[]0;title^G"),
        (b"50%\r60%", "50%^M60%"),
        (b"\xc2\x9b31m", "\\x9b31m"),
        ("\u202e".encode(), "\\u202e"),
        (b"\xff", "\ufffd"),
        (b"end\x1b", "end^["),
        (b"end\x1b[3", "end^[[3"),
        (b"\x7f", "^?"),
    ],
)
def test_what_logs_look_like(raw: bytes, clean: str) -> None:
    cleaner = LogCleaner()
    assert cleaner.feed(raw) + cleaner.close() == clean


def test_every_control_character_is_shown() -> None:
    assert all(shown(chr(code)).isprintable() for code in [*range(32), *range(127, 160)])


def test_an_error_is_two_lines_whatever_is_in_it() -> None:
    made = error_lines(Busy(message=f"a\n{HOSTILE}", hint="b\nc"))
    assert [text[:6] for text in made.splitlines()] == ["error:", "hint: "]
    assert error_lines(Busy(message="x")) == "error: x\n"


def test_an_event_is_one_line_whatever_is_in_it() -> None:
    made = line({"at": 1.0, "type": HOSTILE, "target": "\n", "data": {"reason": HOSTILE}})
    assert harmless(made)
    assert line({"at": "x", "data": 5})


@given(st.text())
@example(HOSTILE)
def test_json_is_exact_and_plain(text: str) -> None:
    made = json.dumps({"name": text}, indent=2)
    assert made.isascii()
    assert harmless(made, lines=True)
    assert json.loads(made)["name"] == text


def test_top_counts_between_two_readings() -> None:
    before: list[dict[str, object]] = [
        {"name": "a", "at": 10.0, "cpu_s": 1.0, "read_bytes": 0, "write_bytes": 50},
        {"name": "again", "at": 10.0, "cpu_s": 9.0, "read_bytes": 9, "write_bytes": 9},
    ]
    after: list[dict[str, object]] = [
        {"name": "new", "at": 12.0, "cpu_s": 1.0, "read_bytes": 1, "write_bytes": 1},
        {"name": "again", "at": 12.0, "cpu_s": 0.1, "read_bytes": 10, "write_bytes": 9},
        {"name": "a", "at": 12.0, "cpu_s": 4.0, "read_bytes": 200, "write_bytes": 50},
    ]
    made = {str(each["name"]): each for each in rates(before, after)}
    assert next(iter(made)) == "a"
    assert (made["a"]["cpu_percent"], made["a"]["read_bps"], made["a"]["write_bps"]) == (150.0, 100.0, 0.0)
    assert made["new"]["cpu_percent"] is None
    assert made["again"]["cpu_percent"] is None
