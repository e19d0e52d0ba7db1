"""Profiles: named, stackable sets of settings for instances that will be created. No I/O."""

from typing import Annotated

import msgspec
from msgspec import Meta

from yurt.model.instance import (
    MIB,
    AccelMode,
    Cpus,
    DiskBytes,
    Environment,
    Init,
    Kind,
    Labels,
    MemoryBytes,
    NetworkMode,
    Nics,
    Privileges,
    Published,
    Rules,
    Shares,
    Volumes,
)
from yurt.model.limits import Limits
from yurt.model.names import NAME_PATTERN, Name
from yurt.model.policy import PolicyWish


class ProfileSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The part of a wish that a profile can hold. What is `None` or empty is left to others."""

    kind: Kind | None = None
    cpus: Cpus | None = None
    memory_bytes: MemoryBytes | None = None
    disk_bytes: DiskBytes | None = None
    env: Environment = {}
    labels: Labels = {}
    init: Init | None = None
    network: NetworkMode | None = None
    nics: Nics = ()
    publish: Published = ()
    rules: Rules = ()
    limits: Limits = Limits()
    policy: PolicyWish = PolicyWish()
    volumes: Volumes = ()
    shares: Shares = ()
    privileges: Privileges = ()
    accel: AccelMode | None = None


class ProfileSpec(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A wish for a profile."""

    # the pattern is only published here: `parse_name` checks it, and says in words what is wrong
    name: Annotated[str, Meta(max_length=255, extra_json_schema={"pattern": NAME_PATTERN})]
    settings: ProfileSettings = ProfileSettings()


class Profile(msgspec.Struct, frozen=True, kw_only=True):
    """The stored record of a profile. Those that ship are stored nowhere; their `created_at` is 0."""

    name: Name
    settings: ProfileSettings
    created_at: float = 0.0
    changed_at: float = 0.0
    version: int = 1


def _size(name: str, cpus: int, memory_mib: int) -> Profile:
    return Profile(name=Name(name), settings=ProfileSettings(cpus=cpus, memory_bytes=memory_mib * MIB))


SIZES: dict[str, Profile] = {
    each.name: each
    for each in (
        _size("micro", 1, 256),
        _size("small", 1, 1024),
        _size("medium", 2, 2048),
        _size("large", 4, 4096),
        _size("xlarge", 8, 8192),
    )
}
