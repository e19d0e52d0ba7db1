"""What the owner of a host may decide for all instances: the contents of `yurt.toml`. No I/O."""

from typing import Annotated

import msgspec
from msgspec import Meta

from yurt.model.instance import NetworkMode

Ratio = Annotated[float, Meta(ge=0.1, le=1000)]


class NetworkSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`default`: the network of instances that name none; left out, `managed` where the host can, else `user`."""

    default: NetworkMode | None = None


class AdmissionSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How much more may be promised than is there: vCPUs, memory of machines, disk sizes."""

    cpu_overcommit: Ratio = 4.0
    memory_overcommit: Ratio = 1.0
    disk_overcommit: Ratio = 10.0


class Settings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """All of it; an absent file means all defaults."""

    network: NetworkSettings = NetworkSettings()
    admission: AdmissionSettings = AdmissionSettings()
