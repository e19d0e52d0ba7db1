"""ruff, mypy and the small rules of the house, as ordinary tests."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PYTHON = ["src", "tests", "tools", "bench"]
MODULE_LINES, FUNCTION_LINES = 400, 60
# longer ones, each with its reason
LONG_MODULES: dict[str, str] = {}


def run(*words: str) -> None:
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{' '.join(words)}\n{done.stdout[-6000:]}{done.stderr[-2000:]}"


def tracked() -> list[Path]:
    done = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=False)
    if done.returncode != 0:
        pytest.skip("needs git and a clone")
    return [ROOT / name for name in done.stdout.decode().split("\0") if name and (ROOT / name).is_file()]


def test_ruff_finds_nothing() -> None:
    run(sys.executable, "-m", "ruff", "check", *PYTHON)


def test_the_format_is_ruffs() -> None:
    run(sys.executable, "-m", "ruff", "format", "--check", *PYTHON)


@pytest.mark.parametrize("what", [["-p", "yurt"], ["tests", "tools", "bench"]], ids=["package", "rest"])
def test_types(what: list[str]) -> None:
    run(sys.executable, "-m", "mypy", "--strict", *what)


def test_modules_and_functions_stay_small() -> None:
    sys.path.insert(0, str(ROOT))
    try:
        from tools import size
    finally:
        sys.path.pop(0)
    found = [
        f"{module.path} has {module.lines} lines"
        for module in size.modules()
        if module.lines > MODULE_LINES and module.path not in LONG_MODULES
    ]
    found += [
        f"{module.path}:{function.line} {function.name} has {function.lines} lines"
        for module in size.modules()
        for function in module.functions
        if function.lines > FUNCTION_LINES
    ]
    assert not found, "\n".join(found)


def test_no_machine_of_ours_is_named() -> None:
    """No index host, no registry, no path of one machine: a clone works anywhere."""
    forbidden = re.compile(re.escape(f"{ROOT}/") + r"|find-links|(extra-)?index-url\s*=|pip\.conf")
    for path in tracked():
        if path.suffix in (".py", ".sh", ".toml", ".md", ".txt", ".c", ".h", ".json", "") and path != Path(
            __file__
        ):
            for number, line in enumerate(path.read_text(errors="replace").splitlines(), 1):
                assert not forbidden.search(line), f"{path.relative_to(ROOT)}:{number}: {line.strip()[:120]}"


def test_shell_scripts_parse() -> None:
    for name in ("yurt", "tools/setup"):
        run("sh", "-n", name)
    run("bash", "-n", ".ci/run")


def test_nothing_is_left_to_do() -> None:
    """A mark that somebody meant to come back is a promise in nobody's list."""
    mark = re.compile(r"\b(TODO|FIXME|XXX|HACK)\b")
    for path in tracked():
        if path.suffix in (".py", ".c", ".h", ".sh") and path != Path(__file__):
            for number, line in enumerate(path.read_text(errors="replace").splitlines(), 1):
                assert not mark.search(line), f"{path.relative_to(ROOT)}:{number}: {line.strip()}"
