"""Policies with a real daemon and real containers: restarts, ends by time, protection, boots, profiles, sums."""

import time
from collections.abc import Callable
from typing import Any

import pytest
from tests.conftest import Daemon

pytestmark = [pytest.mark.root, pytest.mark.slow, pytest.mark.needs("crun", "slirp4netns")]
RUN = ("run", "tiny", "--as", "container", "--network", "none", "--detach")
FAILS = ("--no-init", "--", "sh", "-c", "exit 3")


def until(what: str, holds: Callable[[], Any], timeout_s: float = 30) -> Any:
    """Look until it holds; the daemon acts by itself, so there is nothing to wait on from here."""
    end = time.monotonic() + timeout_s
    while not (found := holds()):
        assert time.monotonic() < end, f"{what} never came to be"
        time.sleep(0.1)
    return found


def phases(daemon: Daemon) -> dict[str, str]:
    return {each["name"]: each["phase"] for each in daemon.json("ls")}


def test_who_fails_is_started_again_with_growing_pauses_over_the_daemons_death(daemon: Daemon) -> None:
    daemon.yurt(*RUN, "--name", "loop", "--restart", "on-failure", *FAILS)
    daemon.yurt(*RUN, "--name", "done", "--restart", "on-failure", "--no-init", "--", "true")
    seen = until(
        "a second restart",
        lambda: (i := daemon.json("info", "loop"))["restarts"] >= 2 and i["next_restart_at"] and i,
    )
    pause = seen["next_restart_at"] - seen["stopped_at"]
    assert 3.9 < pause < 5, "1 s, 2 s, then 4 s"
    assert b", next in " in daemon.yurt("info", "loop").stdout
    daemon.kill()
    daemon.start()
    again = daemon.json("info", "loop")
    assert again["next_restart_at"] == seen["next_restart_at"], (
        "the next daemon goes on where the last one was"
    )
    until("the third restart", lambda: daemon.json("info", "loop")["restarts"] >= 3)
    assert daemon.json("info", "done")["restarts"] == 0, "who succeeds is left alone"
    until("a pause", lambda: daemon.json("info", "loop")["next_restart_at"])
    daemon.yurt("stop", "loop")
    ended = daemon.json("info", "loop")
    assert (ended["phase"], ended["next_restart_at"]) == ("stopped", None)
    daemon.yurt("start", "loop")
    assert daemon.json("info", "loop")["restarts"] == 0, "a start by hand begins a new count"
    daemon.yurt("set", "loop", "restart=no")
    until("its last end", lambda: phases(daemon)["loop"] == "stopped")


@pytest.mark.parametrize(
    "point", ["settle.cleanup.before", "settle.commit.after", "start.launch.before", "start.launch.after"]
)
def test_a_daemon_killed_around_a_restart_converges(daemon: Daemon, point: str) -> None:
    daemon.stop()
    daemon.start(YURT_FAILPOINT=point)
    daemon.yurt(
        *RUN,
        "--name",
        "loop",
        "--restart",
        "always",
        "--no-init",
        "--",
        "sh",
        "-c",
        "sleep 1; exit 1",
        check=False,
    )
    assert daemon.wait_killed() == -9
    daemon.start()
    until("a restart", lambda: daemon.json("info", "loop")["restarts"] >= 1)
    daemon.yurt("delete", "--force", "loop")
    assert daemon.json("ls") == []


def test_time_to_live_deletes_and_stops_also_over_the_daemons_death(daemon: Daemon) -> None:
    daemon.yurt(*RUN, "--name", "gone", "--ttl", "3s", "--ttl-action", "delete")
    daemon.yurt(*RUN, "--name", "rests", "--ttl", "3s", "--restart", "always")
    assert phases(daemon) == {"gone": "running", "rests": "running"}
    daemon.kill()
    daemon.start()
    until("the end of both", lambda: phases(daemon) == {"rests": "stopped"})
    assert daemon.json("info", "rests")["next_restart_at"] is None, "an end by its time is no failure"


