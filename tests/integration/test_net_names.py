"""Names that open addresses, and published ports on loopback: real servers in namespaces, the daemon's parts between."""

import asyncio
import socket
import struct
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import pytest
from msgspec.structs import replace
from tests.integration.netlab import OUTSIDE4, OUTSIDE6, Lab, ask, echo_server, inside, lab

from yurt.errors import Exists
from yurt.host import nft
from yurt.model.network import Action, Direction, FirewallRule, Protocol, PublishedPort
from yurt.network import firewall
from yurt.network.dnswire import parse
from yurt.network.firewall import PortBinding
from yurt.network.loopback import Loopback
from yurt.network.names import NameGate

pytestmark = [pytest.mark.root, pytest.mark.needs("nft", "ip", "bridge")]
SECOND4 = "198.51.100.7"
PORT = 53053


@pytest.fixture(scope="module")
def site() -> Iterator[Lab]:
    with lab() as made, ExitStack() as servers:
        network = made.add_network(1)
        made.add_guest(network)
        made.add_guest(network)
        made.bridged_to_inet(on=False)
        made.nft(made.whole())
        made.settle()
        for namespace in (made.world, made.guests[0].name):
            for address in ("0.0.0.0", "::"):
                servers.enter_context(echo_server(namespace, address, 443))
                servers.enter_context(echo_server(namespace, address, 53000, udp=True))
        yield made


class Zone:
    """A name server in the world: answers from `names`, and counts what it was asked."""

    def __init__(self, site: Lab) -> None:
        self.names: dict[str, list[str]] = {}
        self.asked: list[str] = []

        def make() -> socket.socket:
            made = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            made.bind((OUTSIDE4, 53))
            made.settimeout(0.05)
            return made

        self._socket, self._ended = inside(site.world, make), threading.Event()
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()

    def _serve(self) -> None:
        while not self._ended.is_set():
            try:
                data, source = self._socket.recvfrom(2048)
            except TimeoutError:
                continue
            question = parse(data)
            self.asked.append(question.name)
            family = socket.AF_INET if question.kind == 1 else socket.AF_INET6
            found = [
                text for text in self.names.get(question.name, []) if (":" in text) == (question.kind == 28)
            ]
            answers = b"".join(
                b"\xc0\x0c" + struct.pack("!HHIH", question.kind, 1, 5, len(packed)) + packed
                for packed in (socket.inet_pton(family, text) for text in found)
            )
            code = 0 if question.name in self.names else 3
            head = data[:2] + struct.pack("!HHHHH", 0x8180 | code, 1, len(found), 0, 0)
            self._socket.sendto(head + data[12:] + answers, source)

    def close(self) -> None:
        self._ended.set()
        self._thread.join()
        self._socket.close()


@pytest.fixture
def zone(site: Lab) -> Iterator[Zone]:
    made = Zone(site)
    yield made
    made.close()


@contextmanager
def running(site: Lab, begin: object) -> Iterator[None]:
    """A loop in the host's namespace with what `begin` starts there, as the daemon would have it."""
    ready, end = threading.Event(), threading.Event()
    errors: list[BaseException] = []

    async def work() -> None:
        assert callable(begin)
        served = await begin()
        ready.set()
        await asyncio.to_thread(end.wait)
        served.close()

    def body() -> None:
        try:
            inside(site.host, lambda: asyncio.run(work()))
        except BaseException as error:
            errors.append(error)
            ready.set()

    thread = threading.Thread(target=body)
    thread.start()
    ready.wait(10)
    try:
        if errors:
            raise errors[0]
        yield
    finally:
        end.set()
        thread.join()


def lookup(
    namespace: str, name: str, kind: int = 1, server: str = "10.91.1.1"
) -> tuple[int, list[str]] | None:
    """What a guest's resolver hears: the code and the addresses; None when nobody answers."""
    labels = b"".join(bytes([len(label)]) + label.encode() for label in name.split(".")) + b"\0"
    data = struct.pack("!HHHHHH", 99, 0x0100, 1, 0, 0, 0) + labels + struct.pack("!HH", kind, 1)

    def body() -> tuple[int, list[str]] | None:
        family = socket.AF_INET6 if ":" in server else socket.AF_INET
        with socket.socket(family, socket.SOCK_DGRAM) as asking:
            asking.settimeout(1)
            asking.connect((server, 53))
            try:
                asking.send(data)
                reply = asking.recv(2048)
            except OSError:
                return None
            return reply[3] & 15, [address for address, _ in parse(reply).addresses]

    return inside(namespace, body)


