"""What policies mean, as tables; and the one heap of timers, with a clock that the test moves."""

from typing import Any

import pytest
from msgspec.structs import replace
from tests.doubles import resolve
from tests.fakeclock import FakeClock

from yurt.cli.policy import lines
from yurt.engine import policy
from yurt.engine.policy import Due, after_end, autostart_orders, due, failed, pause_s, started
from yurt.engine.timers import LONGEST_SLEEP_S, Timers
from yurt.model.instance import Init, Instance, InstanceSpec, Phase
from yurt.model.names import InstanceId, Name
from yurt.model.policy import Policy, RestartPolicy, TtlAction


def instance(
    given: Policy | None = None,
    *,
    init: Init = Init.IMAGE,
    name: str = "a",
    **fields: Any,  # those of Instance
) -> Instance:
    spec = replace(resolve(InstanceSpec(image="tiny")), policy=given or Policy(), init=init)
    made = Instance(id=InstanceId("0" * 12), name=Name(name), spec=spec, phase=Phase.STOPPED)
    return replace(made, **fields)


def test_pauses_double_up_to_five_minutes() -> None:
    assert [pause_s(count) for count in range(10)] == [1, 2, 4, 8, 16, 32, 64, 128, 256, 300]
    assert pause_s(10**9) == 300


@pytest.mark.parametrize(
    ("init", "crashed", "code", "seen", "bad"),
    [
        (Init.IMAGE, False, None, True, False),
        (Init.IMAGE, False, 143, True, False),  # an init that was asked to go: its code says nothing
        (Init.IMAGE, True, None, True, True),
        (Init.COMMAND, False, 0, True, False),
        (Init.COMMAND, False, 3, True, True),
        (Init.COMMAND, False, 137, True, True),
        (Init.COMMAND, False, None, True, False),
        (Init.COMMAND, False, None, False, True),
        (Init.IMAGE, False, 0, False, True),
    ],
)
def test_what_counts_as_a_failure(init: Init, crashed: bool, code: int | None, seen: bool, bad: bool) -> None:
    assert failed(instance(init=init), crashed=crashed, exit_code=code, seen=seen) is bad


@pytest.mark.parametrize(
    ("restart", "failure", "again"),
    [
        (RestartPolicy.NO, True, False),
        (RestartPolicy.ON_FAILURE, True, True),
        (RestartPolicy.ON_FAILURE, False, False),
        (RestartPolicy.ALWAYS, True, True),
        (RestartPolicy.ALWAYS, False, True),
    ],
)
def test_who_starts_again(restart: RestartPolicy, failure: bool, again: bool) -> None:
    ended = after_end(instance(Policy(restart=restart)), failure=failure, now=100.0)
    assert (ended.next_restart_at is not None) is again


def test_pauses_grow_with_each_restart_and_begin_anew_after_a_steady_run() -> None:
    at = instance(Policy(restart=RestartPolicy.ALWAYS), started_at=0.0)
    now, pauses = 0.0, []
    for _ in range(4):
        at = after_end(at, failure=True, now=now + 5)
        assert at.next_restart_at is not None
        pauses.append(at.next_restart_at - now - 5)
        now = at.next_restart_at
        at = replace(started(at, automatic=True, now=now), started_at=now)
    assert (pauses, at.restarts) == ([1, 2, 4, 8], 4)
    long = after_end(at, failure=True, now=now + policy.STEADY_S)
    assert (long.restarts, long.next_restart_at) == (0, now + policy.STEADY_S + 1)
    assert started(at, automatic=False, now=now).restarts == 0


def test_a_restart_does_not_lengthen_a_life() -> None:
    at = started(instance(), automatic=False, now=10.0)
    assert started(at, automatic=True, now=50.0).lives_from == 10.0
    assert started(at, automatic=False, now=50.0).lives_from == 50.0


STOP = Policy(ttl_s=60)
DELETE = Policy(ttl_s=60, ttl_action=TtlAction.DELETE)
ALWAYS = Policy(restart=RestartPolicy.ALWAYS)


