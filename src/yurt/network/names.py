"""Names for guests whose rules allow destinations by domain name: asked here, answered once the firewall knows.

The firewall redirects such a guest's questions to us. Those for names that its rules allow, and for names of its own
network, go on to the network's name server; all others are refused, so that no data leaves inside of questions. The
addresses of an answer are put into the firewall before the guest sees the answer: what it then does at once works.
Nobody answers while no daemon runs; what was allowed before stays so for its time.
"""

import asyncio
import contextlib
import logging
import socket
from collections.abc import Awaitable, Callable

from yurt.errors import Invalid, YurtError
from yurt.network import dnswire
from yurt.network.firewall.changes import covers
from yurt.network.firewall.rules import is_domain
from yurt.network.firewall.types import PortBinding

log = logging.getLogger("yurt.names")
NAMES_PORT = 53053
ANSWER_S = 5.0
MOST_AT_ONCE = 32  # questions of one guest
MOST_ADDRESSES = 64  # of one answer
LEAST_S, MOST_S, GRACE_S = 60, 86400, 30
Learn = Callable[[PortBinding, str, list[tuple[str, int]]], Awaitable[None]]


def allowed(port: PortBinding, domain: str, name: str) -> tuple[bool, bool]:
    """Whether a guest may ask for a name, and whether its addresses are then to be opened. Pure."""
    by_rule = any(is_domain(rule.peer) and covers(rule.peer, name) for rule in port.rules)
    return by_rule or name == domain or name.endswith(f".{domain}"), by_rule


class NameGate(asyncio.DatagramProtocol):
    """Answers on one address of a gateway. `ports` gives who asks by address, `learn` tells the firewall."""

    def __init__(
        self, upstream: tuple[str, int], domain: str, ports: Callable[[str], PortBinding | None], learn: Learn
    ) -> None:
        self._upstream, self._domain, self._ports, self._learn = upstream, domain, ports, learn
        self._asked: dict[str, int] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._transport: asyncio.DatagramTransport | None = None
        self._server: asyncio.Server | None = None

    async def open(self, address: str, port: int = NAMES_PORT) -> None:
        """Listen, by UDP and TCP. Raises OSError when the address is not there or the port is taken."""
        loop = asyncio.get_running_loop()
        self._transport, _ = await loop.create_datagram_endpoint(lambda: self, local_addr=(address, port))
        self._server = await asyncio.start_server(self._serve_stream, address, port, limit=1 << 16)

    def close(self) -> None:
        """Listen no more. Safe to repeat."""
        if self._transport is not None:
            self._transport.close()
        if self._server is not None:
            self._server.close()
        for task in self._tasks:
            task.cancel()

    def datagram_received(self, data: bytes, source: tuple[str, int]) -> None:
        """One question by UDP; beyond the most at once they are dropped, as a busy server would."""
        if self._asked.get(source[0], 0) < MOST_AT_ONCE:
            task = asyncio.create_task(self._answer_datagram(data, source))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _answer_datagram(self, data: bytes, source: tuple[str, int]) -> None:
        reply = await self.answer(data, source[0], _ask_datagram)
        if reply and self._transport is not None:
            self._transport.sendto(reply, source)

    async def _serve_stream(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        source = str(writer.get_extra_info("peername")[0])
        with contextlib.suppress(OSError, asyncio.IncompleteReadError, TimeoutError):
            while True:
                async with asyncio.timeout(ANSWER_S):
                    size = int.from_bytes(await reader.readexactly(2), "big")
                    data = await reader.readexactly(size)
                if not (reply := await self.answer(data, source, _ask_stream)):
                    break
                writer.write(len(reply).to_bytes(2, "big") + reply)
                await writer.drain()
        writer.close()

    async def answer(self, data: bytes, source: str, ask: "Ask") -> bytes:
        """The answer to one question; empty when it deserves none."""
        port = self._ports(source)
        if port is None or self._asked.get(source, 0) >= MOST_AT_ONCE:
            return b""
        self._asked[source] = self._asked.get(source, 0) + 1
        try:
            question = dnswire.parse(data)
            may_ask, opens = allowed(port, self._domain, question.name)
            if question.response or not may_ask:
                return b"" if question.response else dnswire.refusal(data, dnswire.REFUSED)
            try:
                async with asyncio.timeout(ANSWER_S):
                    reply = await ask(self._upstream, data)
                found = dnswire.parse(reply)
            except (OSError, TimeoutError, asyncio.IncompleteReadError):
                return dnswire.refusal(data, dnswire.SERVFAIL)
            if found.name != question.name:
                return dnswire.refusal(data, dnswire.SERVFAIL)
            if opens and found.addresses:
                answers = [
                    (address, max(LEAST_S, min(ttl, MOST_S)) + GRACE_S)
                    for address, ttl in found.addresses[:MOST_ADDRESSES]
                ]
                await self._learn(port, question.name, answers)
            return reply
        except Invalid:
            return b""
        except YurtError as error:
            log.error("a name of %s could not be allowed: %s", port.instance_id, error)
            return dnswire.refusal(data, dnswire.SERVFAIL)
        finally:
            self._asked[source] -= 1
            if not self._asked[source]:
                del self._asked[source]


Ask = Callable[[tuple[str, int], bytes], Awaitable[bytes]]


async def _ask_datagram(upstream: tuple[str, int], data: bytes) -> bytes:
    loop = asyncio.get_running_loop()
    family = socket.AF_INET6 if ":" in upstream[0] else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK) as asking:
        asking.connect(upstream)  # a port of its own choice, and only that server is heard
        await loop.sock_sendall(asking, data)
        while True:
            reply = await loop.sock_recv(asking, 1 << 16)
            if reply[:2] == data[:2]:
                return reply


async def _ask_stream(upstream: tuple[str, int], data: bytes) -> bytes:
    reader, writer = await asyncio.open_connection(*upstream)
    try:
        writer.write(len(data).to_bytes(2, "big") + data)
        await writer.drain()
        return await reader.readexactly(int.from_bytes(await reader.readexactly(2), "big"))
    finally:
        writer.close()
