"""Instances on managed networks: which NICs they get, what is reserved for them, how they are plugged in.

Networks and addresses are records of ours; what they become on the host is `yurt.network`'s business.
"""

import logging
import secrets
from collections.abc import Iterable, Mapping, Sequence
from ipaddress import ip_network
from typing import TYPE_CHECKING

from msgspec.structs import replace

from yurt.drivers.base import NicAttachment
from yurt.engine.records import Records, Writes, now, put_network
from yurt.errors import YurtError
from yurt.model.host import HostFacts
from yurt.model.instance import Instance, InstanceSpec, Kind, NetworkMode
from yurt.model.network import DEFAULT_NETWORK, Network, NetworkSpec, Nic, NicSpec
from yurt.model.settings import Settings
from yurt.network.firewall import PortBinding
from yurt.network.firewall.rules import is_domain
from yurt.network.ipam import Subnet, define, device_name, free_number
from yurt.network.names import NAMES_PORT
from yurt.network.service import GuestPort, unfit
from yurt.state.base import Delete, Put

if TYPE_CHECKING:
    from yurt.engine.core import Core

log = logging.getLogger("yurt.networking")


def network_mode(spec: InstanceSpec, settings: Settings, facts: HostFacts) -> NetworkMode:
    """Which network a wish means: its own word, else the host owner's, else managed where this host can. Pure."""
    if spec.nics:
        return NetworkMode.MANAGED
    if spec.network is not None:
        return spec.network
    if settings.network.default is not None:
        return settings.network.default
    return NetworkMode.USER if unfit(facts)[0] else NetworkMode.MANAGED


def wishes_of(spec: InstanceSpec, mode: NetworkMode) -> tuple[NicSpec, ...]:
    """The NICs that a wish means; one on the network `default` when a managed network was wished for without any."""
    if mode is not NetworkMode.MANAGED:
        return ()
    return spec.nics or (NicSpec(),)


def new_network(records: Records, spec: NetworkSpec, tag: str, used: Sequence[Subnet]) -> Network:
    """The record of a new network, away from what the host and our other networks use. Raises Invalid, Exhausted."""
    known = records.networks.values()
    ours = [ip_network(cidr) for network in known for cidr in (network.ipv4, network.ipv6) if cidr]
    number = free_number(known)
    return replace(define(spec, number, tag, [*used, *ours], secrets.token_bytes(16)), created_at=now())


def plan_nics(
    core: "Core", wishes: Sequence[NicSpec], instance_id: str, slot: int, used: Sequence[Subnet]
) -> tuple[tuple[Nic, ...], Writes]:
    """Choose addresses, and give the writes that reserve them; the network `default` is made when it is missing.

    For use inside `records.write`, where nothing changes in between.
    """
    records, writes = core.records, Writes()
    networks: Mapping[str, Network] = records.networks
    if DEFAULT_NETWORK not in networks and any(wish.network == DEFAULT_NETWORK for wish in wishes):
        made = new_network(records, NetworkSpec(name=DEFAULT_NETWORK), core.networks.tag, used)
        networks = {**networks, DEFAULT_NETWORK: made}
        writes.append(put_network(made))
    plan = core.addresses.plan(
        wishes, networks, records.addresses, instance_id=instance_id, slot=slot, tag=core.networks.tag
    )
    writes += [Put(f"addresses/{key}", instance_id.encode()) for key in plan.reserved]
    return plan.nics, writes


def free_addresses(nics: Iterable[Nic]) -> Writes:
    """The writes that give back what was reserved for NICs."""
    return [
        Delete(f"addresses/{nic.network}/{address}")
        for nic in nics
        for address in (nic.mac, nic.ipv4, nic.ipv6)
        if address
    ]


