"""What instances are promised of their host, and the sum that says whether one more fits. No I/O."""

from enum import StrEnum

import msgspec

from yurt.errors import Exhausted


class Resource(StrEnum):
    """What a host has a limited amount of."""

    CPU = "cpu"
    MEMORY = "memory"
    DISK = "disk"


class Demand(msgspec.Struct, frozen=True, kw_only=True):
    """What is promised to one instance, or to many. Processors in thousandths.

    `holds_memory`: a machine's memory is its own from the first touch on; a container only has a ceiling.
    """

    milli_cpus: int = 0
    memory_bytes: int = 0
    disk_bytes: int = 0
    holds_memory: bool = False


class Capacity(msgspec.Struct, frozen=True, kw_only=True):
    """What the host has (`..._bytes`, `milli_cpus`), and what of it is not used just now."""

    milli_cpus: int
    milli_cpus_used: int
    memory_bytes: int
    memory_available_bytes: int
    disk_bytes: int
    disk_free_bytes: int


class Promised(msgspec.Struct, frozen=True, kw_only=True):
    """The sum of all promises: processors and memory of `running` instances, disks of all `existing` ones and volumes."""

    demand: Demand = Demand()
    running: int = 0
    existing: int = 0


class Sum(msgspec.Struct, frozen=True, kw_only=True):
    """One resource's sum: it fits when `asked + promised <= limit`, and `limit` is `(total - kept) * ratio`.

    Bytes, or thousandths of a processor. `available`: what is unused just now, where that decides too; else None.
    """

    resource: Resource
    asked: int
    promised: int
    holders: int
    total: int
    kept: int
    ratio: float
    limit: int
    fits: bool
    available: int | None = None


class Verdict(msgspec.Struct, frozen=True, kw_only=True):
    """Whether a start fits. `message` and `hint` explain a refusal; they are empty when it fits."""

    fits: bool
    sums: tuple[Sum, ...]
    message: str = ""
    hint: str = ""

    def require(self) -> None:
        """Raise Exhausted with the sum that does not fit."""
        if not self.fits:
            raise Exhausted(self.message, hint=self.hint)
