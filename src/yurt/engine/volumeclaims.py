"""Who has a volume. A claim is written in the transaction that begins a verb, so of two that want one, one wins."""

from msgspec.structs import replace

from yurt.engine.records import Records, Writes, put_volume
from yurt.errors import Busy, Exists, Invalid, NotFound, Unsupported, WrongState
from yurt.model.instance import Kind
from yurt.model.volume import Volume, VolumeForm, VolumeUse


def get_volume(records: Records, name: str) -> Volume:
    """One volume. Raises NotFound with the command that makes it."""
    found = records.volumes.get(name)
    if found is None:
        raise NotFound(
            kind="volume",
            name=name,
            hint=f"see `yurt volume ls`, or make it with `yurt volume create {name}`",
        )
    return found


def require_free_name(records: Records, name: str) -> None:
    """Raise Exists when there is a volume of this name."""
    if name in records.volumes:
        raise Exists(
            kind="volume",
            name=name,
            hint=f"choose another name, or delete it with `yurt volume delete {name}`",
        )


def holder_name(records: Records, volume: Volume) -> str:
    """The name of the instance that has a volume; also of one that is only just being created."""
    instance = records.instances.get(volume.attached_to)
    if instance is not None:
        return str(instance.name)
    return next(
        (name for name, found in records.names.items() if found == volume.attached_to), volume.attached_to
    )


def require_idle(records: Records, volume: Volume, operation_id: str = "") -> None:
    """Raise Busy when another operation holds the volume."""
    holder = records.operations.get(volume.operation or "")
    if holder is not None and not holder.status.ended and holder.id != operation_id:
        raise Busy(
            kind="volume",
            name=volume.name,
            operation=holder.verb,
            hint=f"wait for it with `yurt operation {holder.id} --wait`",
        )


def require_detached(records: Records, volume: Volume) -> None:
    """Raise WrongState when an instance has the volume."""
    if volume.attached_to:
        name = holder_name(records, volume)
        raise WrongState(
            f"volume `{volume.name}` is attached to `{name}`",
            hint=f"detach it first with `yurt volume detach {volume.name}`, or delete `{name}`",
        )


def require_form(volume: Volume, use: VolumeUse, kind: Kind) -> None:
    """Refuse a volume of a form that this kind of instance cannot have. Raises Unsupported, Invalid."""
    if kind is Kind.CONTAINER and volume.form is VolumeForm.BLOCK:
        raise Unsupported(
            f"volume `{volume.name}` is a block volume, and a container has no disks",
            hint="make one with `yurt volume create NAME --filesystem`",
        )
    if volume.form is VolumeForm.FILESYSTEM and not use.path:
        raise Invalid(
            f"where is volume `{volume.name}` to be mounted?", hint=f"write `{volume.name}:/srv/data`"
        )
    if use.read_only and volume.form is VolumeForm.BLOCK and not use.path:
        raise Invalid("a disk without a path cannot be read-only", hint="leave out `:ro`, or give a path")


def claim_volume(
    records: Records, use: VolumeUse, kind: Kind, instance_id: str, operation_id: str = ""
) -> Volume:
    """The record of a volume as attached to an instance. Raises NotFound, Busy, WrongState, Unsupported, Invalid."""
    volume = get_volume(records, use.volume)
    require_idle(records, volume, operation_id)
    if volume.attached_to != instance_id:
        require_detached(records, volume)
    require_form(volume, use, kind)
    return replace(volume, attached_to=instance_id)


def claim_all(records: Records, uses: tuple[VolumeUse, ...], kind: Kind, instance_id: str) -> Writes:
    """The writes that give all volumes of a new instance to it. Raises as `claim_volume` does; all or none."""
    return [put_volume(claim_volume(records, use, kind, instance_id)) for use in uses]


def release_all(records: Records, instance_id: str) -> Writes:
    """The writes that let go of every volume of an instance that is no more."""
    return [
        put_volume(replace(volume, attached_to=""))
        for volume in records.volumes.values()
        if volume.attached_to == instance_id
    ]
