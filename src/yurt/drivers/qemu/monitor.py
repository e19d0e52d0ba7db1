"""The QMP commands and events that yurt uses, typed; framing and matching of replies are qemu.qmp's.

Events are listened for before the first command. QMP serves one client at a time, so a daemon keeps one Monitor per
machine and shares it.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterator, Mapping
from pathlib import Path

import msgspec
from qemu.qmp import QMPError
from qemu.qmp.protocol import Runstate
from qemu.qmp.qmp_client import ExecuteError, QMPClient

from yurt.errors import Timeout, ToolFailed, Unavailable

EVENTS = ("STOP", "RESUME", "SHUTDOWN", "RESET", "GUEST_PANICKED", "BLOCK_IO_ERROR")
COMMAND_TIMEOUT_S = 10.0
EVENTS_KEPT = 1024
NEWS_KEPT = 64  # for one listener: a guest can make events, and one that floods harms only itself


class MachineEvent(msgspec.Struct, frozen=True, kw_only=True):
    """One QMP event: its name and the fields of its data that we look at. Source: QEMU QMP reference."""

    name: str
    reason: str = ""  # SHUTDOWN, RESET: guest-shutdown, guest-reset, host-qmp-quit, ...
    guest: bool = False  # SHUTDOWN, RESET: the guest itself asked for it
    no_space: bool = False  # BLOCK_IO_ERROR: the host's disk is full


class News:
    """Events of some names from the moment of `Monitor.listen` on, for whoever waits for what a command leads to."""

    def __init__(self, names: tuple[str, ...], end: "asyncio.Task[None] | None" = None) -> None:
        self.names, self._end = names, end
        self._heard: asyncio.Queue[tuple[str, Mapping[str, object]]] = asyncio.Queue(maxsize=NEWS_KEPT)

    def take(self, name: str, data: Mapping[str, object]) -> None:
        """Keep one event, if it is of ours and there is room."""
        if name in self.names and not self._heard.full():
            self._heard.put_nowait((name, data))

    async def next(self) -> tuple[str, Mapping[str, object]]:
        """Return the next event's name and data. Raises Unavailable when the connection ends first."""
        getter = asyncio.ensure_future(self._heard.get())
        ends = () if self._end is None else (self._end,)
        try:
            await asyncio.wait((getter, *ends), return_when=asyncio.FIRST_COMPLETED)
            if not getter.done():
                raise Unavailable("QEMU went away")
            return getter.result()
        finally:
            getter.cancel()


