"""A machine's log: what QEMU writes to standard error, bounded whatever the guest makes it say.

The log lives in a memory file whose size is sealed, so QEMU's writes beyond it fail and nothing else happens. Guests
outlive the daemon: a later one finds the same file behind QEMU's own descriptor. When QEMU has ended, its holder
writes the text to `machine.log` in the run directory.
"""

import fcntl
import os
from pathlib import Path

from yurt.host.files import write_atomic

LIMIT = 64 << 10


class MachineLog:
    """One such file, held by descriptor."""

    def __init__(self, descriptor: int) -> None:
        self.descriptor = descriptor

    @classmethod
    def make(cls) -> "MachineLog":
        """Make an empty one."""
        descriptor = os.memfd_create("yurt-machine-log", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
        os.ftruncate(descriptor, LIMIT)
        fcntl.fcntl(
            descriptor, fcntl.F_ADD_SEALS, fcntl.F_SEAL_GROW | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_SEAL
        )
        return cls(descriptor)

    @classmethod
    def of_process(cls, pid: int) -> "MachineLog | None":
        """Take hold of the log of a QEMU that an earlier daemon started; None when it cannot be opened."""
        try:
            return cls(os.open(f"/proc/{pid}/fd/2", os.O_RDONLY | os.O_CLOEXEC))
        except OSError:
            return None

    def text(self) -> str:
        """All that was written so far."""
        if self.descriptor < 0:
            return ""
        return os.pread(self.descriptor, LIMIT, 0).rstrip(b"\0").decode(errors="replace")

    def save(self, path: Path) -> None:
        """Keep the text beyond the life of the machine."""
        if (text := self.text()) and path.parent.is_dir():
            write_atomic(path, text.encode(), durable=False)

    def close(self) -> None:
        """Let go of it. Safe to repeat."""
        if self.descriptor >= 0:
            os.close(self.descriptor)
            self.descriptor = -1