@pytest.mark.parametrize(
    ("given", "fields", "wanted"),
    [
        (STOP, {"phase": Phase.RUNNING, "lives_from": 5.0}, (Due("stop", 65.0),)),
        (STOP, {"phase": Phase.RUNNING, "lives_from": 5.0, "operation": "x"}, ()),
        (STOP, {"phase": Phase.STOPPED, "lives_from": 5.0}, ()),
        (STOP, {"phase": Phase.STOPPED}, ()),
        (DELETE, {"phase": Phase.STOPPED, "lives_from": 5.0}, (Due("delete", 65.0),)),
        (DELETE, {"phase": Phase.STOPPED}, ()),
        (ALWAYS, {"phase": Phase.CRASHED, "next_restart_at": 7.0}, (Due("restart", 7.0),)),
        (Policy(), {"phase": Phase.CRASHED, "next_restart_at": 7.0}, ()),
        (ALWAYS, {"phase": Phase.RUNNING, "next_restart_at": 7.0}, ()),
        (
            Policy(restart=RestartPolicy.ALWAYS, ttl_s=60),
            {"phase": Phase.CRASHED, "next_restart_at": 7.0, "lives_from": 5.0},
            (Due("restart", 7.0), Due("stop", 65.0)),
        ),
    ],
)
def test_what_is_due(given: Policy, fields: dict[str, Any], wanted: tuple[Due, ...]) -> None:
    assert due(instance(given, **fields)) == wanted


def test_who_starts_with_the_host_comes_in_order() -> None:
    given = [("c", 5), ("b", 100), ("a", 100), ("d", 0)]
    all_of_them = [
        instance(Policy(autostart=True, autostart_order=order), name=name) for name, order in given
    ]
    names = [[each.name for each in group] for group in autostart_orders([*all_of_them, instance(name="no")])]
    assert names == [["d"], ["c"], ["a", "b"]]


def test_info_shows_the_policy() -> None:
    given = {
        "restart": "always",
        "autostart": True,
        "autostart_order": 3,
        "ttl_s": 60.0,
        "ttl_action": "stop",
    }
    shown = lines(
        {"restarts": 3, "next_restart_at": 18.0, "phase": "running", "lives_from": 0.0},
        {**given, "protect": True},
        10.0,
    )
    assert shown == {
        "restart": "always",
        "restarts": "3, next in 8 s",
        "autostart": "order 3",
        "ttl": "1m0s, then stop (in 50s)",
        "protected": "against deletion",
    }
    assert lines({}, {"restart": "no", "ttl_s": 0.0}, 0.0) == {}


def test_timers_ring_in_order_once_and_only_one_wake_is_asked_for() -> None:
    clock, rung = FakeClock(), list[str]()
    timers = Timers(clock)
    for name, at in (("b", 1020.0), ("a", 1010.0), ("c", 1030.0)):
        timers.set(name, at, lambda name=name: rung.append(name))  # type: ignore[misc]
    timers.set("b", 1040.0, lambda: rung.append("b moved"))
    timers.cancel("c")
    assert len(clock.wakes) == 1
    clock.move(15)
    assert rung == ["a"]
    assert timers.at("b") == 1040.0
    clock.move(100)
    assert rung == ["a", "b moved"]
    assert not clock.wakes, "an empty heap asks for no wake"


def test_a_moment_in_the_past_rings_at_once_and_a_far_one_is_looked_at_again() -> None:
    clock, rung = FakeClock(), list[str]()
    timers = Timers(clock)
    timers.set("far", 1000 + 3 * LONGEST_SLEEP_S, lambda: rung.append("far"))
    timers.set("past", 10.0, lambda: rung.append("past"))
    clock.move(0)
    assert rung == ["past"]
    clock.move(2 * LONGEST_SLEEP_S)
    assert rung == ["past"]
    clock.move(LONGEST_SLEEP_S)
    assert rung == ["past", "far"]
    assert max(clock.asked) <= LONGEST_SLEEP_S
    timers.set("never", clock.now() + 1, lambda: rung.append("never"))
    timers.close()
    clock.move(10)
    assert "never" not in rung