class Monitor:
    """A connection to one QEMU's monitor."""

    def __init__(
        self, client: QMPClient, inbox: asyncio.Queue[MachineEvent], listeners: list[News] | None = None
    ) -> None:
        self._client = client
        self._inbox = inbox
        self._listeners = listeners if listeners is not None else []
        self._passing = asyncio.Lock()
        self._hang_up = asyncio.Event()
        self._end = asyncio.create_task(self._collect())

    @classmethod
    async def connect(cls, socket: Path, *, timeout_s: float = COMMAND_TIMEOUT_S) -> "Monitor":
        """Connect and negotiate. Raises Unavailable when nothing answers there, Timeout when it is silent."""
        inbox: asyncio.Queue[MachineEvent] = asyncio.Queue(maxsize=EVENTS_KEPT)
        listeners: list[News] = []

        def take(message: Mapping[str, object]) -> bool:
            if message.get("event") in EVENTS and not inbox.full():
                inbox.put_nowait(parse_event(message))
            data = message.get("data")
            for listener in listeners:
                listener.take(str(message.get("event")), data if isinstance(data, dict) else {})
            return False

        client = QMPClient("yurt")
        client.logger.disabled = True  # what it has to say reaches us as exceptions
        # The library's listener keeps every event it accepts for ever, and a guest can make events. So it accepts
        # none: its filter, which sees them all, fills a bounded queue of ours.
        client.events.event_filter = take
        try:
            async with asyncio.timeout(timeout_s):
                await client.connect(str(socket))
        except TimeoutError as error:
            raise Timeout(what="QEMU's monitor", timeout_s=timeout_s) from error
        except (QMPError, OSError) as error:
            raise Unavailable(f"QEMU's monitor does not answer: {error}") from error
        return cls(client, inbox, listeners)

    async def _collect(self) -> None:
        """Wait for the connection's end, or make it; take the exceptions that the library's own tasks ended with."""
        while self._client.runstate is Runstate.RUNNING and not self._hang_up.is_set():
            changed = asyncio.ensure_future(self._client.runstate_changed())
            asked = asyncio.ensure_future(self._hang_up.wait())
            try:
                await asyncio.wait((changed, asked), return_when=asyncio.FIRST_COMPLETED)
            finally:
                changed.cancel()
                asked.cancel()
        with contextlib.suppress(QMPError, OSError, EOFError):
            await self._client.disconnect()

    @property
    def connected(self) -> bool:
        """Whether commands can be sent."""
        return not self._end.done() and self._client.runstate is Runstate.RUNNING

    async def closed(self) -> None:
        """Return when the connection has ended."""
        await asyncio.shield(self._end)

    async def close(self) -> None:
        """Hang up; the machine runs on. Safe to repeat."""
        self._hang_up.set()
        await self.closed()

    async def execute(self, command: str, arguments: Mapping[str, object] | None = None) -> object:
        """Send one command and return its result.

        Raises ToolFailed for an error reply, Unavailable when the connection ends, Timeout when QEMU is silent.
        """
        try:
            async with asyncio.timeout(COMMAND_TIMEOUT_S):
                return await self._client.execute(command, arguments)
        except ExecuteError as error:
            raise ToolFailed(f"QEMU refused `{command}`: {error}") from error
        except TimeoutError as error:
            raise Timeout(what=f"QEMU's answer to `{command}`", timeout_s=COMMAND_TIMEOUT_S) from error
        except (QMPError, OSError, EOFError) as error:
            raise Unavailable(f"QEMU went away during `{command}`") from error

    async def execute_with(
        self, descriptor: int, command: str, arguments: Mapping[str, object] | None = None
    ) -> object:
        """Send a command such as `add-fd` or `getfd` together with a descriptor, of which QEMU gets a copy.

        Raises what `execute` raises.
        """
        async with self._passing:  # QEMU gives a command the descriptor that came last
            try:
                self._client.send_fd_scm(descriptor)
            except (OSError, AttributeError, AssertionError) as error:  # the last two: it has just hung up
                raise Unavailable(f"QEMU went away during `{command}`") from error
            return await self.execute(command, arguments)

    @contextlib.contextmanager
    def listen(self, *names: str) -> Iterator[News]:
        """Hear events of these names while in the block. Listen first, then send the command that causes them."""
        news = News(names, self._end)
        self._listeners.append(news)
        try:
            yield news
        finally:
            self._listeners.remove(news)

    async def status(self) -> str:
        """QEMU's run state: `running`, `paused`, `internal-error`, `guest-panicked`, `io-error` and more."""
        reply = await self.execute("query-status")
        return str(reply.get("status", "")) if isinstance(reply, dict) else ""

    async def power_button(self) -> None:
        """Press the ACPI power button. Whether the guest does anything about it is up to the guest."""
        await self.execute("system_powerdown")

    async def pause(self) -> None:
        """Hold the vCPUs. Safe to repeat."""
        await self.execute("stop")

    async def resume(self) -> None:
        """Let the vCPUs run. Safe to repeat."""
        await self.execute("cont")

    async def quit(self) -> None:
        """End QEMU now; block devices are flushed and closed. The connection may end before the reply comes."""
        with contextlib.suppress(Unavailable):
            await self.execute("quit")

    async def disk_bytes(self) -> tuple[int, int]:
        """Bytes that the guest has read from and written to its disks."""
        reply = await self.execute("query-blockstats")
        read = written = 0
        for device in reply if isinstance(reply, list) else []:
            if device.get("qdev"):
                stats = device["stats"]
                read, written = read + int(stats["rd_bytes"]), written + int(stats["wr_bytes"])
        return read, written

    async def grow_disk(self, node: str, size_bytes: int) -> bool:
        """Let a disk have at least this size; False when there is no such node. Safe to repeat."""
        reply = await self.execute("query-named-block-nodes", {"flat": True})
        found = [each for each in reply if each.get("node-name") == node] if isinstance(reply, list) else []
        if not found:
            return False
        if int(found[0]["image"]["virtual-size"]) < size_bytes:
            await self.execute("block_resize", {"node-name": node, "size": size_bytes})
        return True

    async def events(self) -> AsyncIterator[MachineEvent]:
        """Yield events from the moment of `connect`, until the connection ends. One reader at a time."""
        while True:
            getter = asyncio.ensure_future(self._inbox.get())
            try:
                await asyncio.wait((getter, self._end), return_when=asyncio.FIRST_COMPLETED)
                if not getter.done() and self._inbox.empty():
                    return
                yield await getter
            finally:
                getter.cancel()


def parse_event(message: Mapping[str, object]) -> MachineEvent:
    """Turn a QMP event into ours; unknown fields are left out."""
    data = message.get("data")
    fields: Mapping[str, object] = data if isinstance(data, dict) else {}
    return MachineEvent(
        name=str(message["event"]),
        reason=str(fields.get("reason", "")),
        guest=fields.get("guest") is True,
        no_space=fields.get("nospace") is True,
    )
