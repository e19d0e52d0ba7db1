"""Block volumes on the command line: one virtio disk each, known to its guest by the volume's name. Pure.

Names are those of hotplug.py, so that a disk which was there from the start can go like one that came later. In a VM
each has a port of its own for that, as what sits on the root bus cannot be taken away.
"""

import msgspec

from yurt.drivers.qemu.blocks import descriptor_set_args, file_node, format_node, json_option
from yurt.drivers.qemu.throttle import limit_node, limit_options
from yurt.model.image import DiskFormat

FIRST_SET = 10  # number of the first volume's descriptor set; lower ones belong to the root disk
FIRST_SLOT, FUNCTIONS = 0x11, 8  # where their ports are on the bus; room.py has the slot before
FIRST_CHASSIS = 100


class VolumeDisk(msgspec.Struct, frozen=True, kw_only=True):
    """A volume's image as QEMU inherits it."""

    name: str
    descriptor: int
    format: DiskFormat = DiskFormat.QCOW2
    read_only: bool = False


def disk_name(name: str) -> str:
    """The device and the format node of a volume. QEMU allows 31 characters, `-limit` included."""
    return f"vol-{name}"


def volume_args(disks: tuple[VolumeDisk, ...], *, micro: bool) -> list[str]:
    """All volumes of a machine, in the order of its spec."""
    args = list[str]()
    for index, disk in enumerate(disks):
        name = disk_name(disk.name)
        args += descriptor_set_args(FIRST_SET + index, disk.descriptor)
        args += file_node(f"{name}-file", FIRST_SET + index, read_only=disk.read_only)
        saving = {} if disk.read_only else {"discard": "unmap", "detect_zeroes": "unmap"}
        args += format_node(name, disk.format, None, read_only=disk.read_only, **saving)
        args += json_option("-blockdev", **limit_options(name, read_only=disk.read_only))
        args += [] if micro else json_option("-device", **volume_port(index))
        args += json_option("-device", **volume_device(disk.name, index, micro=micro))
    return args


def volume_port(index: int) -> dict[str, object]:
    """The port of a VM's volume, eight to a slot."""
    slot, function = divmod(index, FUNCTIONS)
    return {
        "driver": "pcie-root-port",
        "id": f"volport{index}",
        "bus": "pcie.0",
        "addr": f"{FIRST_SLOT + slot:x}.{function:x}",
        "multifunction": function == 0,
        "chassis": FIRST_CHASSIS + index,
        "slot": FIRST_CHASSIS + index,
        "io-reserve": 0,
    }


def volume_device(name: str, index: int, *, micro: bool) -> dict[str, object]:
    """The disk as the guest sees it."""
    disk = {"id": disk_name(name), "drive": limit_node(disk_name(name)), "serial": name}
    if micro:
        return {"driver": "virtio-blk-device", **disk}
    return {"driver": "virtio-blk-pci", "bus": f"volport{index}", **disk}
