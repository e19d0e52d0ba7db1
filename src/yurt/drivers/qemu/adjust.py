"""Changes of size of a running machine: vCPUs, memory, its disk and how fast that may be. What cannot be now, says why.

QEMU's part only; that the guest takes up what it was given is asked of the agent by the engine.
"""

from collections.abc import Awaitable, Callable

import msgspec

from yurt.drivers.base import Adjusted
from yurt.drivers.qemu import balloon, throttle
from yurt.drivers.qemu.monitor import Monitor
from yurt.drivers.qemu.room import Room, whole_pages
from yurt.drivers.qemu.unplug import unplug
from yurt.errors import Timeout, ToolFailed
from yurt.model.instance import Kind, ResolvedSpec
from yurt.units import format_size

ROOT = throttle.limit_node("root")
NO_HOTPLUG = "a microvm's machine has no hot-plugging"
# with TCG, QEMU 7.2 goes on using a vCPU that it has freed, at the next change of the memory map, and ends by a signal
EMULATED = "vCPUs can only be taken away with hardware assistance"
SATA = "a SATA disk cannot tell its guest that it has grown"


class Change(msgspec.Struct, frozen=True, kw_only=True):
    """What is to be changed, of a machine with this room."""

    before: ResolvedSpec
    after: ResolvedSpec
    room: Room
    virtio_disk: bool
    accelerator: str  # kvm or tcg
    dry_run: bool


# brings one setting about; returns why it has to wait for a restart, or nothing when it is done
Way = Callable[[Monitor, Change], Awaitable[str]]


async def adjust(monitor: Monitor, change: Change) -> Adjusted:
    """Do all that differs between the two specs. Safe to repeat. See SupportsAdjust."""
    applied: list[str] = []
    pending: dict[str, str] = {}
    for setting in differing(change.before, change.after):
        if why := await WAYS[setting](monitor, change):
            pending[setting] = why
        else:
            applied.append(setting)
    rates = throttle.differing(change.before.limits, change.after.limits)
    if rates and not change.dry_run:
        await throttle.set_limits(monitor, change.after.limits)
    return Adjusted(applied=(*applied, *rates), pending=pending)


def differing(before: ResolvedSpec, after: ResolvedSpec) -> tuple[str, ...]:
    """The sizes in which two specs differ, growth of the disk first, as all else can be taken back. Pure."""
    return tuple(
        setting
        for setting, field in (("disk", "disk_bytes"), ("cpus", "cpus"), ("memory", "memory_bytes"))
        if getattr(before, field) != getattr(after, field)
    )


# --- vCPUs -------------------------------------------------------------------------------------------------------


class CpuSlot(msgspec.Struct, frozen=True):
    """A place for a vCPU, as `query-hotpluggable-cpus` lists them; `path` is empty while it is free."""

    model: str
    place: dict[str, int]
    path: str

    @property
    def device(self) -> str:
        """The id of a vCPU that was plugged in here."""
        return "cpu-" + "-".join(str(number) for _, number in sorted(self.place.items()))

    @property
    def plugged(self) -> bool:
        """Whether it came while the machine ran: only then can it go again."""
        return self.path.endswith(f"/{self.device}")


async def cpu_slots(monitor: Monitor) -> list[CpuSlot]:
    """All places for vCPUs, in their order."""
    reply = await monitor.execute("query-hotpluggable-cpus")
    found = [
        CpuSlot(str(entry["type"]), dict(entry["props"]), str(entry.get("qom-path", "")))
        for entry in (reply if isinstance(reply, list) else [])
    ]
    return sorted(found, key=lambda slot: sorted(slot.place.items()))


async def set_cpus(monitor: Monitor, change: Change) -> str:
    """Plug vCPUs in, or take those away that were plugged in."""
    wanted = change.after.cpus
    if change.after.kind is not Kind.VM:
        return NO_HOTPLUG
    if wanted > change.room.cpus:
        return f"it was started with room for {change.room.cpus} vCPUs"
    slots = await cpu_slots(monitor)
    have = [slot for slot in slots if slot.path]
    fixed = sum(1 for slot in have if not slot.plugged)
    if wanted < fixed:
        return f"the {fixed} vCPUs it was started with cannot be taken away"
    if wanted < len(have) and change.accelerator != "kvm":
        return EMULATED
    if change.dry_run:
        return ""
    for slot in [slot for slot in slots if not slot.path][: max(0, wanted - len(have))]:
        await monitor.execute("device_add", {"driver": slot.model, "id": slot.device, **slot.place})
    leaving = [slot for slot in reversed(have) if slot.plugged][: max(0, len(have) - wanted)]
    try:
        for slot in leaving:
            await unplug(monitor, slot.device)
    except (Timeout, ToolFailed) as error:
        return error.message
    return ""


# --- memory ------------------------------------------------------------------------------------------------------


async def set_memory(monitor: Monitor, change: Change) -> str:
    """More than is plugged in: plug the rest in. Less: the balloon takes it, and gives it back when it is wanted again."""
    wanted = whole_pages(change.after.memory_bytes)
    memory = await balloon.get_memory(monitor)
    missing = balloon.missing_bytes(memory, wanted)
    if missing and not change.room.slots:
        return NO_HOTPLUG
    if missing and memory.total_bytes + missing > change.room.memory_bytes:
        return f"it was started with room for {format_size(change.room.memory_bytes)}"
    if wanted < memory.given_bytes and not await balloon.has_balloon(monitor):
        return "it was started without a balloon"
    if change.dry_run:
        return ""
    if missing:
        try:
            await balloon.plug_memory(monitor, missing)
        except ToolFailed as error:
            return error.message
    if not await balloon.has_balloon(monitor):
        return ""
    given = await balloon.set_balloon(monitor, wanted)
    if given - balloon.NEAR > wanted:
        return f"the guest has given back all but {format_size(given)}"
    return ""


# --- the disk ----------------------------------------------------------------------------------------------------


async def grow_disk(monitor: Monitor, change: Change) -> str:
    """Make the root disk larger. Back to the old size is no way, so that is nothing to do."""
    if change.after.disk_bytes < change.before.disk_bytes:
        return ""
    if change.after.kind is Kind.VM and not change.virtio_disk:
        return SATA
    if not change.dry_run and not await monitor.grow_disk(ROOT, change.after.disk_bytes):
        return "its disk cannot be found"
    return ""


WAYS: dict[str, Way] = {"cpus": set_cpus, "memory": set_memory, "disk": grow_disk}
