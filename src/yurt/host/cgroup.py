"""Control groups (version 1, hybrid and 2): the host's layout, limits, usage, freezing and killing.

A `Group` is one named group below our own (`yurt/<id>`). On version 1 it is a directory in each hierarchy
that counts or limits something; on version 2 it is one directory. Calls are synchronous, quick file operations.
"""

import contextlib
import errno
import os
import re
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import msgspec

from yurt.errors import Internal, NotFound, Unavailable, Unsupported
from yurt.host.cgroup_layout import blkio_bytes, io_bytes, keyed, number
from yurt.host.cgroup_layout import detect_layout as detect_layout  # offered to others
from yurt.model.host import CgroupLayout

PERIOD_US = 100_000
WANTED_V1 = ("cpu", "cpuacct", "memory", "pids", "freezer", "devices", "blkio", "name=systemd")
WANTED_V2 = ("cpu", "memory", "pids", "io")
REMOVE_PAUSES_S = (0.0005, 0.001, 0.002, 0.005, *(0.01,) * 100)
DAEMON_LEAF = "yurt-daemon"
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*(/[A-Za-z0-9][A-Za-z0-9_.-]*)*")


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """What a group may use; `None` means no limit of its own. `cpus` counts processors (1.5 is fine)."""

    cpus: float | None = None
    memory_bytes: int | None = None
    pids: int | None = None


class GroupUsage(msgspec.Struct, frozen=True, kw_only=True):
    """Counters of a group, cumulative since it was made. Memory excludes page cache that may go any time."""

    cpu_s: float = 0.0
    memory_bytes: int = 0
    memory_limit_bytes: int = 0  # 0: none
    read_bytes: int = 0
    write_bytes: int = 0
    pids: int = 0
    oom_kills: int = 0


def cpu_quota_us(cpus: float) -> int:
    """Quota per period of 100 ms; never below the kernel's least of 1 ms."""
    return max(1000, int(cpus * PERIOD_US))


