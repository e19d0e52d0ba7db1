"""The parser against its table: what is read where, and what is refused with which words."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from yurt.cli.arguments import Arguments, parse
from yurt.cli.commands import COMMANDS, find
from yurt.cli.run import make_spec
from yurt.errors import Invalid


def read(*words: str) -> Arguments:
    found = find(list(words))
    assert found is not None
    command, count = found
    return parse(command, list(words[count:]))


@pytest.mark.parametrize(
    ("line", "rest"),
    [
        ("run debian --rm -- uname -a", ["uname", "-a"]),
        ("run --rm debian uname -a", ["uname", "-a"]),
        ("run --rm debian --as vm uname --as x", ["uname", "--as", "x"]),
        ("run -- debian uname -- -a", ["uname", "--", "-a"]),
        ("run debian", []),
        ("run debian --", []),
        ("exec web ls -l", ["ls", "-l"]),
        ("exec web -- ls -l", ["ls", "-l"]),
        ("exec -it web -u root -- sh", ["sh"]),
        ("exec web -- -x", ["-x"]),
        ("exec web -", ["-"]),
    ],
)
def test_where_the_guests_command_begins(line: str, rest: list[str]) -> None:
    assert read(*line.split()).rest == rest


def test_options_in_every_form() -> None:
    arguments = read(*"run --cpus=2 --memory 512M -e A=1 -eB=2 --env C=x=y -it -ldev=1 -d tiny".split())
    assert arguments.number("cpus") == 2
    assert arguments.size("memory") == 512 << 20
    assert arguments.size("disk") is None
    assert arguments.pairs("env") == {"A": "1", "B": "2", "C": "x=y"}
    assert arguments.pairs("label") == {"dev": "1"}
    assert arguments.flag("interactive")
    assert arguments.flag("tty")
    assert arguments.flag("detach")
    assert not arguments.flag("rm")
    assert arguments.word("IMAGE") == "tiny"


def test_the_last_one_counts_where_only_one_can() -> None:
    assert read("run", "--name", "a", "--name=b", "tiny").text("name") == "b"


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("run", "needs IMAGE"),
        ("run --cpu 2 debian", "no option `--cpu`"),
        ("run -z debian", "no option `-z`"),
        ("run --rm=yes debian", "takes no value"),
        ("run debian --cpus", "needs a value"),
        ("run -e", "needs a value"),
        ("run --as jail debian", "cannot be `jail`"),
        ("info", "needs NAME"),
        ("info a b", "cannot use `b`"),
        ("rename a", "needs NEW"),
        ("image delete", "needs IMAGE"),
        ("ls x", "cannot use `x`"),
    ],
)
def test_what_is_wrong_is_said(line: str, words: str) -> None:
    with pytest.raises(Invalid) as caught:
        read(*line.split())
    assert words in caught.value.message
    assert caught.value.hint


def test_a_misspelt_option_gets_the_right_one() -> None:
    with pytest.raises(Invalid) as caught:
        read("run", "--detatch", "tiny")
    assert caught.value.hint == "did you mean `--detach`?"


@pytest.mark.parametrize(
    ("words", "call"),
    [
        (["run", "--cpus", "two", "x"], lambda a: a.number("cpus")),
        (["run", "--cpus", "-1", "x"], lambda a: a.number("cpus")),
        (["run", "--memory", "lots", "x"], lambda a: a.size("memory")),
        (["run", "-e", "A", "x"], lambda a: a.pairs("env")),
        (["run", "-e", "=1", "x"], lambda a: a.pairs("env")),
        (["wait", "--timeout", "soon", "x"], lambda a: a.seconds("timeout", 1.0)),
    ],
)
def test_values_are_checked(words: list[str], call: object) -> None:
    arguments = read(*words)
    with pytest.raises(Invalid):
        call(arguments)  # type: ignore[operator]


def test_words_are_shared_out_over_the_positionals() -> None:
    assert read("stop", "a", "b", "c").words("NAME") == ["a", "b", "c"]
    assert read("stop").words("NAME") == []
    assert read("operation").word("ID") == ""
    assert read("operation", "ls").command.name == "operation ls"
    assert read("operation", "abc").word("ID") == "abc"


@given(st.lists(st.text(max_size=8), max_size=6), st.sampled_from(COMMANDS))
def test_any_words_are_read_or_refused(words: list[str], command: object) -> None:
    try:
        arguments = parse(command, words)  # type: ignore[arg-type]
    except Invalid:
        return
    if "--" in words and command.rest:  # type: ignore[attr-defined]
        assert all(word in words for word in arguments.rest)


def spec(line: str, *, attended: bool = True, tty: bool = False, stdin: bool = False) -> dict[str, object]:
    arguments = read(*line.split())
    return make_spec(arguments, run=arguments.command.name == "run", attended=attended, stdin=stdin, tty=tty)


def test_what_run_asks_for() -> None:
    assert spec("run tiny", attended=False) == {"image": "tiny", "init": "auto"}
    made = spec("run --rm --as container --network none -l a=b -u me -w /srv tiny -- id -u", stdin=True)
    assert made == {
        "image": "tiny",
        "kind": "container",
        "init": "auto",
        "command": ["id", "-u"],
        "ephemeral": True,
        "attach": True,
        "stdin": True,
        "network": "none",
        "labels": {"a": "b"},
        "user": "me",
        "workdir": "/srv",
    }


def test_a_terminal_goes_to_the_main_process_only_where_there_is_one() -> None:
    assert spec("run --rm tiny sh", tty=True)["tty"] is True
    assert "TERM" in spec("run --rm tiny sh", tty=True)["env"]  # type: ignore[operator]
    for line in ("run tiny sh", "run --rm --as vm tiny sh", "run --rm --init tiny sh"):
        assert "tty" not in spec(line, tty=True), line


def test_a_detached_command_is_the_main_process() -> None:
    made = spec("run -d tiny sleep 9", attended=False)
    assert (made["init"], made["command"]) == ("command", ["sleep", "9"])
    assert "attach" not in made


@pytest.mark.parametrize(
    "line",
    ["run -d --as vm tiny x", "run -d --init tiny x", "run --init --no-init tiny x", "run --no-init tiny"],
)
def test_contradictions_are_refused_before_anything_is_made(line: str) -> None:
    with pytest.raises(Invalid):
        spec(line, attended="-d" not in line)
