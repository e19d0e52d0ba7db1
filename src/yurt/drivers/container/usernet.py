"""User-mode network of a container: slirp4netns, the same stack and the same addresses as QEMU's `-netdev user`.

10.0.2.15/24, gateway 10.0.2.2, name server 10.0.2.3; the host's own loopback cannot be reached. The helper runs as
the instance's unprivileged user without capabilities; it may enter the container's namespaces because that user
owns the container's user namespace.
"""

import asyncio
import os
from collections.abc import Callable
from ipaddress import IPv4Address, IPv4Interface
from pathlib import Path

from yurt.drivers.base import Attachments, Launched
from yurt.drivers.container.launch import spawned
from yurt.drivers.container.userns import first_word
from yurt.errors import ToolFailed
from yurt.host import mounts, proc
from yurt.host.confine import confined
from yurt.host.gate import spawn_recorded
from yurt.host.machinelog import MachineLog
from yurt.host.netns import configure_ipv4

TUN = Path("/dev/net/tun")
TUN_DEVICE = (10, 200)
INTERFACE = "tap0"
ADDRESS, GATEWAY = IPv4Interface("10.0.2.15/24"), IPv4Address("10.0.2.2")
MTU = 65520


def slirp_args(pid: int, ready_fd: int) -> tuple[str, ...]:
    """The command of the network helper for the container whose PID 1 is `pid`. Pure."""
    return (
        "slirp4netns",
        f"--mtu={MTU}",
        "--disable-host-loopback",
        "--enable-seccomp",
        f"--ready-fd={ready_fd}",
        f"--userns-path=/proc/{pid}/ns/user",
        "--netns-type=path",
        f"/proc/{pid}/ns/net",
        INTERFACE,
    )


async def start_usernet(
    launched: Launched, attachments: Attachments, record: Callable[[proc.Process], None]
) -> proc.Process:
    """Start the helper for a container; return when its network is up. `record` is called before the helper runs.

    Raises ToolFailed with the helper's last words.
    """
    ready_read, ready_write = os.pipe2(os.O_CLOEXEC)
    words = MachineLog.make()
    try:
        command = slirp_args(launched.pid, ready_write)
        argv = confined(command, attachments.uid, attachments.gid)

        def start() -> proc.Process:
            _offer_tun(attachments.run_dir)
            return spawn_recorded(argv, record, output=words.descriptor, pass_fds=(ready_write,))

        helper = await spawned(start)
        os.close(ready_write)
        ready_write = -1
        if await first_word(ready_read) != b"1":
            await helper.end(grace_s=0)
            raise ToolFailed(argv=command, status="an early end", stderr=words.text())
        await asyncio.to_thread(configure_ipv4, launched.pid, INTERFACE, ADDRESS, GATEWAY, MTU)
        return helper
    finally:
        words.close()
        os.close(ready_read)
        if ready_write >= 0:
            os.close(ready_write)


def _offer_tun(run_dir: Path) -> None:
    """In this thread's namespace, let any user open /dev/net/tun; most hosts do anyway, minimal ones do not."""
    if TUN.stat().st_mode & 0o006 == 0o006:
        return
    place = run_dir / "net"
    place.mkdir(mode=0o711, exist_ok=True)
    mounts.mount("tmpfs", place, "tmpfs", mounts.MS_NOSUID, "mode=711")
    node = place / "tun"
    os.mknod(node, 0o020666, os.makedev(*TUN_DEVICE))
    node.chmod(0o666)
    mounts.mount(str(node), TUN, "", mounts.MS_BIND)
