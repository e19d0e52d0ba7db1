"""The documents say what the code does: commands, file names, links, modules, promises."""

import re
from pathlib import Path

import pytest

from yurt import paths
from yurt.cli.commands import COMMANDS
from yurt.host import layout

ROOT = Path(__file__).resolve().parents[2]
DOCUMENTS = sorted(
    path
    for pattern in ("*.md", "docs/*.md", "docs/adr/*.md", "agent/*.md", "bench/*.md")
    for path in ROOT.glob(pattern)
)


def text(name: str) -> str:
    return (ROOT / name).read_text()


def test_every_command_and_option_is_documented() -> None:
    document = text("docs/cli.md")
    for command in COMMANDS:
        assert f"yurt {command.name}" in document, f"docs/cli.md does not have `yurt {command.name}`"
        for option in command.options:
            assert f"--{option.name}" in document, (
                f"docs/cli.md does not have --{option.name} of `yurt {command.name}`"
            )


def test_every_file_name_is_explained() -> None:
    document = text("docs/state-on-disk.md")
    probe = layout.Layout(Path("/STATE"), Path("/RUN"))
    names = [
        getattr(probe, name).name
        for name, value in vars(layout.Layout).items()
        if isinstance(value, property)
    ]
    names += [value for name, value in vars(layout).items() if name.isupper() and isinstance(value, str)]
    names += [value for name, value in vars(paths).items() if name.isupper() and isinstance(value, str)]
    assert len(names) > 12
    for name in names:
        assert f"`{name}`" in document or f"`{name}/`" in document, (
            f"docs/state-on-disk.md does not explain {name}"
        )


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_links_lead_somewhere(path: Path) -> None:
    for target in re.findall(r"\]\(([^)\s]+)\)", path.read_text()):
        if "://" not in target and not target.startswith("#"):
            assert (path.parent / target.partition("#")[0]).exists(), (
                f"{path.relative_to(ROOT)} links to {target}"
            )


def test_the_map_names_every_room() -> None:
    document = text("ARCHITECTURE.md")
    for directory in sorted((ROOT / "src" / "yurt").iterdir()):
        if directory.is_dir() and any(directory.glob("*.py")):
            real = [path for path in directory.rglob("*.py") if path.read_text().strip()]
            assert not real or f"{directory.name}/" in document, (
                f"ARCHITECTURE.md does not show {directory.name}/"
            )
    for module in sorted((ROOT / "src" / "yurt" / "host").glob("[a-z]*.py")):
        assert module.name in document, f"ARCHITECTURE.md does not show host/{module.name}"
    for mentioned in re.findall(r"`((?:src|tests|tools|docs|bench|agent|packaging)/[\w./-]+)`", document):
        assert (ROOT / mentioned).exists(), f"ARCHITECTURE.md names {mentioned}, which is not there"


def test_every_promise_has_its_script() -> None:
    document = text("SPECIFICATION.md")
    scripts = set(re.findall(r"`(bench/\w+\.py)`", document))
    assert scripts
    for script in scripts:
        assert (ROOT / script).exists(), f"SPECIFICATION.md names {script}, which is not there"
    helpers = {"bench/common.py", "bench/all.py", "bench/bare_qemu.py"}
    present = {f"bench/{path.name}" for path in (ROOT / "bench").glob("*.py")} - helpers
    assert present <= scripts, f"without a promise: {present - scripts}"


def test_readme_commands_exist() -> None:
    document = text("README.md")
    assert (ROOT / "yurt").stat().st_mode & 0o111
    assert (ROOT / ".ci/run").stat().st_mode & 0o111
    known = {command.name.split()[0] for command in COMMANDS}
    for word in re.findall(r"(?:\./|`)yurt ([a-z]+)", document):
        assert word in known, f"README.md has `yurt {word}`"
    assert "\ntest:" in text("Makefile")


def test_decisions_have_the_four_parts() -> None:
    for path in sorted((ROOT / "docs" / "adr").glob("[0-9]*.md")):
        for part in ("\nStatus: ", "\n## Problem", "\n## Decision", "\n## Rejected"):
            assert part in path.read_text(), f"{path.name} lacks {part.strip()}"


def test_change_notes_are_in_form() -> None:
    for path in (ROOT / "changes").iterdir():
        assert re.fullmatch(r"\d+(\.[a-z]+)?\.(feature|fix|breaking)\.md", path.name), path.name
        assert path.read_text().strip()
