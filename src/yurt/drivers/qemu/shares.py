"""File servers of a machine: one virtiofsd for each share and each file-system volume.

A server sees one directory, idmapped, in a mount namespace of its own, and runs in a user namespace whose root is a
private user of the host: it may do there what the directory's owner may do, whatever the guest says. It makes itself a
sandbox on top (namespaces, `pivot_root` into the directory, a filter of system calls). QEMU is handed the connected
socket; the server ends when that closes, so it outlives the daemon and not the machine.

Source: virtiofsd (QEMU 7.2), docs/tools/virtiofsd.rst.
"""

import contextlib
import functools
import os
import resource
import socket
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path

import msgspec

from yurt.drivers.base import Attachments
from yurt.drivers.container.userns import make_userns
from yurt.drivers.qemu.blocks import json_option
from yurt.drivers.trees import OpenTree, mount_trees, open_trees, place_of, trees_of
from yurt.errors import Unavailable, Unsupported
from yurt.host import mounts, proc
from yurt.host.gate import bind_socket, spawn_recorded

VIRTIOFSD = "/usr/lib/qemu/virtiofsd"
SHARE_SOCKET = "share.sock"  # in the run directory, only while a machine starts
MOST_FILES = 16384  # that a guest may hold open in one share
HELPER = "share"  # their names in launched.json begin with it


class SharePort(msgspec.Struct, frozen=True, kw_only=True):
    """A share as QEMU inherits it: the tag that the guest mounts, and a socket that is connected to its server."""

    tag: str
    descriptor: int


class OpenShares(msgspec.Struct, frozen=True, kw_only=True):
    """What servers need: the trees, and the user namespace they run in."""

    trees: tuple[OpenTree, ...] = ()
    userns: int = -1


def server_args(program: str, listener: int, userns: int, place: Path, files: int) -> list[str]:
    """The command of one server. No text of a user's stands in it. Pure."""
    source = str(place).replace("\\", "\\\\").replace(",", "\\,")  # YURT_HOME may lie anywhere
    options = f"source={source},sandbox=namespace,cache=auto,no_xattr,no_posix_acl,no_posix_lock,no_flock"
    enter = ["nsenter", f"--user=/proc/self/fd/{userns}", "--", "setpriv", "--no-new-privs", "--"]
    return [*enter, program, f"--fd={listener}", f"--rlimit-nofile={files}", "-f", "-o", options]


def share_args(ports: Sequence[SharePort], *, micro: bool) -> list[str]:
    """The devices of all shares. Pure."""
    args = list[str]()
    for number, port in enumerate(ports):
        args += ["-chardev", f"socket,id={HELPER}{number},fd={port.descriptor}"]
        driver = "vhost-user-fs-device" if micro else "vhost-user-fs-pci"
        args += json_option("-device", driver=driver, chardev=f"{HELPER}{number}", tag=port.tag)
    return args


@contextlib.asynccontextmanager
async def open_shares(attachments: Attachments) -> AsyncIterator[OpenShares]:
    """Open what a machine's servers are to show. Raises NotFound, Invalid, Unsupported; nothing runs yet."""
    if not trees_of(attachments):
        yield OpenShares()
        return
    if not Path(VIRTIOFSD).exists():
        raise Unsupported(
            "this host has no virtiofsd, so machines cannot have shares",
            hint="apt-get install qemu-system-common",
        )
    base, count = attachments.host_ids
    userns = await make_userns(base, count, attachments.uid, attachments.gid)
    try:
        async with open_trees(attachments, userns) as trees:
            yield OpenShares(trees=trees, userns=userns)
    finally:
        os.close(userns)


def start_servers(
    shares: OpenShares,
    run_dir: Path,
    record: Callable[[str, proc.Process], None],
    stack: contextlib.ExitStack,
    *,
    join: Sequence[Path],
    output: int,
) -> tuple[SharePort, ...]:
    """Start one server for each tree; `record` writes each down before it runs. Blocking.

    The ports are closed by `stack`; when nobody has inherited them by then, the servers end.
    """
    ports = list[SharePort]()

    def start() -> None:
        mount_trees(run_dir, shares.trees)
        for number, each in enumerate(shares.trees):
            with bind_socket(run_dir / SHARE_SOCKET) as listener:
                ports.append(SharePort(tag=each.tree.tag, descriptor=_connect(run_dir / SHARE_SOCKET)))
                stack.callback(os.close, ports[-1].descriptor)
                place = place_of(run_dir, number)
                spawn_recorded(
                    server_args(VIRTIOFSD, listener.fileno(), shares.userns, place, open_files()),
                    functools.partial(record, f"{HELPER}{number}"),
                    output=output,
                    pass_fds=(listener.fileno(), shares.userns),
                    join=join,
                )

    if shares.trees:
        mounts.run_in_private_mounts(start)
    return tuple(ports)


def open_files() -> int:
    """How many files a guest may hold open in one share: what this daemon may, and no more than is sensible."""
    return min(resource.getrlimit(resource.RLIMIT_NOFILE)[1], MOST_FILES)


def _connect(path: Path) -> int:
    """A connection that waits in the listener's queue; the name is not needed any more. Raises Unavailable."""
    client = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
    try:
        client.connect(str(path))
        path.unlink()
        return client.detach()
    except OSError as error:
        client.close()
        raise Unavailable(f"cannot connect to `{path}`: {error.strerror or error}") from error
