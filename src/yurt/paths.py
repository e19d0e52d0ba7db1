"""Where yurt keeps its files and where its daemon listens: the few paths that daemon and clients both need.

This is on the command line's hot path, so paths are plain strings and only `os` is imported.
`yurt.host.layout` names everything that lies below these directories.
"""

import os

SOCKET = "yurt.sock"
DAEMON_LOG = "yurtd.log"
ROOTLESS_UID = (
    "YURT_ROOTLESS_UID"  # in the environment of a daemon that is root only in its own namespace: whose it is
)


def directories(environ: "dict[str, str] | None" = None, uid: "int | None" = None) -> "tuple[str, str]":
    """Return the state and the run directory for this user and environment; makes nothing."""
    env = os.environ if environ is None else environ
    user = int(env.get(ROOTLESS_UID) or os.geteuid()) if uid is None else uid
    if home := env.get("YURT_HOME"):
        return f"{home}/state", f"{home}/run"
    if user == 0:
        return "/var/lib/yurt", "/run/yurt"
    data = env.get("XDG_DATA_HOME") or f"{env.get('HOME', '/nonexistent')}/.local/share"
    run = env.get("XDG_RUNTIME_DIR") or f"/run/user/{user}"
    if not os.path.isdir(run):  # noqa: PTH112  (no session manager made it: pathlib would cost the command line 2 ms)
        return f"{data}/yurt", f"{data}/yurt/run"
    return f"{data}/yurt", f"{run}/yurt"
