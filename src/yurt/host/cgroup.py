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
from pathlib import Path

import msgspec

from yurt.errors import Exhausted, Internal, Invalid, NotFound, Unavailable, Unsupported
from yurt.host.cgroup_layout import blkio_bytes, io_bytes, keyed, number
from yurt.host.cgroup_layout import detect_layout as detect_layout  # offered to others
from yurt.host.cgroup_limits import Limits as Limits  # offered to others
from yurt.host.cgroup_limits import Put, cpu_puts, io_puts, memory_puts, pids_puts, pin_puts
from yurt.host.cgroup_tree import (
    base_of,
    enable_controllers,
    groups_below,
    inherit_cpuset,
    put_text,
    remove_groups,
    text_of,
)
from yurt.model.host import CgroupLayout
from yurt.units import format_size

WANTED_V1 = ("cpu", "cpuacct", "cpuset", "memory", "pids", "freezer", "devices", "blkio", "name=systemd")
REMOVE_PAUSES_S = (0.0005, 0.001, 0.002, 0.005, *(0.01,) * 100)
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*(/[A-Za-z0-9][A-Za-z0-9_.-]*)*")


class GroupUsage(msgspec.Struct, frozen=True, kw_only=True):
    """Counters of a group, cumulative since it was made. Memory excludes page cache that may go any time."""

    cpu_s: float = 0.0
    memory_bytes: int = 0
    memory_limit_bytes: int = 0  # 0: none
    read_bytes: int = 0
    write_bytes: int = 0
    pids: int = 0
    oom_kills: int = 0


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
        if (
            self.version == 0
        ):  # none that we may arrange: a group without directories limits and counts nothing
            keys = ()
        self.bases = {key: Path(layout.mounts[key] + layout.own[key]) for key in keys}
        if self.version == 2:
            self.bases = {"": base_of(layout)}

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
            elif parent != base:
                inherit_cpuset(parent)
        directory.mkdir(exist_ok=True)
        inherit_cpuset(directory)

    def limit(self, limits: Limits) -> None:
        """Set the limits of a group that exists, all of them or up to the first that fails. Safe to repeat.

        Raises Unsupported for what the host's controllers cannot give, Exhausted when a memory limit is below what is in
        use and the kernel cannot take that back, Invalid for processors that are not there.
        """
        version = self.version
        for put in cpu_puts(version, limits) + pids_puts(version, limits) + io_puts(version, limits):
            self._apply(put)
        if limits.pin is not None:
            for put in pin_puts(version, limits, self._cpuset_above()):
                self._pin(put, limits.pin)
        if limits.memory_bytes is not None:
            self._limit_memory(memory_puts(version, limits), limits.memory_bytes)

    def _apply(self, put: Put) -> None:
        try:
            self._write(put.controller, put.name, put.value)
        except Unsupported:  # such as no swap accounting: then nothing can be swapped past the limit
            if not put.optional:
                raise

    def _cpuset_above(self) -> str:
        above = self._directory("cpuset")
        name = "cpuset.cpus.effective" if self.version == 2 else "cpuset.cpus"
        return text_of(above.parent / name) if above is not None else ""

    def _pin(self, put: Put, pin: str) -> None:
        try:
            self._apply(put)
        except OSError as error:
            if error.errno not in (errno.EINVAL, errno.ERANGE, errno.EACCES, errno.ENOSPC):
                raise
            if not put.value.strip() and (all_there_are := self._cpuset_above()):
                # version 2: once a group with processes has named processors, it may not name none again
                self._pin(Put(put.controller, put.name, all_there_are), pin)
                return
            there = self._cpuset_above() or self._text("cpuset", "cpuset.cpus.effective").strip()
            raise Invalid(
                f"this host has no processors `{pin}` to give", hint=f"it has {there}" if there else ""
            ) from error

    def _limit_memory(self, puts: list[Put], size: int) -> None:
        """Raise or lower the memory limit. Version 2 would end processes to get below it: there we look first."""
        if self.version == 2:
            self._reclaim(size)
        try:
            for put in puts:
                self._apply(put)
        except OSError as error:
            if error.errno not in (errno.EINVAL, errno.EBUSY):
                raise
            try:
                for put in reversed(puts):
                    self._apply(put)
            except OSError as again:
                if again.errno not in (errno.EINVAL, errno.EBUSY):
                    raise
                self._refuse_memory(size)

    def _reclaim(self, size: int) -> None:
        if not size or number(self._text("", "memory.current")) <= size:
            return
        with contextlib.suppress(Unsupported):
            self._write("memory", "memory.high", str(size))  # takes back what it can, ends nobody
        try:
            if number(self._text("", "memory.current")) > size:
                self._refuse_memory(size)
        finally:
            with contextlib.suppress(Unsupported):
                self._write("memory", "memory.high", "max")

    def _refuse_memory(self, size: int) -> None:
        name = "memory.current" if self.version == 2 else "memory.usage_in_bytes"
        raise Exhausted(
            f"it uses {format_size(number(self._text('memory', name)))} of memory, more than {format_size(size)}, "
            "and cannot let go of it",
            hint="stop programs in it first, or set the limit while it is stopped",
        )

    def restrict_devices(self, allowed: tuple[str, ...]) -> None:
        """Deny all devices but those (`c 1:3 rwm`). Version 1 only; elsewhere it does nothing."""
        if directory := self.directories.get("devices"):
            put_text(directory / "devices.deny", "a")
            for rule in allowed:
                put_text(directory / "devices.allow", rule)

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
                put_text(directory / "cgroup.procs", str(pid))
            except ProcessLookupError as error:
                raise NotFound(kind="process", name=pid) from error

    def processes(self) -> list[int]:
        """List the processes in the group and in groups below it; empty when it does not exist."""
        if not self.bases:
            return []
        key = next((k for k in ("freezer", "pids", "memory", "") if k in self.bases), next(iter(self.bases)))
        found: set[int] = set()
        for directory in groups_below(self.directories[key]):
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
                put_text(self.directories[""] / "cgroup.kill", "1")
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
                if remove_groups(directory):
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
            put_text(directory / name, value)
        except (FileNotFoundError, PermissionError) as error:
            raise Unsupported(
                f"this host's control groups cannot set `{name}`",
                hint="run the daemon as root, or as a systemd service with `Delegate=yes`",
            ) from error
