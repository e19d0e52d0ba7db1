"""Starts QEMU as an unprivileged user, writes down what was started, and finds it again.

The sockets are bound here and handed over listening, so nobody waits for a file to appear. QEMU is held at a gate
until `launched.json` is written: whenever the daemon dies, either the record is there or QEMU never ran.
"""

import asyncio
import contextlib
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from msgspec.structs import replace

from yurt.drivers.base import Attachments, Launched, NicAttachment, read_launched, write_launched
from yurt.drivers.qemu import argv as command
from yurt.drivers.qemu import limits
from yurt.drivers.qemu.accel import kvm_groups
from yurt.drivers.qemu.argv import Descriptors, MachineSpec, NicDescriptors
from yurt.drivers.qemu.limits import asked_limits, rlimit_words
from yurt.drivers.qemu.room import room_for
from yurt.drivers.qemu.volumes import VolumeDisk
from yurt.errors import Invalid, ToolFailed, Unavailable, Unsupported
from yurt.host import layout, proc
from yurt.host.cgroup import Group, Limits
from yurt.host.cgroup_layout import remember_layout, remembered_layout
from yurt.host.confine import confined
from yurt.host.gate import bind_socket, spawn_recorded
from yurt.host.machinelog import MachineLog
from yurt.host.tap import open_tap, open_vhost
from yurt.model.host import CgroupLayout, HostFacts
from yurt.model.instance import Instance, ResolvedSpec

SOCKETS = (layout.QMP_SOCKET, layout.AGENT_SOCKET, layout.CONSOLE_SOCKET)
HINTS = (
    (
        "KVM kernel module: Permission",
        "let a group such as `kvm` open /dev/kvm, or start it with `--accel tcg`",
    ),
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

        disk, kernel = attachments.disk, attachments.kernel
        if disk is None:
            raise Invalid("a machine needs a disk")
        inherited = Descriptors(
            qmp=listen(layout.QMP_SOCKET),
            agent=listen(layout.AGENT_SOCKET),
            console=listen(layout.CONSOLE_SOCKET),
            disk=open_file(disk.path, os.O_RDWR),
            base=-1 if disk.base is None else open_file(disk.base, os.O_RDONLY),
            kernel=-1 if kernel is None else open_file(kernel.kernel, os.O_RDONLY),
            initrd=-1 if kernel is None else open_file(kernel.initrd, os.O_RDONLY),
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
    inherited: Descriptors,
    volumes: tuple[VolumeDisk, ...] = (),
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
        descriptors=inherited,
        disk_format=disk.format,
        base_format=disk.base_format,
        kernel_words=kernel.cmdline if kernel else (),
        room=room_for(spec.kind, spec.cpus, spec.memory_bytes, facts.cpus, facts.memory_bytes),
        virtio_disk=disk.virtio,
        limits=spec.limits,
        nics=attachments.nics,
        volumes=volumes,
    )


def launch(driver: str, instance: Instance, attachments: Attachments, facts: HostFacts) -> Started:
    """Start QEMU; the caller waits for its monitor. Blocking, some milliseconds.

    On failure no process is left; files and the control group are for `clear` to remove.
    """
    qemu = facts.tools.get("qemu-system-x86_64", "qemu-system-x86_64")
    setpriv = facts.tools.get("setpriv", "setpriv")
    log, kernel = MachineLog.make(), attachments.kernel
    try:
        with descriptors(attachments) as (inherited, volumes):
            machine = machine_spec(qemu, instance, attachments, facts, inherited, volumes)
            argv = command.machine_argv(machine)
            words = [
                *rlimit_words(instance.spec),
                *confined(
                    argv,
                    attachments.uid,
                    attachments.gid,
                    setpriv,
                    root=os.geteuid() == 0,
                    groups=(kvm_groups() or ()) if machine.accelerator == "kvm" else (),
                ),
            ]
            launched = Launched(
                driver=driver,
                pid=0,
                process_start=0,
                argv=tuple(words),
                versions={"qemu": facts.qemu_version, "kernel": kernel.version if kernel else ""},
                accelerator=machine.accelerator,
                spec=instance.spec,
                attachments=attachments,
            )

            def record(process: proc.Process) -> None:
                nonlocal launched
                launched = replace(launched, pid=process.pid, process_start=process.start)
                write_launched(attachments.run_dir, launched)

            remember_layout(attachments.run_dir, facts.cgroups)
            join = make_group(facts.cgroups, attachments.cgroup, instance.spec, machine.accelerator)
            process = spawn_recorded(
                words,
                record,
                output=log.descriptor,
                pass_fds=(*inherited.all(), *(disk.descriptor for disk in volumes)),
                join=join,
            )
        return Started(launched, process, log)
    except BaseException:
        log.close()
        raise


async def abandon(launching: "asyncio.Task[Started]") -> None:
    """Wait for a launch that nobody wants any more (a thread cannot be cancelled), and end what it has started."""
    await asyncio.wait([launching])
    if not launching.cancelled() and launching.exception() is None:
        await launching.result().process.end(grace_s=0)


def adopt(launched: Launched) -> Started | None:
    """Take hold of a QEMU that another daemon started; None when it is gone."""
    process = proc.Process.adopt(launched.pid, launched.process_start)
    if process is None:
        return None
    log = MachineLog.of_process(launched.pid) or MachineLog(-1)
    return Started(launched, process, log)


def start_failure(launched: Launched, status: int | None, text: str) -> ToolFailed:
    """The error for a QEMU that ended before its monitor answered."""
    hint = next((hint for mark, hint in HINTS if mark in text), "see `yurt logs` and `yurt doctor`")
    qemu = launched.argv[launched.argv.index("--") + 1 :]
    how = proc.describe_status(status) if status is not None else "an unknown status"
    return ToolFailed(argv=qemu, status=how, stderr=text, hint=hint)


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
    """Remove what `launch` made: stray processes of the group, the group, sockets and the record. Idempotent."""
    if group_name and os.geteuid() == 0:
        group = Group(remembered_layout(run_dir, cgroups), group_name)
        if group.exists():
            group.kill()
            group.remove()
    for name in (*SOCKETS, layout.LAUNCHED, layout.CGROUPS):
        (run_dir / name).unlink(missing_ok=True)