def nic_attachments(
    instance: Instance, networks: Mapping[str, Network], tag: str
) -> tuple[NicAttachment, ...]:
    """What the driver and the agent are told of each NIC. Pure.

    The first NIC that leads out of its network has the default routes and its network's name server the questions;
    where none does, the first NIC's.
    """
    nics = [(nic, networks[nic.network]) for nic in instance.spec.nics if nic.network in networks]
    outward = next((nic.index for nic, network in nics if not network.isolated), None)
    asking = outward if outward is not None else next((nic.index for nic, _ in nics), None)
    made = []
    for nic, network in nics:
        gateways = (network.gateway4, network.gateway6) if nic.index == outward else ("", "")
        dns = tuple(filter(None, (network.gateway4, network.gateway6))) if nic.index == asking else ()
        made.append(
            NicAttachment(
                index=nic.index,
                device=nic.device,
                peer=device_name(tag, instance.slot, nic.index, "p")
                if instance.spec.kind is Kind.CONTAINER
                else "",
                mac=nic.mac,
                mtu=network.mtu,
                ipv4=f"{nic.ipv4}/{ip_network(network.ipv4).prefixlen}" if nic.ipv4 else "",
                ipv6=f"{nic.ipv6}/{ip_network(network.ipv6).prefixlen}" if nic.ipv6 else "",
                gateway4=gateways[0] if nic.ipv4 else "",
                gateway6=gateways[1] if nic.ipv6 else "",
                dns=dns[:1],
                domain=network.domain if dns else "",
            )
        )
    return tuple(made)


def guest_ports(instance: Instance, networks: Mapping[str, Network], tag: str) -> list[GuestPort]:
    """The ports of an instance, as they should be on the host. Published ports are those of its first NIC. Pure."""
    spec = instance.spec
    return [
        GuestPort(
            network=networks[nic.network],
            nic=nic,
            peer=device_name(tag, instance.slot, nic.index, "p") if spec.kind is Kind.CONTAINER else "",
            binding=PortBinding(
                interface=nic.device,
                bridge=networks[nic.network].bridge,
                instance_id=instance.id,
                mac=nic.mac,
                ipv4=nic.ipv4,
                ipv6=nic.ipv6,
                rules=spec.rules,
                publish=spec.publish if place == 0 else (),
                dns=NAMES_PORT if any(is_domain(rule.peer) for rule in spec.rules) else 0,
            ),
        )
        for place, nic in enumerate(spec.nics)
        if nic.network in networks
    ]


def ports_of(core: "Core", instance: Instance) -> list[GuestPort]:
    """The ports of an instance."""
    return guest_ports(instance, core.records.networks, core.networks.tag)


async def plug_in(core: "Core", instance: Instance) -> tuple[NicAttachment, ...]:
    """Make an instance's NICs on the host, its networks up. Safe to repeat. Raises Unsupported, ToolFailed."""
    if not instance.spec.nics:
        return ()
    await core.networks.connect(instance.id, instance.name, ports_of(core, instance))
    return nic_attachments(instance, core.records.networks, core.networks.tag)


async def unplug(core: "Core", instance: Instance) -> None:
    """Take an instance's NICs off the host; its addresses stay its own. Safe to repeat."""
    if instance.spec.nics:
        await core.networks.disconnect(ports_of(core, instance))


def introduce(core: "Core", instance: Instance) -> None:
    """Let the name servers know an instance by the name that it has now. Safe to repeat."""
    core.networks.introduce(instance.id, instance.name, ports_of(core, instance))


def forget(core: "Core", instance: Instance) -> None:
    """Let the name servers forget an instance that is being deleted. Safe to repeat."""
    core.networks.forget(instance.id, [nic.network for nic in instance.spec.nics])


async def keep_up(core: "Core", running: Iterable[Instance]) -> None:
    """When the daemon starts: bring networks and the ports of what runs to what they should be."""
    if not core.facts.root or core.facts.rootless:
        return
    ports = [port for instance in running for port in ports_of(core, instance)]
    try:
        await core.networks.reconcile(list(core.records.networks.values()), ports)
    except YurtError as error:
        log.error("managed networks could not be brought up: %s", error)
