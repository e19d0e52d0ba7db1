"""A container's NICs on managed networks: veths whose waiting ends become eth0, eth1, ... in its namespace."""

from collections.abc import Sequence
from ipaddress import ip_interface

from yurt.drivers.base import NicAttachment
from yurt.host.netns import End, move_in


def nic_end(nic: NicAttachment) -> End:
    """What becomes of a NIC's waiting end. Pure."""
    return End(
        link=nic.peer,
        name=f"eth{nic.index}",
        mtu=nic.mtu,
        addresses=tuple(ip_interface(address) for address in (nic.ipv4, nic.ipv6) if address),
        gateways=tuple(gateway for gateway in (nic.gateway4, nic.gateway6) if gateway),
    )


def plug_in(pid: int, nics: Sequence[NicAttachment]) -> None:
    """Move the ends to the container whose first process is `pid`. Blocks for some milliseconds. Raises NotFound."""
    move_in(pid, [nic_end(nic) for nic in nics])
