"""Disks and NICs that come and go while a VM runs. Files and taps travel as descriptors: QEMU opens nothing by name.

Each step looks first at what is there, so everything can be repeated after a lost answer or a daemon's death.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from yurt.drivers.base import NicAttachment, VolumeAttachment
from yurt.drivers.qemu.monitor import Monitor
from yurt.drivers.qemu.room import PORTS, port_name
from yurt.drivers.qemu.throttle import limit_node, limit_options
from yurt.drivers.qemu.unplug import PERIPHERAL, devices, unplug
from yurt.errors import Exhausted, Invalid, ToolFailed, Unavailable
from yurt.model.image import DiskFormat


def disk_name(volume: str) -> str:
    """The id of a volume's device and of its format node."""
    return f"vol-{volume}"


def nic_name(index: int) -> str:
    """The id of a NIC's device."""
    return f"nic{index}"


def backend_name(index: int) -> str:
    """The id of what is behind a NIC."""
    return f"net{index}"


@contextmanager
def opened(path: Path, flags: int) -> Iterator[int]:
    """A descriptor for QEMU, closed here afterwards. Raises Unavailable."""
    try:
        descriptor = os.open(path, flags | os.O_CLOEXEC)
    except OSError as error:
        raise Unavailable(f"cannot open `{path}`: {error.strerror}") from error
    try:
        yield descriptor
    finally:
        os.close(descriptor)


async def free_port(monitor: Monitor) -> str:
    """A port that nothing is plugged into. Raises Exhausted when there is none."""
    present = await devices(monitor)
    for port in (port_name(index) for index in range(PORTS)):
        if port in present and not await _occupied(monitor, port):
            return port
    raise Exhausted(
        f"all {PORTS} places for devices that come while it runs are taken",
        hint="detach something, or attach it while the instance is stopped",
    )


async def _occupied(monitor: Monitor, port: str) -> bool:
    reply = await monitor.execute("qom-list", {"path": f"{PERIPHERAL}/{port}/{port}"})
    entries = reply if isinstance(reply, list) else []
    return any(str(entry.get("name", "")).startswith("child[") for entry in entries)


# --- disks -------------------------------------------------------------------------------------------------------


def disk_nodes(volume: VolumeAttachment, descriptor_set: int) -> list[dict[str, object]]:
    """The block nodes of a volume, lowest first: file, format, filter. No backing file is followed. Pure."""
    name, common = disk_name(volume.name), {"discard": "unmap", "read-only": volume.read_only}
    chain: dict[str, object] = {"backing": None} if volume.format is DiskFormat.QCOW2 else {}
    file = {"driver": "file", "node-name": f"{name}-file", "filename": f"/dev/fdset/{descriptor_set}"}
    form = {"driver": str(volume.format), "node-name": name, "file": f"{name}-file", **chain}
    zeroes = {} if volume.read_only else {"detect-zeroes": "unmap"}
    return [{**file, **common}, {**form, **common, **zeroes}, limit_options(name, read_only=volume.read_only)]


def disk_device(volume: VolumeAttachment, port: str) -> dict[str, object]:
    """The disk as the guest sees it, with the volume's name as its serial number. Pure."""
    name = disk_name(volume.name)
    return {
        "driver": "virtio-blk-pci",
        "id": name,
        "bus": port,
        "drive": limit_node(name),
        "serial": volume.name,
    }


async def attach_disk(monitor: Monitor, volume: VolumeAttachment) -> None:
    """Plug a volume in. Safe to repeat. Raises Exhausted, Unavailable, ToolFailed; then nothing of it is left."""
    if volume.directory:
        raise Invalid("a file-system volume is no disk")
    name = disk_name(volume.name)
    if name in await devices(monitor):
        return
    await _drop_disk(monitor, name)
    port = await free_port(monitor)
    try:
        with opened(volume.path, os.O_RDONLY if volume.read_only else os.O_RDWR) as descriptor:
            reply = await monitor.execute_with(descriptor, "add-fd", {"opaque": name})
        number = int(reply["fdset-id"]) if isinstance(reply, dict) else -1
        for node in disk_nodes(volume, number):
            await monitor.execute("blockdev-add", node)
        await monitor.execute("device_add", disk_device(volume, port))
    except BaseException:
        await _drop_disk(monitor, name)
        raise


async def detach_disk(monitor: Monitor, volume: str) -> None:
    """Take a volume away, and everything of it in QEMU. Safe to repeat. Raises what `unplug` raises."""
    name = disk_name(volume)
    await unplug(monitor, name)
    await _drop_disk(monitor, name)


async def _drop_disk(monitor: Monitor, name: str) -> None:
    """Remove the block nodes and descriptors of a disk whose device is gone."""
    reply = await monitor.execute("query-named-block-nodes", {"flat": True})
    present = {str(node.get("node-name")) for node in reply} if isinstance(reply, list) else set()
    for node in (limit_node(name), name, f"{name}-file"):
        if node in present:
            await monitor.execute("blockdev-del", {"node-name": node})
    sets = await monitor.execute("query-fdsets")
    for each in sets if isinstance(sets, list) else []:
        if any(entry.get("opaque") == name for entry in each["fds"]):
            await monitor.execute("remove-fd", {"fdset-id": each["fdset-id"]})


# --- NICs --------------------------------------------------------------------------------------------------------


def nic_device(nic: NicAttachment, port: str) -> dict[str, object]:
    """The NIC as the guest sees it. Pure."""
    return {
        "driver": "virtio-net-pci",
        "id": nic_name(nic.index),
        "bus": port,
        "netdev": backend_name(nic.index),
        "mac": nic.mac,
        "host_mtu": nic.mtu,
        "romfile": "",
    }


async def has_nic(monitor: Monitor, index: int) -> bool:
    """Whether the machine has a NIC of that number."""
    return nic_name(index) in await devices(monitor)


async def attach_nic(monitor: Monitor, nic: NicAttachment, tap: int) -> None:
    """Plug a NIC in whose tap device is open as `tap` (QEMU gets a copy). Raises as for disks."""
    backend = backend_name(nic.index)
    await _drop_backend(monitor, backend)
    port = await free_port(monitor)
    await monitor.execute_with(tap, "getfd", {"fdname": backend})
    try:
        await monitor.execute("netdev_add", {"type": "tap", "id": backend, "fd": backend})
    except BaseException:
        await _forget(monitor, backend)
        raise
    try:
        await monitor.execute("device_add", nic_device(nic, port))
    except BaseException:
        await _drop_backend(monitor, backend)
        raise


async def _forget(monitor: Monitor, name: str) -> None:
    try:
        await monitor.execute("closefd", {"fdname": name})
    except ToolFailed:  # `netdev_add` had taken it already
        return


async def detach_nic(monitor: Monitor, index: int) -> None:
    """Take a NIC away, and what is behind it. Safe to repeat. Raises what `unplug` raises."""
    await unplug(monitor, nic_name(index))
    await _drop_backend(monitor, backend_name(index))


async def _drop_backend(monitor: Monitor, backend: str) -> None:
    """Remove a NIC's backend; nobody can ask which there are, so a missing one is fine."""
    try:
        await monitor.execute("netdev_del", {"id": backend})
    except ToolFailed as error:
        if "not found" not in error.message:
            raise
