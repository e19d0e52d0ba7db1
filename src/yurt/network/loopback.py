"""Published ports on the host's own loopback: connections accepted here and made anew to the guest.

The firewall could rewrite packets to 127.0.0.1 only with `route_localnet`, and to ::1 not at all; the former would open
the host's loopback to guests whenever somebody flushes the firewall. So these ports are sockets of the daemon: they
are served while a daemon runs, unlike all other published ports.
"""

import asyncio
import contextlib
import logging
import socket
from collections.abc import Iterable
from ipaddress import ip_address

import msgspec

from yurt.errors import Exists
from yurt.model.network import Protocol
from yurt.network.firewall.types import PortBinding

log = logging.getLogger("yurt.loopback")
PIECE = 1 << 16
IDLE_S = 60.0
CONNECT_S = 10.0
MOST_PEERS = 1024  # of one UDP port


class Way(msgspec.Struct, frozen=True):
    """From an address and port of the host to one of a guest."""

    protocol: Protocol
    address: str
    port: int
    guest: str
    guest_port: int


def ways_of(binding: PortBinding) -> set[Way]:
    """The loopback ports that a binding publishes. Pure."""
    found = set()
    for each in binding.publish:
        wanted = ip_address(each.host_address) if each.host_address else None
        for version, own, guest in ((4, "127.0.0.1", binding.ipv4), (6, "::1", binding.ipv6)):
            if wanted is not None and (
                wanted.version != version or not (wanted.is_loopback or wanted.is_unspecified)
            ):
                continue
            address = own if wanted is None or wanted.is_unspecified else str(wanted)
            # a guest of one family can be reached from both
            if target := guest or binding.ipv4 or binding.ipv6:
                found.add(Way(each.protocol, address, each.host_port, target, each.guest_port))
    return found


class Loopback:
    """All loopback ports of this daemon."""

    def __init__(self) -> None:
        self._open: dict[Way, _Stream | _Datagrams] = {}

    async def change(self, before: Iterable[PortBinding], after: Iterable[PortBinding]) -> None:
        """Serve the ports of `after` and no longer those of `before`. Safe to repeat. Raises Exists."""
        old = {way for binding in before for way in ways_of(binding)}
        new = {way for binding in after for way in ways_of(binding)}
        made: list[Way] = []
        trying: Way | None = None
        for way in old - new:
            if served := self._open.pop(way, None):
                served.close()
        try:
            for way in new - set(self._open):
                trying = way
                served = _Datagrams(way) if way.protocol is Protocol.UDP else _Stream(way)
                await served.open()
                self._open[way] = served
                made.append(way)
        except OSError as error:
            for way in made:
                self._open.pop(way).close()
            if error.errno is not None and "not available" in str(error.strerror).lower():
                log.warning("no loopback for published ports: %s", error)
                return
            assert trying is not None
            raise Exists(
                f"the host's {trying.protocol} port {trying.port} on {trying.address} is taken already",
                hint="choose another host port with `yurt set NAME publish=...`",
            ) from error

    def close(self) -> None:
        """Serve none of them any longer. Safe to repeat."""
        for served in self._open.values():
            served.close()
        self._open.clear()


class _Stream:
    def __init__(self, way: Way) -> None:
        self._way = way
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    async def open(self) -> None:
        self._server = await asyncio.start_server(self._serve, self._way.address, self._way.port)

    def close(self) -> None:
        if self._server is not None:
            self._server.close()
        for task in self._tasks:
            task.cancel()

    async def _serve(self, near: asyncio.StreamReader, back: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        try:
            async with asyncio.timeout(CONNECT_S):
                far, onward = await asyncio.open_connection(self._way.guest, self._way.guest_port)
        except (OSError, TimeoutError):
            back.transport.abort()
            self._tasks.discard(task)
            return
        try:
            await asyncio.gather(_copy(near, onward), _copy(far, back))
        except OSError:
            pass
        finally:
            self._tasks.discard(task)
            onward.transport.abort()
            back.transport.abort()


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Carry one direction to its end, and end it there, too."""
    while data := await reader.read(PIECE):
        writer.write(data)
        await writer.drain()
    if writer.can_write_eof():
        writer.write_eof()


class _Datagrams(asyncio.DatagramProtocol):
    """One UDP port: each peer has a socket towards the guest, for as long as it is used."""

    def __init__(self, way: Way) -> None:
        self._way = way
        self._transport: asyncio.DatagramTransport | None = None
        self._peers: dict[tuple[str, int], _Peer] = {}

    async def open(self) -> None:
        loop = asyncio.get_running_loop()
        self._transport, _ = await loop.create_datagram_endpoint(
            lambda: self, local_addr=(self._way.address, self._way.port)
        )

    def close(self) -> None:
        for peer in list(self._peers.values()):
            peer.close()
        if self._transport is not None:
            self._transport.close()

    def datagram_received(self, data: bytes, source: tuple[str, int]) -> None:
        peer = self._peers.get(source)
        if peer is None:
            if len(self._peers) >= MOST_PEERS:
                return
            peer = self._peers[source] = _Peer(self, source, self._way)
        peer.send(data)

    def reply(self, data: bytes, source: tuple[str, int]) -> None:
        if self._transport is not None and not self._transport.is_closing():
            self._transport.sendto(data, source)

    def forget(self, source: tuple[str, int]) -> None:
        self._peers.pop(source, None)


class _Peer:
    def __init__(self, port: _Datagrams, source: tuple[str, int], way: Way) -> None:
        self._port, self._source = port, source
        family = socket.AF_INET6 if ":" in way.guest else socket.AF_INET
        self._socket = socket.socket(family, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK)
        self._loop = asyncio.get_running_loop()
        self._used = self._loop.time()
        with contextlib.suppress(OSError):
            self._socket.connect((way.guest, way.guest_port))
        self._loop.add_reader(self._socket.fileno(), self._receive)
        self._timer = self._loop.call_later(IDLE_S, self._expire)

    def send(self, data: bytes) -> None:
        self._used = self._loop.time()
        with contextlib.suppress(OSError):
            self._socket.send(data)

    def _receive(self) -> None:
        self._used = self._loop.time()
        with contextlib.suppress(OSError):
            self._port.reply(self._socket.recv(PIECE), self._source)

    def _expire(self) -> None:
        left = self._used + IDLE_S - self._loop.time()
        if left <= 0:
            self.close()
        else:
            self._timer = self._loop.call_later(left, self._expire)

    def close(self) -> None:
        self._timer.cancel()
        if self._socket.fileno() >= 0:
            self._loop.remove_reader(self._socket.fileno())
            self._socket.close()
        self._port.forget(self._source)
