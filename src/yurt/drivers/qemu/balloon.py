"""Memory of a running machine: how much it has, more by plugging it in, less by a balloon that its guest fills.

Source: QEMU QMP reference, `query-memory-size-summary`, `balloon`, `BALLOON_CHANGE`.
"""

import asyncio

from yurt.drivers.base import GuestMemory
from yurt.drivers.qemu.monitor import Monitor, News
from yurt.drivers.qemu.room import BALLOON, BLOCK, whole_pages
from yurt.drivers.qemu.unplug import devices
from yurt.errors import ToolFailed

BALLOON_TIMEOUT_S = 10.0
NEAR = 1 << 20  # a balloon is as wished for when it is this near


async def get_memory(monitor: Monitor) -> GuestMemory:
    """Ask for it. A machine without a balloon has all its memory."""
    summary = await monitor.execute("query-memory-size-summary")
    fields = summary if isinstance(summary, dict) else {}
    total = int(fields.get("base-memory", 0)) + int(fields.get("plugged-memory", 0))
    try:
        reply = await monitor.execute("query-balloon")
    except ToolFailed:  # there is no balloon, or the guest has not set it up
        return GuestMemory(total_bytes=total, given_bytes=total, balloon=False)
    actual = int(reply["actual"]) if isinstance(reply, dict) else total
    return GuestMemory(total_bytes=total, given_bytes=actual, balloon=True)


def missing_bytes(memory: GuestMemory, wanted_bytes: int) -> int:
    """How much memory must be plugged in to have `wanted_bytes`: whole blocks, 0 when there is enough. Pure."""
    return -(-max(0, whole_pages(wanted_bytes) - memory.total_bytes) // BLOCK) * BLOCK


async def plug_memory(monitor: Monitor, size_bytes: int) -> None:
    """Plug in one more memory module. Raises ToolFailed when QEMU refuses it; then nothing of it is left."""
    taken = await devices(monitor)
    name = next(name for name in (f"dimm{index}" for index in range(len(taken) + 1)) if name not in taken)
    backend = f"{name}-ram"
    await _drop_backend(monitor, backend)  # of a daemon that died between the two commands
    shared = await monitor.execute("qom-get", {"path": "/objects/ram0", "property": "share"})
    # file servers have to see all of a guest's memory
    kind = (
        {"qom-type": "memory-backend-memfd", "share": True} if shared else {"qom-type": "memory-backend-ram"}
    )
    await monitor.execute("object-add", {**kind, "id": backend, "size": size_bytes})
    try:
        await monitor.execute("device_add", {"driver": "pc-dimm", "id": name, "memdev": backend})
    except BaseException:
        await _drop_backend(monitor, backend)
        raise


async def _drop_backend(monitor: Monitor, backend: str) -> None:
    try:
        await monitor.execute("object-del", {"id": backend})
    except ToolFailed as error:
        if "not found" not in error.message:
            raise


async def set_balloon(monitor: Monitor, given_bytes: int, *, timeout_s: float = BALLOON_TIMEOUT_S) -> int:
    """Let the guest have `given_bytes` and return how much it has when it is done or the time is over. Safe to repeat.

    The guest does it, or does not: a guest without the driver keeps all. Raises ToolFailed where there is no balloon.
    """
    with monitor.listen("BALLOON_CHANGE") as news:
        await monitor.execute("balloon", {"value": given_bytes})
        try:
            async with asyncio.timeout(timeout_s):
                await _wait_given(monitor, news, given_bytes)
        except TimeoutError:
            pass
    return (await get_memory(monitor)).given_bytes


async def _wait_given(monitor: Monitor, news: News, given_bytes: int) -> None:
    """QEMU tells of a balloon's changes at most once a second, and of the last one always."""
    while abs((await get_memory(monitor)).given_bytes - given_bytes) > NEAR:
        await news.next()


async def has_balloon(monitor: Monitor) -> bool:
    """Whether the machine has a balloon at all."""
    return BALLOON in await devices(monitor)