def test_names_open_their_addresses_before_the_guest_hears_them(site: Lab, zone: Zone) -> None:
    guest = site.guests[0]
    rules = (
        FirewallRule(direction=Direction.OUT, action=Action.DENY),
        FirewallRule(direction=Direction.OUT, action=Action.ALLOW, peer="example.org", ports="443"),
        FirewallRule(
            direction=Direction.OUT, action=Action.ALLOW, peer="*.example.net", protocol=Protocol.TCP
        ),
    )
    bound = replace(guest.port, rules=rules, dns=PORT)
    askers = {bound.ipv4: bound, bound.ipv6: bound}
    zone.names = {"example.org": [OUTSIDE4, OUTSIDE6], "www.example.net": [SECOND4], "evil.com": [SECOND4]}

    async def learn(port: PortBinding, name: str, answers: list[tuple[str, int]]) -> None:
        await nft.load(firewall.learned(site.TAG, port, name, answers))

    async def begin() -> NameGate:
        gate = NameGate((OUTSIDE4, 53), "yurt", askers.get, learn)
        await gate.open("10.91.1.1", PORT)
        return gate

    site.nft(firewall.change_port(site.TAG, guest.port, bound))
    try:
        assert lookup(guest.name, "example.org") is None, "without a daemon nothing is opened"
        with running(site, begin):
            assert ask(guest.name, OUTSIDE4, 443) is None
            assert lookup(guest.name, "example.org") == (0, [OUTSIDE4])
            assert ask(guest.name, OUTSIDE4, 443) is not None, "at once"
            assert ask(guest.name, OUTSIDE6, 443) is None, "only what it was told"
            assert lookup(guest.name, "example.org", 28) == (0, [OUTSIDE6])
            assert ask(guest.name, OUTSIDE6, 443) is not None
            assert ask(guest.name, OUTSIDE4, 80) is None, "only on that port"
            zone.asked.clear()
            assert lookup(guest.name, "evil.com") == (5, [])
            assert lookup(guest.name, "c2VjcmV0.evil.com") == (5, [])
            assert not zone.asked, "what may not be asked for never leaves"
            assert lookup(guest.name, "evil.com", server=OUTSIDE4) is None, "nor past the gateway"
            assert ask(guest.name, SECOND4, 443) is None
            zone.names["example.org"] = [SECOND4]
            assert lookup(guest.name, "example.org") == (0, [SECOND4])
            assert ask(guest.name, SECOND4, 443) is not None, "after a change, too"
            assert lookup(guest.name, "www.example.net") == (0, [SECOND4])
            assert lookup(guest.name, "gone.example.net") == (3, [])
            other = site.guests[1]
            assert lookup(other.name, "evil.com") is None, (
                "others ask the network's own server (there is none here)"
            )
    finally:
        site.nft(firewall.change_port(site.TAG, bound, guest.port))


def test_loopback_leads_to_the_guest(site: Lab) -> None:
    guest = site.guests[0]
    publish = (
        PublishedPort(host_port=8443, guest_port=443),
        PublishedPort(host_port=8444, guest_port=443, host_address="127.0.0.1"),
        PublishedPort(host_port=8445, guest_port=443, host_address="::1"),
        PublishedPort(host_port=8446, guest_port=53000, protocol=Protocol.UDP),
    )
    deny = (FirewallRule(direction=Direction.IN, action=Action.DENY),)
    bound = replace(guest.port, publish=publish, rules=deny)
    served = Loopback()

    async def begin() -> Loopback:
        await served.change((), [bound])
        await served.change((), [bound])
        return served

    site.nft(firewall.change_port(site.TAG, guest.port, bound))
    try:
        with running(site, begin):
            for address, port in (("127.0.0.1", 8443), ("::1", 8443), ("127.0.0.1", 8444), ("::1", 8445)):
                assert ask(site.host, address, port) in (b"10.91.1.1", b"fd00:91:1::1"), (address, port)
            for address in ("127.0.0.1", "::1"):
                assert ask(site.host, address, 8446, udp=True) is not None
            assert ask(site.host, "::1", 8444) is None
            assert ask(site.host, "127.0.0.1", 8445) is None
            assert ask(site.guests[1].name, "10.91.1.1", 8444) is None
    finally:
        site.nft(firewall.change_port(site.TAG, bound, guest.port))


def test_a_loopback_port_that_is_taken_is_refused(site: Lab) -> None:
    async def begin() -> Loopback:
        made = Loopback()
        await made.change(
            (), [replace(site.guests[0].port, publish=(PublishedPort(host_port=8500, guest_port=443),))]
        )
        return made

    with (
        echo_server(site.host, "127.0.0.1", 8500),
        pytest.raises(Exists, match=r"port 8500 on 127\.0\.0\.1 is taken"),
        running(site, begin),
    ):
        pass
