"""Gathers what a driver is given: disk or tree, kernel, agent, configuration. Resources first, driver last."""

import asyncio
import contextlib
import os
from pathlib import Path

from msgspec.structs import replace

from yurt.drivers.agent.config import encode_config
from yurt.drivers.base import Attachments, DiskAttachment, KernelAttachment, RootfsAttachment
from yurt.drivers.container.bundle import boots_systemd, systemd_arguments
from yurt.drivers.trees import trees_of
from yurt.engine.attach_volumes import share_attachments, volume_attachments
from yurt.engine.core import Core
from yurt.engine.networking import plug_in
from yurt.errors import Invalid, Unavailable, Unsupported
from yurt.host import layout as names
from yurt.host.files import write_atomic
from yurt.images.kernel import write_instance_initrd
from yurt.model.image import DiskFormat, Image
from yurt.model.instance import Instance, Kind
from yurt.model.operation import Progress
from yurt.storage.qcow2 import create_overlay, grow_gpt, resize_overlay, virtual_size
from yurt.storage.space import require

INITRD = "initrd"
MIN_FREE = 256 << 20


def base_format(kind: Kind) -> DiskFormat:
    """The format of the shared form under a machine's disk."""
    return DiskFormat.RAW if kind is Kind.MICROVM else DiskFormat.QCOW2


async def make_base(core: Core, image: Image, kind: Kind, report: Progress) -> Path:
    """Return the shared form that instances of this image and kind lie over; built when it is missing."""
    if kind is Kind.CONTAINER:
        return await core.images.rootfs_dir(image, report)
    if kind is Kind.MICROVM:
        return await core.images.root_disk(image, report)
    return await core.boot_disk(image, report)


async def make_disk(core: Core, instance_id: str, kind: Kind, base: Path, disk_bytes: int) -> None:
    """Make the instance's state directory and what it may write to. Raises Exhausted when there is no room."""
    directory = core.layout.instance_state(instance_id)
    require(directory.parent, MIN_FREE, "the new instance")
    await asyncio.to_thread(lambda: directory.mkdir(mode=0o711, parents=True, exist_ok=True))
    if kind is Kind.CONTAINER:
        return
    overlay = directory / names.DISK
    overlay.unlink(missing_ok=True)
    form = base_format(kind)
    base_bytes = await virtual_size(base, form)
    size = max(disk_bytes, base_bytes)
    await create_overlay(overlay, base, form, size)
    if kind is Kind.VM and size > base_bytes:
        await grow_gpt(overlay, size, base_bytes)


async def grow_disk(core: Core, instance: Instance) -> None:
    """Bring the overlay of a machine that rests to the size in its record; the guest's first program does the rest.

    Safe to repeat: the old size is written down until a partition table has been enlarged, too.
    """
    directory, wanted = core.layout.instance_state(instance.id), instance.spec.disk_bytes
    overlay, note = directory / names.DISK, directory / names.GROWING
    old = int(note.read_text()) if note.exists() else await virtual_size(overlay, DiskFormat.QCOW2)
    if old >= wanted:
        return
    write_atomic(note, str(old).encode())
    await resize_overlay(overlay, wanted)
    if instance.spec.kind is Kind.VM:
        try:
            await grow_gpt(overlay, wanted, old)
        except Invalid as error:  # the guest has partitioned it anew: then it knows what to do with the room
            core.note(instance, f"partitions left as they are: {error.message}")
    note.unlink()


def require_passage(path: Path, uid: int) -> None:
    """Refuse a place that a container's root, who is `uid` here, could not reach: it mounts what lies there.

    An ordinary user's containers have that user as root, and so may lie in directories of mode 0700 such as /run/user/1000.
    """
    for parent in reversed(path.resolve().parents):
        if not may_pass(parent.stat(), uid):
            raise Unsupported(
                f"other users may not enter `{parent}`, and a container's users are such",
                hint=f"`chmod o+x {parent}`, or put YURT_HOME somewhere else",
            )


def may_pass(directory: os.stat_result, uid: int) -> bool:
    """Whether a user without groups may go through a directory. Pure."""
    return bool(directory.st_mode & (0o100 if directory.st_uid == uid else 0o001))


async def attachments(core: Core, instance: Instance, report: Progress) -> Attachments:
    """Build the attachments of one start. Raises Unavailable when the instance's base form is gone."""
    spec, run_dir = instance.spec, core.run_dir(instance.id)
    state_dir = core.layout.instance_state(instance.id)
    base = Path(instance.base)
    if not base.exists():
        raise Unavailable(
            f"the image data under `{instance.name}` is gone: {base}",
            hint=f"build it again with `yurt image build {spec.image.partition(':')[0]}`",
        )
    uid = core.ids.machine_uid(instance.slot)
    boot = core.boot_config(instance)
    if spec.kind is Kind.CONTAINER and boots_systemd(spec):
        boot = replace(boot, init_args=systemd_arguments(core.facts.cgroups))
    config = encode_config(boot)
    given = Attachments(
        run_dir=run_dir,
        state_dir=state_dir,
        uid=uid,
        gid=uid,
        cgroup=f"yurt/{instance.id}",
        config=config,
        volumes=await volume_attachments(core, instance, report),
        shares=share_attachments(core, instance),
        host_ids=core.ids.container_ids(instance.slot),
    )
    given = replace(given, nics=await plug_in(core, instance))
    if spec.kind is Kind.CONTAINER:
        await asyncio.to_thread(require_passage, run_dir, given.host_ids[0])
        return replace(
            given,
            rootfs=RootfsAttachment(lower=base, data=state_dir / names.DATA, size_bytes=spec.disk_bytes),
            agent_binary=await core.agent(),
        )
    await grow_disk(core, instance)
    disk = DiskAttachment(
        path=state_dir / names.DISK,
        format=DiskFormat.QCOW2,
        base=base,
        base_format=base_format(spec.kind),
        virtio=True,  # every disk that yurt makes carries the driver in its initrd
    )
    kernel = None
    if spec.kind is Kind.MICROVM:
        found = await core.kernels.cloud(report)
        shared = await core.kernels.initrd(
            found, await core.agent(), "micro-shares" if trees_of(given) else "micro"
        )
        own = run_dir / INITRD
        await asyncio.to_thread(write_instance_initrd, shared, config, own)
        with contextlib.suppress(PermissionError):
            os.chown(own, uid, uid)
        kernel = KernelAttachment(kernel=found.vmlinux, initrd=own, version=found.version)
    return replace(given, disk=disk, kernel=kernel, accelerator=await core.accelerator_for(instance))
