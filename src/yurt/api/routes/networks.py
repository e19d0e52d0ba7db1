"""Managed networks."""

import msgspec

from yurt.api.face import EngineFace
from yurt.api.table import Call, Nothing, Permission, operation
from yurt.model.network import Network, NetworkSpec


class NetworkUser(msgspec.Struct, frozen=True, kw_only=True):
    """An instance with a NIC on a network, and the addresses it has there."""

    name: str
    addresses: list[str]


class NetworkView(msgspec.Struct, frozen=True, kw_only=True):
    """One network. `up`: it is on the host now, which it is from its first guest on."""

    name: str
    bridge: str
    ipv4: str
    ipv6: str
    gateway4: str
    gateway6: str
    nat: bool
    isolated: bool
    mtu: int
    domain: str
    up: bool
    used_by: list[NetworkUser]
    created_at: float = 0.0


class DryRunQuery(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`dry_run`: check everything, but change nothing."""

    dry_run: bool = False


def _view(engine: EngineFace, network: Network) -> NetworkView:
    users = [
        NetworkUser(
            name=instance.name,
            addresses=[
                address
                for nic in instance.spec.nics
                if nic.network == network.name
                for address in (nic.ipv4, nic.ipv6)
                if address
            ],
        )
        for instance in engine.networks.users(network.name)
    ]
    copied = {
        name: getattr(network, name) for name in NetworkView.__struct_fields__ if hasattr(network, name)
    }
    return NetworkView(**copied, up=engine.networks.is_up(network.name), used_by=users)


@operation("GET", "/v1/networks", "List networks", permission=Permission.VIEW, response=list[NetworkView])
async def list_networks(call: Call[Nothing, Nothing]) -> object:
    """All of them, by name."""
    return [_view(call.engine, each) for each in await call.engine.networks.all()]


@operation(
    "POST",
    "/v1/networks",
    "Create a network",
    query=DryRunQuery,
    body=NetworkSpec,
    response=NetworkView,
    notes="It comes up on the host with its first guest.",
)
async def create_network(call: Call[DryRunQuery, NetworkSpec]) -> object:
    """Make a network."""
    made = await call.engine.networks.create(call.body, dry_run=call.query.dry_run)
    return _view(call.engine, made)


@operation(
    "GET", "/v1/networks/{name}", "Describe a network", permission=Permission.VIEW, response=NetworkView
)
async def get_network(call: Call[Nothing, Nothing]) -> object:
    """One network."""
    return _view(call.engine, await call.engine.networks.get(call.path["name"]))


@operation("DELETE", "/v1/networks/{name}", "Delete a network", query=DryRunQuery, response=NetworkView)
async def delete_network(call: Call[DryRunQuery, Nothing]) -> object:
    """Delete a network that no instance uses, and tell what it was."""
    gone = await call.engine.networks.delete(call.path["name"], dry_run=call.query.dry_run)
    return _view(call.engine, gone)


ENDPOINTS = (list_networks, create_network, get_network, delete_network)
