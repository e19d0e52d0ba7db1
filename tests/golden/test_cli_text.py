"""The command line's texts, as files: help, tables, completion scripts and the reference.

`YURT_GOLDEN=write` writes them anew; read the difference before you commit it.
"""

import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from yurt.cli import completion, info, ls
from yurt.cli.commands import COMMANDS
from yurt.cli.help import manual, overview
from yurt.cli.image import HEADS as IMAGE_HEADS
from yurt.cli.output import render_table
from yurt.cli.reference import reference

HERE = Path(__file__).parent / "cli"
ROOT = Path(__file__).resolve().parents[2]
INSTANCES: list[dict[str, object]] = [
    {
        "name": "web1",
        "phase": "running",
        "started_at": 1_000_000.0,
        "spec": {
            "kind": "microvm",
            "image": "debian:latest",
            "cpus": 2,
            "memory_bytes": 512 << 20,
            "labels": {"a": "b"},
        },
    },
    {
        "name": "a-much-longer-name-than-the-others",
        "phase": "crashed",
        "started_at": 1_000_000.0,
        "spec": {
            "kind": "container",
            "image": "tiny:v2\x1b[2J",
            "cpus": 16,
            "memory_bytes": 24 << 30,
            "disk_bytes": 20 << 30,
            "labels": {},
            "limits": {"pids": 200, "cpu_quota": 1.5, "net_in_bps": 10**8, "disk_read_bps": 50 << 20},
        },
        "pending": {"disk": {"now": "", "why": "it has none of its own yet"}},
    },
    {"name": "odd", "phase": None, "spec": None},
]


def table(width: int | None) -> str:
    rows = [ls.row(each, 1_003_661.0) for each in INSTANCES]
    return render_table(ls.HEADS, rows, width=width, right=frozenset(("CPUS", "MEMORY")))


def run_manual() -> str:
    return manual(COMMANDS[0], 80)


TEXTS: dict[str, Callable[[], str]] = {
    "help.txt": overview,
    "run-help.txt": run_manual,
    "ls.txt": lambda: table(None),
    "ls-80.txt": lambda: table(80),
    "ls-none.txt": lambda: render_table(ls.HEADS, []),
    "images-none.txt": lambda: render_table(IMAGE_HEADS, []),
    "info.txt": lambda: "".join(
        f"{key}: {value}\n" for key, value in info.fields(INSTANCES[1]).items() if key != "started"
    ),
    "completion.bash": completion.bash,
    "completion.zsh": completion.zsh,
    "completion.fish": completion.fish,
}


@pytest.mark.parametrize("name", sorted(TEXTS))
def test_texts_are_as_they_were(name: str) -> None:
    made, path = TEXTS[name](), HERE / name
    if os.environ.get("YURT_GOLDEN") == "write":
        path.write_text(made)
    assert made == path.read_text(), f"{path} differs; if that is meant: YURT_GOLDEN=write"


def test_every_golden_text_has_its_maker() -> None:
    assert sorted(path.name for path in HERE.iterdir()) == sorted(TEXTS)


def test_the_reference_is_made_from_the_table() -> None:
    assert (ROOT / "docs/cli.md").read_text() == reference(), (
        "run `python -m yurt.cli.reference > docs/cli.md`"
    )


COMPLETED = [
    ("yurt st", ["start", "stop"]),
    ("yurt image ", ["ls", "build", "import", "info", "delete", "prune"]),
    ("yurt image de", ["delete"]),
    ("yurt run --as ", ["microvm", "container", "vm"]),
    ("yurt run --me", ["--memory"]),
    ("yurt operation --c", ["--cancel"]),
    ("yurt image build d", ["debian"]),
    ("yurt info ", ["web1", "web2"]),
    ("yurt stop web1 web", ["web1", "web2"]),
    ("yurt delete --force w", ["web1", "web2"]),
]


@pytest.mark.needs("bash")
@pytest.mark.parametrize(("typed", "offered"), COMPLETED)
def test_bash_completes(tmp_path: Path, typed: str, offered: list[str]) -> None:
    """In a real bash, with a `yurt` that only knows `ls --quiet`: anything else would start Python."""
    fake = tmp_path / "yurt"
    fake.write_text(
        '#!/bin/sh\n[ "$*" = "ls --quiet" ] && printf "web1\\nweb2\\n" || { echo "called: $*" >&2; exit 1; }\n'
    )
    fake.chmod(0o755)
    words = typed.split(" ")
    quoted = " ".join(f"'{word}'" for word in words)
    typing = f"COMP_WORDS=({quoted}); COMP_CWORD={len(words) - 1}; _yurt"
    script = f"{completion.bash()}\n{typing}\nprintf '%s\\n' \"${{COMPREPLY[@]}}\""
    env = {"PATH": f"{tmp_path}:/usr/bin:/bin"}
    done = subprocess.run(
        ["bash", "--norc", "-c", script], env=env, capture_output=True, text=True, timeout=60
    )
    assert done.stderr == ""
    assert done.stdout.split() == offered


@pytest.mark.needs("zsh")
def test_zsh_accepts_its_script(tmp_path: Path) -> None:
    path = tmp_path / "_yurt"
    path.write_text(completion.zsh())
    subprocess.run(["zsh", "-n", str(path)], check=True, timeout=60)


@pytest.mark.needs("fish")
def test_fish_accepts_its_script(tmp_path: Path) -> None:
    path = tmp_path / "yurt.fish"
    path.write_text(completion.fish())
    subprocess.run(["fish", "--no-execute", str(path)], check=True, timeout=60)
