"""What profiles make of a wish, rule by rule, and what can be done with profiles."""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace
from tests.doubles import resolve
from tests.fakeclock import FakeClock

from yurt.engine.core import Core
from yurt.engine.events import EventBus
from yurt.engine.profiles import FIELDS, change, expand, find_profiles, merge
from yurt.engine.profileverbs import Profiles
from yurt.engine.records import Records, put_instance
from yurt.errors import Denied, Exists, Invalid, NotFound, WrongState
from yurt.model.instance import GIB, MIB, AccelMode, Init, Instance, InstanceSpec, Kind, Phase, Privilege
from yurt.model.limits import Limits
from yurt.model.names import InstanceId, Name
from yurt.model.network import Action, Direction, FirewallRule
from yurt.model.policy import PolicyWish, RestartPolicy
from yurt.model.profile import SIZES, Profile, ProfileSettings, ProfileSpec
from yurt.model.volume import Share
from yurt.state.sqlite import SqliteStore

# what belongs to one instance and not to a kind of instances
OWN = {"image", "name", "workdir", "user", "command", "stdin", "tty", "profiles", "ephemeral", "attach"}


def profile(name: str, **settings: Any) -> Profile:
    return Profile(name=Name(name), settings=ProfileSettings(**settings))


def wish(**fields: Any) -> InstanceSpec:
    return InstanceSpec(image="tiny", **fields)


def test_a_profile_can_hold_every_setting_that_is_not_one_instances_own() -> None:
    assert set(InstanceSpec.__struct_fields__) == {*FIELDS, *OWN}


def test_without_profiles_a_wish_stays_as_it_is() -> None:
    made = wish(cpus=2, env={"A": "b"}, init=Init.COMMAND, command=("x",))
    assert expand(made, []) == made


def test_later_profiles_win_and_the_wish_wins_over_all() -> None:
    first = profile("first", cpus=1, memory_bytes=GIB, kind=Kind.CONTAINER, accel=AccelMode.TCG)
    second = profile("second", cpus=2, init=Init.IMAGE)
    made = expand(wish(memory_bytes=2 * GIB, kind=Kind.VM), [first, second])
    assert (made.cpus, made.memory_bytes, made.kind) == (2, 2 * GIB, Kind.VM)
    assert (made.accel, made.init) == (AccelMode.TCG, Init.IMAGE)
    assert expand(wish(), [second, first]).cpus == 1


def test_maps_limits_and_policies_are_merged_key_by_key() -> None:
    base = profile(
        "base",
        env={"A": "1", "B": "1"},
        labels={"tier": "low"},
        limits=Limits(pids=10, cpu_shares=50),
        policy=PolicyWish(restart=RestartPolicy.ALWAYS, protect=True),
    )
    made = expand(
        wish(env={"B": "2"}, limits=Limits(pids=20), policy=PolicyWish(restart=RestartPolicy.NO)), [base]
    )
    assert made.env == {"A": "1", "B": "2"}
    assert made.labels == {"tier": "low"}
    assert made.limits == Limits(pids=20, cpu_shares=50)
    assert made.policy == PolicyWish(restart=RestartPolicy.NO, protect=True)


def test_lists_are_joined_and_of_rules_the_winners_come_first() -> None:
    def share(name: str) -> Share:
        return Share(source=f"/{name}", target=f"/{name}")

    def rule(port: str) -> FirewallRule:
        return FirewallRule(direction=Direction.IN, action=Action.ALLOW, ports=port)

    first = profile("first", shares=(share("a"),), rules=(rule("1"),), privileges=(Privilege.NESTING,))
    second = profile("second", shares=(share("b"),), rules=(rule("2"),), privileges=(Privilege.NESTING,))
    made = expand(wish(shares=(share("c"),), rules=(rule("3"),)), [first, second])
    assert [each.source for each in made.shares] == ["/a", "/b", "/c"]
    assert [each.ports for each in made.rules] == ["3", "2", "1"]
    assert made.privileges == (Privilege.NESTING,)


def test_together_they_may_not_be_more_than_an_instance_takes() -> None:
    shares = tuple(Share(source=f"/{n}", target=f"/{n}") for n in range(20))
    with pytest.raises(Invalid):
        expand(wish(shares=shares), [profile("many", shares=shares)])


SETTINGS = st.builds(
    ProfileSettings,
    cpus=st.none() | st.integers(1, 256),
    memory_bytes=st.none() | st.integers(32 * MIB, GIB),
    env=st.dictionaries(st.sampled_from("ABC"), st.sampled_from("123")),
    kind=st.none() | st.sampled_from(Kind),
    limits=st.builds(Limits, pids=st.none() | st.integers(1, 9)),
    privileges=st.lists(st.sampled_from(Privilege), unique=True).map(tuple),
)


