"""Managed networks on this host: brought up when somebody needs them, kept up, taken away.

What is there is compared with what should be at each use, when a daemon starts, and when the kernel tells that a link or
a table is gone or that a name server has ended. It needs no records: it is told which networks and ports there are.
"""

import asyncio
import contextlib
import logging
import socket
from collections.abc import Callable, Coroutine, Iterable, Sequence

import msgspec

from yurt.errors import Unsupported, YurtError
from yurt.host import netlink, nft
from yurt.host.layout import Layout, default_layout
from yurt.host.netlink import Subnet
from yurt.model.host import HostFacts
from yurt.model.network import Network, Nic
from yurt.network import firewall, wires
from yurt.network.extras import Extras
from yurt.network.firewall import NetworkRules, PortBinding
from yurt.network.server import NameServer

log = logging.getLogger("yurt.network")
PROGRAMS = {"nft": "nftables", "dnsmasq": "dnsmasq-base"}
AGAIN_S = (0.1, 1.0, 5.0, 30.0)
Tell = Callable[[str, str, dict[str, object]], None]


class GuestPort(msgspec.Struct, frozen=True, kw_only=True):
    """A NIC's end on the host, and what its guest may send and get through it."""

    network: Network
    nic: Nic
    binding: PortBinding
    peer: str = ""  # the end that is moved into a container; machines have a tap


def unfit(facts: HostFacts) -> tuple[str, str]:
    """Why this host cannot have managed networks, and what would mend it; empty when it can. Pure."""
    if not facts.root or facts.rootless:
        return "managed networks need root", "use `--network user`"
    missing = [program for program in PROGRAMS if program not in facts.tools]
    if missing:
        packages = " ".join(PROGRAMS[program] for program in missing)
        return f"`{missing[0]}` is not installed", f"apt-get install --no-install-recommends {packages}"
    return "", ""


def rules_of(network: Network) -> NetworkRules:
    """What the firewall has to know of a network. Pure."""
    return NetworkRules(
        bridge=network.bridge,
        ipv4=network.ipv4,
        ipv6=network.ipv6,
        gateway4=network.gateway4,
        gateway6=network.gateway6,
        nat=network.nat,
        isolated=network.isolated,
    )