def test_what_is_protected_is_not_deleted_even_with_force(daemon: Daemon) -> None:
    daemon.yurt("create", "tiny", "--as", "container", "--name", "dear", "--protect")
    refused = daemon.yurt("delete", "--force", "dear", check=False)
    assert refused.returncode == 8
    assert b"yurt set dear protect=off" in refused.stderr
    daemon.yurt("set", "dear", "protect=off")
    daemon.yurt("delete", "dear")
    assert daemon.json("ls") == []


def test_a_boot_of_the_host_starts_in_order_and_a_restart_of_the_daemon_does_not(daemon: Daemon) -> None:
    create = ("create", "tiny", "--as", "container", "--network", "none", "--autostart")
    daemon.yurt(*create, "--name", "late", "--autostart-order", "200")
    daemon.yurt(*create, "--name", "early", "--autostart-order", "1", "--autostart-delay", "2s")
    daemon.yurt("create", "tiny", "--as", "container", "--name", "never")
    daemon.stop()
    daemon.start()
    time.sleep(1)
    assert set(phases(daemon).values()) == {"stopped"}
    daemon.stop()
    daemon.start(YURT_BOOT_ID="another")
    until("both", lambda: phases(daemon) == {"early": "running", "late": "running", "never": "stopped"})
    started = {each["name"]: each["started_at"] for each in daemon.json("ls")}
    assert started["late"] - started["early"] >= 2
    daemon.yurt("stop", "late")
    daemon.stop()
    daemon.start(YURT_BOOT_ID="another")
    time.sleep(1)
    assert phases(daemon) == {"early": "running", "late": "stopped", "never": "stopped"}


def test_a_start_that_does_not_fit_is_refused_with_its_sum(daemon: Daemon) -> None:
    daemon.stop()
    with (daemon.state / "yurt.toml").open("a") as settings:  # the test's own network default stays
        settings.write('[admission]\nmemory_kept_free = "1G"\nmemory_overcommit = 0.1\n')
    daemon.start()
    limit = daemon.json("host", "info")["resources"]["memory"]["limit_bytes"]
    half = ("--memory", f"{limit // 2 + (1 << 20)}")
    daemon.yurt(*RUN, "--name", "one", *half)
    host = daemon.json("host", "info")["resources"]["memory"]
    assert host["reserved_bytes"] == limit // 2 + (1 << 20)
    assert host["left_bytes"] == limit - host["reserved_bytes"]
    words = ("run", "tiny", "--as", "container", "--detach", "--name", "two", *half)
    for dry in (("--dry-run",), ()):
        refused = daemon.yurt(words[0], *dry, *words[1:], check=False)
        assert refused.returncode == 7
        assert b"promised to 1 running instance = " in refused.stderr
        assert b"memory_overcommit" in refused.stderr
    daemon.yurt("create", "tiny", "--as", "container", "--name", "two", *half)
    assert daemon.yurt("start", "two", "--dry-run", check=False).returncode == 7
    assert daemon.yurt("start", "two", check=False).returncode == 7
    assert phases(daemon) == {"one": "running", "two": "stopped"}
    daemon.yurt("stop", "one")
    daemon.yurt("start", "two")


def test_profiles_and_sizes_make_instances(daemon: Daemon) -> None:
    daemon.yurt(
        "profile",
        "create",
        "web",
        "--as",
        "container",
        "--memory",
        "128M",
        "-e",
        "A=profile",
        "-e",
        "B=profile",
    )
    daemon.yurt(
        "run", "tiny", "--profile", "web", "-e", "B=flag", "--network", "none", "--name", "one", "--detach"
    )
    record = daemon.json("info", "one")
    assert (record["spec"]["kind"], record["spec"]["memory_bytes"]) == ("container", 128 << 20)
    assert record["spec"]["profiles"] == ["web"]
    assert {key: record["spec"]["env"][key] for key in "AB"} == {"A": "profile", "B": "flag"}
    assert daemon.yurt("profile", "delete", "web", check=False).returncode == 5
    assert b"1 instance created with it" in daemon.yurt("profile", "set", "web", "--cpus", "1").stderr
    daemon.yurt("create", "tiny", "--profile", "web", "--size", "micro", "--name", "two")
    assert daemon.json("info", "two")["spec"]["memory_bytes"] == 256 << 20
    assert daemon.yurt("create", "tiny", "--profile", "nope", check=False).returncode == 3
    daemon.yurt("profile", "delete", "--force", "web")
