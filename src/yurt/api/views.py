"""What the API shows where it is not a model type itself."""

from typing import Annotated

import msgspec
from msgspec import Meta

from yurt.model.instance import Instance, PendingSetting, Phase, ResolvedSpec
from yurt.model.isolation import isolation
from yurt.model.operation import ErrorDocument

Seconds = Annotated[float, Meta(ge=0, le=86400.0)]


class InstanceView(msgspec.Struct, frozen=True, kw_only=True):
    """One instance. Times are seconds since the epoch; `operation` is the one that holds it.

    `pending`: settings in `spec` that the running guest gets at its next start. `isolation`: what stands between it and
    the host, in a word (`none (TCG)`, `kvm`, `namespaces`; empty: not known before its first start) and in a line.
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
    isolation: str = ""
    isolation_meaning: str = ""
    operation: str | None = None
    pending: dict[str, PendingSetting] = {}
    restarts: int = 0
    next_restart_at: float | None = None
    lives_from: float | None = None
    lent_bytes: int = 0


_WORKED_OUT = ("isolation", "isolation_meaning")
_SHOWN = tuple(name for name in InstanceView.__struct_fields__ if name not in _WORKED_OUT)


def view(instance: Instance) -> InstanceView:
    """What the API shows of an instance's record."""
    word, meaning = isolation(instance.spec.kind, instance.accelerator, instance.spec.privileges)
    shown = {name: getattr(instance, name) for name in _SHOWN}
    return InstanceView(**shown, isolation=word, isolation_meaning=meaning)


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
