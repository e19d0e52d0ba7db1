"""Network rates of instances: which device on the host they hold on, at its start and when they change.

The rates are of each NIC. In and out are the guest's: what leaves through the host's end goes in.
"""

import socket
from typing import TYPE_CHECKING

from yurt.drivers.base import Adjusted, read_launched
from yurt.drivers.container.usernet import INTERFACE
from yurt.errors import NotFound, Unsupported
from yurt.host import shaping
from yurt.model.instance import Instance, Kind, NetworkMode, ResolvedSpec
from yurt.model.limits import Limits

if TYPE_CHECKING:
    from yurt.engine.core import Core
    from yurt.engine.settable import Change


def has_rates(limits: Limits) -> bool:
    return limits.net_in_bps is not None or limits.net_out_bps is not None


async def shape_nic(device: str, limits: Limits) -> None:
    """Give the host's end of one NIC an instance's rates. Safe to repeat. Raises Unsupported."""
    await shaping.shape(device, limits.net_in_bps, limits.net_out_bps)


async def shape_nics(spec: ResolvedSpec) -> None:
    """Give all NICs on managed networks their rates; call it when they are there, before the guest runs."""
    if has_rates(spec.limits):
        for nic in spec.nics:
            await shape_nic(nic.device, spec.limits)


async def shape_user_network(core: "Core", instance: Instance, limits: Limits) -> None:
    """Give a container's user-mode network its rates: on the helper's tap, inside the container's own namespace.

    There the directions are the other way round. Raises NotFound when it does not run, Unsupported.
    """
    launched = read_launched(core.run_dir(instance.id))
    if launched is None:
        raise NotFound(kind="running container", name=instance.name)
    await shaping.shape(INTERFACE, limits.net_out_bps, limits.net_in_bps, netns_pid=launched.pid)


async def shape_started(core: "Core", instance: Instance) -> None:
    """What can only be shaped once the guest has been started; its first packets may come before."""
    spec = instance.spec
    if spec.kind is Kind.CONTAINER and spec.network is NetworkMode.USER and has_rates(spec.limits):
        await shape_user_network(core, instance, spec.limits)


async def unshape(instance: Instance) -> None:
    """Take away what rates left beside an instance's NICs. Safe to repeat, also when the NICs are gone."""
    there = {name for _, name in socket.if_nameindex()}
    for nic in instance.spec.nics:
        if shaping.mirror_name(nic.device) in there:
            await shaping.unshape(nic.device)


async def through_shaping(core: "Core", instance: Instance, change: "Change", dry_run: bool) -> Adjusted:
    """Change the rates of a guest that runs (see engine/settable.py)."""
    spec, limits = instance.spec, change.after.limits
    if not dry_run:
        try:
            if spec.network is NetworkMode.USER:
                await shape_user_network(core, instance, limits)
            for nic in spec.nics:
                await shape_nic(nic.device, limits)
        except Unsupported as error:
            return Adjusted(pending=dict.fromkeys(change.keys, error.message))
    return Adjusted(applied=change.keys)
