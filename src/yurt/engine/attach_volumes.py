"""What a driver is given of volumes: the files, made ready for a guest that is about to use them."""

import os
from pathlib import Path

from yurt.drivers.base import ShareAttachment, VolumeAttachment
from yurt.engine.core import Core
from yurt.engine.volumeclaims import get_volume
from yurt.engine.volumemounts import share_tag, volume_tag
from yurt.errors import Unavailable
from yurt.host.trees import open_source
from yurt.model.image import DiskFormat
from yurt.model.instance import Instance
from yurt.model.operation import Progress
from yurt.model.volume import Share, Volume, VolumeForm, VolumeUse
from yurt.storage import volumes as storage


async def volume_attachments(
    core: Core, instance: Instance, report: Progress
) -> tuple[VolumeAttachment, ...]:
    """The volumes of an instance that starts. Raises Unavailable when the files of one are gone."""
    given = []
    for use in instance.spec.volumes:
        volume = get_volume(core.records, use.volume)
        report(f"preparing volume `{volume.name}`", None)
        await prepare_volume(core, volume, use)
        given.append(volume_attachment(core, volume, use))
    return tuple(given)


def share_attachments(core: Core, instance: Instance) -> tuple[ShareAttachment, ...]:
    """The shares of an instance that starts. Raises NotFound, Invalid for a source that is gone or not to be shared."""
    check_sources(core, instance.spec.shares)
    return tuple(
        ShareAttachment(
            source=Path(share.source), target=share.target, tag=share_tag(number), read_only=share.read_only
        )
        for number, share in enumerate(instance.spec.shares)
    )


def check_sources(core: Core, shares: tuple[Share, ...]) -> None:
    """Refuse shares whose source is not there, or is nobody's to share. Raises NotFound, Invalid, Denied."""
    for share in shares:
        os.close(open_source(Path(share.source), (core.layout.state, core.layout.run)))


async def prepare_volume(core: Core, volume: Volume, use: VolumeUse) -> None:
    """Make a volume fit for its use: a blank disk that is to be mounted gets a file system, a grown tree its room.

    A disk that was ever written to is never formatted. Only while no guest uses it. Safe to repeat.
    """
    directory = core.layout.volumes / volume.id
    if not directory.is_dir():
        raise Unavailable(
            f"the files of volume `{volume.name}` are gone: {directory}",
            hint="put them back, or detach the volume",
        )
    if volume.form is VolumeForm.FILESYSTEM:
        await storage.settle_tree(directory)
    elif use.path and not use.read_only:
        await storage.format_blank(directory / storage.IMAGE)


def volume_attachment(core: Core, volume: Volume, use: VolumeUse) -> VolumeAttachment:
    """The driver's view of one volume."""
    directory = core.layout.volumes / volume.id
    tree = volume.form is VolumeForm.FILESYSTEM
    name = storage.IMAGE if not tree else storage.TREE_IMAGE if volume.size_bytes else storage.TREE
    limited = tree and bool(volume.size_bytes)
    return VolumeAttachment(
        name=volume.name,
        path=directory / name,
        format=DiskFormat.RAW if limited else DiskFormat.QCOW2,
        directory=tree,
        tag=volume_tag(volume) if tree else "",
        target=use.path,
        read_only=use.read_only,
    )
