"""The host side of yurt-agent: one connection, many streams, none of which can hold up another.

One task reads; what a guest sends is checked against what it was granted, so a guest that floods, lies or never
answers costs a bounded amount of memory and ends its connection, nothing else.
"""

import asyncio
import contextlib
import secrets
from collections.abc import AsyncIterator
from pathlib import Path

import msgspec

from yurt.drivers.agent import config as settings
from yurt.drivers.agent import wire
from yurt.drivers.agent.archive import TarReader, TarWriter, decode_stat
from yurt.drivers.agent.config import BootConfig, GuestMount, encode_config, encode_exec, encode_settings
from yurt.drivers.agent.streams import AgentGone, Stream, check_frame
from yurt.drivers.agent.wire import FrameType, GuestMisbehaved, StreamKind
from yurt.errors import Exhausted, NotFound, Unavailable, Unsupported
from yurt.model.process import ExecRequest, FileStat

MAX_STREAMS = 64
_BACKLOG_LIMIT = 1 << 20
ANSWER_S = 30.0  # a guest without hardware assistance on a busy host can need seconds
_LAST_WORDS_S = 1.0


class AgentInfo(msgspec.Struct, frozen=True, kw_only=True):
    """What the agent says of itself. `mode` is socket, microvm, container or vm."""

    version: str
    protocol: int
    pid: int
    mode: str
    features: int
    has_main: bool
    main_exited: bool
    has_console: bool


