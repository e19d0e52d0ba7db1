"""An ordinary user's yurt: the daemon becomes root of a user namespace of its own, with the user's subordinate ids.

There it may mount, make networks and start guests under other ids, and can harm nothing that the user could not.
`unshare` and the set-user-id helpers newuidmap and newgidmap (package uidmap) do the work; without subordinate ids
the namespace has one id only, and containers and image builds, which need many, say so.
"""

import functools
import os
import shutil
from collections.abc import Mapping
from pathlib import Path

from yurt.host.ids import IdPlan, plan_ids
from yurt.host.proc import CLEAN_ENVIRONMENT, become
from yurt.paths import ROOTLESS_UID

BEHIND = "YURT_ROOTLESS_TRIED"  # set across the exec, so that a host that refuses is not asked for ever


@functools.cache
def current_ids() -> IdPlan:
    """The id plan of this process."""
    return plan_ids(Path("/proc/self/uid_map").read_text())


def subordinate_ids(user: str, uid: int, text: str) -> int:
    """How many ids /etc/subuid (or subgid) gives a user. Pure."""
    rows = (line.split(":") for line in text.splitlines())
    return sum(
        int(row[2]) for row in rows if len(row) == 3 and row[0] in (user, str(uid)) and row[2].isdecimal()
    )


def namespace_argv(argv: list[str], *, many: bool) -> list[str]:
    """The command that runs `argv` as root of a new user namespace; `many`: with all of the user's subordinate ids. Pure."""
    ids = ["--map-root-user", *(["--map-auto"] if many else [])]
    return ["unshare", "--user", *ids, "--mount", "--propagation", "slave", "--", *argv]


def scope_argv(environ: Mapping[str, str], pid: int, *, session_manager: bool) -> list[str]:
    """What puts the daemon into a control group that is its own to arrange, where the user's systemd can give one. Pure.

    A daemon that systemd has started as a service (`pid` is what it started) is in one already. INVOCATION_ID would not
    tell: all programs of a desktop session inherit it from the session's own service.
    """
    if not session_manager or environ.get("SYSTEMD_EXEC_PID") == str(pid):
        return []
    return ["systemd-run", "--user", "--scope", "--quiet", "--collect", "--property=Delegate=yes", "--"]


def _session_manager(environ: Mapping[str, str]) -> bool:
    runtime = environ.get("XDG_RUNTIME_DIR", "")
    return bool(runtime) and Path(runtime, "systemd/private").is_socket()


def may_map_many(user: str, uid: int) -> bool:
    """Whether the helpers and the user's subordinate ids are there."""
    path = CLEAN_ENVIRONMENT["PATH"]
    if not all(shutil.which(tool, path=path) for tool in ("newuidmap", "newgidmap")):
        return False
    return all(subordinate_ids(user, uid, _read(name)) > 0 for name in ("/etc/subuid", "/etc/subgid"))


def enter(argv: list[str], user: str) -> None:
    """For an ordinary user: become `argv` in a namespace of our own. Returns at once for root, and after a failed try."""
    uid = os.geteuid()
    if uid == 0 or BEHIND in os.environ:
        return
    environ = {**os.environ, ROOTLESS_UID: str(uid), BEHIND: "1"}
    words = [
        *scope_argv(os.environ, os.getpid(), session_manager=_session_manager(os.environ)),
        *namespace_argv(argv, many=may_map_many(user, uid)),
    ]
    become(words, environ)


def _read(name: str) -> str:
    try:
        return Path(name).read_text()
    except OSError:
        return ""
