"""What the daemon does with an instance by itself: restart it, start it with the host, end it after a time. No I/O."""

from enum import StrEnum
from typing import Annotated

import msgspec
from msgspec import Meta


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
    """`autostart`: start it when the daemon comes up after a boot of the host; lower `order` first, then `delay_s` seconds.

    `ttl_s` counts from the (last) start; 0 means for ever. `protect`: refuse to delete it.
    """

    restart: RestartPolicy = RestartPolicy.NO
    autostart: bool = False
    autostart_order: Annotated[int, Meta(ge=0, le=10000)] = 100
    autostart_delay_s: Annotated[float, Meta(ge=0, le=3600)] = 0.0
    ttl_s: Annotated[float, Meta(ge=0, le=10 * 365 * 86400)] = 0.0
    ttl_action: TtlAction = TtlAction.STOP
    protect: bool = False
