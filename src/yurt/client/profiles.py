"""Profiles: their calls, and their part of the SDK."""

from collections.abc import Mapping, Sequence

from yurt.client import requests
from yurt.client.calls import Calls
from yurt.model.profile import Profile


class Profiles:
    """The profiles of a daemon. Settings are those of `yurt.model.profile.ProfileSettings`, as plain values."""

    def __init__(self, calls: Calls) -> None:
        self._calls = calls

    def list(self) -> "list[Profile]":
        """Those that ship, then the others by name."""
        return self._calls.get(requests.list_profiles(), list[Profile])

    def get(self, name: str) -> Profile:
        """One profile. Raises NotFound."""
        return self._calls.get(requests.get_profile(name), Profile)

    def create(self, name: str, settings: Mapping[str, object]) -> Profile:
        """Make a profile. Raises Exists."""
        return self._calls.get(requests.create_profile(name, dict(settings)), Profile)

    def set(
        self, name: str, settings: Mapping[str, object] | None = None, *, unset: Sequence[str] = ()
    ) -> Profile:
        """Change a profile, for instances to come; `unset` such as `memory_bytes` or `env.HOME`."""
        return self._calls.get(requests.set_profile(name, dict(settings or {}), list(unset)), Profile)

    def delete(self, name: str, *, force: bool = False) -> Profile:
        """Delete a profile; `force`: also when instances were created with it."""
        return self._calls.get(requests.delete_profile(name, force=force), Profile)
