#!/usr/bin/env python3
"""Print lines per floor and the longest modules and functions: size in view, so that it does not grow unseen."""

import ast
import sys
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
SHOWN = 10


@dataclass(frozen=True)
class Function:
    """A function of a module, methods and inner ones included; `lines` counts from `def` to its end."""

    name: str
    line: int
    lines: int


@dataclass(frozen=True)
class Module:
    """A Python file of the package; `path` is relative to the clone."""

    path: str
    lines: int
    functions: tuple[Function, ...]


def modules() -> list[Module]:
    """Measure every module below src/yurt."""
    return [measure(path) for path in sorted((ROOT / "src" / "yurt").rglob("*.py"))]


def measure(path: Path) -> Module:
    text = path.read_text()
    functions = tuple(
        Function(node.name, node.lineno, (node.end_lineno or node.lineno) - node.lineno + 1)
        for node in ast.walk(ast.parse(text))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    )
    return Module(str(path.relative_to(ROOT)), len(text.splitlines()), functions)


def main() -> int:
    found = modules()
    floors: Counter[str] = Counter()
    for module in found:
        parts = Path(module.path).parts[2:]
        floors[parts[0] if len(parts) > 1 else "(top)"] += module.lines
    agent = sum(len(path.read_text().splitlines()) for path in (ROOT / "agent").glob("*.[ch]"))
    tests = sum(len(path.read_text().splitlines()) for path in (ROOT / "tests").rglob("*.py"))
    for name, lines in [*floors.most_common(), ("agent (C)", agent), ("tests", tests)]:
        print(f"{lines:7}  {name}")
    print(f"{sum(floors.values()):7}  the package")
    print("\nlongest modules")
    for module in sorted(found, key=lambda module: -module.lines)[:SHOWN]:
        print(f"{module.lines:7}  {module.path}")
    print("\nlongest functions")
    functions = [(function, module.path) for module in found for function in module.functions]
    for function, path in sorted(functions, key=lambda pair: -pair[0].lines)[:SHOWN]:
        print(f"{function.lines:7}  {path}:{function.line} {function.name}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
