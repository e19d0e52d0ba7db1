"""Reads `yurt.toml`, the host owner's settings; docs/settings.md explains them."""

import tomllib
from pathlib import Path

import msgspec

from yurt.errors import Invalid
from yurt.model.settings import Settings


def read_settings(path: Path) -> Settings:
    """Return what the file says; defaults where there is no file. Raises Invalid, with the place, for a wrong one."""
    try:
        return msgspec.convert(tomllib.loads(path.read_text()), Settings)
    except FileNotFoundError:
        return Settings()
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, msgspec.ValidationError) as error:
        raise Invalid(f"`{path}` is wrong: {error}", hint="mend it, or move it away") from error
