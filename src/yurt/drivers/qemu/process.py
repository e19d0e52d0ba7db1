"""Starts QEMU in its jail, writes down what was started, and finds it again.

The sockets are bound here and handed over listening, so nobody waits for a file to appear. QEMU is held at a gate
until `launched.json` is written: whenever the daemon dies, either the record is there or QEMU never ran. Its network
helper comes first and is written down the same way.
"""

import asyncio
import contextlib
import os
import signal
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import msgspec
from msgspec.structs import replace

from yurt.drivers.base import Attachments, Launched, NicAttachment, read_launched, write_launched
from yurt.drivers.qemu import argv as command
from yurt.drivers.qemu import jails, limits, usernet
from yurt.drivers.qemu.argv import Descriptors, MachineSpec, NicDescriptors
from yurt.drivers.qemu.limits import asked_limits, rlimit_words
from yurt.drivers.qemu.room import room_for
from yurt.drivers.qemu.shares import SHARE_SOCKET, OpenShares, SharePort, start_servers
from yurt.drivers.qemu.volumes import VolumeDisk
from yurt.drivers.trees import clear_trees
from yurt.errors import Invalid, ToolFailed, Unavailable, Unsupported
from yurt.host import layout, proc
from yurt.host.cgroup import Group, Limits
from yurt.host.cgroup_layout import remember_layout, remembered_layout
from yurt.host.confine import confined
from yurt.host.gate import bind_socket, spawn_recorded
from yurt.host.jail import spawn_jailed
from yurt.host.machinelog import MachineLog
from yurt.host.tap import open_tap, open_vhost
from yurt.model.host import CgroupLayout, HostFacts
from yurt.model.instance import Instance, NetworkMode, ResolvedSpec

SOCKETS = (layout.QMP_SOCKET, layout.AGENT_SOCKET, layout.CONSOLE_SOCKET)
HINTS = (
    ("KVM kernel module: Permission", "let your user open /dev/kvm, or start it with `--accel tcg`"),
    ("KVM", "start it with `--accel tcg`"),
    ("kvm", "start it with `--accel tcg`"),
    ("annot allocate memory", "give it less memory with `--memory`, or stop another instance"),
    ("Failed to get", "its disk is in use by another machine"),
    ("No space left", "make room on the host's disk"),
)


@dataclass(slots=True)
class Started:
    """A QEMU that has been let through the gate: its record, its process and its log, held by this daemon."""

    launched: Launched
    process: proc.Process
    log: MachineLog
    helpers: list[proc.Process] = field(default_factory=list)

    async def end_helpers(self) -> None:
        """End what serves nobody any more once QEMU is gone. Safe to repeat."""
        for helper in self.helpers:
            await helper.end(grace_s=0)
            helper.close()

    def release(self) -> None:
        """Let go of all of it without touching it. Safe to repeat."""
        self.log.close()
        for process in (self.process, *self.helpers):
            process.close()


class Files(msgspec.Struct, frozen=True, kw_only=True):
    """All that QEMU inherits."""

    inherited: Descriptors
    volumes: tuple[VolumeDisk, ...] = ()
    shares: tuple[SharePort, ...] = ()

    def all(self) -> tuple[int, ...]:
        """Every descriptor of it."""
        volumes = (volume.descriptor for volume in self.volumes)
        return (*self.inherited.all(), *volumes, *(share.descriptor for share in self.shares))


@contextlib.contextmanager
def descriptors(attachments: Attachments) -> Iterator[tuple[Descriptors, tuple[VolumeDisk, ...]]]:
    """Open all that QEMU inherits, and close our copies afterwards."""
    with contextlib.ExitStack() as stack:

        def listen(name: str) -> int:
            return stack.enter_context(bind_socket(attachments.run_dir / name)).fileno()

        def open_file(path: Path, flags: int) -> int:
            try:
                descriptor = os.open(path, flags | os.O_CLOEXEC)
            except OSError as error:
                raise Unavailable(f"cannot open `{path}`: {error.strerror}") from error
            stack.callback(os.close, descriptor)
            return descriptor

        def hold(descriptor: int) -> int:
            if descriptor >= 0:
                stack.callback(os.close, descriptor)
            return descriptor

        def open_nic(nic: NicAttachment) -> NicDescriptors:
            # a whole PC's NIC is no virtio device, so the kernel's backend is nothing to it
            micro = attachments.kernel is not None
            return NicDescriptors(tap=hold(open_tap(nic.device)), vhost=hold(open_vhost()) if micro else -1)

        disk = attachments.disk
        if disk is None:
            raise Invalid("a machine needs a disk")
        inherited = Descriptors(
            qmp=listen(layout.QMP_SOCKET),
            agent=listen(layout.AGENT_SOCKET),
            console=listen(layout.CONSOLE_SOCKET),
            disk=open_file(disk.path, os.O_RDWR),
            base=-1 if disk.base is None else open_file(disk.base, os.O_RDONLY),
            nics=tuple(open_nic(nic) for nic in attachments.nics),
        )
        yield (
            inherited,
            tuple(
                VolumeDisk(
                    name=volume.name,
                    descriptor=open_file(volume.path, os.O_RDONLY if volume.read_only else os.O_RDWR),
                    format=volume.format,
                    read_only=volume.read_only,
                )
                for volume in attachments.volumes
                if not volume.directory
            ),
        )


