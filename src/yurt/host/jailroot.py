"""Builds a jail's private root in the calling thread's mount namespace, and works out what a program needs in it."""

import contextlib
import functools
import os
import platform
import stat
from pathlib import Path

from yurt.errors import NotFound
from yurt.host import landlock, mounts
from yurt.host.jailspec import DEVICE_NUMBERS, Bind, JailSpec
from yurt.host.rootless import current_ids

ANCHOR = Path(
    "/tmp"
)  # exists everywhere; the new root is mounted on it for a moment, in a namespace of its own
ROOT_BYTES = 256 << 10  # mount points and device nodes take a few pages
LOADER_CACHE = "/etc/ld.so.cache"


@functools.cache
def system_libraries() -> tuple[tuple[Bind, ...], tuple[tuple[str, str], ...]]:
    """The system's shared libraries as binds and symbolic links; Debian's own directory alone where there is one.

    All that is in there comes from the distribution and is for everybody to read.
    """
    debian = f"/usr/lib/{platform.machine()}-linux-gnu"
    libraries = debian if Path(debian).is_dir() else "/usr/lib"
    links, binds = [], [Bind(libraries, libraries)]
    for place in (Path("/lib"), Path("/lib64"), Path("/usr/lib64")):
        if place.is_symlink():
            links.append((str(place), str(place.readlink())))
        elif place.is_dir():
            binds.append(Bind(str(place), str(place)))
    return (*binds, *readable(LOADER_CACHE)), tuple(links)


def readable(*paths: str) -> tuple[Bind, ...]:
    """Binds of those paths that exist, read-only, at the same place."""
    return tuple(Bind(path, path) for path in paths if Path(path).exists())


def build_root(spec: JailSpec) -> None:
    """Make the jail's root and enter it. The thread must be in a mount namespace of its own. Under a millisecond."""
    mounts.mount("none", Path("/"), "", mounts.MS_REC | mounts.MS_PRIVATE)
    borrowed = current_ids().rootless
    trees: list[tuple[int, Bind]] = []
    try:
        for bind in spec.binds:
            attributes = mounts.MOUNT_ATTR_NOSUID | mounts.MOUNT_ATTR_NODEV
            attributes |= 0 if bind.writable else mounts.MOUNT_ATTR_RDONLY
            trees.append((_clone(bind.source, attributes), bind))
        if borrowed:  # without real root nobody makes nodes: the host's own, as far as its modes let us
            for name in spec.devices:
                bind = Bind(f"/dev/{name}", f"/dev/{name}", True)
                trees.append((_clone(bind.source, mounts.MOUNT_ATTR_NOSUID), bind))
        mounts.mount("tmpfs", ANCHOR, "tmpfs", mounts.MS_NOSUID, f"mode=755,size={ROOT_BYTES}")
        mounts.become_root(ANCHOR)
        for tree, bind in trees:
            _make_place(bind.target, directory=stat.S_ISDIR(os.fstat(tree).st_mode))
            mounts.place_tree(tree, Path(bind.target))
    finally:
        for tree, _ in trees:
            os.close(tree)
    if not borrowed:
        _make_nodes(spec)
    for place, target in spec.links:
        _make_parents(place)
        Path(place).symlink_to(target)
    if spec.scratch_bytes:
        _make_place("/tmp", directory=True)
        flags = mounts.MS_NOSUID | mounts.MS_NODEV | mounts.MS_NOEXEC
        mounts.mount("tmpfs", Path("/tmp"), "tmpfs", flags, f"mode=1777,size={spec.scratch_bytes}")
    seal = mounts.MS_REMOUNT | mounts.MS_BIND | mounts.MS_RDONLY | mounts.MS_NOSUID
    mounts.mount("none", Path("/"), "", seal)


def _clone(source: str, attributes: int) -> int:
    """A copy of one mount from `source` on, looked up now and never again."""
    try:
        place = os.open(source, os.O_PATH | os.O_CLOEXEC)
    except OSError as error:
        raise NotFound(f"the jail needs `{source}`: {error.strerror}") from error
    try:
        return mounts.clone_tree(place, -1, attributes, f"a mount of `{source}`")
    finally:
        os.close(place)


def _make_nodes(spec: JailSpec) -> None:
    """Device nodes of the jail's own: whoever owns the host's nodes, these are for the jail's user alone."""
    for name in spec.devices:
        place = Path("/dev") / name
        _make_parents(str(place))
        os.mknod(place, stat.S_IFCHR | 0o600, os.makedev(*DEVICE_NUMBERS[name]))
        os.chown(place, spec.uid, spec.gid)
        place.chmod(0o600)


def _make_place(target: str, *, directory: bool) -> None:
    _make_parents(target)
    if directory:
        with contextlib.suppress(FileExistsError):
            Path(target).mkdir(mode=0o755)
    else:
        os.close(os.open(target, os.O_CREAT | os.O_CLOEXEC, 0o444))


def _make_parents(target: str) -> None:
    for parent in reversed(Path(target).parents[:-1]):
        with contextlib.suppress(FileExistsError):
            parent.mkdir(mode=0o755)


def fence_rules(spec: JailSpec) -> dict[str, int]:
    """The Landlock rules of the same root: read all of it, write only what is writable. Pure."""
    rules = {"/": landlock.READING}
    rules |= {bind.target: landlock.EVERYTHING for bind in spec.binds if bind.writable}
    rules |= {f"/dev/{name}": landlock.FILE_RIGHTS & ~landlock.EXECUTE for name in spec.devices}
    if spec.scratch_bytes:
        rules["/tmp"] = landlock.EVERYTHING & ~landlock.EXECUTE
    return rules
