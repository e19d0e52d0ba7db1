"""Volumes (storage that outlives instances) and shares (directories of the host inside a guest). No I/O."""

from enum import StrEnum
from typing import Annotated

import msgspec
from msgspec import Meta

from yurt.model.names import Name

GuestPath = Annotated[str, Meta(min_length=1, max_length=4095)]
MIN_BYTES, MAX_BYTES = 16 << 20, 16 << 40
VolumeBytes = Annotated[int, Meta(ge=MIN_BYTES, le=MAX_BYTES)]
ROOT_SERIAL = "yurt:root"  # of a microVM's root disk; no volume can have that name
MAX_SERIAL = 20  # what virtio has room for; a block volume's name is its disk's serial number


class VolumeForm(StrEnum):
    """`block`: a disk of its own for machines. `filesystem`: a tree that containers mount, and machines as a share."""

    BLOCK = "block"
    FILESYSTEM = "filesystem"


class ImportFormat(StrEnum):
    """What a disk image may be that becomes a volume. It is always named, never guessed."""

    RAW = "raw"
    QCOW2 = "qcow2"
    VMDK = "vmdk"
    VHD = "vhd"
    VHDX = "vhdx"
    VDI = "vdi"
    PARALLELS = "parallels"


class VolumeSpec(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A wish for a volume. No size: 10 GiB for a block volume, no limit for a file-system volume."""

    name: Annotated[str, Meta(max_length=255)]
    form: VolumeForm = VolumeForm.BLOCK
    size_bytes: VolumeBytes | None = None
    labels: Annotated[dict[str, str], Meta(max_length=64)] = {}


class Volume(msgspec.Struct, frozen=True, kw_only=True):
    """The stored record of a volume. `attached_to` is the id of the instance whose spec names it, running or not.

    `size_bytes` 0 (filesystem only): the host's file system sets the limit.
    """

    id: str
    name: Name
    form: VolumeForm
    size_bytes: int
    labels: dict[str, str] = {}
    attached_to: str = ""
    created_at: float = 0.0
    operation: str | None = None
    version: int = 1


class VolumeInfo(msgspec.Struct, frozen=True, kw_only=True):
    """A volume as it is shown: `instance` by name, `path` where it is mounted there, what it takes on the host's disk."""

    id: str
    name: str
    form: VolumeForm
    size_bytes: int
    used_bytes: int = 0
    labels: dict[str, str] = {}
    instance: str = ""
    path: str = ""
    read_only: bool = False
    created_at: float = 0.0
    operation: str | None = None


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
