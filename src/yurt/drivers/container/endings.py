"""How a container's PID 1 is told to end, and what its end means. Pure."""

import signal

from yurt.drivers.base import DriverEvent
from yurt.drivers.container.bundle import boots_systemd
from yurt.host import proc
from yurt.model.instance import Init, ResolvedSpec

ENDED_BY_INIT = {
    -signal.SIGINT: "halt",
    -signal.SIGHUP: "restart",
}  # reboot(2) in a pid namespace ends PID 1 so


def halt_signal(spec: ResolvedSpec | None) -> int:
    """What tells a container's PID 1 to end: systemd, busybox init and yurt-agent each listen to another signal."""
    if spec is None or spec.init is Init.COMMAND:
        return signal.SIGTERM
    return signal.SIGRTMIN + 3 if boots_systemd(spec) else signal.SIGUSR2


def ending(status: int | None, *, killed: bool) -> DriverEvent:
    """The last event of a container whose PID 1 ended with `status` (minus a signal; None: not known). Pure."""
    if status is None or killed:
        return DriverEvent(type="exited")
    if status in ENDED_BY_INIT:
        return DriverEvent(type="exited", exit_code=0)
    if status < 0:
        reason = f"its first process ended by {proc.describe_status(status)}"
        return DriverEvent(type="exited", exit_code=128 - status, reason=reason)
    return DriverEvent(type="exited", exit_code=status)
