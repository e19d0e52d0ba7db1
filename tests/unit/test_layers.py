"""The doors of ARCHITECTURE.md, read from the imports: who may use whom."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

SOURCE = Path(__file__).resolve().parents[2] / "src" / "yurt"
EVERYBODY = {"model", "errors", "rules", "units"}
AREAS = ("drivers", "images", "storage", "network", "cluster", "state")
DOORS: dict[str, set[str]] = {
    "cli": {"client", "paths"},
    "client": {"paths", "beneath"},
    "api": {"engine"},
    "engine": {*AREAS, "host"},
    **{area: {"host"} for area in AREAS},
    "images": {"host", "beneath"},
    "host": {"paths", "beneath"},
    "beneath": set(),
    "model": set(),
    "errors": set(),
    "units": set(),
    "rules": set(),
    "paths": set(),
    "yurt": {"client"},  # the package itself: the public SDK
    "__main__": {"cli", "daemon"},
}
COMPOSITION_ROOT = "daemon"
EXTRA: dict[str, set[str]] = {
    "cli": set(EVERYBODY) - {"model"},
    "errors": set(),
    "paths": set(),
    "beneath": set(),
    "units": {"errors"},
    "rules": {"errors"},
}
# floors that are allowed to bring their own third-party libraries; everything else is standard library and msgspec
LIBRARIES = {
    "api": {"msgspec", "starlette", "uvicorn", "websockets"},
    "daemon": {"msgspec"},
    "drivers": {"msgspec", "qemu"},
    "state": {"msgspec", "apsw"},
    "client": {"msgspec"},  # the SDK only: what the command line loads is checked by test_cli_imports.py
    "cli": set(),
    "errors": set(),
    "units": set(),
    "rules": set(),
    "paths": set(),
    "beneath": set(),
    "yurt": set(),
    "__main__": set(),
}
# where a program may be started, and why
STARTERS = {
    "host/proc.py": "the one user of subprocess",
    "client/spawn.py": "starts the daemon; the command line may not import host",
}
STARTING = {
    ("os", name)
    for name in (
        "system",
        "popen",
        "posix_spawn",
        "posix_spawnp",
        "fork",
        "forkpty",
        "execv",
        "execve",
        "execvp",
        "execvpe",
    )
}


def modules() -> list[Path]:
    return sorted(path for path in SOURCE.rglob("*.py") if "_data" not in path.parts)


def floor_of(module: str) -> str:
    """`yurt.drivers.qemu.argv` stands on the floor `drivers`; the package itself on `yurt`."""
    words = module.split(".")
    return words[1] if len(words) > 1 else "yurt"


def floor_of_file(path: Path) -> str:
    inside = path.relative_to(SOURCE)
    if len(inside.parts) > 1:
        return inside.parts[0]
    return "yurt" if inside.stem == "__init__" else inside.stem


def imports(path: Path) -> Iterator[tuple[int, str]]:
    """Every module that a file imports, anywhere in it, except under `if TYPE_CHECKING`."""
    tree = ast.parse(path.read_text(), str(path))
    skipped = {
        id(inner)
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING"
        for statement in node.body
        for inner in ast.walk(statement)
    }
    for node in ast.walk(tree):
        if id(node) in skipped:
            continue
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}:{node.lineno}: relative imports hide which floor they come from"
            if node.module == "yurt":
                yield from ((node.lineno, f"yurt.{alias.name}") for alias in node.names)
            else:
                yield node.lineno, node.module or ""


def is_module(name: str) -> bool:
    path = SOURCE.parent.joinpath(*name.split("."))
    return path.is_dir() or path.with_suffix(".py").exists()


@pytest.mark.parametrize("path", modules(), ids=lambda path: str(path.relative_to(SOURCE)))
def test_imports_go_through_the_doors(path: Path) -> None:
    here = floor_of_file(path)
    if here == COMPOSITION_ROOT:
        return
    assert here in DOORS, f"`{here}` is a new floor: say in DOORS whom it may use, and in ARCHITECTURE.md why"
    allowed = DOORS[here] | EXTRA.get(here, EVERYBODY) | {here}
    for line, name in imports(path):
        if name != "yurt" and not name.startswith("yurt."):
            continue
        there = floor_of(name if is_module(name) else name.rpartition(".")[0])
        if there == "yurt":
            continue  # yurt itself holds only the version and the lazy SDK names
        assert there in allowed, (
            f"{path.relative_to(SOURCE)}:{line}: {here} may not import {there} (imports {name})"
        )


@pytest.mark.parametrize("path", modules(), ids=lambda path: str(path.relative_to(SOURCE)))
def test_libraries_stay_on_their_floors(path: Path) -> None:
    import sys

    allowed = LIBRARIES.get(floor_of_file(path), {"msgspec"}) | {"yurt", *sys.stdlib_module_names}
    for line, name in imports(path):
        top = name.split(".")[0]
        assert top in allowed, (
            f"{path.relative_to(SOURCE)}:{line}: {floor_of_file(path)} may not use the library {top}"
        )


@pytest.mark.parametrize("path", modules(), ids=lambda path: str(path.relative_to(SOURCE)))
def test_programs_start_in_one_place(path: Path) -> None:
    inside = str(path.relative_to(SOURCE))
    if inside in STARTERS:
        return
    tree = ast.parse(path.read_text())
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            pair = (node.value.id, node.attr)
            assert pair not in STARTING, (
                f"{inside}:{node.lineno}: {pair[0]}.{pair[1]} belongs into host/proc.py"
            )
            assert pair[1] not in ("create_subprocess_exec", "create_subprocess_shell"), (
                f"{inside}:{node.lineno}"
            )
    used = {name.split(".")[0] for _, name in imports(path)}
    assert not used & {"subprocess", "pty", "multiprocessing"}, f"{inside}: only host/proc.py starts programs"


@pytest.mark.parametrize("path", modules(), ids=lambda path: str(path.relative_to(SOURCE)))
def test_archives_are_unpacked_by_our_own_rules(path: Path) -> None:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Attribute):
            assert node.attr not in ("extract", "extractall", "unpack_archive"), (
                f"{path.relative_to(SOURCE)}:{node.lineno}: members are written one by one beneath a directory descriptor"
            )


def test_pure_floors_have_no_io() -> None:
    """model and units: no clock, no randomness, no files, no async."""
    forbidden = {
        "os",
        "io",
        "time",
        "datetime",
        "random",
        "secrets",
        "pathlib",
        "asyncio",
        "socket",
        "shutil",
        "uuid",
    }
    pure = [
        *sorted((SOURCE / "model").glob("*.py")),
        SOURCE / "units.py",
        SOURCE / "rules.py",
        SOURCE / "errors.py",
    ]
    for path in pure:
        for line, name in imports(path):
            assert name.split(".")[0] not in forbidden, f"{path.relative_to(SOURCE)}:{line}: imports {name}"
        for node in ast.walk(ast.parse(path.read_text())):
            assert not isinstance(node, ast.AsyncFunctionDef | ast.Await), (
                f"{path.relative_to(SOURCE)}: async"
            )
            is_open = (
                isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "open"
            )
            assert not is_open, f"{path.relative_to(SOURCE)}: opens a file"


def test_the_reader_of_imports_sees_them(tmp_path: Path) -> None:
    """This file's own eyes: an import in a function counts, one for type checkers does not."""
    path = tmp_path / "x.py"
    path.write_text(
        "from typing import TYPE_CHECKING\nfrom yurt import errors\nif TYPE_CHECKING:\n    import yurt.state.base\n"
        "def f() -> None:\n    import yurt.host.proc as p\n"
    )
    assert [name for _, name in imports(path)] == ["typing", "yurt.errors", "yurt.host.proc"]
    assert floor_of("yurt.host.proc") == "host"
    assert is_module("yurt.errors")
    assert not is_module("yurt.errors.Invalid")
