"""Operations (long-running actions with progress) and events."""

from collections.abc import Callable
from enum import StrEnum

import msgspec

Progress = Callable[[str, float | None], None]  # what is being done now, and 0..1 of it where that is known


class OperationStatus(StrEnum):
    """An operation ends as `done`, `failed` or `cancelled`."""

    RUNNING = "running"
    UNDOING = "undoing"
    DONE = "done"
    FAILED = "failed"
    CANCELLED = "cancelled"

    @property
    def ended(self) -> bool:
        return self in (OperationStatus.DONE, OperationStatus.FAILED, OperationStatus.CANCELLED)


class ErrorDocument(msgspec.Struct, frozen=True):
    """An error as it is stored and sent."""

    code: str
    message: str
    hint: str = ""


class Operation(msgspec.Struct, frozen=True, kw_only=True):
    """One run of a mutating verb. `journal` holds `step:begun` / `step:done` / `step:undone` marks in order."""

    id: str
    verb: str
    target: str  # the instance or image name
    target_id: str = ""
    arguments: dict[str, object] = {}  # plain JSON, enough to finish or undo after a restart
    status: OperationStatus = OperationStatus.RUNNING
    step: str = ""  # what is going on now, for people
    fraction: float | None = None  # 0..1 where known
    journal: tuple[str, ...] = ()
    error: ErrorDocument | None = None
    result: dict[str, object] = {}
    created_at: float = 0.0
    ended_at: float | None = None
    version: int = 1


class Event(msgspec.Struct, frozen=True, kw_only=True):
    """Something that happened.

    `type` is `instance.<phase>`, `instance.<verb>`, `operation.<status>`, `operation.progress` or `image.<verb>`.
    """

    sequence: int
    type: str
    at: float
    target: str
    target_id: str = ""
    data: dict[str, object] = {}


class Changed(msgspec.Struct, frozen=True, kw_only=True):
    """One line of what `set` did. `when`: `now`, `next-start`, or `unchanged`.

    `why`: the reason for waiting (where the guest runs), or a remark on what holds now.

    Values are text, as `set` takes them; empty means none (no limit).
    """

    setting: str
    before: str
    after: str
    when: str
    why: str = ""
