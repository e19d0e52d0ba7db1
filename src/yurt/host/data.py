"""Finds the files that ship with yurt but are no Python: recipes, the agent's source, the list of system packages.

A clone has them in its top directory; a wheel carries them in `yurt/_data` (pyproject.toml puts them there).
"""

from pathlib import Path

from yurt.errors import Internal

_PACKAGE = Path(__file__).resolve().parent.parent


def data_path(name: str, package: Path = _PACKAGE) -> Path:
    """Return the path of a shipped file or directory, such as `recipes` or `tools/packages.txt`. Raises Internal."""
    for root in (package / "_data", package.parent.parent):
        if (root / name).exists():
            return root / name
    raise Internal(f"`{name}` is missing from this installation of yurt", hint="install yurt again")
