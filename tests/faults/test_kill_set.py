"""`kill -9` of the daemon at each step of `set`: what the record says is what the kernel holds, and no half of it."""

from pathlib import Path
from typing import Any

import pytest
from tests.conftest import Daemon
from tests.faults.test_kill_daemon import ended

from yurt.host.cgroup import Group, detect_layout

STEPS = ("apply",)
POINTS = [f"set.{step}.{moment}" for step in STEPS for moment in ("before", "after")] + ["set.commit.after"]
OLD, NEW = ("100", 50000), ("200", 150000)
pytestmark = [pytest.mark.root, pytest.mark.slow, pytest.mark.needs("crun", "slirp4netns")]


def test_the_points_are_all_the_steps_there_are() -> None:
    text = Path("src/yurt/engine/setverbs.py").read_text()
    assert {part.split('"')[0] for part in text.split('Step(name="')[1:]} == set(STEPS)


def held(instance: dict[str, Any]) -> tuple[str, int]:
    """What the kernel holds: processes, processor time in 100 ms."""
    group = Group(detect_layout(), f"yurt/{instance['id']}")
    two = group.version == 2

    def text(controller: str, name: str) -> str:
        return (group.directories["" if two else controller] / name).read_text()

    quota = text("cpu", "cpu.max").split()[0] if two else text("cpu", "cpu.cfs_quota_us")
    return text("pids", "pids.max").strip(), int(quota)


def wished(instance: dict[str, Any]) -> tuple[str, int]:
    limits = instance["spec"]["limits"]
    return str(limits["pids"]), int(limits["cpu_quota"] * 100_000)


def killed_at(daemon: Daemon, point: str) -> None:
    """Run a guest with the old limits, and kill the daemon at a point of setting the new ones."""
    run = ("run", "tiny", "--as", "container", "--name", "one", "--detach")
    daemon.yurt(*run, "--pids", "100", "--cpu-quota", "0.5")
    daemon.stop()
    daemon.start(YURT_FAILPOINT=point)
    assert held(daemon.json("info", "one")) == OLD
    daemon.yurt("set", "one", "pids=200", "cpu-quota=1.5", check=False)
    assert daemon.wait_killed() == -9


@pytest.mark.parametrize("point", POINTS)
def test_a_daemon_killed_at_any_step_leaves_order(daemon: Daemon, point: str) -> None:
    killed_at(daemon, point)
    daemon.start()
    ended(daemon)
    instance = daemon.json("info", "one")
    assert instance["phase"] == "running" and instance["operation"] is None
    assert held(instance) == wished(instance) == (NEW if point == "set.commit.after" else OLD)
    assert daemon.json("set", "one", "pids=300")[0]["when"] == "now"
    assert held(daemon.json("info", "one"))[0] == "300"


def test_a_daemon_killed_again_while_it_takes_back_leaves_order(daemon: Daemon) -> None:
    killed_at(daemon, "set.apply.after")
    with pytest.raises(pytest.fail.Exception):  # it dies before it listens
        daemon.start(YURT_FAILPOINT="set.apply.undo")
    assert daemon.wait_killed() == -9
    daemon.start()
    ended(daemon)
    instance = daemon.json("info", "one")
    assert held(instance) == wished(instance) == OLD
