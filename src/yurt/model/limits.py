"""What an instance may take of its host, beside processors, memory and disk size."""

from typing import Annotated

import msgspec
from msgspec import Meta

MAX_RATE = 1 << 50
Count = Annotated[int, Meta(ge=1, le=1 << 22)]
Rate = Annotated[int, Meta(ge=1, le=MAX_RATE)]


class Limits(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Limits of one instance, of any kind; `None` means none of its own.

    `cpu_shares`: weight against other instances when all are busy, 100 is usual. `cpu_quota`: processors' worth of time
    (1.5 is fine). `cpu_pin`: host processors it may run on, as `0-3,6`. Disk rates count operations and bytes a second,
    network rates bits a second; `in` is towards the guest. `processes` and `open_files` are of each program in the guest
    (containers), of the machine's own process otherwise.
    """

    cpu_shares: Annotated[int, Meta(ge=1, le=10000)] | None = None
    cpu_quota: Annotated[float, Meta(ge=0.01, le=1024)] | None = None
    cpu_pin: (
        Annotated[str, Meta(max_length=255, pattern=r"^[0-9]+(-[0-9]+)?(,[0-9]+(-[0-9]+)?)*$")] | None
    ) = None
    pids: Count | None = None
    disk_read_iops: Rate | None = None
    disk_write_iops: Rate | None = None
    disk_read_bps: Rate | None = None
    disk_write_bps: Rate | None = None
    net_in_bps: Rate | None = None
    net_out_bps: Rate | None = None
    processes: Count | None = None
    open_files: Count | None = None