class Networks:
    """The networks of one yurt. Made without touching anything; the first use does that."""

    def __init__(self, layout: Layout, facts: HostFacts, tell: Tell) -> None:
        self._facts, self._tell, self._directory = facts, tell, layout.networks_run
        own = layout.state == default_layout({}, 0).state
        self.tag = "" if own else wires.owner_tag(str(layout.state))
        self._alias, self._table = f"yurt {layout.state}", self.tag or "main"
        self._ups: dict[str, NameServer] = {}
        self._ports: dict[str, GuestPort] = {}  # by device
        self._extras = Extras(self._table)
        self._expected: dict[str, Network] = {}  # networks of guests that run, before they are up
        self._locks: dict[str, asyncio.Lock] = {}
        self._firewall = asyncio.Lock()
        self._loaded = False
        self._guard: asyncio.Task[None] | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._links: socket.socket | None = None
        self._closing = False

    def require(self) -> None:
        """Raise Unsupported where this host cannot have managed networks."""
        reason, fix = unfit(self._facts)
        if reason:
            raise Unsupported(reason, hint=fix)

    async def used_subnets(self) -> list[Subnet]:
        """Every subnet that this host has an address in or a route to."""

        def look() -> list[Subnet]:
            with netlink.Netlink() as opened:
                return opened.used_subnets()

        return await asyncio.to_thread(look)

    # networks

    async def up(self, network: Network) -> None:
        """Bring a network up: bridge, firewall, name server. Costs nothing when it is. Raises Unsupported, ToolFailed."""
        self.require()
        async with self._lock(network.name):
            server = self._ups.get(network.name)
            if server is not None and server.network == network and wires.exists(network.bridge):
                return
            made = await asyncio.to_thread(wires.make_bridge, network, self._alias)
            if server is None or server.network != network:
                server = NameServer(network, self._directory / network.name, self._facts.tools["dnsmasq"])
            self._ups[network.name] = server
            self._watch()
            try:
                await self._load(firewall.add_network(self._table, rules_of(network)))
                await server.ensure(anew=made)  # its sockets are bound to the very bridge
            except BaseException:
                del self._ups[network.name]
                raise
            self._follow(server)

    async def down(self, network: Network) -> None:
        """Take a network away that no guest is on. Safe to repeat."""
        async with self._lock(network.name):
            server = self._ups.pop(network.name, None) or NameServer(network, self._directory / network.name)
            await server.remove()
            if not wires.exists(network.bridge):
                return
            self._expected.pop(network.name, None)
            if self._loaded and not await self._leave_firewall():
                await self._load(firewall.remove_network(self._table, rules_of(network)))
            # last, as a bridge is what tells the next daemon that something of ours is still there
            await asyncio.to_thread(wires.delete_links, network.bridge)
        self._locks.pop(network.name, None)

    async def _leave_firewall(self) -> bool:
        """Take our tables away when no network needs them any more; whether that was so."""
        async with self._firewall:
            if self._ups or self._expected:
                return False
            self._loaded = False
            if self._guard is not None:
                self._guard.cancel()
            await nft.load(firewall.gone(self._table))
        return True

    def is_up(self, name: str) -> bool:
        """Whether a network is up, as far as this daemon knows."""
        return name in self._ups

    # ports

    async def connect(self, instance_id: str, name: str, ports: Sequence[GuestPort]) -> None:
        """Make a guest's ports and plug them in. What was left over of them is replaced. On failure nothing is left."""
        for network in {port.network.name: port.network for port in ports}.values():
            await self.up(network)
        try:
            for port in ports:
                self._ports[port.nic.device] = port
                made = (port.nic.device, port.peer, port.nic.mac, port.network.mtu, self._alias)
                await asyncio.to_thread(wires.make_port, *made)
            await self._load("".join(firewall.add_port(self._table, port.binding) for port in ports))
            await self._extras.change((), ports)
            for port in ports:
                await asyncio.to_thread(wires.plug_port, port.nic.device, port.network.bridge)
            self.introduce(instance_id, name, ports)
        except BaseException:
            await self.disconnect(ports)
            raise

    async def disconnect(self, ports: Sequence[GuestPort]) -> None:
        """Take a guest's ports away; its addresses and its name stay its own. Safe to repeat."""
        # the ends of a container go with it, before we come; what the firewall has of them does not
        there = [port for port in ports if port.nic.device in self._ports or wires.exists(port.nic.device)]
        there = [self._ports.pop(port.nic.device, port) for port in there]
        if not there:
            return
        await asyncio.to_thread(wires.delete_links, *(port.nic.device for port in there))
        opened = await self._extras.change(there, ())
        if self._loaded:
            await self._load(
                opened + "".join(firewall.remove_port(self._table, port.binding) for port in there)
            )

    async def rebind(self, before: Sequence[GuestPort], after: Sequence[GuestPort]) -> None:
        """Give the ports of a guest that runs other rules and published ports. Safe to repeat.

        `before` is what the firewall has of them, unless this daemon knows better.
        """
        known_ones = [self._ports.get(port.nic.device, port) for port in before]
        text = await self._extras.change(known_ones, after)
        for known, new in zip(known_ones, after, strict=True):
            if known.binding != new.binding:
                text += firewall.change_port(self._table, known.binding, new.binding)
            self._ports[new.nic.device] = new
        if text:
            await self._load(text)

    def introduce(self, instance_id: str, name: str, ports: Sequence[GuestPort]) -> None:
        """Tell the name servers what a guest is called and which addresses it has. Safe to repeat."""
        by_network: dict[str, list[Nic]] = {}
        for port in ports:
            by_network.setdefault(port.network.name, []).append(port.nic)
        for network, nics in by_network.items():
            if server := self._ups.get(network):
                server.tell(instance_id, name, nics)

    def forget(self, instance_id: str, networks: Iterable[str]) -> None:
        """Let the name servers forget a guest that is no more. Safe to repeat."""
        for network in set(networks):
            if server := self._ups.get(network):
                server.forget(instance_id)

    # keeping up

    async def reconcile(self, networks: Sequence[Network], ports: Sequence[GuestPort]) -> None:
        """Bring the host to what should be: the networks with ports on them or that were up, those ports, and no others.

        Comes once, when the daemon starts. On a host where nothing of ours is and nothing need be, nothing is done.
        """
        there = await asyncio.to_thread(wires.links_of, self._alias)
        wanted = {port.network.name for port in ports}
        keep = [network for network in networks if network.name in wanted or network.bridge in there]
        stale = (
            there
            - {network.bridge for network in keep}
            - {name for port in ports for name in (port.nic.device, port.peer)}
        )
        if there and not keep:  # an earlier daemon ended while it took the last network away
            await nft.load(firewall.gone(self._table))
        if stale:
            log.info("taking away links that nobody uses: %s", " ".join(sorted(stale)))
            await asyncio.to_thread(wires.delete_links, *stale)
        await self._remove_strange_servers({network.name for network in networks})
        if not keep:
            return
        self._ports = {port.nic.device: port for port in ports}
        self._expected = {network.name: network for network in keep}
        for network in keep:
            try:
                await self.up(network)
            except YurtError as error:
                log.error("network %s cannot be brought up: %s", network.name, error)
                self._tell("network.failed", network.name, {"reason": error.message})
        self._expected = {}
        for port in ports:
            with contextlib.suppress(YurtError):
                await asyncio.to_thread(wires.plug_port, port.nic.device, port.network.bridge)
        for port in ports:
            try:
                await self._extras.change((), [port])
            except YurtError as error:
                log.error("a published port of %s: %s", port.binding.instance_id, error)

    async def _remove_strange_servers(self, known: set[str]) -> None:
        if not self._directory.is_dir():
            return
        for place in [place for place in self._directory.iterdir() if place.name not in known]:
            await NameServer(_nameless(place.name), place).remove()

    async def _load(self, text: str) -> None:
        """Change the firewall; the first time, and when somebody has taken it away, all of it at once."""
        async with self._firewall:
            if self._loaded:
                try:
                    await nft.load(text)
                    return
                except nft.NftFailed as error:
                    log.warning("the firewall is not as it was left, loading it anew: %s", error)
            await nft.load(self._whole())
            if not self._loaded:
                self._loaded = True
                self._guard = self._spawn(self._guard_firewall())

    def _whole(self) -> str:
        """All of it; also for networks that are about to be brought up, whose guests run already."""
        networks = {**self._expected, **{name: server.network for name, server in self._ups.items()}}
        bindings = [port.binding for port in self._ports.values()]
        rules = [rules_of(network) for network in networks.values()]
        return firewall.whole(self._table, rules, bindings) + self._extras.restore()

    async def _guard_firewall(self) -> None:
        """Load our tables again when somebody else has flushed them."""
        table = firewall.table_name(self._table)
        async for _ in nft.lost(table):
            async with self._firewall:
                await nft.load(self._whole())
            log.warning("somebody took away the table %s; it was loaded again", table)
            self._tell("network.firewall-restored", table, {})

    def _watch(self) -> None:
        """Hear of links that go, from now on."""
        if self._links is None:
            self._links = netlink.watch_links()
            asyncio.get_running_loop().add_reader(self._links.fileno(), self._link_news)

    def _link_news(self) -> None:
        assert self._links is not None
        gone = {name for name, away in netlink.changes(self._links) if away}
        for server in list(self._ups.values()):
            lost = server.network.bridge in gone or "" in gone
            if lost and not wires.exists(server.network.bridge):
                self._spawn(self._mend(server.network))

    async def _mend(self, network: Network) -> None:
        """Make a bridge that somebody deleted again, and plug in what was on it."""
        log.warning("the bridge %s of network %s is gone; it is made again", network.bridge, network.name)
        await self.up(network)
        for port in [port for port in self._ports.values() if port.network.name == network.name]:
            with contextlib.suppress(YurtError):
                await asyncio.to_thread(wires.plug_port, port.nic.device, network.bridge)
        self._tell("network.bridge-restored", network.name, {"bridge": network.bridge})

    def _follow(self, server: NameServer) -> None:
        self._spawn(self._keep_serving(server))

    async def _keep_serving(self, server: NameServer) -> None:
        """Start a name server again when it ends, until its network goes down."""
        name, process, failures = server.network.name, server.process, 0
        assert process is not None
        await process.wait()
        while self._ups.get(name) is server and not self._closing:
            if server.process is not process:
                return  # somebody has started it anew and follows it
            try:
                async with self._lock(name):
                    if self._ups.get(name) is server:
                        await server.ensure()
                        self._follow(server)
                        log.warning("the name server of network %s had ended; it serves again", name)
                        self._tell("network.server-restored", name, {})
                return
            except YurtError as error:
                log.error("the name server of network %s: %s", name, error)
                self._tell("network.failed", name, {"reason": error.message})
                await asyncio.sleep(AGAIN_S[min(failures, len(AGAIN_S) - 1)])
                failures += 1

    def _lock(self, name: str) -> asyncio.Lock:
        return self._locks.setdefault(name, asyncio.Lock())

    def _spawn(self, work: Coroutine[None, None, None]) -> asyncio.Task[None]:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._ended)
        return task

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("keeping networks up: %s", error)

    async def close(self) -> None:
        """Let go of everything; networks stay up, and the next daemon takes them over."""
        self._closing = True
        self._extras.close()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if self._links is not None:
            asyncio.get_running_loop().remove_reader(self._links.fileno())
            self._links.close()
            self._links = None
        for server in self._ups.values():
            server.detach()
        self._ups.clear()


def _nameless(name: str) -> Network:
    """Stands for a network whose record is gone, to take down what it left."""
    from yurt.model.names import Name

    return Network(
        name=Name(name),
        number=0,
        bridge="",
        ipv4="",
        ipv6="",
        gateway4="",
        gateway6="",
        nat=False,
        isolated=True,
        mtu=1500,
        domain="",
    )


__all__ = ["GuestPort", "Networks", "rules_of", "unfit"]
