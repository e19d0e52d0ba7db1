"""A WebSocket to a TCP port inside a guest, through the agent: the guest needs no network for it."""

import asyncio
from ipaddress import ip_address
from typing import Annotated

import msgspec
from msgspec import Meta
from starlette.websockets import WebSocket

from yurt.api import framing
from yurt.api.face import ExecSessionFace
from yurt.api.hangup import peer_gone
from yurt.api.routes.streams import WRONG, _first, _receive
from yurt.api.table import Session, websocket
from yurt.errors import Invalid, YurtError
from yurt.model.names import printable
from yurt.model.network import Port


class ConnectQuery(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`port` in the guest; `address`: an IP address to connect to from there instead of the guest's loopback."""

    port: Port
    address: Annotated[str, Meta(max_length=64)] = ""


@websocket(
    "/v1/instances/{name}/connect",
    "Connect to a TCP port inside a guest",
    query=ConnectQuery,
    subprotocols=framing.SUBPROTOCOLS,
    notes="Framing as for exec: channel 0 goes to the port, channel 1 comes from it. Channel 255 ends a direction: "
    "`0` from the client, `1` from the guest. A status message is the last one.",
)
async def connect_to_port(session: Session[ConnectQuery]) -> None:
    """One connection; its two directions end on their own."""
    subprotocol = framing.choose_subprotocol(session.socket.scope["subprotocols"])
    address = session.query.address
    try:
        address = str(ip_address(address)) if address else ""
    except ValueError as error:
        raise Invalid(
            f"`{printable(address)}` is no IP address", hint="names are not resolved here"
        ) from error
    agent = await session.engine.agent(session.path["name"])
    connection = await agent.connect_port(session.query.port, address)
    try:
        await session.socket.accept(subprotocol)
        await _first(
            _output(session.socket, connection), _input(session.socket, connection), peer_gone(session.socket)
        )
    except Invalid as error:
        await session.socket.close(WRONG, framing.close_reason(error.message))
    finally:
        await connection.close()


async def _output(socket: WebSocket, connection: ExecSessionFace) -> None:
    try:
        while (item := await connection.read()) is not None:
            await socket.send_bytes(bytes([framing.STDOUT]) + item[1])
        await socket.send_bytes(bytes([framing.CLOSE, framing.STDOUT]))
        status = framing.exit_status(await connection.wait())
    except YurtError as error:
        status = framing.failure_status(error)
    await socket.send_bytes(status)
    await socket.close(1000)


async def _input(socket: WebSocket, connection: ExecSessionFace) -> None:
    while True:
        data = (await _receive(socket)).get("bytes")
        if not data:
            raise Invalid("a message has to be binary and begin with its channel")
        try:
            if data[0] == framing.STDIN:
                await connection.write(data[1:])
            elif data == bytes([framing.CLOSE, framing.STDIN]):
                await connection.close_stdin()
            else:
                raise Invalid(f"there is no channel {data[0]} to write to")
        except Invalid:
            raise
        except YurtError:
            # It has ended: the output side tells the client how. Nothing to do for this one.
            await asyncio.get_running_loop().create_future()


ENDPOINTS = (connect_to_port,)
