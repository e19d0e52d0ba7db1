"""What one instance's slot, addresses and MAC cost beside 10 others and beside 5,000: chosen, and reserved in the store.

The engine's own records, store and allocation; there are no guests. One turn reserves and gives back, as create and
delete do. The choice alone is timed, too, as most of a turn is the store's durable write.
"""

import asyncio
import sys
import tempfile
import time
from ipaddress import ip_network
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, cast

from common import ROOT, Figures, Report, interleave, options

sys.path.insert(0, str(ROOT / "src"))

from yurt.engine.networking import free_addresses, plan_nics
from yurt.engine.records import Records, Writes
from yurt.model.network import Nic, NicSpec
from yurt.network.ipam import Addresses
from yurt.state.base import Delete, Put
from yurt.state.sqlite import SqliteStore

if TYPE_CHECKING:
    from yurt.engine.core import Core

FEW, MANY = 10, 5000
PROMISE_RATIO = 1.5
AT_ONCE = 20  # turns that are timed together
USED = [ip_network("192.168.1.0/24")]


class Crowd:
    """A store in which a number of instances have slots, names and addresses."""

    def __init__(self, records: Records) -> None:
        self.records = records
        self.core = cast(
            "Core",
            SimpleNamespace(records=records, addresses=Addresses(), networks=SimpleNamespace(tag="abcde")),
        )

    @classmethod
    async def of(cls, place: Path, count: int) -> "Crowd":
        made = cls(Records(await SqliteStore.open(place)))
        await made.records.load()
        for number in range(count):
            await made.take(f"{number:012x}")
        return made

    def choose(self, instance_id: str) -> tuple[int, tuple[Nic, ...], Writes]:
        """What a create writes beside the instance's document."""
        slot = self.records.free_slot()
        nics, writes = plan_nics(self.core, [NicSpec()], instance_id, slot, USED)
        own = [Put(f"slots/{slot}", instance_id.encode()), Put(f"names/{instance_id}", instance_id.encode())]
        return slot, nics, [*writes, *own]

    async def take(self, instance_id: str) -> tuple[int, tuple[Nic, ...]]:
        slot, nics = 0, tuple[Nic, ...]()

        def make() -> Writes:
            nonlocal slot, nics
            slot, nics, writes = self.choose(instance_id)
            return writes

        await self.records.write(make)
        return slot, nics

    async def turn(self) -> float:
        """Seconds for one instance's reservation, as the mean of some; they are given back outside of the time."""
        begin = time.perf_counter()
        taken = [(f"ffff{number:08x}", *await self.take(f"ffff{number:08x}")) for number in range(AT_ONCE)]
        took = (time.perf_counter() - begin) / AT_ONCE
        for instance_id, slot, nics in taken:
            gone: Writes = [
                *free_addresses(nics),
                Delete(f"slots/{slot}"),
                Delete(f"names/{instance_id}"),
            ]
            await self.records.write(lambda gone=gone: gone)  # type: ignore[misc]
        return took

    def choice(self) -> float:
        """Seconds to choose, without the write."""
        begin = time.perf_counter()
        for number in range(AT_ONCE):
            self.choose(f"ffff{number:08x}")
        return (time.perf_counter() - begin) / AT_ONCE


def measure(rounds: int, scratch: Path) -> dict[str, Figures]:
    with asyncio.Runner() as runner:
        few = runner.run(Crowd.of(scratch / "few.db", FEW))
        many = runner.run(Crowd.of(scratch / "many.db", MANY))
        try:
            return interleave(
                {
                    f"beside {FEW}": lambda: runner.run(few.turn()),
                    f"beside {MANY}": lambda: runner.run(many.turn()),
                    f"choice alone, beside {FEW}": few.choice,
                    f"choice alone, beside {MANY}": many.choice,
                },
                rounds,
            )
        finally:
            for crowd in (few, many):
                runner.run(crowd.records.store.close())


def main() -> int:
    chosen = options(__doc__ or "", 25)
    with tempfile.TemporaryDirectory(prefix="yurt-bench-", dir="/var/tmp") as scratch:
        found = measure(chosen.rounds, Path(scratch))
    report = Report("Addresses: chosen and reserved for one instance")
    report.add_cases(found)
    ratio = found[f"beside {MANY}"].median / found[f"beside {FEW}"].median
    report.add(f"one instance beside {MANY} / beside {FEW}", ratio, "x", PROMISE_RATIO)
    return report.show(as_json=chosen.json)


if __name__ == "__main__":
    sys.exit(main())
