"""Taking a device away from a running guest: asked for by QEMU, done when the guest has let go of it.

What is there is looked up first and again after a silence, as an answer may be lost while its deed is done.
Source: QEMU QMP reference, `device_del`, `DEVICE_DELETED`; ACPI 6.5, 6.3.5 `_OST`.
"""

import asyncio
from collections.abc import Mapping

from yurt.drivers.qemu.monitor import Monitor, News
from yurt.errors import Timeout, ToolFailed, Unsupported

PERIPHERAL = "/machine/peripheral"
UNPLUG_TIMEOUT_S = 15.0
NEWS = ("DEVICE_DELETED", "DEVICE_UNPLUG_GUEST_ERROR", "MEM_UNPLUG_ERROR", "ACPI_DEVICE_OST")
EJECT_REQUEST = 3  # an ACPI source event; a status of 0 or 0x84 (in progress) is no refusal
NO_REFUSAL = (0, 0x84)


async def devices(monitor: Monitor) -> dict[str, str]:
    """The devices that have an id, each with its type (`virtio-blk-pci`)."""
    reply = await monitor.execute("qom-list", {"path": PERIPHERAL})
    found = [entry for entry in reply if isinstance(entry, dict)] if isinstance(reply, list) else []
    return {
        str(entry["name"]): str(entry["type"]).removeprefix("child<").removesuffix(">")
        for entry in found
        if str(entry.get("type", "")).startswith("child<")
    }


async def unplug(monitor: Monitor, device: str, *, timeout_s: float = UNPLUG_TIMEOUT_S) -> None:
    """Return when the guest has let go of a device; at once when there is none. Safe to repeat.

    Raises Timeout when the guest does nothing (it may still do it later), Unsupported for a device that cannot be
    taken away.
    """
    if device not in await devices(monitor):
        return
    with monitor.listen(*NEWS) as news:
        await _ask(monitor, device)
        try:
            async with asyncio.timeout(timeout_s):
                await _wait_gone(monitor, news, device)
        except TimeoutError as error:
            if device in await devices(monitor):
                hint = "a guest that is still booting, or has the device in use, keeps it: try again"
                raise Timeout(
                    what=f"the guest to let go of `{device}`", timeout_s=timeout_s, hint=hint
                ) from error


async def _ask(monitor: Monitor, device: str) -> None:
    try:
        await monitor.execute("device_del", {"id": device})
    except ToolFailed as error:
        if "already in the process" in error.message:
            return
        if "does not support hotplug" in error.message or "not hotpluggable" in error.message:
            raise Unsupported(
                f"`{device}` has been there since the start, and goes only while the instance is stopped"
            ) from error
        raise


async def _wait_gone(monitor: Monitor, news: News, device: str) -> None:
    """Look again at all news: QEMU 7.2 does not tell of a vCPU that is gone, only of its parts and of the guest's deed."""
    while True:
        name, data = await news.next()
        if device not in await devices(monitor):
            return
        if refuses(name, data, device):
            raise ToolFailed(f"the guest does not let go of `{device}`", hint="it is in use there")


def refuses(name: str, data: Mapping[str, object], device: str) -> bool:
    """Whether an event says that the guest will not let go of the device. Pure."""
    if name in ("DEVICE_UNPLUG_GUEST_ERROR", "MEM_UNPLUG_ERROR"):
        return data.get("device") == device
    info = data.get("info")
    if name != "ACPI_DEVICE_OST" or not isinstance(info, dict) or info.get("device") != device:
        return False
    return info.get("source") == EJECT_REQUEST and info.get("status") not in NO_REFUSAL
