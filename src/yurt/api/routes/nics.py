"""NICs that come to instances which are there already, and leave them."""

from typing import Annotated

import msgspec
from msgspec import Meta

from yurt.api.table import Call, operation
from yurt.api.views import WaitQuery
from yurt.api.waiting import answer
from yurt.model.network import Address, NicSpec
from yurt.model.operation import Operation

MUTATES = (200, 202)
InstanceName = Annotated[str, Meta(min_length=1, max_length=255)]


class AttachNicBody(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Who gets a NIC on this network; addresses that are left out are chosen."""

    instance: InstanceName
    ipv4: Address = ""
    ipv6: Address = ""
    mac: Annotated[str, Meta(max_length=17)] = ""


class DetachNicBody(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Who loses its last NIC on this network."""

    instance: InstanceName


@operation(
    "POST",
    "/v1/networks/{name}/attach",
    "Attach an instance to a network",
    query=WaitQuery,
    body=AttachNicBody,
    response=Operation,
    statuses=MUTATES,
    notes="The result's `pending`, where there is one, says what waits for the next start.",
)
async def attach_nic(call: Call[WaitQuery, AttachNicBody]) -> object:
    """Give an instance one more NIC."""
    body = call.body
    wish = NicSpec(ipv4=body.ipv4, ipv6=body.ipv6, mac=body.mac)
    begun = await call.engine.nics.attach(call.path["name"], body.instance, wish)
    return await answer(call, begun, call.query.wait_s)


@operation(
    "POST",
    "/v1/networks/{name}/detach",
    "Detach an instance from a network",
    query=WaitQuery,
    body=DetachNicBody,
    response=Operation,
    statuses=MUTATES,
)
async def detach_nic(call: Call[WaitQuery, DetachNicBody]) -> object:
    """Take a NIC away from an instance."""
    begun = await call.engine.nics.detach(call.path["name"], call.body.instance)
    return await answer(call, begun, call.query.wait_s)


ENDPOINTS = (attach_nic, detach_nic)
