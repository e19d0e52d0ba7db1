"""Keeps the sum of what instances are promised up to date, so that a start costs the same beside five and five thousand.

It hears from the records which instances have changed, and counts only those anew when somebody asks.
"""

from collections.abc import Callable

import msgspec

from yurt.engine.admission import negative, total
from yurt.model.admission import Demand
from yurt.model.instance import Instance, Phase

ACTIVE = frozenset((Phase.RUNNING, Phase.PAUSED, Phase.STARTING, Phase.STOPPING))


class Entry(msgspec.Struct, frozen=True):
    """What one instance counts as."""

    demand: Demand
    runs: bool


class Tally:
    """`running` and `resting` are sums over all instances, as of the last `bring_up_to_date`."""

    def __init__(self) -> None:
        self.running = self.resting = Demand()
        self.count_running = self.count_resting = 0
        self.entries: dict[str, Entry] = {}
        self._changed: set[str] = set()

    def mark(self, instance_id: str, instance: Instance | None) -> None:
        """Hear that an instance's record has changed, or is gone."""
        self._changed.add(instance_id)

    def bring_up_to_date(self, instances: dict[str, Instance], held: Callable[[Instance], Demand]) -> None:
        """Count anew what has changed; `held` says what an instance is promised."""
        for instance_id in self._changed:
            if (old := self.entries.pop(instance_id, None)) is not None:
                self._put(old.runs, negative(old.demand), -1)
            if (instance := instances.get(instance_id)) is not None:
                new = self.entries[instance_id] = Entry(held(instance), instance.phase in ACTIVE)
                self._put(new.runs, new.demand, 1)
        self._changed.clear()

    def _put(self, runs: bool, demand: Demand, count: int) -> None:
        if runs:
            self.running, self.count_running = total([self.running, demand]), self.count_running + count
        else:
            self.resting, self.count_resting = total([self.resting, demand]), self.count_resting + count
