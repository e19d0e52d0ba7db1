"""What the daemon does with an instance by itself: restart it, start it with the host, end it after a time. No I/O."""

from enum import StrEnum
from typing import Annotated

import msgspec
from msgspec import Meta
from msgspec.structs import asdict, replace

Order = Annotated[int, Meta(ge=0, le=10000)]
Delay = Annotated[float, Meta(ge=0, le=3600)]
Ttl = Annotated[float, Meta(ge=0, le=10 * 365 * 86400)]


class RestartPolicy(StrEnum):
    """When a guest that has ended by itself is started again, with growing pauses."""

    NO = "no"
    ON_FAILURE = "on-failure"
    ALWAYS = "always"


class TtlAction(StrEnum):
    """What happens when an instance's time is over."""

    STOP = "stop"
    DELETE = "delete"


class Policy(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`autostart`: start it when the daemon comes up after a boot of the host; lower orders first.

    `autostart_delay_s`: seconds after its start before the next order begins. `ttl_s` counts from the last start that
    somebody asked for; 0 means for ever. `protect`: refuse to delete it. `reclaim`: a machine that is idle lends memory
    to a host that runs short of it.
    """

    restart: RestartPolicy = RestartPolicy.NO
    autostart: bool = False
    autostart_order: Order = 100
    autostart_delay_s: Delay = 0.0
    ttl_s: Ttl = 0.0
    ttl_action: TtlAction = TtlAction.STOP
    protect: bool = False
    reclaim: bool = True


class PolicyWish(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The same as a client or a profile writes it: `None` means "as it is by default"."""

    restart: RestartPolicy | None = None
    autostart: bool | None = None
    autostart_order: Order | None = None
    autostart_delay_s: Delay | None = None
    ttl_s: Ttl | None = None
    ttl_action: TtlAction | None = None
    protect: bool | None = None
    reclaim: bool | None = None

    def filled(self) -> Policy:
        """The policy, with the defaults where nothing is wished."""
        return replace(Policy(), **{key: value for key, value in asdict(self).items() if value is not None})
