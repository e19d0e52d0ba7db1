"""The `qemu-full` driver: a VM is a whole PC (q35, SeaBIOS, AHCI, e1000e) that boots what is on its disk."""

from yurt.drivers.base import Attachments
from yurt.drivers.qemu.driver import QemuDriver
from yurt.errors import Invalid
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
