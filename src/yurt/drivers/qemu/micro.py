"""The `qemu-micro` driver: a microVM is QEMU's `microvm` machine, virtio, and a kernel booted directly.

Its ACPI has a power button, but a guest notices it only with the kernel's button module and somebody who listens;
the engine asks the agent first.
"""

from yurt.drivers.base import Attachments
from yurt.drivers.qemu.driver import QemuDriver
from yurt.errors import Invalid
from yurt.model.instance import MIB, Kind


class MicroDriver(QemuDriver):
    """Driver for the kind `microvm`."""

    name = "qemu-micro"
    kind = Kind.MICROVM
    min_memory_bytes = 96 * MIB

    def check_attachments(self, attachments: Attachments) -> None:
        """Raise Invalid unless there are a disk and a kernel."""
        super().check_attachments(attachments)
        if attachments.kernel is None:
            raise Invalid("a microvm needs a kernel")
