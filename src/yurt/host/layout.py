"""Where every file that yurt leaves on disk lies. Each name stands here once; docs/state-on-disk.md explains them.

Root keeps state in /var/lib/yurt and run files in /run/yurt; an ordinary user in the XDG directories.
`YURT_HOME=/somewhere` puts both below one directory (tests, trials, several yurts on one host).
"""

from dataclasses import dataclass
from pathlib import Path

from yurt.paths import DAEMON_LOG, SOCKET, directories


@dataclass(frozen=True, slots=True)
class Layout:
    """All paths of one yurt. `state` survives a reboot, `run` does not have to."""

    state: Path
    run: Path

    @property
    def socket(self) -> Path:
        return self.run / SOCKET

    @property
    def daemon_lock(self) -> Path:
        return self.run / "yurtd.lock"

    @property
    def daemon_log(self) -> Path:
        return self.state / DAEMON_LOG

    @property
    def database(self) -> Path:
        return self.state / "yurt.db"

    @property
    def settings(self) -> Path:
        """The host owner's settings; may be absent."""
        return self.state / "yurt.toml"

    @property
    def volumes(self) -> Path:
        """One directory per volume, named by its id."""
        return self.state / "volumes"

    @property
    def networks_run(self) -> Path:
        """What the name servers of managed networks need, one directory per network."""
        return self.run / "networks"

    @property
    def images(self) -> Path:
        """The OCI image layout: oci-layout, index.json, blobs/sha256/…"""
        return self.state / "images"

    @property
    def forms(self) -> Path:
        """Derived forms, one directory per image digest: rootfs/, root.ext4, disk.qcow2. A cache: safe to delete."""
        return self.state / "forms"

    @property
    def kernels(self) -> Path:
        """The kernel store, one directory per kernel version."""
        return self.state / "kernels"

    @property
    def agents(self) -> Path:
        """yurt-agent binaries built here, by digest of their source and architecture."""
        return self.state / "agents"

    @property
    def accel_verdict(self) -> Path:
        """The accelerator probe's verdict for this boot of the host."""
        return self.run / "accel.json"

    @property
    def facts_cache(self) -> Path:
        """What was costly to find out about this host: QEMU's version, the time stamp counter's rate."""
        return self.run / "facts.json"

    @property
    def accel_announced(self) -> Path:
        """Made when users have been told that this boot of the host runs guests under TCG."""
        return self.run / "accel.announced"

    @property
    def instances_state(self) -> Path:
        return self.state / "instances"

    @property
    def instances_run(self) -> Path:
        return self.run / "instances"

    def instance_state(self, instance_id: str) -> Path:
        """disk.qcow2 or data/, console.log, lifecycle.log of one instance."""
        return self.instances_state / instance_id

    def instance_run(self, instance_id: str) -> Path:
        """launched.json and the sockets agent.sock, qmp.sock, console.sock of one running instance."""
        return self.instances_run / instance_id


# names inside an instance's state directory
DISK = "disk.qcow2"
GROWING = "disk.growing"
DATA = "data"
CONSOLE_LOG = "console.log"
LIFECYCLE_LOG = "lifecycle.log"
# names inside an instance's run directory
LAUNCHED = "launched.json"
AGENT_SOCKET = "agent.sock"
QMP_SOCKET = "qmp.sock"
CONSOLE_SOCKET = "console.sock"
MACHINE_LOG = "machine.log"
NETWORK_SOCKETS = "usernet"
CGROUPS = "cgroups.json"


def default_layout(environ: dict[str, str] | None = None, uid: int | None = None) -> Layout:
    """Return the layout for this user and environment; makes nothing."""
    state, run = directories(environ, uid)
    return Layout(Path(state), Path(run))
