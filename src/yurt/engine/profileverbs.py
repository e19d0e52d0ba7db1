"""Verbs on profiles. Each is one transaction on one record, so there is nothing to undo and nothing to wait for."""

from msgspec.structs import replace

from yurt.engine.core import Core
from yurt.engine.profiles import change, expand, find_profiles
from yurt.engine.records import Writes, put_profile
from yurt.errors import Denied, Exists, NotFound, WrongState
from yurt.model.instance import InstanceSpec
from yurt.model.names import parse_name
from yurt.model.profile import SIZES, Profile, ProfileSettings, ProfileSpec
from yurt.state.base import Delete


class Profiles:
    """The profiles of a daemon: those that ship and those that users made."""

    def __init__(self, core: Core) -> None:
        self.core = core

    async def all(self) -> list[Profile]:
        """All profiles: the sizes that ship, smallest first, then the others by name."""
        return [*SIZES.values(), *sorted(self.core.records.profiles.values(), key=lambda each: each.name)]

    async def get(self, name: str) -> Profile:
        """One profile. Raises NotFound."""
        return find_profiles([name], self.core.records.profiles)[0]

    def users(self, name: str) -> list[str]:
        """The names of the instances that were created with a profile."""
        instances = self.core.records.instances.values()
        return sorted(each.name for each in instances if name in each.spec.profiles)

    async def create(self, spec: ProfileSpec) -> Profile:
        """Make a profile. Raises Exists."""
        now = self.core.clock.now()
        made = Profile(name=parse_name(spec.name), settings=spec.settings, created_at=now, changed_at=now)

        def writes() -> Writes:
            if made.name in SIZES or made.name in self.core.records.profiles:
                raise Exists(kind="profile", name=made.name, hint="choose another name")
            return [put_profile(made)]

        await self.core.records.write(writes)
        self.core.bus.publish("profile.created", made.name)
        return made

    async def set(self, name: str, settings: ProfileSettings, unset: list[str]) -> Profile:
        """Change a profile; instances that were created with it stay as they are. Raises NotFound, Denied, Invalid."""
        self._require_own(name, "changed")

        def writes() -> Writes:
            known = self._stored(name)
            return [
                put_profile(
                    replace(
                        known,
                        settings=change(known.settings, settings, unset),
                        changed_at=self.core.clock.now(),
                    )
                )
            ]

        await self.core.records.write(writes)
        self.core.bus.publish("profile.set", name)
        return self.core.records.profiles[name]

    async def delete(self, name: str, *, force: bool) -> Profile:
        """Delete a profile; with `force` also one that instances were created with. Returns what it was."""
        self._require_own(name, "deleted")
        known = self._stored(name)

        def writes() -> Writes:
            self._stored(name)
            users = self.users(name)
            if users and not force:
                raise WrongState(
                    f"profile `{name}` is in use: {_few(users)} created with it",
                    hint="add --force: they stay as they are",
                )
            return [Delete(f"profiles/{name}")]

        await self.core.records.write(writes)
        self.core.bus.publish("profile.deleted", name)
        return known

    def expanded(self, spec: InstanceSpec) -> InstanceSpec:
        """A wish with what its profiles add. Raises NotFound, Invalid."""
        return expand(spec, find_profiles(spec.profiles, self.core.records.profiles))

    def _stored(self, name: str) -> Profile:
        known = self.core.records.profiles.get(name)
        if known is None:
            raise NotFound(kind="profile", name=name, hint="see `yurt profile ls`")
        return known

    def _require_own(self, name: str, done: str) -> None:
        if name in SIZES:
            raise Denied(
                f"profile `{name}` is built in and cannot be {done}",
                hint="make one of your own with `yurt profile create`",
            )


def _few(names: list[str]) -> str:
    shown = ", ".join(f"`{name}`" for name in names[:3])
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    return f"{shown}{more} " + ("was" if len(names) == 1 else "were")
