"""Volumes (storage that outlives instances) and shares (directories of the host inside a guest). No I/O."""

from enum import StrEnum
from typing import Annotated

import msgspec
from msgspec import Meta

from yurt.model.names import Name

GuestPath = Annotated[str, Meta(min_length=1, max_length=4095)]
VolumeBytes = Annotated[int, Meta(ge=1 << 20, le=64 << 40)]


class VolumeForm(StrEnum):
    """`block`: a disk of its own for machines. `filesystem`: a tree that containers mount, and machines as a share."""

    BLOCK = "block"
    FILESYSTEM = "filesystem"


class VolumeSpec(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A wish for a volume."""

    name: Annotated[str, Meta(max_length=255)]
    form: VolumeForm = VolumeForm.BLOCK
    size_bytes: VolumeBytes = 10 << 30
    labels: Annotated[dict[str, str], Meta(max_length=64)] = {}


class Volume(msgspec.Struct, frozen=True, kw_only=True):
    """The stored record of a volume. Who has it is in the instances' specs; `attached_to` is that instance's id."""

    id: str
    name: Name
    form: VolumeForm
    size_bytes: int
    labels: dict[str, str] = {}
    attached_to: str = ""
    created_at: float = 0.0
    operation: str | None = None
    version: int = 1


class VolumeUse(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A volume in an instance. `path`: where it is mounted in the guest; empty for a disk the guest deals with itself."""

    volume: Annotated[str, Meta(min_length=1, max_length=255)]
    path: Annotated[str, Meta(max_length=4095)] = ""
    read_only: bool = False


class Share(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A directory of the host, by absolute path, that the guest sees under `target`."""

    source: GuestPath
    target: GuestPath
    read_only: bool = False
