"""Managed networks: their part of the SDK."""

from yurt.client import requests
from yurt.client.calls import Calls
from yurt.model.network import Network


class Networks:
    """The networks of a daemon."""

    def __init__(self, calls: Calls) -> None:
        self._calls = calls

    def list(self) -> "list[Network]":
        """All networks, by name."""
        return self._calls.get(requests.list_networks(), list[Network])

    def get(self, name: str) -> Network:
        """One network. Raises NotFound."""
        return self._calls.get(requests.get_network(name), Network)

    def create(
        self,
        name: str,
        *,
        ipv4: str = "auto",
        ipv6: str = "auto",
        nat: bool = True,
        isolated: bool = False,
        mtu: int = 1500,
        domain: str = "yurt",
    ) -> Network:
        """Make a network; subnets are CIDR, `auto` takes a free one, empty none of that family. Raises Exists."""
        spec: dict[str, object] = {"name": name, "ipv4": ipv4, "ipv6": ipv6, "nat": nat}
        spec |= {"isolated": isolated, "mtu": mtu, "domain": domain}
        return self._calls.get(requests.create_network(spec), Network)

    def delete(self, name: str) -> Network:
        """Delete a network that no instance uses. Raises Busy."""
        return self._calls.get(requests.delete_network(name), Network)
