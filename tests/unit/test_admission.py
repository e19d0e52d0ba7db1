"""Who fits on a host: the sums, what they say, and that no order of starts ever promises too much."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace
from tests.doubles import resolve

from yurt.engine.admission import (
    UNLIMITED_MEMORY_BYTES,
    UNLIMITED_MILLI_CPUS,
    admit,
    demand,
    largest,
    negative,
    total,
)
from yurt.engine.tally import ACTIVE, Tally
from yurt.errors import Exhausted
from yurt.model.admission import Capacity, Demand, Promised, Resource
from yurt.model.instance import GIB, MIB, Instance, InstanceSpec, Kind, Phase
from yurt.model.names import InstanceId, Name
from yurt.model.settings import AdmissionSettings

HOST = Capacity(
    milli_cpus=2000,
    milli_cpus_used=0,
    memory_bytes=8 * GIB,
    memory_available_bytes=8 * GIB,
    disk_bytes=100 * GIB,
    disk_free_bytes=50 * GIB,
)
DEFAULTS = AdmissionSettings()


def machine(memory: int = 2 * GIB, cpus: int = 1, disk: int = 10 * GIB) -> Demand:
    return demand(Kind.VM, cpus, memory, disk, None, HOST)


def test_a_refusal_shows_its_sum() -> None:
    taken = Promised(demand=Demand(milli_cpus=5000, memory_bytes=6 * GIB), running=5, existing=5)
    verdict = admit(HOST, DEFAULTS, taken, machine())
    assert verdict.message == (
        "not enough memory: 2G asked + 6G promised to 5 running instances = 8G > 7.5G "
        "(host 8G - 512M kept free, ratio 1)"
    )
    assert verdict.hint == (
        "stop others, ask for less with --memory, or raise memory_overcommit in yurt.toml"
    )
    with pytest.raises(Exhausted, match=r"7\.5G"):
        verdict.require()


@pytest.mark.parametrize(
    ("wish", "promised", "resource", "words"),
    [
        (machine(memory=8 * GIB), Promised(), Resource.MEMORY, "8G asked > 7.5G"),
        (machine(cpus=64), Promised(), Resource.CPU, "64 asked > 32 (host 2, ratio 16)"),
        (
            machine(disk=999 * GIB),
            Promised(demand=Demand(disk_bytes=10 * GIB), existing=1),
            Resource.DISK,
            "10G promised to 1 instance =",
        ),
    ],
)
def test_each_resource_can_refuse(wish: Demand, promised: Promised, resource: Resource, words: str) -> None:
    verdict = admit(HOST, DEFAULTS, promised, wish)
    assert [each.resource for each in verdict.sums if not each.fits] == [resource]
    assert words in verdict.message
    assert f"{resource}_overcommit" in verdict.hint


def test_overcommit_lets_more_in() -> None:
    taken = Promised(demand=Demand(memory_bytes=6 * GIB), running=3, existing=3)
    assert not admit(HOST, DEFAULTS, taken, machine()).fits
    assert admit(HOST, AdmissionSettings(memory_overcommit=2.0), taken, machine()).fits


def test_what_other_programs_took_counts_for_machines_and_not_for_containers() -> None:
    busy = replace(HOST, memory_available_bytes=GIB)
    verdict = admit(busy, DEFAULTS, Promised(), machine())
    assert verdict.message == "not enough memory: 2G needed, but only 1G of this host's are unused now"
    assert admit(busy, DEFAULTS, Promised(), demand(Kind.CONTAINER, 1, 2 * GIB, 0, None, busy)).fits
    assert admit(busy, AdmissionSettings(memory_overcommit=2.0), Promised(), machine()).fits
    assert admit(busy, DEFAULTS, Promised(), machine(), measured=False).fits
    full = replace(HOST, disk_free_bytes=300 * MIB)
    assert "disk space" in admit(full, DEFAULTS, Promised(), machine()).message


def test_a_container_without_limits_is_promised_next_to_nothing() -> None:
    free = demand(Kind.CONTAINER, 2, HOST.memory_bytes, 0, None, HOST)
    assert (free.milli_cpus, free.memory_bytes) == (UNLIMITED_MILLI_CPUS, UNLIMITED_MEMORY_BYTES)
    limited = demand(Kind.CONTAINER, 2, GIB, 0, 0.5, HOST)
    assert (limited.milli_cpus, limited.memory_bytes) == (500, GIB)
    hundred = Promised(demand=total([free] * 100), running=100, existing=100)
    assert admit(HOST, DEFAULTS, hundred, free).fits, "a hundred small containers fit on a small host"


def test_those_at_rest_only_keep_their_disks() -> None:
    promised = total([machine()], [machine(), Demand(disk_bytes=5 * GIB)])
    assert promised == Demand(milli_cpus=1000, memory_bytes=2 * GIB, disk_bytes=25 * GIB)
    assert total([machine(), negative(machine())]) == Demand()
    grown = largest(machine(memory=GIB, cpus=2), machine(memory=3 * GIB))
    assert (grown.milli_cpus, grown.memory_bytes) == (2000, 3 * GIB)


KINDS = st.sampled_from(Kind)
WISHES = st.lists(
    st.builds(
        lambda kind, cpus, memory, disk, quota: demand(kind, cpus, memory, disk, quota, HOST),
        KINDS,
        st.integers(1, 16),
        st.integers(32 * MIB, 9 * GIB),
        st.integers(0, 2000 * GIB),
        st.none() | st.floats(0.01, 16),
    ),
    max_size=60,
)
SETTINGS = st.builds(
    AdmissionSettings,
    cpu_overcommit=st.floats(0.1, 20),
    memory_overcommit=st.floats(0.1, 3),
    disk_overcommit=st.floats(0.1, 20),
)


@given(WISHES, SETTINGS)
def test_what_was_admitted_never_exceeds_what_may_be_promised(
    wishes: list[Demand], settings: AdmissionSettings
) -> None:
    admitted: list[Demand] = []
    for wish in wishes:
        verdict = admit(
            HOST,
            settings,
            Promised(demand=total(admitted), running=len(admitted), existing=len(admitted)),
            wish,
        )
        if verdict.fits:
            admitted.append(wish)
        else:
            assert verdict.message
            assert verdict.hint
    assert sum(each.milli_cpus for each in admitted) <= HOST.milli_cpus * settings.cpu_overcommit
    kept = settings.memory_kept_free_bytes
    assert (
        sum(each.memory_bytes for each in admitted) <= (HOST.memory_bytes - kept) * settings.memory_overcommit
    )
    assert sum(each.disk_bytes for each in admitted) <= HOST.disk_bytes * settings.disk_overcommit


INSTANCE_IDS = st.sampled_from("abcd")
CHANGES = st.lists(
    st.tuples(
        INSTANCE_IDS, st.none() | st.tuples(st.sampled_from(Phase), st.integers(1, 8), st.integers(1, 99))
    ),
    max_size=40,
)


@given(CHANGES, st.integers(1, 5))
def test_the_tally_is_the_sum_of_what_is_there_after_any_changes(
    changes: list[tuple[str, tuple[Phase, int, int] | None]], often: int
) -> None:
    plain = Instance(
        id=InstanceId("x"), name=Name("x"), spec=resolve(InstanceSpec(image="tiny")), phase=Phase.STOPPED
    )
    there: dict[str, Instance] = {}
    tally = Tally()

    def held(each: Instance) -> Demand:
        return demand(Kind.VM, each.spec.cpus, each.spec.memory_bytes, each.spec.disk_bytes, None, HOST)

    for number, (name, what) in enumerate(changes):
        if what is None:
            there.pop(name, None)
        else:
            phase, cpus, memory = what
            there[name] = replace(
                plain, phase=phase, spec=replace(plain.spec, cpus=cpus, memory_bytes=memory)
            )
        tally.mark(name, there.get(name))
        if number % often == 0:
            tally.bring_up_to_date(there, held)
    tally.bring_up_to_date(there, held)
    runs = [held(each) for each in there.values() if each.phase in ACTIVE]
    rests = [held(each) for each in there.values() if each.phase not in ACTIVE]
    assert (tally.running, tally.count_running) == (total(runs), len(runs))
    assert (tally.resting, tally.count_resting) == (total(rests), len(rests))
