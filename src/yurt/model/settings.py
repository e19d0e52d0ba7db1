"""What the owner of a host may decide for all instances: the contents of `yurt.toml`. No I/O."""

from typing import Annotated

import msgspec
from msgspec import Meta

from yurt.errors import Invalid
from yurt.model.instance import NetworkMode
from yurt.units import parse_size

Ratio = Annotated[float, Meta(ge=0.1, le=1000)]


class NetworkSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`default`: the network of instances that name none; left out, `managed` where the host can, else `user`."""

    default: NetworkMode | None = None


class AdmissionSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How much more may be promised than is there: vCPUs, memory, disk sizes; `memory_kept_free` is never promised."""

    cpu_overcommit: Ratio = 16.0
    memory_overcommit: Ratio = 1.0
    disk_overcommit: Ratio = 10.0
    memory_kept_free: str = "512M"

    def __post_init__(self) -> None:
        try:
            parse_size(self.memory_kept_free)
        except Invalid as error:
            raise ValueError(f"memory_kept_free: {error.message}") from error

    @property
    def memory_kept_free_bytes(self) -> int:
        return parse_size(self.memory_kept_free)


class ImportSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What one import may cost: the upload, the disk it stands for, the tree it unpacks to, how many files, how long."""

    upload_bytes: str = "64G"
    disk_bytes: str = "2T"
    tree_bytes: str = "32G"
    members: Annotated[int, Meta(ge=1, le=100_000_000)] = 1_000_000
    seconds: Annotated[float, Meta(ge=1, le=86400)] = 3600.0

    def __post_init__(self) -> None:
        for name in ("upload_bytes", "disk_bytes", "tree_bytes"):
            try:
                parse_size(getattr(self, name))
            except Invalid as error:
                raise ValueError(f"{name}: {error.message}") from error

    @property
    def upload_size(self) -> int:
        return parse_size(self.upload_bytes)

    @property
    def disk_size(self) -> int:
        return parse_size(self.disk_bytes)

    @property
    def tree_size(self) -> int:
        return parse_size(self.tree_bytes)


class Settings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """All of it; an absent file means all defaults."""

    network: NetworkSettings = NetworkSettings()
    admission: AdmissionSettings = AdmissionSettings()
    imports: ImportSettings = ImportSettings()
