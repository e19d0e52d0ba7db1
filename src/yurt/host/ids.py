"""Which user ids guests get: from a reserved range for root's yurt, from the user's own subordinate ids otherwise. Pure.

Every machine has a user id of its own. Every container of root's yurt has a range of its own; an ordinary user has
seldom more than one range (`/etc/subuid`), so that user's containers share it, and root in them is that user.
"""

import msgspec

TOOL_UID = 0x3CFFFFFF  # of tools that belong to no instance
FIRST_UID = 0x3D000000
FIRST_CONTAINER_ID = 0x40000000
CONTAINER_IDS = 65536
_SHARED_UIDS = (30000, 20000)  # where machines get theirs when there are no more ids than one container needs


class IdPlan(msgspec.Struct, frozen=True, kw_only=True):
    """`rootless`: we are root only in a user namespace of our own, which maps `total` ids (0 is the user)."""

    rootless: bool = False
    total: int = 1 << 32

    @property
    def private_ranges(self) -> bool:
        """Whether each container has ids that no other one has."""
        return not self.rootless

    @property
    def tool_uid(self) -> int:
        """The user that runs tools which belong to no instance."""
        return TOOL_UID if not self.rootless else min(self.total - 1, 65534)

    def machine_uid(self, slot: int) -> int:
        """The user that runs the machine (and the helpers) of the instance in this slot."""
        if not self.rootless:
            return FIRST_UID + slot
        spare = self.total - CONTAINER_IDS
        if spare >= 4096:
            return CONTAINER_IDS + slot % spare
        first, count = _SHARED_UIDS
        return first + slot % count if self.total >= first + count else 0

    def container_ids(self, slot: int) -> tuple[int, int]:
        """The first host id of the container in this slot, and how many it has."""
        if not self.rootless:
            return FIRST_CONTAINER_ID + slot * CONTAINER_IDS, CONTAINER_IDS
        return 0, min(self.total, CONTAINER_IDS)


def map_lines(base: int, count: int, own_map: str) -> str:
    """The text for a child namespace's map of 0.. to `base`.. here: no line may span two extents of our own map. Pure."""
    lines = []
    for row in sorted(tuple(int(word) for word in line.split()) for line in own_map.splitlines()):
        first, end = max(base, row[0]), min(base + count, row[0] + row[2])
        if first < end:
            lines.append(f"{first - base} {first} {end - first}")
    return "\n".join(lines)


def plan_ids(uid_map: str) -> IdPlan:
    """Read the plan off /proc/self/uid_map: the first namespace maps everything. Ids must be mapped from 0 without a gap."""
    rows = sorted(tuple(int(word) for word in line.split()) for line in uid_map.splitlines() if line.strip())
    if rows == [(0, 0, 0xFFFFFFFF)] or not rows:
        return IdPlan()
    total = 0
    for inside, _, count in rows:
        if inside != total:
            break
        total += count
    return IdPlan(rootless=True, total=total)
