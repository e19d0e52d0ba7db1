#!/usr/bin/env python3
"""Write requirements.txt and requirements-dev.txt: the exact versions that this environment has, and nothing else it has.

What is needed comes from pyproject.toml, followed through the installed packages' own metadata; no index is asked.
"""

import importlib.metadata
import re
import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
RUNTIME = "# What yurt needs at run time, locked. `make lock` writes this file from the environment that passed the tests.\n"
DEV = "# What the tests and linters need besides requirements.txt, locked the same way.\n"


def closure(wanted: list[str]) -> dict[str, str]:
    """Map each wanted distribution and all it needs here to its version. Raises PackageNotFoundError."""
    from packaging.requirements import Requirement
    from packaging.utils import canonicalize_name

    found: dict[str, str] = {}
    waiting = [Requirement(text) for text in wanted]
    while waiting:
        requirement = waiting.pop()
        if requirement.marker is not None and not requirement.marker.evaluate({"extra": ""}):
            continue
        name = canonicalize_name(requirement.name)
        if name not in found:
            distribution = importlib.metadata.distribution(requirement.name)
            found[name] = f"{distribution.metadata['Name']}=={distribution.version}"
            waiting += [Requirement(re.sub(r"^\s+", "", text)) for text in distribution.requires or []]
    return found


def main() -> int:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    runtime = closure(project["project"]["dependencies"])
    build = [*project["build-system"]["requires"], *project["project"]["optional-dependencies"]["dev"]]
    dev = {name: line for name, line in closure(build).items() if name not in runtime}
    for name, head, lines in (("requirements.txt", RUNTIME, runtime), ("requirements-dev.txt", DEV, dev)):
        (ROOT / name).write_text(head + "".join(f"{lines[key]}\n" for key in sorted(lines)))
        print(f"{name}: {len(lines)} packages")
    return 0


if __name__ == "__main__":
    sys.exit(main())
