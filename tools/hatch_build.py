"""The wheel's build hook: puts what ships with yurt but is no Python into `yurt/_data`, without what builds leave there."""

from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

SHIPPED = ("agent", "recipes", "tools/packages.txt")
LEFT_OUT = {"build", "tests", "fuzz", "__pycache__"}


def shipped_files(root: Path) -> dict[str, str]:
    """Map each shipped file to its place in the wheel."""
    found = {}
    for name in SHIPPED:
        base = root / name
        for path in [base] if base.is_file() else sorted(base.rglob("*")):
            inside = path.relative_to(root)
            if path.is_file() and not LEFT_OUT & set(inside.parts):
                found[str(path)] = f"yurt/_data/{inside}"
    return found


class DataHook(BuildHookInterface):  # type: ignore[type-arg]  # hatchling's generic is not typed for users
    """Called by hatchling for the wheel."""

    PLUGIN_NAME = "custom"

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:  # hatchling's own loose type
        """Add the files; an editable install uses the clone's own."""
        if version != "editable":
            build_data["force_include"].update(shipped_files(Path(self.root)))
