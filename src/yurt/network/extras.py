"""What the firewall cannot do alone for the ports of guests: published ports on loopback, names that open addresses."""

import logging
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

from yurt.host import nft
from yurt.network import firewall
from yurt.network.firewall import PortBinding
from yurt.network.loopback import Loopback
from yurt.network.names import NameGate

if TYPE_CHECKING:
    from yurt.network.service import GuestPort

log = logging.getLogger("yurt.network")
MOST_OPENED = 4096  # addresses that one guest has opened by names at a time
Opened = dict[tuple[str, str], float]  # name and address, to when they are forgotten


class Extras:
    """Kept in step with the ports that the firewall knows. `table` is the tag of our tables."""

    def __init__(self, table: str) -> None:
        self._table = table
        self._loopback = Loopback()
        self._gates: dict[str, NameGate] = {}  # by gateway address
        self._askers: dict[str, PortBinding] = {}  # by guest address
        self._opened: dict[str, Opened] = {}  # by interface

    async def change(self, before: Sequence["GuestPort"], after: Sequence["GuestPort"]) -> str:
        """Serve `after` and no longer `before`; returns what the firewall has to forget. Safe to repeat. Raises Exists."""
        await self._loopback.change([port.binding for port in before], [port.binding for port in after])
        text = ""
        for port in before:
            text += self._forget(port.binding)
        for port in after:
            if port.binding.dns:
                await self._open_gates(port)
                for address in filter(None, (port.binding.ipv4, port.binding.ipv6)):
                    self._askers[address] = port.binding
        return text

    def _forget(self, binding: PortBinding) -> str:
        for address in (binding.ipv4, binding.ipv6):
            self._askers.pop(address, None)
        opened = self._opened.pop(binding.interface, {})
        return "".join(
            firewall.learned(self._table, binding, name, [(address, 0)]) for name, address in opened
        )

    async def _open_gates(self, port: "GuestPort") -> None:
        network = port.network
        for gateway in filter(None, (network.gateway4, network.gateway6)):
            if gateway in self._gates:
                continue
            gate = NameGate((gateway, 53), network.domain, self._askers.get, self._learn)
            try:
                await gate.open(gateway, port.binding.dns)
            except OSError as error:
                gate.close()
                log.error("names for rules of network %s cannot be served: %s", network.name, error)
                continue
            self._gates[gateway] = gate

    async def _learn(self, binding: PortBinding, name: str, answers: list[tuple[str, int]]) -> None:
        now = time.monotonic()
        known = self._opened.setdefault(binding.interface, {})
        for key in [key for key, until in known.items() if until < now]:
            del known[key]
        fitting = [each for each in answers if (name, each[0]) in known or len(known) < MOST_OPENED]
        known |= {(name, address): now + seconds for address, seconds in fitting}
        await nft.load(firewall.learned(self._table, binding, name, fitting))

    def restore(self) -> str:
        """What a firewall that was loaded anew has to be told of names."""
        now, text = time.monotonic(), ""
        bindings = {binding.interface: binding for binding in self._askers.values()}
        for interface, opened in self._opened.items():
            for (name, address), until in opened.items():
                if interface in bindings and until > now + 1:
                    text += firewall.learned(
                        self._table, bindings[interface], name, [(address, int(until - now))]
                    )
        return text

    def close(self) -> None:
        """Serve nothing any longer; what names opened stays open for its time."""
        self._loopback.close()
        for gate in self._gates.values():
            gate.close()
        self._gates.clear()
