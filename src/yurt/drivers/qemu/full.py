"""The `qemu-full` driver: a VM is a whole PC (q35, SeaBIOS, virtio or SATA disk, e1000e) that boots what is on its disk.

Disks and NICs can be plugged in and taken away while it runs.
"""

import asyncio
import os
from pathlib import Path

from yurt.drivers.base import Attachments, NicAttachment, VolumeAttachment
from yurt.drivers.qemu import hotplug
from yurt.drivers.qemu.driver import QemuDriver
from yurt.errors import Invalid
from yurt.host.tap import open_tap
from yurt.model.instance import MIB, Kind


class FullDriver(QemuDriver):
    """Driver for the kind `vm`."""

    name = "qemu-full"
    kind = Kind.VM
    min_memory_bytes = 64 * MIB

    def check_attachments(self, attachments: Attachments) -> None:
        """Raise Invalid unless there is a disk, and nothing that a whole PC would not boot from."""
        super().check_attachments(attachments)
        if attachments.kernel is not None:
            raise Invalid("a vm boots from its own disk")

    async def attach_disk(self, run_dir: Path, volume: VolumeAttachment) -> None:
        """Plug a block volume in. Safe to repeat. Raises NotFound, Exhausted, Unavailable, ToolFailed."""
        async with self._changing(run_dir) as monitor:
            await hotplug.attach_disk(monitor, volume)

    async def detach_disk(self, run_dir: Path, name: str) -> None:
        """Take a block volume away. Safe to repeat. Raises NotFound, Timeout, Unsupported, ToolFailed."""
        async with self._changing(run_dir) as monitor:
            await hotplug.detach_disk(monitor, name)

    async def attach_nic(self, run_dir: Path, nic: NicAttachment) -> None:
        """Plug a NIC in whose tap exists. Safe to repeat. Raises as `attach_disk`."""
        async with self._changing(run_dir) as monitor:
            if await hotplug.has_nic(monitor, nic.index):
                return
            tap = await asyncio.to_thread(open_tap, nic.device)
            try:
                await hotplug.attach_nic(monitor, nic, tap)
            finally:
                os.close(tap)

    async def detach_nic(self, run_dir: Path, index: int) -> None:
        """Take a NIC away. Safe to repeat. Raises as `detach_disk`."""
        async with self._changing(run_dir) as monitor:
            await hotplug.detach_nic(monitor, index)