def machine_spec(
    qemu: str,
    instance: Instance,
    attachments: Attachments,
    facts: HostFacts,
    files: Files,
    *,
    jailed: bool = True,
) -> MachineSpec:
    """Bring together what decides the command line. Pure."""
    spec, disk, kernel = instance.spec, attachments.disk, attachments.kernel
    if disk is None:
        raise Invalid("a machine needs a disk")
    return MachineSpec(
        qemu=qemu,
        id=instance.id,
        kind=spec.kind,
        cpus=spec.cpus,
        memory_bytes=spec.memory_bytes,
        network=spec.network,
        accelerator=attachments.accelerator.name if attachments.accelerator else "tcg",
        tsc_khz=facts.tsc_khz,
        descriptors=files.inherited,
        disk_format=disk.format,
        base_format=disk.base_format,
        kernel="" if kernel is None else jails.KERNEL if jailed else str(kernel.kernel),
        initrd="" if kernel is None else jails.INITRD if jailed else str(kernel.initrd),
        kernel_words=kernel.cmdline if kernel else (),
        room=room_for(spec.kind, spec.cpus, spec.memory_bytes, facts.cpus, facts.memory_bytes),
        virtio_disk=disk.virtio,
        limits=spec.limits,
        nics=attachments.nics,
        volumes=files.volumes,
        shares=files.shares,
    )


def launch(
    driver: str,
    instance: Instance,
    attachments: Attachments,
    facts: HostFacts,
    shares: OpenShares = OpenShares(),  # noqa: B008 it is frozen
) -> Started:
    """Start QEMU, and before it its file servers; the caller waits for its monitor. Blocking, some milliseconds.

    On failure no process is left; files and the control group are for `clear` to remove.
    """
    kernel, run_dir = attachments.kernel, attachments.run_dir
    launched = Launched(
        driver=driver,
        pid=0,
        process_start=0,
        argv=(),
        versions={"qemu": facts.qemu_version, "kernel": kernel.version if kernel else ""},
        accelerator=attachments.accelerator.name if attachments.accelerator else "tcg",
        spec=instance.spec,
        attachments=attachments,
    )
    log, helpers = MachineLog.make(), list[proc.Process]()
    try:
        remember_layout(run_dir, facts.cgroups)
        join = make_group(facts.cgroups, attachments.cgroup, instance.spec, launched.accelerator)
        with descriptors(attachments) as (inherited, volumes), contextlib.ExitStack() as stack:
            if instance.spec.network is NetworkMode.USER:
                launched, network = _start_network(launched, facts, join, helpers)
                stack.callback(network.release)
                inherited = replace(inherited, network=network.descriptor, lifeline=network.lifeline)
            launched, ports = _start_shares(launched, shares, join, helpers, log, stack)
            files = Files(inherited=inherited, volumes=volumes, shares=ports)
            launched, process = _start_qemu(launched, instance, facts, files, join, log)
        return Started(launched, process, log, helpers)
    except BaseException:
        log.close()
        for helper in helpers:
            helper.send(signal.SIGKILL)
            helper.close()
        raise


def _start_network(
    launched: Launched, facts: HostFacts, join: tuple[Path, ...], helpers: list[proc.Process]
) -> tuple[Launched, usernet.UserNetwork]:
    attachments = launched.attachments
    assert attachments is not None

    def record(process: proc.Process) -> None:
        nonlocal launched
        helpers.append(process)
        helped = {**launched.helpers, usernet.HELPER: (process.pid, process.start)}
        launched = replace(launched, helpers=helped)
        write_launched(attachments.run_dir, launched)

    program = facts.tools.get("slirp4netns", "/usr/bin/slirp4netns")
    network = usernet.start_usernet(program, attachments, record, join)
    return launched, network


def _start_shares(
    launched: Launched,
    shares: OpenShares,
    join: tuple[Path, ...],
    helpers: list[proc.Process],
    log: MachineLog,
    stack: contextlib.ExitStack,
) -> tuple[Launched, tuple[SharePort, ...]]:
    attachments = launched.attachments
    assert attachments is not None

    def record(name: str, process: proc.Process) -> None:
        nonlocal launched
        helpers.append(process)
        launched = replace(launched, helpers={**launched.helpers, name: (process.pid, process.start)})
        write_launched(attachments.run_dir, launched)

    ports = start_servers(shares, attachments.run_dir, record, stack, join=join, output=log.descriptor)
    return launched, ports


