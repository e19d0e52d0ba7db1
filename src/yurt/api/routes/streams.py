"""WebSockets: programs in a guest, consoles, events.

Back-pressure goes end to end: output is taken from the guest only as the client takes it, input is taken from the
client only as the guest takes it. So a slow client costs one message and one socket buffer, and holds up nobody.
"""

import asyncio
import contextlib
from collections.abc import Coroutine
from typing import Annotated, Any

import msgspec
from msgspec import Meta
from starlette.websockets import WebSocket, WebSocketDisconnect

from yurt.api import framing
from yurt.api.face import ConsoleFace, ExecSessionFace
from yurt.api.hangup import peer_gone
from yurt.api.table import Nothing, Permission, Session, websocket
from yurt.errors import Invalid, YurtError
from yurt.model.instance import Argument, ShortText
from yurt.model.names import printable
from yurt.model.process import ExecRequest, WindowSize

BINARY_ONLY = 1003  # close codes, RFC 6455 section 7.4.1
WRONG = 1008
GOING_AWAY = 1001
RESUME = 4000  # ours: events were lost; the reason says where to go on


class ExecQuery(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`command` is repeated, once per word; `env` is repeated, each `NAME=VALUE`."""

    command: Annotated[tuple[Argument, ...], Meta(min_length=1, max_length=1024)]
    env: Annotated[tuple[Argument, ...], Meta(max_length=512)] = ()
    workdir: ShortText = ""
    user: Annotated[str, Meta(max_length=255)] = ""
    tty: bool = False
    stdin: bool = False
    rows: WindowSize = 0
    columns: WindowSize = 0


class EventsQuery(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`since`: begin with the event of this number; without it, with what happens next."""

    since: Annotated[int, Meta(ge=0, le=2**62)] | None = None


class ConsoleSize(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Rows and columns of the client's window."""

    rows: WindowSize
    columns: WindowSize


class ConsoleControl(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a text message to a console may say."""

    resize: ConsoleSize


def _request(query: ExecQuery) -> ExecRequest:
    env = {}
    for pair in query.env:
        key, equals, value = pair.partition("=")
        if not key or not equals:
            raise Invalid(f"`{printable(pair)}` is not a variable", hint="write it as NAME=VALUE")
        env[key] = value
    if any("\0" in text for text in (*query.command, *query.env, query.workdir, query.user)):
        raise Invalid("a command, variable, directory or user cannot hold a NUL byte")
    return ExecRequest(
        argv=query.command,
        env=env,
        workdir=query.workdir,
        user=query.user,
        tty=query.tty,
        stdin=query.stdin,
        rows=query.rows,
        columns=query.columns,
    )


@websocket(
    "/v1/instances/{name}/exec",
    "Run a program in a guest",
    query=ExecQuery,
    subprotocols=framing.SUBPROTOCOLS,
    notes="Framing: see docs/api.md. Hanging up sends the program SIGHUP.",
)
async def exec_in_instance(session: Session[ExecQuery]) -> None:
    """Run a program; its streams are channels of the socket."""
    subprotocol = framing.choose_subprotocol(session.socket.scope["subprotocols"])
    request = _request(session.query)
    agent = await session.engine.agent(session.path["name"])
    await _run(session.socket, subprotocol, await agent.exec(request))


@websocket(
    "/v1/instances/{name}/attach",
    "Attach to the main process",
    subprotocols=framing.SUBPROTOCOLS,
    notes="Framing as for exec. Hanging up leaves the program running.",
)
async def attach_to_instance(session: Session[Nothing]) -> None:
    """The streams of the command that the instance was made to run."""
    subprotocol = framing.choose_subprotocol(session.socket.scope["subprotocols"])
    await _run(session.socket, subprotocol, await session.engine.attach(session.path["name"]))


async def _run(socket: WebSocket, subprotocol: str, program: ExecSessionFace) -> None:
    """Accept, and pump until the program has ended, the client has gone or broken the framing."""
    try:
        await socket.accept(subprotocol)
        await _first(_program_output(socket, program), _program_input(socket, program), peer_gone(socket))
    except Invalid as error:  # of the framing: everything about the program itself has a status message
        await socket.close(WRONG, framing.close_reason(error.message))
    finally:
        await program.close()


async def _program_output(socket: WebSocket, program: ExecSessionFace) -> None:
    try:
        while (item := await program.read()) is not None:
            channel, data = item
            await socket.send_bytes(bytes([channel]) + data)
        status = framing.exit_status(await program.wait())
    except YurtError as error:
        status = framing.failure_status(error)
    await socket.send_bytes(status)
    await socket.close(1000)


async def _program_input(socket: WebSocket, program: ExecSessionFace) -> None:
    while True:
        message = await _receive(socket)
        data = message.get("bytes")
        if not data:
            raise Invalid("a message has to be binary and begin with its channel")
        try:
            await _apply(program, data[0], data[1:])
        except Invalid:
            raise
        except YurtError:
            # The program or its guest has ended: the output side tells the client how. Nothing to do for this one.
            await asyncio.get_running_loop().create_future()


async def _apply(program: ExecSessionFace, channel: int, data: bytes) -> None:
    if channel == framing.STDIN:
        if data:
            await program.write(data)
    elif channel == framing.RESIZE:
        size = framing.parse_size(data)
        await program.resize(size.rows, size.columns)
    elif channel == framing.SIGNAL:
        await program.signal(framing.parse_signal(data))
    elif channel == framing.CLOSE and data == bytes([framing.STDIN]):
        await program.close_stdin()
    else:
        raise Invalid(f"there is no channel {channel} to write to")


async def _receive(socket: WebSocket) -> dict[str, Any]:
    """Return the next message. Raises WebSocketDisconnect."""
    message = await socket.receive()
    if message["type"] == "websocket.disconnect":
        raise WebSocketDisconnect(message.get("code", 1005))
    return dict(message)


async def _first(*work: Coroutine[Any, Any, None]) -> None:
    """Run side by side until one has ended; end the others, and raise what that one raised."""
    tasks = [asyncio.ensure_future(each) for each in work]
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    for task in tasks:  # in the order given: output before input
        if task in done:
            task.result()


@websocket(
    "/v1/instances/{name}/console",
    "Open the console",
    notes="Binary both ways; the first message is the scrollback. Text messages: `ConsoleControl`.",
)
async def open_console(session: Session[Nothing]) -> None:
    """A guest's serial console or terminal."""
    socket = session.socket
    console = await session.engine.console(session.path["name"])
    try:
        await socket.accept()
        await socket.send_bytes(console.scrollback)
        await _first(_console_output(socket, console), _console_input(socket, console), peer_gone(socket))
    except Invalid as error:
        await socket.close(WRONG, framing.close_reason(error.message))
    finally:
        await console.close()


async def _console_output(socket: WebSocket, console: ConsoleFace) -> None:
    while data := await console.read():
        await socket.send_bytes(data)
    await socket.close(1000, "the console has ended")


async def _console_input(socket: WebSocket, console: ConsoleFace) -> None:
    while True:
        message = await _receive(socket)
        if data := message.get("bytes"):
            await console.write(data)
        elif (text := message.get("text")) is not None:
            try:
                control = msgspec.json.decode(text, type=ConsoleControl)
            except (msgspec.MsgspecError, UnicodeError, RecursionError) as error:
                raise Invalid(f"wrong message: {printable(str(error))}") from error
            await console.resize(control.resize.rows, control.resize.columns)


@websocket(
    "/v1/events",
    "Follow what happens",
    permission=Permission.VIEW,
    query=EventsQuery,
    notes="One JSON `Event` per text message. Close code 4000: events were lost, the reason says where to go on.",
)
async def follow_events(session: Session[EventsQuery]) -> None:
    """Events as they happen. Nothing is queued for a slow client: it reads from the engine's history as it can."""
    await session.socket.accept()
    await _first(
        _send_events(session.socket, session), _discard_input(session.socket), peer_gone(session.socket)
    )


async def _send_events(socket: WebSocket, session: Session[EventsQuery]) -> None:
    expected = session.query.since
    events = session.engine.events(since=expected)
    encoder = msgspec.json.Encoder()
    try:
        async for event in events:
            if expected is not None and event.sequence > expected:
                await socket.close(RESUME, f"events were lost: resume with since={event.sequence}")
                return
            await socket.send_text(encoder.encode(event).decode())
            expected = event.sequence + 1
        await socket.close(GOING_AWAY, "the daemon stops")
    finally:
        close = getattr(events, "aclose", None)
        if close is not None:
            with contextlib.suppress(RuntimeError):  # being cancelled inside it has closed it already
                await close()


async def _discard_input(socket: WebSocket) -> None:
    while True:
        await _receive(socket)


ENDPOINTS = (exec_in_instance, attach_to_instance, open_console, follow_events)
