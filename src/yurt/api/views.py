"""What the API shows where it is not a model type itself."""

from typing import Annotated

import msgspec
from msgspec import Meta

from yurt.model.instance import Instance, PendingSetting, Phase, ResolvedSpec
from yurt.model.operation import ErrorDocument

Seconds = Annotated[float, Meta(ge=0, le=86400.0)]


class InstanceView(msgspec.Struct, frozen=True, kw_only=True):
    """One instance. Times are seconds since the epoch; `operation` is the one that holds it.

    `pending`: settings in `spec` that the running guest gets at its next start.
    """

    id: str
    name: str
    spec: ResolvedSpec
    phase: Phase
    reason: str = ""
    created_at: float = 0.0
    started_at: float | None = None
    stopped_at: float | None = None
    pid: int | None = None
    agent: bool = False
    exit_code: int | None = None
    accelerator: str = ""
    operation: str | None = None
    pending: dict[str, PendingSetting] = {}
    restarts: int = 0
    next_restart_at: float | None = None
    lives_from: float | None = None
    lent_bytes: int = 0


_SHOWN = InstanceView.__struct_fields__


def view(instance: Instance) -> InstanceView:
    """What the API shows of an instance's record."""
    return InstanceView(**{name: getattr(instance, name) for name in _SHOWN})


class ErrorReply(msgspec.Struct, frozen=True):
    """Every failure looks like this."""

    error: ErrorDocument


class Version(msgspec.Struct, frozen=True, kw_only=True):
    """The daemon's version and that of its API."""

    version: str
    api: str


class WaitQuery(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`wait_s`: answer when the operation has ended, or after so many seconds."""

    wait_s: Seconds = 0.0