@given(SETTINGS, SETTINGS, SETTINGS)
def test_stacking_is_associative(a: ProfileSettings, b: ProfileSettings, c: ProfileSettings) -> None:
    assert merge(merge(a, b), c) == merge(a, merge(b, c))
    assert merge(a, ProfileSettings()) == a == merge(ProfileSettings(), a)


def test_profiles_are_found_by_name_in_their_order() -> None:
    own = profile("web", cpus=3)
    assert [each.name for each in find_profiles(["web", "small"], {"web": own})] == ["web", "small"]
    with pytest.raises(NotFound):
        find_profiles(["none"], {})
    with pytest.raises(Invalid):
        find_profiles(["small", "small"], {})


def test_a_change_replaces_what_is_given_and_takes_away_what_is_named() -> None:
    old = ProfileSettings(
        cpus=1, memory_bytes=GIB, env={"A": "1", "B": "2"}, policy=PolicyWish(protect=True, ttl_s=5)
    )
    new = change(
        old,
        ProfileSettings(cpus=4, policy=PolicyWish(restart=RestartPolicy.ALWAYS)),
        ["memory_bytes", "env.A", "policy.ttl_s"],
    )
    assert new == ProfileSettings(
        cpus=4, env={"B": "2"}, policy=PolicyWish(protect=True, restart=RestartPolicy.ALWAYS)
    )
    for word in ("colour", "env.C", "policy.colour", "cpus.more"):
        with pytest.raises(Invalid):
            change(old, ProfileSettings(), [word])


def with_profiles(tmp_path: Path, body: Callable[[Profiles, Records], Awaitable[None]]) -> None:
    async def run() -> None:
        store = await SqliteStore.open(tmp_path / "db")
        records = Records(store)
        await records.load()
        core = SimpleNamespace(records=records, clock=FakeClock(), bus=EventBus())
        try:
            await body(Profiles(cast(Core, core)), records)
        finally:
            await store.close()

    asyncio.run(run())


def test_a_profile_lives_in_the_store(tmp_path: Path) -> None:
    async def body(profiles: Profiles, records: Records) -> None:
        await profiles.create(ProfileSpec(name="web", settings=ProfileSettings(cpus=2)))
        with pytest.raises(Exists):
            await profiles.create(ProfileSpec(name="web"))
        with pytest.raises(Exists):
            await profiles.create(ProfileSpec(name="small"))
        with pytest.raises(Invalid):
            await profiles.create(ProfileSpec(name="No Name"))
        await profiles.set("web", ProfileSettings(memory_bytes=GIB), [])
        again = Records(records.store)
        await again.load()
        assert again.profiles["web"].settings == ProfileSettings(cpus=2, memory_bytes=GIB)
        assert [each.name for each in await profiles.all()] == [*SIZES, "web"]
        await profiles.delete("web", force=False)
        with pytest.raises(NotFound):
            await profiles.get("web")
        with pytest.raises(NotFound):
            await profiles.delete("web", force=True)

    with_profiles(tmp_path, body)


def test_one_in_use_is_not_deleted_and_one_that_ships_never(tmp_path: Path) -> None:
    async def body(profiles: Profiles, records: Records) -> None:
        await profiles.create(ProfileSpec(name="web", settings=ProfileSettings(cpus=2)))
        made = profiles.expanded(wish(profiles=("web",)))
        spec = replace(resolve(made), profiles=made.profiles)
        user = Instance(id=InstanceId("0" * 12), name=Name("one"), spec=spec, phase=Phase.STOPPED)
        await records.write(lambda: [put_instance(user)])
        assert (user.spec.cpus, profiles.users("web")) == (2, ["one"])
        with pytest.raises(WrongState, match="`one`"):
            await profiles.delete("web", force=False)
        await profiles.set("web", ProfileSettings(cpus=4), [])
        assert records.instances[user.id].spec.cpus == 2, "what is there stays as it is"
        await profiles.delete("web", force=True)
        for refused in (
            profiles.delete("small", force=True),
            profiles.set("small", ProfileSettings(cpus=9), []),
        ):
            with pytest.raises(Denied):
                await refused

    with_profiles(tmp_path, body)


def test_the_command_line_offers_the_sizes_that_ship() -> None:
    from yurt.cli.commands import SIZES as OFFERED

    assert tuple(SIZES) == OFFERED
