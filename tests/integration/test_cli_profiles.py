"""`yurt profile` and the flags of policies, against the API with an engine in memory."""

import json
from collections.abc import Iterator

import pytest
from tests.clihost import CliHost, cli_host


@pytest.fixture(scope="module")
def host() -> Iterator[CliHost]:
    with cli_host() as found:
        yield found


def test_a_profile_is_made_shown_changed_and_deleted(host: CliHost) -> None:
    words = ("--memory", "1G", "-e", "A=b", "--restart", "always", "--pids", "50", "--no-init")
    assert host.run("profile", "create", "small-web", *words).stdout == b"small-web\n"
    made = json.loads(host.run("profile", "info", "small-web", "--json").stdout)
    assert made["settings"]["memory_bytes"] == 1 << 30
    assert made["settings"]["policy"]["restart"] == "always"
    assert made["settings"]["limits"]["pids"] == 50
    assert (made["settings"]["init"], made["settings"]["kind"], made["builtin"]) == ("command", None, False)
    shown = host.run("profile", "info", "small-web").stdout.decode()
    assert ["memory", "1G"] in [line.split() for line in shown.splitlines()]
    assert (
        host.run(
            "profile", "set", "small-web", "--cpus", "4", "--unset", "memory", "--unset", "env.A"
        ).returncode
        == 0
    )
    changed = json.loads(host.run("profile", "info", "small-web", "--json").stdout)["settings"]
    assert (changed["cpus"], changed["memory_bytes"], changed["env"]) == (4, None, {})
    assert b"small-web" in host.run("profile", "ls").stdout
    assert host.run("profile", "ls", "--quiet").stdout.split()[:2] == [b"micro", b"small"]
    assert host.run("profile", "delete", "small-web").returncode == 0
    assert host.run("profile", "info", "small-web").returncode == 3


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (("set", "web"), 2),
        (("set", "web", "--unset", "colour"), 2),
        (("create", "web"), 4),
        (("create", "other", "--init", "--no-init"), 2),
        (("delete", "used"), 5),
        (("delete", "nobody"), 3),
    ],
)
def test_what_cannot_be_is_said(host: CliHost, words: tuple[str, ...], code: int) -> None:
    done = host.run("profile", *words)
    assert done.returncode == code, done.stderr
    assert done.stderr.startswith(b"error: ")


def test_who_has_a_profile_already_is_told(host: CliHost) -> None:
    assert (
        b"1 instance created with it before stay" in host.run("profile", "set", "used", "--cpus", "1").stderr
    )


def test_policies_and_profiles_reach_the_daemon(host: CliHost) -> None:
    flags = ("--restart", "on-failure", "--autostart", "--autostart-order", "0", "--autostart-delay", "1m")
    more = ("--ttl", "30m", "--ttl-action", "stop", "--protect")
    done = host.run("create", "tiny", "--name", "kept", *flags, *more)
    assert done.returncode == 0, done.stderr
    wanted = {
        "restart": "on-failure",
        "autostart": True,
        "autostart_order": 0,
        "autostart_delay_s": 60.0,
        "ttl_s": 1800.0,
        "ttl_action": "stop",
        "protect": True,
    }
    policy = json.loads(host.run("info", "kept", "--json").stdout)["spec"]["policy"]
    assert {key: policy[key] for key in wanted} == wanted
    shown = host.run("info", "kept").stdout
    assert b"30m0s, then stop" in shown
    assert b"against deletion" in shown
