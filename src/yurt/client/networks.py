"""Managed networks: their part of the SDK."""

from yurt.client import requests
from yurt.client.calls import Calls
from yurt.model.network import Network
from yurt.model.operation import Operation


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

    def attach(self, name: str, instance: str, *, ipv4: str = "", ipv6: str = "", mac: str = "") -> Operation:
        """Give an instance one more NIC, on this network. Raises NotFound, Exists, Exhausted, Unsupported."""
        given = {"ipv4": ipv4, "ipv6": ipv6, "mac": mac}
        wish: dict[str, object] = {key: text for key, text in given.items() if text}
        return self._calls.operate(requests.attach_nic(name, instance, wish))

    def detach(self, name: str, instance: str) -> Operation:
        """Take an instance's last NIC on this network away. Raises NotFound, Invalid, WrongState."""
        return self._calls.operate(requests.detach_nic(name, instance))

    def delete(self, name: str) -> Network:
        """Delete a network that no instance uses. Raises Busy."""
        return self._calls.get(requests.delete_network(name), Network)