def _start_qemu(
    launched: Launched,
    instance: Instance,
    facts: HostFacts,
    files: Files,
    join: tuple[Path, ...],
    log: MachineLog,
) -> tuple[Launched, proc.Process]:
    """Start QEMU itself: in the jail, or without root as the daemon's own user that cannot rise."""
    attachments, root = launched.attachments, os.geteuid() == 0
    assert attachments is not None
    qemu = facts.tools.get("qemu-system-x86_64", "/usr/bin/qemu-system-x86_64")
    machine = machine_spec(qemu, instance, attachments, facts, files, jailed=root)
    argv = command.machine_argv(machine)
    launched = replace(launched, argv=tuple(argv))

    def record(process: proc.Process) -> None:
        nonlocal launched
        launched = replace(launched, pid=process.pid, process_start=process.start)
        write_launched(attachments.run_dir, launched)

    output = log.descriptor
    passed = files.all()
    if root:
        jail = jails.machine_jail(qemu, attachments, instance.spec, kvm=machine.accelerator == "kvm")
        process = spawn_jailed(argv, jail, record, output=output, pass_fds=passed, join=join)
        return launched, process
    setpriv = facts.tools.get("setpriv", "setpriv")
    confined_words = confined(argv, attachments.uid, attachments.gid, setpriv, root=False)
    words = [*rlimit_words(instance.spec), *confined_words]
    process = spawn_recorded(words, record, output=output, pass_fds=passed, join=join)
    return launched, process


async def abandon(launching: "asyncio.Task[Started]") -> None:
    """Wait for a launch that nobody wants any more (a thread cannot be cancelled), and end what it has started."""
    await asyncio.wait([launching])
    if not launching.cancelled() and launching.exception() is None:
        await launching.result().process.end(grace_s=0)
        await launching.result().end_helpers()


def adopt(launched: Launched) -> Started | None:
    """Take hold of a QEMU that another daemon started; None when it is gone."""
    process = proc.Process.adopt(launched.pid, launched.process_start)
    if process is None:
        return None
    log = MachineLog.of_process(launched.pid) or MachineLog(-1)
    found = [proc.Process.adopt(pid, start) for pid, start in launched.helpers.values()]
    return Started(launched, process, log, [helper for helper in found if helper is not None])


def start_failure(launched: Launched, status: int | None, text: str) -> ToolFailed:
    """The error for a QEMU that ended before its monitor answered."""
    hint = next((hint for mark, hint in HINTS if mark in text), "see `yurt logs` and `yurt doctor`")
    how = proc.describe_status(status) if status is not None else "an unknown status"
    return ToolFailed(argv=launched.argv, status=how, stderr=text, hint=hint)


def group_name(run_dir: Path) -> str:
    """The control group's name: as recorded, else by the rule that the engine follows."""
    launched = read_launched(run_dir)
    recorded = launched.attachments.cgroup if launched and launched.attachments else ""
    return recorded or f"yurt/{run_dir.name}"


def group_of(run_dir: Path, cgroups: CgroupLayout) -> Group:
    """The control group of a machine that runs; it may not be there, as an ordinary user makes none."""
    return Group(remembered_layout(run_dir, cgroups), group_name(run_dir))


def make_group(cgroups: CgroupLayout, name: str, spec: ResolvedSpec, accelerator: str) -> tuple[Path, ...]:
    """Make QEMU's own control group with its limits; returns the files to join by.

    Raises Unsupported for limits that only a control group can hold, where there is none.
    """
    if not name or os.geteuid() != 0:
        if asked_limits(spec) != Limits():
            raise Unsupported("limits need control groups of our own", hint="run the daemon as root")
        return ()
    group = Group(cgroups, name)
    limits.make_group(group, spec, accelerator)
    return group.join_files


def clear(run_dir: Path, cgroups: CgroupLayout, group_name: str) -> None:
    """Remove what `launch` made: stray processes of the group, helpers, the group, sockets, the record. Idempotent."""
    launched = read_launched(run_dir)
    for pid, start in (launched.helpers if launched else {}).values():
        if helper := proc.Process.adopt(pid, start):
            helper.send(signal.SIGKILL)
            helper.close()
    if group_name and os.geteuid() == 0:
        group = Group(remembered_layout(run_dir, cgroups), group_name)
        if group.exists():
            group.kill()
            group.remove()
    usernet.remove_sockets(run_dir)
    clear_trees(run_dir)
    for name in (*SOCKETS, SHARE_SOCKET, layout.LAUNCHED, layout.CGROUPS):
        (run_dir / name).unlink(missing_ok=True)
