"""Profiles: named sets of settings for instances to come."""

from typing import Annotated

import msgspec
from msgspec import Meta

from yurt.api.face import EngineFace
from yurt.api.table import Call, Nothing, Permission, operation
from yurt.model.profile import SIZES, Profile, ProfileSettings, ProfileSpec


class ProfileView(msgspec.Struct, frozen=True, kw_only=True):
    """One profile. `builtin`: it ships, and cannot be changed. `used_by`: instances that were created with it."""

    name: str
    settings: ProfileSettings
    builtin: bool
    used_by: list[str]
    created_at: float = 0.0
    changed_at: float = 0.0


class SetProfileBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What is given replaces what is there; `limits` and `policy` part by part. `unset`: such as `memory_bytes`, `env.A`."""

    settings: ProfileSettings = ProfileSettings()
    unset: Annotated[tuple[Annotated[str, Meta(max_length=512)], ...], Meta(max_length=64)] = ()


class DeleteProfileQuery(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`force`: also when instances were created with it."""

    force: bool = False


def _view(engine: EngineFace, profile: Profile) -> ProfileView:
    return ProfileView(
        name=profile.name,
        settings=profile.settings,
        builtin=profile.name in SIZES,
        used_by=engine.profiles.users(profile.name),
        created_at=profile.created_at,
        changed_at=profile.changed_at,
    )


@operation("GET", "/v1/profiles", "List profiles", permission=Permission.VIEW, response=list[ProfileView])
async def list_profiles(call: Call[Nothing, Nothing]) -> object:
    """Those that ship, then the others by name."""
    return [_view(call.engine, each) for each in await call.engine.profiles.all()]


@operation("POST", "/v1/profiles", "Create a profile", body=ProfileSpec, response=ProfileView)
async def create_profile(call: Call[Nothing, ProfileSpec]) -> object:
    """Make a profile."""
    return _view(call.engine, await call.engine.profiles.create(call.body))


@operation(
    "GET", "/v1/profiles/{name}", "Describe a profile", permission=Permission.VIEW, response=ProfileView
)
async def get_profile(call: Call[Nothing, Nothing]) -> object:
    """One profile."""
    return _view(call.engine, await call.engine.profiles.get(call.path["name"]))


@operation(
    "POST",
    "/v1/profiles/{name}/set",
    "Change a profile",
    body=SetProfileBody,
    response=ProfileView,
    notes="Instances that were created with it stay as they are.",
)
async def set_profile(call: Call[Nothing, SetProfileBody]) -> object:
    """Change a profile, for instances to come."""
    body = call.body
    changed = await call.engine.profiles.set(call.path["name"], body.settings, list(body.unset))
    return _view(call.engine, changed)


@operation(
    "DELETE", "/v1/profiles/{name}", "Delete a profile", query=DeleteProfileQuery, response=ProfileView
)
async def delete_profile(call: Call[DeleteProfileQuery, Nothing]) -> object:
    """Delete a profile, and tell what it was."""
    gone = await call.engine.profiles.delete(call.path["name"], force=call.query.force)
    return _view(call.engine, gone)


ENDPOINTS = (list_profiles, create_profile, get_profile, set_profile, delete_profile)
