"""How a process ended, although it was never our child."""

import fcntl
import struct
from pathlib import Path

PIDFD_GET_INFO = 0xC040FF0B  # _IOWR(0xFF, 11, struct pidfd_info of 64 bytes)
PIDFD_INFO_EXIT = 1 << 3


def exit_status(pidfd: int, pid: int, start: int) -> int | None:
    """The exit code of a process that has ended, or minus its signal; None where the kernel cannot say.

    `pidfd` was opened while it ran. Before its parent has collected it, /proc still tells; after that the kernel
    remembers for whoever holds a pidfd. Source: Linux 6.15, `PIDFD_INFO_EXIT`; proc_pid_stat(5), field 52.
    """
    status = _of_zombie(pid, start)
    if status is None:
        status = _of_pidfd(pidfd)
    if status is None:
        return None
    return -(status & 0x7F) if status & 0x7F else status >> 8 & 0xFF


def _of_zombie(pid: int, start: int) -> int | None:
    try:
        text = Path(f"/proc/{pid}/stat").read_text(errors="replace")
    except OSError:
        return None
    fields = text.rpartition(")")[2].split()
    return int(fields[49]) if fields[0] == "Z" and int(fields[19]) == start else None


def _of_pidfd(pidfd: int) -> int | None:
    try:
        info = fcntl.ioctl(pidfd, PIDFD_GET_INFO, struct.pack("=Q56x", PIDFD_INFO_EXIT))
    except OSError:
        return None
    mask, status = struct.unpack("=Q52xi", info)
    return status if mask & PIDFD_INFO_EXIT else None
