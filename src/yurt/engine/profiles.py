"""What profiles make of a wish: one pure step before `resolve`.

Later profiles win over earlier ones, and what the wish says itself wins over all. Values replace each other; `env`,
`labels`, `limits` and `policy` are merged key by key; lists are joined. Of firewall rules the first that matches decides, so
there those of the winner come first; in all other lists they come last.
"""

from collections.abc import Iterable
from functools import reduce

import msgspec
from msgspec.structs import asdict, replace

from yurt.errors import Invalid, NotFound
from yurt.model.instance import Init, InstanceSpec
from yurt.model.profile import SIZES, Profile, ProfileSettings

FIELDS = ProfileSettings.__struct_fields__
MAPS = ("env", "labels")
PARTS = ("limits", "policy")  # structs of which each field is a setting by itself
LISTS = ("nics", "publish", "volumes", "shares")


def merge(under: ProfileSettings, over: ProfileSettings) -> ProfileSettings:
    """Lay one set of settings over another."""
    merged: dict[str, object] = {}
    for field in FIELDS:
        low, high = getattr(under, field), getattr(over, field)
        if field in MAPS:
            merged[field] = {**low, **high}
        elif field in PARTS:
            merged[field] = replace(
                low, **{key: value for key, value in asdict(high).items() if value is not None}
            )
        elif field in LISTS:
            merged[field] = (*low, *high)
        elif field == "rules":
            merged[field] = (*high, *low)
        elif field == "privileges":
            merged[field] = tuple(dict.fromkeys((*low, *high)))
        else:
            merged[field] = low if high is None else high
    return ProfileSettings(**merged)  # type: ignore[arg-type]  # each field came from its like


def settings_of(spec: InstanceSpec) -> ProfileSettings:
    """The part of a wish that profiles could have held."""
    init = None if spec.init is Init.AUTO else spec.init
    return ProfileSettings(**{field: getattr(spec, field) for field in FIELDS if field != "init"}, init=init)


def expand(spec: InstanceSpec, profiles: Iterable[Profile]) -> InstanceSpec:
    """The wish with everything that its profiles add. Raises Invalid when together they are more than an instance takes."""
    given = [*(profile.settings for profile in profiles), settings_of(spec)]
    merged = reduce(merge, given, ProfileSettings())
    fields = {field: getattr(merged, field) for field in FIELDS}
    made = replace(spec, **{**fields, "init": merged.init or Init.AUTO})
    try:
        return msgspec.convert(msgspec.to_builtins(made), InstanceSpec)
    except msgspec.ValidationError as error:
        raise Invalid(
            f"the profiles and the wish together cannot be: {str(error)[:1].lower()}{str(error)[1:]}",
            hint="leave out a profile",
        ) from error


def find_profiles(names: Iterable[str], stored: dict[str, Profile]) -> list[Profile]:
    """The profiles of these names, in their order. Raises NotFound, and Invalid for one that is named twice."""
    found: list[Profile] = []
    for name in names:
        profile = SIZES.get(name) or stored.get(name)
        if profile is None:
            raise NotFound(kind="profile", name=name, hint="see `yurt profile ls`")
        if profile in found:
            raise Invalid(f"profile `{name}` is named twice", hint="name each profile once")
        found.append(profile)
    return found


def change(settings: ProfileSettings, over: ProfileSettings, unset: Iterable[str]) -> ProfileSettings:
    """Settings with some taken away and others put in place: a list or a map that is given replaces the old one.

    `unset` names fields, or with a dot one part of a map, of `limits` or of `policy`, such as `env.HOME`. Raises Invalid.
    """
    for word in unset:
        settings = _without(settings, word)
    plain = ProfileSettings()
    given = {field: getattr(over, field) for field in FIELDS if getattr(over, field) != getattr(plain, field)}
    for field in PARTS:
        if field in given:
            given[field] = getattr(merge(settings, over), field)
    return replace(settings, **given)


def _without(settings: ProfileSettings, word: str) -> ProfileSettings:
    field, _, part = word.partition(".")
    if field not in FIELDS:
        raise Invalid(f"a profile has no `{field}`", hint=f"one of {', '.join(FIELDS)}")
    if not part:
        return replace(settings, **{field: getattr(ProfileSettings(), field)})
    held = getattr(settings, field)
    if field in MAPS and part in held:
        return replace(settings, **{field: {key: value for key, value in held.items() if key != part}})
    if field in PARTS and part in held.__struct_fields__:
        return replace(settings, **{field: replace(held, **{part: None})})
    raise Invalid(f"the profile has no `{word}`", hint="see `yurt profile info`")
