"""Hostile archives against everything that unpacks archives: none reads or writes outside, none takes long."""

from collections.abc import Callable

import pytest
from tests.abuse import archive_cases, header_cases, importers
from tests.abuse.archive_cases import Archive
from tests.abuse.importers import Agent
from tests.abuse.oracles import World, nothing_outside, rss_bytes

from yurt.errors import YurtError

MAKERS: tuple[Callable[[], list[Archive]], ...] = (
    archive_cases.names_that_lead_up,
    archive_cases.absolute_names,
    archive_cases.through_links,
    archive_cases.through_links_of_before,
    archive_cases.hard_links,
    archive_cases.kinds_and_modes,
    archive_cases.odd_names,
    archive_cases.duplicates,
    archive_cases.whiteouts,
    archive_cases.missing_rooms,
    header_cases.numbers,
    header_cases.records,
    header_cases.gnu,
    header_cases.damaged,
)
CASES = [case for maker in MAKERS for case in maker()]
PAIRS = [(case, name) for case in CASES for name in sorted(case.importers)]
GROWTH_BYTES = 64 << 20
# these have faults of the archive's only, so they end in one of these ways and never as a fault of ours
TYPED = {
    "invalid",
    "exhausted",
    "timeout",
    "unsupported",
    "denied",
    "internal",
    "tool_failed",
    "not_found",
    "unavailable",
}

pytestmark = pytest.mark.root


def prepare(world: World) -> None:
    """What is there before: links out, as a lower layer or a careless user would have them."""
    top = world.target / "top"
    top.mkdir()
    (top / "etc").symlink_to(world.outside)
    (top / "up").symlink_to("../..")
    (top / "secret").symlink_to(world.secret)
    (top / "ok").write_text("ok")


def take(case: Archive, importer: str, world: World, agent: Agent, patch: pytest.MonkeyPatch) -> None:
    if importer == "rootfs":
        importers.rootfs(world, case.tar(world), patch)
        return
    prepare(world)
    if importer == "layer":
        importers.layer(world, case.tar(world))
    elif importer == "cp-in":
        agent.put(world, case.tar(world))
    elif importer == "cp-out":
        importers.copy_out(world, case.tar(world))
    else:
        importers.guest(world, case)


def test_there_are_enough_of_them() -> None:
    names = [case.name for case in CASES]
    assert len(set(names)) == len(names) >= 120
    assert sum(bool(case.refuse) for case in CASES) > 150


@pytest.mark.parametrize(
    ("case", "importer"), PAIRS, ids=[f"{name}-{case.name[:60]}" for case, name in PAIRS]
)
def test_a_hostile_archive_stays_inside(
    case: Archive, importer: str, world: World, agent: Agent, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = rss_bytes(agent.pid)
    with nothing_outside(world):
        try:
            take(case, importer, world, agent, monkeypatch)
        except YurtError as error:
            assert error.code in TYPED
            assert "\x1b" not in error.message and "\n" not in error.message
            assert error.code != "internal" or importer in ("cp-out", "guest"), error.message
        else:
            assert importer not in case.refuse, "was taken"
    assert rss_bytes(agent.pid) - before < GROWTH_BYTES
