"""A NIC comes to an instance that is there, or leaves it: what is reserved, in which order, and what a failure leaves."""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, cast

import pytest
from msgspec.structs import replace
from tests.still import Still, StillDriver, still

from yurt.drivers.base import NicAttachment, VolumeAttachment
from yurt.engine.networking import new_network
from yurt.engine.nicverbs import next_index, nic_on
from yurt.engine.records import put_instance, put_network
from yurt.errors import Invalid, NotFound, ToolFailed, Unsupported, WrongState
from yurt.model.instance import Instance, Kind, NetworkMode
from yurt.model.network import NetworkSpec, Nic, NicSpec
from yurt.model.operation import Operation
from yurt.network.service import GuestPort

FIRST = Nic(network="red", index=0, device="t0", mac="52:54:00:00:00:01", ipv4="10.5.0.2")


class PluggingDriver(StillDriver):
    """Keeps the NICs that its guests are given; `fails` makes plugging fail."""

    def __init__(self) -> None:
        super().__init__()
        self.nics: dict[int, NicAttachment] = {}
        self.fails = False

    async def attach_disk(self, run_dir: Path, volume: VolumeAttachment) -> None: ...

    async def detach_disk(self, run_dir: Path, name: str) -> None: ...

    async def attach_nic(self, run_dir: Path, nic: NicAttachment) -> None:
        if self.fails:
            raise ToolFailed("no port is free")
        self.nics[nic.index] = nic

    async def detach_nic(self, run_dir: Path, index: int) -> None:
        self.nics.pop(index, None)


class RememberedNetworks:
    """The host's end: which ports there are."""

    tag = "abcd"

    def __init__(self) -> None:
        self.ports: dict[str, GuestPort] = {}

    async def connect(self, instance_id: str, name: str, ports: list[GuestPort]) -> None:
        self.ports |= {port.nic.device: port for port in ports}

    async def disconnect(self, ports: list[GuestPort]) -> None:
        for port in ports:
            self.ports.pop(port.nic.device, None)

    def introduce(self, instance_id: str, name: str, ports: list[GuestPort]) -> None: ...

    async def close(self) -> None: ...


Story = Callable[[Still, RememberedNetworks], Awaitable[None]]


async def add_network(daemon: Still, name: str, cidr: str) -> None:
    spec = NetworkSpec(name=name, ipv4=cidr, ipv6="")
    made = new_network(daemon.records, spec, "abcd", [])
    await daemon.records.write(lambda: [put_network(made)])


def on(driver: StillDriver, story: Story, mode: NetworkMode = NetworkMode.MANAGED) -> None:
    """Run a story with a guest `web` that rests, and the networks `red`, on which it is, and `blue`."""

    async def run() -> None:
        async with asyncio.timeout(30), still() as daemon:
            core, networks = daemon.engine.core, RememberedNetworks()
            daemon.driver, core.drivers = driver, dict.fromkeys(Kind, driver)
            core.networks = cast(Any, networks)
            await add_network(daemon, "red", "10.5.0.0/24")
            await add_network(daemon, "blue", "10.6.0.0/24")
            await daemon.add("web", network=mode, nics=(FIRST,) if mode is NetworkMode.MANAGED else ())
            await story(daemon, networks)

    asyncio.run(run())


async def run(daemon: Still, begun: Awaitable[Operation]) -> Operation:
    return await daemon.engine.wait_operation((await begun).id, 10)


def test_a_vm_that_runs_gets_it_at_once_and_gives_it_back() -> None:
    driver = PluggingDriver()

    async def story(daemon: Still, networks: RememberedNetworks) -> None:
        await daemon.start("web")
        nics = daemon.engine.nics
        done = await run(daemon, nics.attach("blue", "web", NicSpec(ipv4="10.6.0.9")))
        assert done.error is None and not done.result
        made = daemon.get("web").spec.nics[1]
        assert (made.network, made.index, made.ipv4) == ("blue", 1, "10.6.0.9")
        assert driver.nics[1].mac == made.mac and made.device in networks.ports
        assert daemon.records.addresses["blue/10.6.0.9"] == daemon.get("web").id
        done = await run(daemon, nics.detach("blue", "web"))
        assert done.error is None
        assert daemon.get("web").spec.nics == (FIRST,)
        assert not driver.nics and made.device not in networks.ports
        assert not [key for key in daemon.records.addresses if key.startswith("blue/")]

    on(driver, story)


def test_a_failure_leaves_neither_port_nor_address() -> None:
    driver = PluggingDriver()
    driver.fails = True

    async def story(daemon: Still, networks: RememberedNetworks) -> None:
        await daemon.start("web")
        before = dict(networks.ports)
        done = await run(daemon, daemon.engine.nics.attach("blue", "web", NicSpec()))
        assert done.error is not None and "no port is free" in done.error.message
        assert daemon.get("web").spec.nics == (FIRST,) and daemon.get("web").operation is None
        assert networks.ports == before
        assert not [key for key in daemon.records.addresses if key.startswith("blue/")]

    on(driver, story)


def test_what_cannot_be_plugged_into_gets_it_at_its_next_start_and_keeps_it_while_it_runs() -> None:
    async def story(daemon: Still, networks: RememberedNetworks) -> None:
        await daemon.start("web")
        done = await run(daemon, daemon.engine.nics.attach("blue", "web", NicSpec()))
        assert done.error is None and done.result is not None and "next start" in str(done.result["pending"])
        with pytest.raises(WrongState):
            await run(daemon, daemon.engine.nics.detach("blue", "web"))
        assert len(daemon.get("web").spec.nics) == 2

    on(StillDriver(), story)


def test_what_makes_no_sense_is_refused_and_changes_nothing() -> None:
    async def story(daemon: Still, networks: RememberedNetworks) -> None:
        nics = daemon.engine.nics
        with pytest.raises(NotFound):
            await nics.attach("green", "web", NicSpec())
        with pytest.raises(Invalid):
            await nics.attach("blue", "web", NicSpec(ipv4="10.7.0.1"))
        with pytest.raises(NotFound):
            await nics.detach("blue", "web")
        with pytest.raises(Invalid, match="first NIC"):
            await nics.detach("red", "web")
        assert daemon.get("web").spec.nics == (FIRST,) and daemon.get("web").operation is None

    on(PluggingDriver(), story)


def test_a_guest_on_a_user_mode_network_gets_none() -> None:
    async def story(daemon: Still, networks: RememberedNetworks) -> None:
        with pytest.raises(Unsupported):
            await daemon.engine.nics.attach("blue", "web", NicSpec())

    on(PluggingDriver(), story, NetworkMode.USER)


def test_numbers_are_not_used_again_below_the_highest_and_the_last_one_goes_first() -> None:
    async def story(daemon: Still, networks: RememberedNetworks) -> None:
        instance: Instance = daemon.get("web")
        third = replace(FIRST, index=2, network="blue")
        more = replace(instance, spec=replace(instance.spec, nics=(FIRST, third, replace(third, index=5))))
        assert next_index(more) == 6 and nic_on(more, "blue").index == 5
        await daemon.records.write(lambda: [put_instance(more)])
        assert daemon.get("web").spec.nics[2].index == 5

    on(PluggingDriver(), story)
