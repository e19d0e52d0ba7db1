"""What an instance wishes of volumes and shares, checked in one pure step."""

import posixpath

from yurt.errors import Invalid
from yurt.model.instance import InstanceSpec, Kind
from yurt.model.names import parse_name, printable
from yurt.model.volume import Share, VolumeUse

# a mount there would take away what the guest, or its agent, lives on
KEPT_TARGETS = ("/", "/dev", "/proc", "/sys", "/run", "/etc", "/boot", "/bin", "/sbin", "/lib", "/usr")
# nothing of these may be shown to a guest: the kernel's own, and whole hosts
KEPT_SOURCES = ("/proc", "/sys", "/dev")


def checked_uses(spec: InstanceSpec) -> tuple[tuple[VolumeUse, ...], tuple[Share, ...]]:
    """The volumes and shares of a wish with their paths in normal form. Raises Invalid."""
    volumes = tuple(checked_use(use, spec.kind or Kind.MICROVM) for use in spec.volumes)
    shares = tuple(
        Share(
            source=checked_source(share.source),
            target=checked_target(share.target),
            read_only=share.read_only,
        )
        for share in spec.shares
    )
    names = [use.volume for use in volumes]
    if twice := next((name for name in names if names.count(name) > 1), ""):
        raise Invalid(f"volume `{twice}` is given twice")
    check_targets([*(use.path for use in volumes if use.path), *(share.target for share in shares)])
    return volumes, shares


def checked_use(use: VolumeUse, kind: Kind) -> VolumeUse:
    """One volume's use. Raises Invalid."""
    parse_name(use.volume)
    if not use.path and kind is Kind.CONTAINER:
        raise Invalid(
            f"where is volume `{use.volume}` to be mounted?", hint=f"write `--volume {use.volume}:/srv/data`"
        )
    return VolumeUse(
        volume=use.volume, path=checked_target(use.path) if use.path else "", read_only=use.read_only
    )


def checked_target(path: str) -> str:
    """A place in a guest where something may be mounted, in normal form. Raises Invalid."""
    if not path.startswith("/") or "\0" in path or "\n" in path or ".." in path.split("/"):
        raise Invalid(
            f"`{printable(path)}` is not a place to mount something at",
            hint="write an absolute path without `..`, such as `/srv/data`",
        )
    normal = "/" + posixpath.normpath(path).strip("/")
    if normal in KEPT_TARGETS or normal.startswith(("/dev/", "/proc/", "/sys/")):
        raise Invalid(f"nothing may be mounted at `{normal}`", hint="take a place such as `/srv/data`")
    return normal


def check_targets(targets: list[str]) -> None:
    """Refuse two mounts at one place. One below another is fine: they are mounted in the order of their paths."""
    if twice := next((path for path in targets if targets.count(path) > 1), ""):
        raise Invalid(f"two things would be mounted at `{twice}`")


def checked_source(path: str) -> str:
    """A directory of the host that may be shared, in normal form. Raises Invalid; whether it exists is asked later."""
    if not path.startswith("/") or "\0" in path or "\n" in path:
        raise Invalid(
            f"`{printable(path)}` is not an absolute path", hint="the daemon does not know where you are"
        )
    normal = "/" + posixpath.normpath(path).strip("/")
    if normal == "/":
        raise Invalid("the host's whole root cannot be shared", hint="share a directory below it")
    if normal in KEPT_SOURCES or normal.startswith(tuple(f"{kept}/" for kept in KEPT_SOURCES)):
        raise Invalid(
            f"`{normal}` belongs to the host's kernel and cannot be shared",
            hint="share a directory of files, such as one in your home",
        )
    return normal
