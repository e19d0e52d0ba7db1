"""Who lends memory to a host that runs short, and who gets it back: the rule, and who acts on it."""

import pytest

from yurt.engine.lending import FLOOR_BYTES, Borrower, Lender, targets
from yurt.model.instance import GIB, MIB

KEEP = 512 * MIB


def host(available: int, *, pressed: bool = False) -> Borrower:
    return Borrower(available_bytes=available, keep_bytes=KEEP, pressed=pressed)


def machine(
    name: str, given: int = 2 * GIB, own: int = 2 * GIB, busy: float = 0.0, willing: bool = True
) -> Lender:
    return Lender(id=name, own_bytes=own, given_bytes=given, busy=busy, willing=willing)


def test_with_enough_memory_nothing_is_taken() -> None:
    assert targets(host(KEEP), [machine("a")]) == {}
    assert targets(host(20 * GIB), [machine("a")]) == {}
    assert targets(host(0), []) == {}


def test_pressure_counts_only_where_memory_is_scarce() -> None:
    assert targets(host(20 * GIB, pressed=True), [machine("a")]) == {}
    assert targets(host(KEEP + MIB, pressed=True), [machine("a")]) == {"a": 2 * GIB - (KEEP - 16 * MIB)}


def test_the_idle_lend_first_and_no_more_than_is_short() -> None:
    three = [machine("busy", busy=0.9), machine("idle", busy=0.01), machine("some", busy=0.1)]
    assert targets(host(KEEP - MIB), three) == {"idle": 2 * GIB - KEEP}
    many = targets(host(0), [*three, machine("large", own=8 * GIB, given=8 * GIB, busy=2.0)])
    assert set(many) == {"idle", "some"}  # 768 MiB of one, 256 MiB of the next are the 1 GiB that is short
    assert many["some"] == 2 * GIB - 256 * MIB


def test_one_look_takes_half_and_many_looks_stop_at_the_floor() -> None:
    given = 2 * GIB
    for _ in range(40):
        found = targets(host(0), [machine("a", given)])
        assert found.get("a", given) >= given - (given - GIB // 2) // 2 - 16 * MIB
        given = found.get("a", given)
    assert GIB // 2 <= given < GIB // 2 + 16 * MIB
    small = machine("small", own=160 * MIB, given=160 * MIB)
    assert small.floor_bytes == FLOOR_BYTES and small.spare_bytes == 32 * MIB
    assert machine("tiny", own=96 * MIB, given=96 * MIB).spare_bytes == 0


def test_plenty_gives_back_to_the_busy_first_and_only_half_of_the_plenty_at_a_time() -> None:
    lent = [machine("idle", GIB), machine("busy", GIB, busy=0.5)]
    assert targets(host(2 * KEEP), lent) == {}
    assert targets(host(2 * KEEP + GIB), lent) == {"busy": GIB + 512 * MIB}
    assert targets(host(2 * KEEP + 3 * GIB), lent) == {"busy": 2 * GIB, "idle": GIB + 512 * MIB}
    assert targets(host(20 * GIB), lent) == {"busy": 2 * GIB, "idle": 2 * GIB}


@pytest.mark.parametrize("available", [0, KEEP, 20 * GIB])
def test_the_unwilling_lend_nothing_and_get_all_back_at_once(available: int) -> None:
    assert targets(host(available), [machine("a", willing=False)]) == {}
    assert targets(host(available), [machine("a", GIB, willing=False)]) == {"a": 2 * GIB}


def test_a_host_that_stays_as_it_is_comes_to_rest() -> None:
    """What is taken becomes free, so that a look after enough looks changes nothing."""
    available, given = 100 * MIB, {"a": 2 * GIB, "b": 4 * GIB}
    own = dict(given)
    for _ in range(50):
        found = targets(host(available), [machine(name, given[name], own[name]) for name in given])
        if not found:
            break
        available += sum(given[name] - found[name] for name in found)
        given |= found
    assert found == {} and KEEP <= available <= 2 * KEEP
