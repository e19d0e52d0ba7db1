"""What a machine boots with so that it can be changed while it runs: room for vCPUs, memory and devices. Pure.

A VM has room. A microVM's machine type knows no hot-plugging; all it has is a balloon, by which memory can be lent out
again. A machine whose memory is shared with others (a clone of a template) must not have its balloon inflated, as the
pages would not come free: whoever makes such machines makes them with `balloon=False`.
"""

import json

import msgspec

from yurt.model.instance import GIB, MIB, Kind

PAGE = 2 * MIB  # RAM is a whole number of these, so that huge pages fit
BLOCK = 128 * MIB  # Linux adds and removes memory in these
SLOTS = 16  # how often memory can be added; an empty slot costs a few lines of ACPI
PORTS = 4  # devices that can be plugged in while it runs
PORT_SLOT = 0x10  # their place on the bus: one slot, one function each
LEAST_CPUS, MOST_CPUS = 4, 32  # room that is always given, and that more host CPUs do not enlarge
BALLOON = "balloon0"


class Room(msgspec.Struct, frozen=True, kw_only=True):
    """The most of everything that this machine can have while it runs; the wish itself where it has no room."""

    cpus: int
    memory_bytes: int
    slots: int = 0
    ports: int = 0
    balloon: bool = False


def whole_pages(size_bytes: int) -> int:
    """A size of RAM, rounded up to whole huge pages."""
    return -(-size_bytes // PAGE) * PAGE


def room_for(kind: Kind, cpus: int, memory_bytes: int, host_cpus: int, host_memory_bytes: int) -> Room:
    """The room of a machine of this size on this host."""
    memory = whole_pages(memory_bytes)
    if kind is not Kind.VM:
        return Room(cpus=cpus, memory_bytes=memory, balloon=True)
    most_cpus = max(cpus, min(max(host_cpus, LEAST_CPUS), MOST_CPUS))
    return Room(
        cpus=most_cpus,
        memory_bytes=memory + max(host_memory_bytes // GIB * GIB, GIB),
        slots=SLOTS,
        ports=PORTS,
        balloon=True,
    )


def port_name(index: int) -> str:
    """The id of a port for a device that comes while the machine runs."""
    return f"port{index}"


def port_args(ports: int) -> list[str]:
    """PCI Express root ports, all functions of one slot. None of them takes I/O addresses, of which a PC has few."""
    args = list[str]()
    for index in range(ports):
        port = {
            "driver": "pcie-root-port",
            "id": port_name(index),
            "bus": "pcie.0",
            "addr": f"{PORT_SLOT:x}.{index:x}",
            "multifunction": index == 0,
            "chassis": index + 1,
            "slot": index + 1,
            "io-reserve": 0,
        }
        args += ["-device", json.dumps(port, separators=(",", ":"))]
    return args


def balloon_args(room: Room, micro: bool) -> list[str]:
    """A balloon that gives its memory back by itself when the guest runs out."""
    model = "virtio-balloon-device" if micro else "virtio-balloon-pci"
    balloon = {"driver": model, "id": BALLOON, "deflate-on-oom": True}
    return ["-device", json.dumps(balloon, separators=(",", ":"))] if room.balloon else []
