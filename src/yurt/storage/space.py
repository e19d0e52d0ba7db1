"""Refuses new data that would not fit on the file system that holds yurt's state."""

from pathlib import Path

from yurt.host.space import check_space


def require(path: Path, needed_bytes: int, purpose: str) -> None:
    """Raise Exhausted, with the sum, unless `needed_bytes` are free where `path` lies, beside the host's reserve."""
    check_space(path, {purpose: needed_bytes})
