"""Which machines lend memory to a host that runs short of it, and get it back when it does not. Pure.

Idle machines lend first, busy ones get back first; nobody goes below its floor, and what one look takes is bounded, so
that a guest has time to drop its caches before the next.
"""

from collections.abc import Sequence

import msgspec

from yurt.model.instance import MIB

FLOOR_SHARE, FLOOR_BYTES = 4, 128 * MIB  # a guest keeps a quarter of its memory, and 128 MiB in any case
STEP_SHARE = 2  # one look takes half of what could be taken
LEAST_STEP = 16 * MIB


class Borrower(msgspec.Struct, frozen=True, kw_only=True):
    """The host: what it has to spare, what it wants to keep free, and whether programs wait for memory right now."""

    available_bytes: int
    keep_bytes: int
    pressed: bool

    @property
    def plenty_bytes(self) -> int:
        """With this much to spare, memory goes back. Between `keep` and this it does not go to and fro."""
        return 2 * self.keep_bytes

    @property
    def short(self) -> bool:
        """Pressure alone does not count: a container at its own limit makes some while the host has plenty."""
        return self.available_bytes < self.keep_bytes or (
            self.pressed and self.available_bytes < self.plenty_bytes
        )


class Lender(msgspec.Struct, frozen=True, kw_only=True):
    """A running machine: the memory that is its own, what it has now, and how busy it is (CPU seconds a second)."""

    id: str
    own_bytes: int
    given_bytes: int
    busy: float
    willing: bool = True

    @property
    def floor_bytes(self) -> int:
        return min(self.own_bytes, max(self.own_bytes // FLOOR_SHARE, FLOOR_BYTES))

    @property
    def spare_bytes(self) -> int:
        """What could still be taken from it."""
        return max(0, self.given_bytes - self.floor_bytes) if self.willing else 0

    @property
    def lent_bytes(self) -> int:
        return max(0, self.own_bytes - self.given_bytes)


def targets(host: Borrower, lenders: Sequence[Lender]) -> dict[str, int]:
    """How much memory each machine shall have from now on; only those for which that changes."""
    home = {each.id: each.own_bytes for each in lenders if not each.willing and each.lent_bytes}
    willing = [each for each in lenders if each.willing]
    if host.short:
        return home | _take(willing, host.plenty_bytes - host.available_bytes)
    return home | _give(willing, max(0, host.available_bytes - host.plenty_bytes) // 2)


def _take(lenders: Sequence[Lender], short_bytes: int) -> dict[str, int]:
    found = {}
    for each in sorted(lenders, key=lambda lender: (lender.busy, lender.id)):
        part = _whole(min(max(each.spare_bytes // STEP_SHARE, LEAST_STEP), each.spare_bytes, short_bytes))
        if part > 0:
            found[each.id] = each.given_bytes - part
            short_bytes -= part
    return found


def _give(lenders: Sequence[Lender], spare_bytes: int) -> dict[str, int]:
    found = {}
    for each in sorted(lenders, key=lambda lender: (-lender.busy, lender.id)):
        part = each.lent_bytes if each.lent_bytes <= spare_bytes else _whole(spare_bytes)
        if part > 0:
            found[each.id] = each.given_bytes + part
            spare_bytes -= part
    return found


def _whole(size_bytes: int) -> int:
    return size_bytes // LEAST_STEP * LEAST_STEP
