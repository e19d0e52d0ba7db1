"""User-mode network of a container: slirp4netns, the same stack and the same addresses as QEMU's `-netdev user`.

10.0.2.15/24, gateway 10.0.2.2, name server 10.0.2.3; the host's own loopback cannot be reached. The helper runs as
the instance's unprivileged user without capabilities; it may enter the container's namespaces because that user
owns the container's user namespace.
"""

import asyncio
import os
from pathlib import Path

from yurt.drivers.container.userns import unprivileged
from yurt.errors import Timeout, ToolFailed
from yurt.host import mounts, proc
from yurt.host.cgroup import Group

TUN = Path("/dev/net/tun")
TUN_DEVICE = (10, 200)
READY_S = 20.0
MTU = 65520


def slirp_args(pid: int, ready_fd: int) -> tuple[str, ...]:
    """The command of the network helper for the container whose PID 1 is `pid`. Pure."""
    return (
        "slirp4netns",
        "--configure",
        f"--mtu={MTU}",
        "--disable-host-loopback",
        f"--ready-fd={ready_fd}",
        f"--userns-path=/proc/{pid}/ns/user",
        "--netns-type=path",
        f"/proc/{pid}/ns/net",
        "tap0",
    )


# join the helper's control group while still root, then become the unprivileged user
_JOIN = 'for file; do case "$file" in --) shift; exec "$@";; esac; echo 0 >"$file" || exit 125; shift; done'


async def start_usernet(
    pid: int, uid: int, gid: int, group: Group, run_dir: Path, log_path: Path
) -> proc.Process:
    """Start the helper and return when the interface in the container is up. Raises ToolFailed with its last words."""
    ready_read, ready_write = os.pipe()
    # all controllers but the one that would deny it /dev/net/tun
    devices = group.directories.get("devices")
    joins = [str(path) for path in group.join_files if path.parent != devices]
    argv = ("sh", "-c", _JOIN, "sh", *joins, "--", *unprivileged(uid, gid), *slirp_args(pid, ready_write))

    def launch() -> proc.Process:
        _offer_tun(run_dir)
        return proc.spawn(argv, log_path=log_path, pass_fds=(ready_write,), cwd=Path("/"))

    try:
        helper = await asyncio.to_thread(mounts.run_in_private_mounts, launch)
    finally:
        os.close(ready_write)
    try:
        if not await _ready(ready_read):
            words = log_path.read_text(errors="replace")
            raise ToolFailed(argv=argv[argv.index("slirp4netns") :], status="no network", stderr=words)
    except BaseException:
        await helper.end(grace_s=0)
        raise
    finally:
        os.close(ready_read)
    return helper


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


async def _ready(descriptor: int) -> bool:
    """Wait for the helper's sign; False when it ended instead."""
    loop = asyncio.get_running_loop()
    readable: asyncio.Future[None] = loop.create_future()
    loop.add_reader(descriptor, proc.resolve, readable)
    try:
        async with asyncio.timeout(READY_S):
            await readable
    except TimeoutError as error:
        raise Timeout(what="the container's network", timeout_s=READY_S) from error
    finally:
        loop.remove_reader(descriptor)
    return os.read(descriptor, 1) == b"1"
