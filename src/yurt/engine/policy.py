"""What a policy means for one instance: whether and when it starts again, when its time is over, what it may not be.

Pure; `engine/keeper.py` acts on it. Times are seconds since the epoch, taken from the engine's clock.
"""

from collections.abc import Iterable

import msgspec
from msgspec.structs import replace

from yurt.errors import Invalid
from yurt.model.instance import Init, Instance, Phase
from yurt.model.policy import Policy, RestartPolicy, TtlAction

FIRST_PAUSE_S = 1.0
LONGEST_PAUSE_S = 300.0
STEADY_S = 600.0  # whoever ran this long begins again with the shortest pause
RESTING = (Phase.STOPPED, Phase.CRASHED)


class Due(msgspec.Struct, frozen=True):
    """Something to do with an instance at a moment: `restart`, `stop` or `delete`."""

    what: str
    at: float


def check_policy(policy: Policy, *, ephemeral: bool) -> None:
    """Raise Invalid for what contradicts itself."""
    if ephemeral and policy.restart is not RestartPolicy.NO:
        raise Invalid(
            f"`--rm` deletes the instance when it ends, and `--restart {policy.restart}` would start it again",
            hint="leave one of them out",
        )
    if ephemeral and policy.autostart:
        raise Invalid(
            "`--rm` deletes the instance when it ends, so `--autostart` would never find it",
            hint="leave one of them out",
        )
    if ephemeral and policy.protect:
        raise Invalid(
            "`--rm` deletes the instance when it ends, and `--protect` forbids that",
            hint="leave one of them out",
        )
    if policy.protect and policy.ttl_s and policy.ttl_action is TtlAction.DELETE:
        raise Invalid(
            "`--ttl-action delete` deletes the instance, and `--protect` forbids that",
            hint="leave one of them out, or take `--ttl-action stop`",
        )
    if policy.ttl_action is TtlAction.DELETE and not policy.ttl_s:
        raise Invalid("`--ttl-action delete` needs a time", hint="add for example `--ttl 30m`")


def pause_s(restarts: int) -> float:
    """How long to wait before the restart that follows `restarts` earlier ones: 1 s, doubling up to 5 minutes."""
    return min(LONGEST_PAUSE_S, FIRST_PAUSE_S * 2.0 ** min(restarts, 16))


def failed(instance: Instance, *, crashed: bool, exit_code: int | None, seen: bool) -> bool:
    """Whether a guest's end by itself counts as a failure.

    A guest that powers itself off has succeeded. A crash, a panic, an end for want of memory, a main process that exits
    with anything but 0, and an end that no daemon was there to see are failures.
    """
    if crashed or not seen:
        return True
    return instance.spec.init is Init.COMMAND and exit_code not in (0, None)


def after_end(instance: Instance, *, failure: bool, now: float) -> Instance:
    """The record of a guest that has just ended by itself, with its next restart where the policy wants one."""
    policy = instance.spec.policy
    wanted = policy.restart is RestartPolicy.ALWAYS or (
        policy.restart is RestartPolicy.ON_FAILURE and failure
    )
    if not wanted or instance.spec.ephemeral:
        return replace(instance, next_restart_at=None)
    steady = instance.started_at is not None and now - instance.started_at >= STEADY_S
    restarts = 0 if steady else instance.restarts
    return replace(instance, restarts=restarts, next_restart_at=now + pause_s(restarts))


def after_failed_restart(instance: Instance, *, now: float) -> Instance:
    """The record of an instance that could not be started again: the next try comes after a longer pause."""
    if instance.spec.policy.restart is RestartPolicy.NO:
        return replace(instance, next_restart_at=None)
    restarts = instance.restarts + 1
    return replace(instance, restarts=restarts, next_restart_at=now + pause_s(restarts))


def started(instance: Instance, *, automatic: bool, now: float) -> Instance:
    """The record of a guest that runs, by the policy's or by somebody's wish: only the latter begins a new count."""
    if automatic:
        return replace(
            instance,
            restarts=instance.restarts + 1,
            next_restart_at=None,
            lives_from=instance.lives_from or now,
        )
    return replace(instance, restarts=0, next_restart_at=None, lives_from=now)


def due(instance: Instance) -> tuple[Due, ...]:
    """Everything that the policy has in store for an instance, given its record; nothing while an operation holds it."""
    if instance.operation is not None:
        return ()
    policy, found = instance.spec.policy, []
    waits = instance.phase in RESTING and instance.next_restart_at is not None
    if waits and instance.next_restart_at is not None and policy.restart is not RestartPolicy.NO:
        found.append(Due("restart", instance.next_restart_at))
    if policy.ttl_s and instance.lives_from is not None:
        over = instance.lives_from + policy.ttl_s
        deletes = policy.ttl_action is TtlAction.DELETE
        if deletes and instance.phase is not Phase.BROKEN:
            found.append(Due("delete", over))
        elif not deletes and (instance.phase in (Phase.RUNNING, Phase.PAUSED) or waits):
            found.append(Due("stop", over))
    return tuple(found)


def autostart_orders(instances: Iterable[Instance]) -> list[list[Instance]]:
    """Who starts with the host: groups of equal order, lowest first, each by name."""
    groups: dict[int, list[Instance]] = {}
    for instance in sorted(instances, key=lambda each: each.name):
        if instance.spec.policy.autostart:
            groups.setdefault(instance.spec.policy.autostart_order, []).append(instance)
    return [groups[order] for order in sorted(groups)]
