"""The words before a command that make it run as an unprivileged user that can never rise again. Pure."""

from collections.abc import Sequence


def confined(
    argv: Sequence[str],
    uid: int,
    gid: int,
    setpriv: str = "setpriv",
    *,
    root: bool = True,
    groups: tuple[int, ...] = (),
) -> list[str]:
    """The command that takes away user, groups (but `groups`), capabilities and the way back, then becomes `argv`.

    Without root only the way back can be closed.
    """
    drop = [setpriv, "--no-new-privs", "--inh-caps=-all"]
    if root:
        kept = f"--groups={','.join(map(str, groups))}" if groups else "--clear-groups"
        drop += [f"--reuid={uid}", f"--regid={gid}", kept, "--bounding-set=-all"]
    return [*drop, "--", *argv]
