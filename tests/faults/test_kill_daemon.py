"""`kill -9` of the daemon before and after every journaled step: the next daemon ends in a consistent state.

Containers of the `tiny` image are used: they start in a fraction of a second and take the same path through the
engine as the other kinds.
"""

import time
from pathlib import Path
from typing import Any

import pytest
from tests.conftest import Daemon

STEPS = {
    "create": ("image", "disk", "record", "launch"),
    "start": ("launch",),
    "stop": ("ask", "end", "cleanup"),
    "restart": ("ask", "end", "cleanup", "launch"),
    "delete": ("end", "files"),
    "settle": ("cleanup",),
}
POINTS = [
    f"{verb}.{step}.{moment}"
    for verb, steps in STEPS.items()
    for step in steps
    for moment in ("before", "after")
] + [f"{verb}.commit.after" for verb in STEPS]


def test_the_points_are_all_the_steps_there_are() -> None:
    """The list above is held to the code: a new step must be killed at, too."""
    text = Path("src/yurt/engine/verbs.py").read_text() + Path("src/yurt/engine/steps.py").read_text()
    named = {
        line.split('Step(name="')[1].split('"')[0] for line in text.splitlines() if 'Step(name="' in line
    }
    assert named == {step for steps in STEPS.values() for step in steps}


def ended(daemon: Daemon) -> list[dict[str, Any]]:
    """All operations, once none of them runs any more."""
    for _ in range(100):
        operations: list[dict[str, Any]] = daemon.json("operation", "ls")
        if all(op["status"] in ("done", "failed", "cancelled") for op in operations):
            return operations
        time.sleep(0.1)
    raise AssertionError(f"an operation never ended: {operations}")


@pytest.mark.root
@pytest.mark.slow
@pytest.mark.needs("crun", "slirp4netns")
@pytest.mark.parametrize("point", POINTS)
def test_a_daemon_killed_at_any_step_leaves_order(daemon: Daemon, point: str) -> None:
    verb = point.partition(".")[0]
    run = ("run", "tiny", "--as", "container", "--name", "one", "--detach")
    if verb != "create":
        assert daemon.yurt(*run).returncode == 0
    if verb in ("start", "delete"):
        assert daemon.yurt("stop", "one").returncode == 0
    daemon.stop()
    daemon.start(YURT_FAILPOINT=point)
    if verb == "settle":  # the guest ends by itself
        daemon.yurt("exec", "one", "--", "poweroff", check=False)
    else:
        daemon.yurt(*(run if verb == "create" else (verb, "one")), check=False)
    assert daemon.wait_killed() == -9
    daemon.start()
    ended(daemon)
    left = {instance["name"]: instance for instance in daemon.json("ls")}
    if verb == "create":
        assert set(left) == ({"one"} if point == "create.commit.after" else set())
    elif verb == "delete":
        assert left == {}, "a delete that was begun is finished"
    elif verb in ("stop", "settle"):
        assert left["one"]["phase"] == "stopped", "a stop that was begun is finished"
    elif verb == "restart":
        assert left["one"]["phase"] == "running", "a restart that was begun is finished"
    else:
        assert left["one"]["phase"] == ("running" if point == "start.commit.after" else "stopped")
    if not left:  # the name is free again, and nothing of the old one is in the way
        assert daemon.yurt(*run).returncode == 0
    else:
        if left["one"]["phase"] == "stopped":
            assert daemon.yurt("start", "one").returncode == 0
        assert daemon.yurt("exec", "one", "--", "true").returncode == 0


@pytest.mark.root
@pytest.mark.slow
@pytest.mark.needs("crun", "slirp4netns")
@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("create.launch.after", "create.launch.undo"),
        ("create.launch.after", "create.disk.undo"),
        ("stop.ask.after", "stop.end.before"),
        ("stop.end.after", "stop.cleanup.after"),
    ],
)
def test_a_daemon_killed_again_while_it_recovers_leaves_order(
    daemon: Daemon, first: str, second: str
) -> None:
    run = ("run", "tiny", "--as", "container", "--name", "one", "--detach")
    if first.startswith("stop"):
        daemon.yurt(*run)
    daemon.stop()
    daemon.start(YURT_FAILPOINT=first)
    daemon.yurt(*(run if first.startswith("create") else ("stop", "one")), check=False)
    assert daemon.wait_killed() == -9
    with pytest.raises(pytest.fail.Exception):  # it dies before it listens
        daemon.start(YURT_FAILPOINT=second)
    assert daemon.wait_killed() == -9
    daemon.start()
    ended(daemon)
    left = {instance["name"]: instance["phase"] for instance in daemon.json("ls")}
    assert left == ({} if first.startswith("create") else {"one": "stopped"})
