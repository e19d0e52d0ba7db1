"""Verbs on managed networks. Each is one transaction on one record; what a network needs on the host comes with its
first guest and goes with its record.
"""

from yurt.engine.core import Core
from yurt.engine.failpoints import hit
from yurt.engine.networking import new_network
from yurt.engine.records import Writes, put_network
from yurt.errors import Busy, Exists, NotFound
from yurt.model.instance import Instance
from yurt.model.network import DEFAULT_NETWORK, Network, NetworkSpec
from yurt.network.ipam import parse_network_name
from yurt.state.base import Delete


class ManagedNetworks:
    """The networks of a daemon."""

    def __init__(self, core: Core) -> None:
        self.core = core

    async def all(self) -> list[Network]:
        """All networks, by name."""
        return sorted(self.core.records.networks.values(), key=lambda network: network.name)

    async def get(self, name: str) -> Network:
        """One network. Raises NotFound."""
        found = self.core.records.networks.get(name)
        if found is None:
            hint = "it comes with the first instance that needs it" if name == DEFAULT_NETWORK else ""
            raise NotFound(kind="network", name=name, hint=hint or "see `yurt network ls`")
        return found

    def users(self, name: str) -> list[Instance]:
        """The instances that have a NIC on a network, by name."""
        found = [
            i for i in self.core.records.instances.values() if any(n.network == name for n in i.spec.nics)
        ]
        return sorted(found, key=lambda instance: instance.name)

    def is_up(self, name: str) -> bool:
        """Whether a network is on the host now; it is from its first guest on."""
        return self.core.networks.is_up(name)

    async def create(self, spec: NetworkSpec, *, dry_run: bool = False) -> Network:
        """Make a network, `dry_run`: only say what it would be. Raises Exists, Invalid, Unsupported."""
        name = parse_network_name(spec.name)
        self.core.networks.require()
        used = await self.core.networks.used_subnets()

        def make() -> Network:
            if name in self.core.records.networks:
                raise Exists(kind="network", name=name, hint="choose another name, or see `yurt network ls`")
            return new_network(self.core.records, spec, self.core.networks.tag, used)

        if dry_run:
            return make()
        await self.core.records.write(lambda: [put_network(make())])
        hit("network-create.commit.after")
        self.core.bus.publish("network.created", name)
        return self.core.records.networks[name]

    async def delete(self, name: str, *, dry_run: bool = False) -> Network:
        """Delete a network that no instance uses, and tell what it was. Raises NotFound, Busy."""
        network = await self.get(name)

        def writes() -> Writes:
            if users := [instance.name for instance in self.users(name)]:
                more = f" and {len(users) - 5} more" if len(users) > 5 else ""
                raise Busy(
                    f"network `{name}` is used by {', '.join(users[:5])}{more}",
                    hint="delete these instances first",
                )
            return [Delete(f"networks/{name}")]

        if dry_run:
            writes()
            return network
        await self.core.records.write(writes)
        hit("network-delete.commit.after")
        await self.core.networks.down(network)
        self.core.bus.publish("network.deleted", name)
        return network
