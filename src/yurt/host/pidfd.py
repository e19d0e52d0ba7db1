"""What the kernel keeps about a process behind its pidfd: here, how it ended, although it was never our child."""

import fcntl
import struct

PIDFD_GET_INFO = 0xC040FF0B  # _IOWR(0xFF, 11, struct pidfd_info of 64 bytes)
PIDFD_INFO_EXIT = 1 << 3


def exit_status(pidfd: int) -> int | None:
    """How the process ended: its exit code, or minus the signal; None while it runs or where the kernel cannot say.

    Works for any process whose pidfd was opened before it was reaped. Source: Linux 6.15, `PIDFD_INFO_EXIT`.
    """
    try:
        info = fcntl.ioctl(pidfd, PIDFD_GET_INFO, struct.pack("=Q56x", PIDFD_INFO_EXIT))
    except OSError:
        return None
    mask, status = int.from_bytes(info[:8], "little"), int.from_bytes(info[60:64], "little", signed=True)
    if not mask & PIDFD_INFO_EXIT:
        return None
    return -(status & 0x7F) if status & 0x7F else status >> 8 & 0xFF
