"""Network rates of a device: token buckets of the kernel's traffic control, set and lifted while packets flow.

What leaves through a device queues in a bucket on it. What arrives cannot queue there, so it goes through an `ifb`
device with a bucket of its own and then on as if nothing had been; dropping it instead (policing) would hold TCP well
below the rate. Both are made by short commands, which are pure here and have golden files.
"""

import hashlib
from collections.abc import Sequence
from typing import NamedTuple

from yurt.errors import ToolFailed, Unsupported
from yurt.host import proc

LATENCY_MS = 50  # how long a packet may queue before it is dropped
LEAST_BURST = (
    72 << 10
)  # more than the largest packet on any of our devices, which would never get through otherwise
BURST_S = 0.01
INGRESS, FILTER = "ffff:", "800::800"
TIMEOUT_S = 10


class Command(NamedTuple):
    """One command. `may_fail`: it makes what may be there already, or takes away what may not be there."""

    argv: tuple[str, ...]
    may_fail: bool = False


def mirror_name(device: str) -> str:
    """The `ifb` device behind another one. Names have 15 bytes at most, so it is made of a digest. Pure."""
    return "yti-" + hashlib.blake2s(device.encode(), digest_size=5).hexdigest()


def bucket(device: str, rate_bps: int) -> Command:
    """A token bucket on what leaves through a device. Pure."""
    burst = max(LEAST_BURST, int(rate_bps / 8 * BURST_S))
    words = ("qdisc", "replace", "dev", device, "root", "handle", "1:", "tbf")
    limits = ("rate", f"{rate_bps}bit", "burst", f"{burst}b", "latency", f"{LATENCY_MS}ms")
    return Command(("tc", *words, *limits))


def shape_commands(device: str, leaving_bps: int | None, arriving_bps: int | None) -> list[Command]:
    """What brings a device to these rates, from whatever it has; None is no limit. Pure."""
    mirror = mirror_name(device)
    if leaving_bps is not None:
        commands = [bucket(device, leaving_bps)]
    else:
        commands = [Command(("tc", "qdisc", "del", "dev", device, "root"), may_fail=True)]
    if arriving_bps is None:
        return [*commands, *unshape_commands(device)]
    redirect = ("action", "mirred", "egress", "redirect", "dev", mirror)
    everything = ("protocol", "all", "prio", "1", "handle", FILTER, "u32", "match", "u32", "0", "0")
    return [
        *commands,
        Command(("ip", "link", "add", mirror, "type", "ifb"), may_fail=True),
        Command(("ip", "link", "set", mirror, "up")),
        bucket(mirror, arriving_bps),
        Command(("tc", "qdisc", "replace", "dev", device, "handle", INGRESS, "ingress")),
        Command(("tc", "filter", "replace", "dev", device, "parent", INGRESS, *everything, *redirect)),
    ]


def unshape_commands(device: str) -> list[Command]:
    """What takes away all that is not a part of the device itself; it may be gone already. Pure."""
    return [
        Command(("tc", "qdisc", "del", "dev", device, "ingress"), may_fail=True),
        Command(("ip", "link", "del", mirror_name(device)), may_fail=True),
    ]


async def shape(
    device: str, leaving_bps: int | None, arriving_bps: int | None, *, netns_pid: int = 0
) -> None:
    """Give a device these rates in bits a second, as seen from the device; None lifts one. Safe to repeat.

    `netns_pid`: the device is in the network namespace of that process. Raises Unsupported when the kernel lacks what is
    needed, or the device is gone.
    """
    try:
        await _run(shape_commands(device, leaving_bps, arriving_bps), netns_pid)
    except ToolFailed as error:
        await _run(unshape_commands(device), netns_pid)
        raise Unsupported(
            f"the rates of `{device}` could not be set: {error.message}",
            hint="the kernel needs sch_tbf, sch_ingress, cls_u32, act_mirred and ifb: `modprobe -a` them",
        ) from error


async def unshape(device: str) -> None:
    """Take away what `shape` left beside a device, which may be gone itself. Safe to repeat."""
    await _run(unshape_commands(device), 0)


async def _run(commands: Sequence[Command], netns_pid: int) -> None:
    enter = ("nsenter", f"--net=/proc/{netns_pid}/ns/net", "--") if netns_pid else ()
    for command in commands:
        await proc.run((*enter, *command.argv), timeout_s=TIMEOUT_S, check=not command.may_fail)
