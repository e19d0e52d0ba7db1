"""Directories of control groups: what a new one needs before anybody may live in it, walking them, removing them."""

import contextlib
import errno
import os
from collections.abc import Iterator
from pathlib import Path

from yurt.errors import Unsupported
from yurt.host.rootless import current_ids
from yurt.model.host import CgroupLayout

WANTED_V2 = ("cpu", "cpuset", "memory", "pids", "io")
DAEMON_LEAF = "yurt-daemon"


def inherit_cpuset(directory: Path) -> None:
    """Give a new group of version 1's cpuset hierarchy what its parent has; without that no process may join it."""
    for name in ("cpuset.cpus", "cpuset.mems"):
        file = directory / name
        if file.exists() and not file.read_text().strip() and directory.parent.joinpath(name).exists():
            put_text(file, text_of(directory.parent / name))


def text_of(file: Path) -> str:
    """The text of a file without its end of line; empty when there is none."""
    return file.read_text().strip() if file.exists() else ""


def enable_controllers(directory: Path) -> None:
    """Pass on cpu, memory, pids and io to the groups below a version 2 group, as far as it has them.

    Where our own process stands in the way ("no internal processes"), it moves to a leaf of its own.
    """
    offered = (directory / "cgroup.controllers").read_text().split()
    enabled = (directory / "cgroup.subtree_control").read_text().split()
    wanted = [name for name in WANTED_V2 if name in offered and name not in enabled]
    if not wanted:
        return
    words = " ".join("+" + name for name in wanted)
    try:
        put_text(directory / "cgroup.subtree_control", words)
    except OSError as error:
        if error.errno != errno.EBUSY:
            raise
        leaf = directory / DAEMON_LEAF
        leaf.mkdir(exist_ok=True)
        put_text(leaf / "cgroup.procs", str(os.getpid()))
        try:
            put_text(directory / "cgroup.subtree_control", words)
        except OSError as again:
            raise Unsupported(
                f"other processes share yurt's control group `{directory}`, so it cannot be divided",
                hint="run the daemon as a systemd service with `Delegate=yes`",
            ) from again


def delegated(directory: Path) -> bool:
    """Whether systemd gave us this group to arrange (it marks such groups), or there is nothing above it."""
    for name in ("trusted.delegate", "user.delegate"):
        with contextlib.suppress(OSError):
            if os.getxattr(directory, name) == b"1":
                return True
    return current_ids().rootless  # then facts.py has found that we may write here


def base_of(layout: CgroupLayout) -> Path:
    """The version 2 group below which ours are: our own, or the hierarchy's root where that one is not ours to arrange."""
    own = Path(layout.mounts[""] + layout.own[""])
    return own if delegated(own) else Path(layout.mounts[""])


def put_text(path: Path, value: str) -> None:
    """Write a control file. Raises OSError as the kernel says it."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
    try:
        os.write(descriptor, value.encode())
    finally:
        os.close(descriptor)


def groups_below(directory: Path) -> Iterator[Path]:
    """The group and all below it, deepest first. Links cannot exist in a cgroup file system."""
    with contextlib.suppress(OSError):
        for entry in sorted(os.scandir(directory), key=lambda e: e.name):
            if entry.is_dir(follow_symlinks=False):
                yield from groups_below(Path(entry.path))
    yield directory


def remove_groups(directory: Path) -> bool:
    """Remove the group and all below it; False when a process still lives in one."""
    gone = True
    for group in groups_below(directory):
        try:
            group.rmdir()
        except FileNotFoundError:
            continue
        except OSError:
            gone = False
    return gone