class AgentClient:
    """A connection to the agent of one guest. Made by `connect`; `closed` resolves when it has ended."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        loop = asyncio.get_running_loop()
        self.closed: asyncio.Future[None] = loop.create_future()
        self._reader, self._writer = reader, writer
        self._nonce = secrets.token_bytes(wire.NONCE_SIZE)
        self._parser = wire.Parser(self._nonce)
        self._info: asyncio.Future[AgentInfo] = loop.create_future()
        self._pong: dict[bytes, asyncio.Future[None]] = {}
        self._streams: dict[int, Stream] = {}
        self._next_id = 1
        self._ended: Unavailable | Unsupported | None = None
        self._task = asyncio.create_task(self._read(), name="agent reader")

    @classmethod
    async def connect(cls, socket: Path) -> "AgentClient":
        """Connect to the socket of a guest's agent; returns before the agent has answered.

        Raises NotFound when there is no such socket, Unavailable when nobody holds it.
        """
        try:
            reader, writer = await asyncio.open_unix_connection(str(socket))
        except FileNotFoundError as error:
            raise NotFound(kind="agent socket", name=str(socket)) from error
        except OSError as error:
            raise Unavailable(f"cannot reach the guest's agent: {error.strerror}") from error
        client = cls(reader, writer)
        writer.write(wire.encode_sync(client._nonce, preamble=True))
        return client

    async def wait_ready(self) -> AgentInfo:
        """Return once the agent has answered, however long that takes. Raises Unavailable when the connection ends."""
        return await asyncio.shield(self._info)

    async def ping(self) -> None:
        """Return when the agent has answered a question sent now."""
        mark = secrets.token_bytes(8)
        answered = self._pong[mark] = asyncio.get_running_loop().create_future()
        try:
            await self._send(wire.encode(FrameType.PING, 0, mark))
            await answered
        finally:
            self._pong.pop(mark, None)

    async def exec(self, request: ExecRequest) -> "ExecSession":
        """Start a program in the guest. Raises CommandNotFound, CommandNotExecutable, NotFound, Denied, Exhausted."""
        return ExecSession(self, await self._open(StreamKind.EXEC, encode_exec(request)))

    async def connect_port(self, port: int, address: str = "") -> "ExecSession":
        """Connect to a TCP port inside the guest; `address` (numbers only) if not its own loopback.

        Output is all on channel 1. That nobody listens there is told by the first `read` (Unavailable).
        """
        body = encode_settings([(settings.ADDRESS, address), (settings.PORT, port)])
        return ExecSession(self, await self._open(StreamKind.CONNECT, body))

    async def attach_main(self, *, keep_exit: bool = False) -> "ExecSession":
        """Attach to the main process: its buffered output, its input, its end. Raises Unsupported when there is none.

        The guest keeps output until it has been read here, and its exit code until `wait` has returned it, or, with
        `keep_exit`, until `collect_main`; then it ends.
        """
        return ExecSession(self, await self._open(StreamKind.ATTACH, b""), collects=not keep_exit)

    async def wait_main(self) -> int:
        """Return the main process's exit code once it has ended; reads none of its output and lets the guest wait."""
        stream = await self._open(StreamKind.WAIT, b"")
        try:
            return await stream.wait()
        finally:
            self._release(stream)

    async def collect_main(self) -> None:
        """Tell the guest that its main process's exit code is safe, so that it may end. Safe to repeat."""
        await self._send(wire.encode(FrameType.COLLECT, 0))

    async def console(self) -> "AgentConsole":
        """Open a container's console; the last 64 KiB come first. Raises Unsupported where the agent has none."""
        return AgentConsole(self, await self._open(StreamKind.CONSOLE, b""))

    async def configure(self, config: BootConfig) -> None:
        """Give a running guest its name, address and files in /etc. Safe to repeat."""
        await self._ask(StreamKind.CONFIGURE, encode_config(config))

    async def grow(self, *, cpus: int = 0, memory_bytes: int = 0, disk_bytes: int = 0) -> None:
        """Let a running guest take up that many vCPUs, that much memory and a root disk of that size; 0 leaves it.

        Safe to repeat. Raises ToolFailed when the guest's kernel does not, Unsupported when the root is not ext4, or
        when the agent in the guest is older than this.
        """
        wanted = [
            (settings.CPUS, cpus),
            (settings.MEMORY_MIB, memory_bytes >> 20),
            (settings.DISK_MIB, disk_bytes >> 20),
        ]
        await self._ask(StreamKind.GROW, encode_settings(wanted))

    async def mount(self, mounts: tuple[GuestMount, ...]) -> None:
        """Let a running guest mount these, and let file systems on disks that have grown fill them. Safe to repeat.

        Raises ToolFailed with the first that could not be mounted; the others are.
        """
        body = encode_settings([(settings.MOUNT, mount.text()) for mount in mounts])
        await self._ask(StreamKind.MOUNT, body)

    async def shutdown(self, mode: str, *, grace_s: float = 10.0) -> None:
        """Ask the guest to end (`poweroff` or `reboot`); returns when it has been asked.

        `grace_s` is how long a guest without an init gives its programs between SIGTERM and SIGKILL.
        """
        grace = max(1, min(int(grace_s * 1000), 2**31))
        body = encode_settings([(settings.ACTION, mode), (settings.GRACE_MS, grace)])
        with contextlib.suppress(AgentGone):
            await self._ask(StreamKind.SHUTDOWN, body)

    async def stat(self, path: str, *, follow: bool = False) -> FileStat:
        """Describe one file. Raises NotFound."""
        body = encode_settings([(settings.PATH, path), (settings.FOLLOW, follow)])
        return decode_stat(path, await self._ask(StreamKind.STAT, body))

    async def get_archive(self, path: str, *, follow: bool = False) -> AsyncIterator[bytes]:
        """Yield a tar (pax) stream of a file or directory, named by the last part of `path`.

        `follow`: if `path` itself is a symbolic link, what it points to is meant. Devices, pipes and sockets are left
        out. Raises NotFound, Denied, ToolFailed.
        """
        body = encode_settings([(settings.PATH, path), (settings.FOLLOW, follow)])
        stream, writer = await self._open(StreamKind.GET, body), TarWriter()
        try:
            while (item := await stream.read()) is not None:
                if item[0] == 1 and (part := writer.feed(item[1])):
                    yield part
            await stream.wait()
            if not writer.ended:
                raise GuestMisbehaved(what="an archive without an end")
        finally:
            self._release(stream)

    async def put_archive(self, path: str, chunks: AsyncIterator[bytes]) -> None:
        """Unpack a tar stream below the directory `path`, which must exist; nothing in it can lead outside.

        What was unpacked before a failure stays. Raises Invalid, Unsupported, NotFound, Denied, ToolFailed.
        """
        stream, tar = await self._open(StreamKind.PUT, encode_settings([(settings.PATH, path)])), TarReader()
        try:
            async for chunk in chunks:
                if data := tar.feed(chunk):
                    await stream.write(data)
            await stream.write(tar.close())
            await stream.close_input()
            await self._drain(stream)
        finally:
            self._release(stream)

    async def close(self) -> None:
        """End the connection; programs started through it get SIGHUP. Safe to repeat."""
        self._task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self._task
        self._end(AgentGone("the connection to the guest's agent was closed"))
        try:
            async with asyncio.timeout(_LAST_WORDS_S):
                with contextlib.suppress(OSError):
                    await self._writer.wait_closed()
        except TimeoutError:  # the guest does not take what is left
            self._writer.transport.abort()

    async def _ask(self, kind: StreamKind, body: bytes) -> bytes:
        stream = await self._open(kind, body)
        try:
            return await self._drain(stream)
        finally:
            self._release(stream)

    async def _drain(self, stream: Stream) -> bytes:
        answer = bytearray()
        while (item := await stream.read()) is not None:
            answer += item[1]
            if len(answer) > _BACKLOG_LIMIT:
                raise GuestMisbehaved(what="an answer without an end")
        await stream.wait()
        return bytes(answer)

    async def _open(self, kind: StreamKind, body: bytes) -> Stream:
        await self.wait_ready()
        if self._ended is not None:
            raise self._ended
        if len(self._streams) >= MAX_STREAMS:
            raise Exhausted(f"{MAX_STREAMS} programs and transfers are open in this guest already")
        stream = Stream(self._next_id, self._send, self._send_soon)
        self._next_id += 1
        self._streams[stream.id] = stream
        try:
            await self._send(b"".join(wire.encode_open(stream.id, kind, stream.window, body)))
            async with asyncio.timeout(ANSWER_S):
                await stream.opened()
        except TimeoutError as error:
            self._release(stream)
            raise Unavailable(
                f"the guest's agent has not answered for {ANSWER_S:g} s",
                hint="the guest hangs or is overloaded: look at its console, or restart it",
            ) from error
        except BaseException:
            self._release(stream)
            raise
        return stream

    def _release(self, stream: Stream) -> None:
        """Forget a stream; what is still running behind it is hung up."""
        if self._streams.pop(stream.id, None) is not None and not stream.finished and self._ended is None:
            self._send_soon(wire.encode(FrameType.CLOSE, stream.id))
        stream.fail(AgentGone("this stream was closed"))

    async def _send(self, data: bytes) -> None:
        self._send_soon(data)
        with contextlib.suppress(OSError):  # the reader sees the same end and says so
            await self._writer.drain()

    def _send_soon(self, data: bytes) -> None:
        if self._ended is not None:
            raise self._ended
        if self._writer.transport.get_write_buffer_size() > 4 * _BACKLOG_LIMIT:
            raise GuestMisbehaved(what="it does not take what it was sent")
        self._writer.write(data)

    async def _read(self) -> None:
        end: Unavailable | Unsupported = AgentGone("the guest's agent closed the connection")
        try:
            while data := await self._reader.read(1 << 16):
                for frame in self._parser.feed(data):
                    await self._handle(frame)
        except (Unavailable, Unsupported) as error:
            end = error
        except OSError as error:
            end = AgentGone(f"the connection to the guest's agent broke: {error.strerror}")
        self._end(end)

    def _end(self, error: Unavailable | Unsupported) -> None:
        if self._ended is not None:
            return
        self._ended = error
        if isinstance(error, GuestMisbehaved):
            self._writer.transport.abort()
        else:
            self._writer.close()
        for stream in list(self._streams.values()):
            stream.fail(error)
        if not self._info.done():
            self._info.set_exception(error)
            self._info.exception()  # nobody needs to have asked
        for waiting in self._pong.values():
            if not waiting.done():
                waiting.set_exception(error)
        if not self.closed.done():
            self.closed.set_result(None)

    async def _handle(self, frame: wire.Frame) -> None:
        if frame.type is FrameType.UP:
            if self._info.done():
                raise AgentGone("the guest's agent has started anew")
            await self._send(wire.encode_sync(self._nonce, preamble=False))
        elif frame.type is FrameType.HELLO:
            self._handle_hello(wire.decode_hello(frame.payload))
        elif frame.type is FrameType.PONG:
            if (waiting := self._pong.get(frame.payload)) is not None and not waiting.done():
                waiting.set_result(None)
        elif (stream := self._streams.get(frame.stream)) is not None:
            check_frame(stream, frame)
            if stream.finished:
                self._streams.pop(frame.stream, None)
        elif not 0 < frame.stream < self._next_id:
            raise GuestMisbehaved(what=f"a frame for stream {frame.stream}, which was never opened")

    def _handle_hello(self, hello: wire.Hello) -> None:
        if hello.protocol != wire.PROTOCOL_VERSION:
            raise Unsupported(
                f"the guest's agent speaks protocol {hello.protocol}, this yurt speaks {wire.PROTOCOL_VERSION}",
                hint="stop and start the instance: it then gets this yurt's agent",
            )
        if not self._info.done():
            fields = hello._asdict()
            self._info.set_result(AgentInfo(**fields))