class Group:
    """One named group of ours. Making the object touches nothing; a name that leads out raises Internal.

    `unified`: on a hybrid host the group also is in the version 2 hierarchy, where an init of its own needs one.
    """

    def __init__(self, layout: CgroupLayout, name: str, *, unified: bool = False) -> None:
        if not _NAME.fullmatch(name):
            raise Internal(f"`{name}` is not a control group name")
        self.layout, self.name = layout, name
        self.version = layout.version
        wanted = (*WANTED_V1, "") if unified else WANTED_V1
        keys = ("",) if self.version == 2 else tuple(key for key in wanted if key in layout.mounts)
        self.bases = {key: Path(layout.mounts[key] + layout.own[key]) for key in keys}
        if self.version == 2 and not _delegated(self.bases[""]):
            self.bases = {
                "": Path(layout.mounts[""])
            }  # not ours to arrange: go beside it, below the hierarchy's root

    @property
    def directories(self) -> dict[str, Path]:
        """The group's directory in each hierarchy; key `""` on version 2."""
        return {key: base / self.name for key, base in self.bases.items()}

    @property
    def join_files(self) -> tuple[Path, ...]:
        """Files to which a single-threaded process writes `0` to move in (`tasks` takes no global lock)."""
        return tuple(d / ("tasks" if key else "cgroup.procs") for key, d in self.directories.items())

    def exists(self) -> bool:
        return any(directory.is_dir() for directory in self.directories.values())

    def create(self, limits: Limits) -> None:
        """Make the group (parents too) and set its limits. Safe to repeat; the limits are then set again.

        Raises Unsupported when a limit is asked for that the host's controllers cannot give.
        """
        for base, directory in zip(self.bases.values(), self.directories.values(), strict=True):
            for attempt in range(3):
                try:
                    self._make(base, directory)
                    break
                except FileNotFoundError:  # a neighbour's removal took the shared parent away in between
                    if attempt == 2:
                        raise
        self.limit(limits)

    def _make(self, base: Path, directory: Path) -> None:
        parents = [
            base / Path(*directory.relative_to(base).parts[:n]) for n in range(len(Path(self.name).parts))
        ]
        for parent in parents:
            parent.mkdir(exist_ok=True)
            if self.version == 2:
                enable_controllers(parent)
        directory.mkdir(exist_ok=True)

    def limit(self, limits: Limits) -> None:
        """Set the limits of a group that exists; `None` leaves one as it is."""
        two = self.version == 2
        if limits.memory_bytes is not None:
            size = str(limits.memory_bytes)
            self._write("memory", "memory.max" if two else "memory.limit_in_bytes", size)
            swap = ("memory.swap.max", "0") if two else ("memory.memsw.limit_in_bytes", size)
            with contextlib.suppress(
                Unsupported
            ):  # no swap accounting: then nothing can be swapped past the limit
                self._write("memory", *swap)
        if limits.cpus is not None:
            quota = cpu_quota_us(limits.cpus)
            if two:
                self._write("cpu", "cpu.max", f"{quota} {PERIOD_US}")
            else:
                self._write("cpu", "cpu.cfs_period_us", str(PERIOD_US))
                self._write("cpu", "cpu.cfs_quota_us", str(quota))
        if limits.pids is not None:
            self._write("pids", "pids.max", str(limits.pids))

    def restrict_devices(self, allowed: tuple[str, ...]) -> None:
        """Deny all devices but those (`c 1:3 rwm`). Version 1 only; elsewhere it does nothing."""
        if directory := self.directories.get("devices"):
            _put(directory / "devices.deny", "a")
            for rule in allowed:
                _put(directory / "devices.allow", rule)

    def delegate(self, uid: int, gid: int) -> None:
        """Let a user make groups below this one: in name=systemd on version 1 (and the unified one), on version 2 in all.

        On version 2 the limit files stay root's. Source: systemd, "Control Group APIs and Delegation".
        """
        for key in ("", "name=systemd"):
            if (directory := self.directories.get(key)) is None:
                continue
            os.chown(directory, uid, gid)
            for name in ("cgroup.procs", "cgroup.threads", "cgroup.subtree_control", "tasks"):
                with contextlib.suppress(FileNotFoundError):
                    os.chown(directory / name, uid, gid)

    def add(self, pid: int) -> None:
        """Move a process (all its threads) into the group. Raises NotFound when it is gone."""
        for directory in self.directories.values():
            try:
                _put(directory / "cgroup.procs", str(pid))
            except ProcessLookupError as error:
                raise NotFound(kind="process", name=pid) from error

    def processes(self) -> list[int]:
        """List the processes in the group and in groups below it; empty when it does not exist."""
        key = next((k for k in ("freezer", "pids", "memory", "") if k in self.bases), next(iter(self.bases)))
        found: set[int] = set()
        for directory in _tree(self.directories[key]):
            with contextlib.suppress(OSError):
                found.update(int(word) for word in (directory / "cgroup.procs").read_text().split())
        return sorted(found)

    def usage(self) -> GroupUsage:
        """Read the counters. Raises NotFound when the group does not exist."""
        if not self.exists():
            raise NotFound(kind="control group", name=self.name)
        return self._usage_v2() if self.version == 2 else self._usage_v1()

    def _usage_v1(self) -> GroupUsage:
        memory = keyed(self._text("memory", "memory.stat"))
        limit = number(self._text("memory", "memory.limit_in_bytes"))
        used = number(self._text("memory", "memory.usage_in_bytes")) - memory.get("total_inactive_file", 0)
        read, written = blkio_bytes(self._text("blkio", "blkio.throttle.io_service_bytes_recursive"))
        return GroupUsage(
            cpu_s=number(self._text("cpuacct", "cpuacct.usage")) / 1e9,
            memory_bytes=max(0, used),
            memory_limit_bytes=0 if limit >= 1 << 62 else limit,
            read_bytes=read,
            write_bytes=written,
            pids=number(self._text("pids", "pids.current")),
            oom_kills=keyed(self._text("memory", "memory.oom_control")).get("oom_kill", 0),
        )

    def _usage_v2(self) -> GroupUsage:
        memory = keyed(self._text("", "memory.stat"))
        used = number(self._text("", "memory.current")) - memory.get("inactive_file", 0)
        read, written = io_bytes(self._text("", "io.stat"))
        return GroupUsage(
            cpu_s=keyed(self._text("", "cpu.stat")).get("usage_usec", 0) / 1e6,
            memory_bytes=max(0, used),
            memory_limit_bytes=number(self._text("", "memory.max")),
            read_bytes=read,
            write_bytes=written,
            pids=number(self._text("", "pids.current")),
            oom_kills=keyed(self._text("", "memory.events")).get("oom_kill", 0),
        )

    def freeze(self) -> None:
        """Stop every process in the group from running. Safe to repeat."""
        self._freezer("1", "FROZEN")

    def thaw(self) -> None:
        """Let them run again. Safe to repeat."""
        self._freezer("0", "THAWED")

    def frozen(self) -> bool:
        """Whether the group is frozen or being frozen; False when it does not exist."""
        if self.version == 2:
            return number(self._text("", "cgroup.freeze")) == 1
        return self._text("freezer", "freezer.state").strip() in ("FROZEN", "FREEZING")

    def _freezer(self, two: str, one: str) -> None:
        self._write("freezer", *(("cgroup.freeze", two) if self.version == 2 else ("freezer.state", one)))

    def kill(self) -> None:
        """Send SIGKILL to all processes in the group, forks included. Does not wait. Safe to repeat."""
        if not self.exists():
            return
        if self.version == 2:
            with contextlib.suppress(FileNotFoundError):  # before Linux 5.14
                _put(self.directories[""] / "cgroup.kill", "1")
                return
        with contextlib.suppress(Unsupported):
            self.freeze()
        for pid in self.processes():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        with contextlib.suppress(Unsupported):
            self.thaw()

    def remove(self) -> None:
        """Remove the group with all below it, and parents of ours that are empty then. Idempotent.

        Its processes should have been killed; the short wait is for the kernel to let go of them.
        Raises Unavailable when some still live after about a second.
        """
        for base, directory in zip(self.bases.values(), self.directories.values(), strict=True):
            for pause_s in REMOVE_PAUSES_S:
                if _remove_tree(directory):
                    break
                time.sleep(pause_s)
            else:
                raise Unavailable(f"processes still live in control group `{directory}`")
            parent = directory.parent
            while parent != base:
                try:
                    parent.rmdir()
                except OSError:
                    break  # a neighbour still uses it
                parent = parent.parent

    def _directory(self, controller: str) -> Path | None:
        return self.directories.get("" if self.version == 2 else controller)

    def _text(self, controller: str, name: str) -> str:
        directory = self._directory(controller)
        if directory is None:
            return ""
        try:
            return (directory / name).read_text()
        except OSError:
            return ""

    def _write(self, controller: str, name: str, value: str) -> None:
        directory = self._directory(controller)
        try:
            if directory is None:
                raise FileNotFoundError(name)
            _put(directory / name, value)
        except (FileNotFoundError, PermissionError) as error:
            raise Unsupported(
                f"this host's control groups cannot set `{name}`",
                hint="run the daemon as root, or as a systemd service with `Delegate=yes`",
            ) from error


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
        _put(directory / "cgroup.subtree_control", words)
    except OSError as error:
        if error.errno != errno.EBUSY:
            raise
        leaf = directory / DAEMON_LEAF
        leaf.mkdir(exist_ok=True)
        _put(leaf / "cgroup.procs", str(os.getpid()))
        try:
            _put(directory / "cgroup.subtree_control", words)
        except OSError as again:
            raise Unsupported(
                f"other processes share yurt's control group `{directory}`, so it cannot be divided",
                hint="run the daemon as a systemd service with `Delegate=yes`",
            ) from again


def _delegated(directory: Path) -> bool:
    """Whether systemd gave us this group to arrange (it marks such groups), or there is nothing above it."""
    for name in ("trusted.delegate", "user.delegate"):
        with contextlib.suppress(OSError):
            if os.getxattr(directory, name) == b"1":
                return True
    return os.geteuid() != 0


def _put(path: Path, value: str) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
    try:
        os.write(descriptor, value.encode())
    finally:
        os.close(descriptor)


def _tree(directory: Path) -> Iterator[Path]:
    """The group and all below it, deepest first. Links cannot exist in a cgroup file system."""
    with contextlib.suppress(OSError):
        for entry in sorted(os.scandir(directory), key=lambda e: e.name):
            if entry.is_dir(follow_symlinks=False):
                yield from _tree(Path(entry.path))
    yield directory


def _remove_tree(directory: Path) -> bool:
    gone = True
    for group in _tree(directory):
        try:
            group.rmdir()
        except FileNotFoundError:
            continue
        except OSError:
            gone = False
    return gone
