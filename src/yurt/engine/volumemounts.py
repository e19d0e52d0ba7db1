"""What a guest is told to mount, and telling one that runs."""

import asyncio
from typing import TYPE_CHECKING

from yurt.drivers.agent.config import GuestMount
from yurt.engine.records import Records
from yurt.errors import Busy, YurtError
from yurt.model.instance import Instance, Kind
from yurt.model.process import ExecRequest
from yurt.model.volume import Volume, VolumeForm, VolumeUse

if TYPE_CHECKING:
    from yurt.engine.core import Core

AGENT_PATIENCE_S = 5.0
AGAIN_S = (0.2, 1.0)  # a disk that has only just come may not open yet, and nothing tells when it does
MAX_TAG = 36  # bytes that virtiofs has room for


def share_tag(number: int) -> str:
    """The tag of an instance's share, by its place in the spec."""
    return f"share{number}"


def volume_tag(volume: Volume) -> str:
    """The tag of a file-system volume in a machine: of one volume only, and at most 36 characters.

    A name that is too long for that is not cut off, as two would then look alike: its id stands for it. The dot keeps
    an id apart from names, which have none.
    """
    tag = f"volume-{volume.name}"
    return tag if len(tag) <= MAX_TAG else f"volume.{volume.id}"


def guest_mounts(records: Records, instance: Instance) -> tuple[GuestMount, ...]:
    """What the agent of a machine mounts, outer directories first. A container's mounts are made for it."""
    if instance.spec.kind is Kind.CONTAINER:
        return ()
    mounts = [
        volume_mount(volume, use)
        for use in instance.spec.volumes
        if use.path and (volume := records.volumes.get(use.volume)) is not None
    ]
    mounts += [
        GuestMount(kind="share", source=share_tag(number), target=share.target, read_only=share.read_only)
        for number, share in enumerate(instance.spec.shares)
    ]
    return tuple(sorted(mounts, key=lambda mount: mount.target))


def volume_mount(volume: Volume, use: VolumeUse) -> GuestMount:
    """How a guest mounts one volume."""
    block = volume.form is VolumeForm.BLOCK
    return GuestMount(
        kind="disk" if block else "share",
        source=volume.name if block else volume_tag(volume),
        target=use.path,
        read_only=use.read_only,
    )


async def mount_now(core: "Core", instance: Instance, volume: Volume, use: VolumeUse) -> str:
    """Let the agent mount a disk that was just plugged in. Returns why it could not, or nothing."""
    live = core.lives.get(instance.id)
    if live is None:
        return "no agent answers: mount it in the guest"
    for pause_s in (*AGAIN_S, None):
        try:
            client = await live.agent(timeout_s=AGENT_PATIENCE_S)
            await client.mount((volume_mount(volume, use),))
            break
        except YurtError as error:
            if pause_s is None:
                return f"it is not mounted: {error.message}"
            await asyncio.sleep(pause_s)
    return ""


async def unmount_now(core: "Core", instance: Instance, use: VolumeUse) -> None:
    """Let the guest unmount a volume. Raises Busy when its programs use it; without an agent nothing is done."""
    live = core.lives.get(instance.id)
    try:
        if live is None:
            return
        client = await live.agent(timeout_s=AGENT_PATIENCE_S)
    except YurtError:
        return  # the guest deals with its disks itself, and letting go of the device is asked of it anyway
    session = await client.exec(ExecRequest(argv=("umount", use.path)))
    words = bytearray()
    try:
        while (item := await session.read()) is not None:
            words += item[1][: 4096 - len(words)]
        code = await session.wait()
    finally:
        await session.close()
    text = words.decode(errors="replace").strip()
    if code and "not mounted" not in text and "nvalid argument" not in text:
        raise Busy(
            f"`{instance.name}` still uses `{use.path}`",
            hint="end the programs in it that have files open there, then try again",
        )