class ExecSession:
    """A program in a guest: its input, output, end. Must be closed."""

    def __init__(self, client: AgentClient, stream: Stream, *, collects: bool = False) -> None:
        self._client, self._stream, self._collects = client, stream, collects
        self.pid = stream.pid

    async def read(self) -> tuple[int, bytes] | None:
        """Return the next output: (1, bytes) or (2, bytes) for standard error; None at the end of all of it."""
        return await self._stream.read()

    async def write(self, data: bytes) -> None:
        """Pass input to the program; waits while the program does not read. After its end, nothing happens."""
        await self._stream.write(data)

    async def close_stdin(self) -> None:
        """End the program's input (on a terminal: sends ctrl-D). Safe to repeat."""
        await self._stream.close_input()

    async def resize(self, rows: int, columns: int) -> None:
        """Set the size of the program's terminal."""
        size = rows.to_bytes(2, "little") + columns.to_bytes(2, "little")
        await self._stream.control(FrameType.RESIZE, size)

    async def signal(self, number: int) -> None:
        """Send a signal to the program's process group."""
        await self._stream.control(FrameType.SIGNAL, bytes([number]))

    async def wait(self) -> int:
        """Return the exit code; 128+N when signal N ended it. All output must be read, or be read by another task."""
        code = await self._stream.wait()
        if self._collects:
            self._collects = False
            await self._client.collect_main()
        return code

    async def close(self) -> None:
        """Let go; a program that still runs gets SIGHUP (the main process does not). Safe to repeat."""
        self._client._release(self._stream)


class AgentConsole:
    """A container's console. `read` first returns the scrollback; b"" is its end."""

    def __init__(self, client: AgentClient, stream: Stream) -> None:
        self._client, self._stream = client, stream

    async def read(self) -> bytes:
        """Return the next bytes; b"" when the console has ended."""
        try:
            item = await self._stream.read()
        except AgentGone:
            return b""
        return item[1] if item else b""

    async def write(self, data: bytes) -> None:
        """Type into the console."""
        await self._stream.write(data)

    async def resize(self, rows: int, columns: int) -> None:
        """Set the size of the console's terminal."""
        size = rows.to_bytes(2, "little") + columns.to_bytes(2, "little")
        await self._stream.control(FrameType.RESIZE, size)

    async def close(self) -> None:
        """Let go of the console. Safe to repeat."""
        self._client._release(self._stream)
