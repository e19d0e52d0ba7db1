"""An ordinary user's yurt: which ids guests get, and the commands that make the namespace."""

import os
import stat

import pytest

from yurt.engine.attach import may_pass
from yurt.host.ids import CONTAINER_IDS, FIRST_CONTAINER_ID, FIRST_UID, IdPlan, map_lines, plan_ids
from yurt.host.rootless import namespace_argv, scope_argv, subordinate_ids

FIRST_NAMESPACE = "         0          0 4294967295\n"
ONE_RANGE = "         0       1001          1\n         1     100000      65535\n"
TWO_RANGES = "0 1001 1\n1 100000 65536\n65537 300000 65536\n"


def test_root_has_the_reserved_ranges() -> None:
    plan = plan_ids(FIRST_NAMESPACE)
    assert not plan.rootless and plan.private_ranges
    assert plan.machine_uid(7) == FIRST_UID + 7
    assert plan.container_ids(7) == (FIRST_CONTAINER_ID + 7 * CONTAINER_IDS, CONTAINER_IDS)
    last = plan.container_ids(15999)
    assert last[0] + last[1] < 0x7FFF0000


def test_a_user_with_one_range_shares_it_between_containers() -> None:
    plan = plan_ids(ONE_RANGE)
    assert plan == IdPlan(rootless=True, total=65536)
    assert not plan.private_ranges
    assert plan.container_ids(1) == plan.container_ids(2) == (0, 65536)
    uids = {plan.machine_uid(slot) for slot in range(1, 1000)}
    assert len(uids) == 999 and 0 not in uids and max(uids) < plan.total


def test_machines_get_ids_beyond_the_containers_where_there_are_more() -> None:
    plan = plan_ids(TWO_RANGES)
    assert plan.total == 1 + 2 * 65536
    assert all(CONTAINER_IDS <= plan.machine_uid(slot) < plan.total for slot in (1, 500, 15999))


@pytest.mark.parametrize("text", ["0 1001 1\n", "0 1001 1\n5 100000 65535\n"])
def test_without_subordinate_ids_the_user_is_all_there_is(text: str) -> None:
    plan = plan_ids(text)
    assert plan.total == 1
    assert plan.machine_uid(3) == 0
    assert plan.container_ids(3) == (0, 1)


def test_no_line_of_a_map_spans_two_extents() -> None:
    assert map_lines(0, 65536, ONE_RANGE) == "0 0 1\n1 1 65535"
    assert map_lines(FIRST_CONTAINER_ID, 65536, FIRST_NAMESPACE) == f"0 {FIRST_CONTAINER_ID} 65536"
    assert map_lines(65000, 1000, TWO_RANGES) == "0 65000 537\n537 65537 463"


def test_the_command_of_the_namespace() -> None:
    assert namespace_argv(["python", "x"], many=True) == [
        *("unshare", "--user", "--map-root-user", "--map-auto", "--mount", "--propagation", "slave", "--"),
        *("python", "x"),
    ]
    assert "--map-auto" not in namespace_argv(["x"], many=False)


def test_systemd_is_asked_for_a_scope_only_where_it_can_give_one() -> None:
    assert scope_argv({}, 7, session_manager=False) == []
    assert scope_argv({"SYSTEMD_EXEC_PID": "7"}, 7, session_manager=True) == []  # a service already
    scope = ["systemd-run", "--user", "--scope"]
    assert scope_argv({}, 7, session_manager=True)[:3] == scope
    desktop = {"SYSTEMD_EXEC_PID": "5", "INVOCATION_ID": "1"}  # inherited from the terminal's service
    assert scope_argv(desktop, 7, session_manager=True)[:3] == scope


def test_a_directory_of_mode_0700_lets_only_its_owner_through() -> None:
    runtime = os.stat_result(
        (stat.S_IFDIR | 0o700, 1, 1, 1, 0, 0, 0, 0, 0, 0)
    )  # /run/user/1000, whose owner is 0 in there
    assert may_pass(runtime, 0)
    assert not may_pass(runtime, FIRST_CONTAINER_ID)
    assert may_pass(os.stat_result((stat.S_IFDIR | 0o711, 1, 1, 1, 0, 0, 0, 0, 0, 0)), FIRST_CONTAINER_ID)


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ("joe:100000:65536\nann:165536:65536\n", 65536),
        ("1001:1:10\njoe:20:5\n", 15),
        ("ann:1:9\n", 0),
        ("joe:x\n", 0),
    ],
)
def test_subordinate_ids_are_counted(text: str, count: int) -> None:
    assert subordinate_ids("joe", 1001, text) == count
