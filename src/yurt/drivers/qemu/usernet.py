"""User-mode network of a machine: slirp4netns, in a jail of its own, speaks Ethernet with QEMU over a unix socket.

QEMU itself has no network at all. Addresses are those of QEMU's own `-netdev user` (10.0.2.15/24, gateway 10.0.2.2, name
server 10.0.2.3), but the host's loopback cannot be reached. The helper ends with QEMU, whoever else is alive then: QEMU
holds the writing end of the pipe that the helper watches.
"""

import contextlib
import os
import shutil
import socket
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from yurt.drivers.base import Attachments
from yurt.drivers.qemu.jails import SOCKETS, helper_jail
from yurt.errors import ToolFailed
from yurt.host import layout, proc
from yurt.host.gate import spawn_recorded
from yurt.host.jail import spawn_jailed
from yurt.host.machinelog import MachineLog

HELPER = "network"  # its name in launched.json
SOCKET = "s"
DEADLINE_S = 10.0
PAUSE_S = 0.0005


class UserNetwork:
    """A helper that has been started. `socket` and `lifeline` are for QEMU to inherit; close ours then with `release`."""

    def __init__(self, process: proc.Process, link: socket.socket, lifeline: int) -> None:
        self.process = process
        self._link, self.lifeline = link, lifeline

    @property
    def descriptor(self) -> int:
        return self._link.fileno()

    def release(self) -> None:
        """Close our copies of what QEMU has inherited. Safe to repeat."""
        self._link.close()
        if self.lifeline >= 0:
            os.close(self.lifeline)
            self.lifeline = -1


def slirp_args(program: str, exit_fd: int, place: str) -> list[str]:
    """The helper's command: packets over a SOCK_SEQPACKET socket, until `exit_fd` is hung up. Pure."""
    return [
        program,
        "--target-type=bess",
        "--disable-host-loopback",
        "--enable-seccomp",
        f"--exit-fd={exit_fd}",
        f"{place}/{SOCKET}",
    ]


def start_usernet(
    program: str,
    attachments: Attachments,
    record: Callable[[proc.Process], None],
    join: Sequence[Path],
) -> UserNetwork:
    """Start the helper and connect to it. `record` is called before it runs. Blocking, some milliseconds.

    Raises ToolFailed with its last words; nothing of it is then left but what `remove_sockets` removes.
    """
    directory = make_sockets(attachments)
    words = MachineLog.make()
    exit_read, exit_write = os.pipe2(os.O_CLOEXEC)
    process: proc.Process | None = None
    try:
        if os.geteuid() == 0:
            argv = slirp_args(program, exit_read, SOCKETS)
            jail = helper_jail(program, attachments, directory)
            process = spawn_jailed(
                argv, jail, record, output=words.descriptor, pass_fds=(exit_read,), join=join
            )
        else:
            argv = slirp_args(program, exit_read, str(directory))
            process = spawn_recorded(argv, record, output=words.descriptor, pass_fds=(exit_read,))
        link = _connect(directory / SOCKET, process, argv, words)
        remove_sockets(attachments.run_dir)
        return UserNetwork(process, link, exit_write)
    except BaseException:
        os.close(exit_write)  # ends it
        if process is not None:
            process.close()
        raise
    finally:
        os.close(exit_read)
        words.close()


def _connect(path: Path, process: proc.Process, argv: Sequence[str], words: MachineLog) -> socket.socket:
    """The helper cannot inherit a listening socket, so wait until it has made its own."""
    deadline = time.monotonic() + DEADLINE_S
    link = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET | socket.SOCK_CLOEXEC)
    try:
        while True:
            with contextlib.suppress(FileNotFoundError, ConnectionRefusedError):
                link.connect(str(path))
                return link
            if not process.alive() or time.monotonic() > deadline:
                raise ToolFailed(argv=tuple(argv), status="an early end", stderr=words.text())
            time.sleep(PAUSE_S)
    except BaseException:
        link.close()
        raise


def make_sockets(attachments: Attachments) -> Path:
    """Make the directory for the helper's socket, which the helper's user alone may enter besides root."""
    remove_sockets(attachments.run_dir)
    directory = attachments.run_dir / layout.NETWORK_SOCKETS
    directory.mkdir(mode=0o700)
    if os.geteuid() == 0:
        os.chown(directory, attachments.uid, attachments.gid)
    return directory


def remove_sockets(run_dir: Path) -> None:
    """Take it away; once both are connected nobody needs it. Safe to repeat."""
    shutil.rmtree(run_dir / layout.NETWORK_SOCKETS, ignore_errors=True)
