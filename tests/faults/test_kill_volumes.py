"""`kill -9` of the daemon before and after every journaled step of the volume verbs, and a disk that is full."""

import os
import subprocess
from pathlib import Path
from typing import Any

import pytest
from tests.conftest import Daemon

STEPS = {
    "volume-create": ("files",),
    "volume-import": ("flatten", "copy"),
    "volume-delete": ("files",),
    "volume-resize": ("grow",),
    "volume-attach": ("plug", "mount"),
    "volume-detach": ("unmount", "unplug"),
}
POINTS = [
    f"{verb}.{step}.{moment}"
    for verb, steps in STEPS.items()
    for step in steps
    for moment in ("before", "after")
] + [f"{verb}.commit.after" for verb in STEPS]
pytestmark = [pytest.mark.root, pytest.mark.slow, pytest.mark.needs("crun", "mkfs.ext4")]
VERBS = {
    "volume-create": ("volume", "create", "v", "--filesystem", "--size", "32M"),
    "volume-import": ("volume", "import", "v", "IMAGE", "--format", "raw"),
    "volume-delete": ("volume", "delete", "v"),
    "volume-resize": ("volume", "resize", "v", "64M"),
    "volume-attach": ("volume", "attach", "v:/srv/v", "one"),
    "volume-detach": ("volume", "detach", "v"),
}
REDONE = ("volume-delete", "volume-resize")  # once begun, finished


def test_the_points_are_all_the_steps_there_are() -> None:
    """The list above is held to the code: a new step must be killed at, too."""
    text = "".join(
        Path(f"src/yurt/engine/{name}.py").read_text()
        for name in ("volumeverbs", "attachverbs", "volumeimport")
    )
    named = {
        line.split('Step(name="')[1].split('"')[0] for line in text.splitlines() if 'Step(name="' in line
    }
    assert named == {step for steps in STEPS.values() for step in steps}


@pytest.fixture(scope="module")
def prepared(shared_daemon: Daemon) -> Daemon:
    shared_daemon.yurt("create", "tiny", "--as", "container", "--name", "one")
    return shared_daemon


def volumes(daemon: Daemon) -> dict[str, dict[str, Any]]:
    return {volume["name"]: volume for volume in daemon.json("volume", "ls")}


@pytest.mark.parametrize("point", POINTS)
def test_a_daemon_killed_at_any_step_leaves_order(prepared: Daemon, tmp_path: Path, point: str) -> None:
    daemon, verb = prepared, point.partition(".")[0]
    with (tmp_path / "image").open("wb") as file:
        file.truncate(16 << 20)
    words = [str(tmp_path / "image") if word == "IMAGE" else word for word in VERBS[verb]]
    if verb not in ("volume-create", "volume-import"):
        daemon.yurt(*VERBS["volume-create"])
    if verb == "volume-detach":
        daemon.yurt(*VERBS["volume-attach"])
    daemon.stop()
    daemon.start(YURT_FAILPOINT=point)
    daemon.yurt(*words, check=False)
    assert daemon.wait_killed() == -9
    daemon.start()
    left, done = volumes(daemon), verb in REDONE or point.endswith("commit.after")
    spec = daemon.json("info", "one")["spec"]["volumes"]
    assert all(volume["operation"] is None for volume in left.values())
    if verb in ("volume-create", "volume-import"):
        assert set(left) == ({"v"} if done else set())
    elif verb == "volume-delete":
        assert left == {}
    elif verb == "volume-resize":
        assert left["v"]["size_bytes"] == 64 << 20
    else:
        attached = done if verb == "volume-attach" else not done
        assert (left["v"]["instance"], bool(spec)) == (("one", True) if attached else ("", False))
    if left and left["v"]["instance"]:
        daemon.yurt("volume", "detach", "v")
    if not left:
        daemon.yurt(*VERBS["volume-create"])  # nothing of the old one is in the way
    daemon.yurt("volume", "delete", "v")
    kept = daemon.state / "volumes"
    assert list(kept.iterdir()) == [], "no files without a record"
    assert not list((daemon.state / "forms").glob(".import-*")), "no upload that nobody uses"


@pytest.mark.parametrize("point", ["create.disk.after", "create.record.after", "delete.end.after"])
def test_a_volume_is_free_again_when_its_instance_came_to_nothing(prepared: Daemon, point: str) -> None:
    daemon = prepared
    daemon.yurt(*VERBS["volume-create"])
    words: tuple[str, ...] = ("create", "tiny", "--as", "container", "--name", "two", "--volume", "v:/srv/v")
    if point.startswith("delete"):
        daemon.yurt(*words)
        words = ("delete", "two")
    daemon.stop()
    daemon.start(YURT_FAILPOINT=point)
    daemon.yurt(*words, check=False)
    assert daemon.wait_killed() == -9
    daemon.start()
    assert volumes(daemon)["v"]["instance"] == ""
    daemon.yurt("volume", "delete", "v")


def test_a_full_disk_is_told_and_leaves_nothing(prepared: Daemon) -> None:
    daemon, place = prepared, prepared.state / "volumes"
    place.mkdir(mode=0o755, exist_ok=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=128k,mode=755", "tmpfs", str(place)], check=True)
    try:
        full = daemon.yurt("volume", "create", "big", "--filesystem", "--size", "64M", check=False)
        assert full.returncode == 7, full.stderr.decode()
        assert volumes(daemon) == {}
        assert os.listdir(place) == []  # noqa: PTH208 hidden ones, too
    finally:
        subprocess.run(["umount", str(place)], check=True)
