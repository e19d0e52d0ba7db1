"""The trees of an instance (file-system volumes and shares of all kinds), mounted where its guest finds them.

Each lies at `<run>/trees/N`, in a mount namespace that only the guest, or its file server, has. `N` is its place in
`trees_of`, which is the order in which they are mounted in the guest: outer directories first.
"""

import contextlib
import os
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import msgspec

from yurt.drivers.base import Attachments
from yurt.drivers.container.userns import make_mapped
from yurt.host import mounts, trees
from yurt.model.image import DiskFormat

TREES = "trees"  # in the run directory; empty outside private namespaces


class Tree(msgspec.Struct, frozen=True, kw_only=True):
    """One of them. `mapped`: its owners are stored as the guest sees them (volumes), else its owner shows as root."""

    source: Path
    target: str
    tag: str
    read_only: bool
    mapped: bool
    image: bool = False  # `source` is a file that holds an ext4 file system


def trees_of(attachments: Attachments) -> tuple[Tree, ...]:
    """All trees of an instance. Pure: equal attachments give equal trees."""
    found = [
        Tree(
            source=volume.path,
            target=volume.target,
            tag=volume.tag,
            read_only=volume.read_only,
            mapped=True,
            image=volume.format is DiskFormat.RAW,
        )
        for volume in attachments.volumes
        if volume.directory
    ]
    found += [
        Tree(source=share.source, target=share.target, tag=share.tag, read_only=share.read_only, mapped=False)
        for share in attachments.shares
    ]
    return tuple(sorted(found, key=lambda tree: tree.target))


def place_of(run_dir: Path, number: int) -> Path:
    """Where a tree is mounted."""
    return run_dir / TREES / str(number)


def kept_directories(attachments: Attachments) -> tuple[Path, Path]:
    """What no guest may see: all of yurt's state, and all of its run files."""
    return attachments.state_dir.parent.parent, attachments.run_dir.parent.parent


class OpenTree(msgspec.Struct, frozen=True, kw_only=True):
    """A tree that is ready to be put in its place: `mount` is a descriptor of it, -1 for an image; `userns` its map."""

    tree: Tree
    mount: int
    userns: int


@contextlib.asynccontextmanager
async def open_trees(attachments: Attachments, userns: int) -> AsyncIterator[tuple[OpenTree, ...]]:
    """Open all sources once, with the maps they need; `userns` is the guest's own. Raises NotFound, Invalid, Unsupported.

    Whatever becomes of their names afterwards, the guest gets the directories that were checked here.
    """
    with contextlib.ExitStack() as stack:
        opened = [await _open(tree, attachments, userns, stack) for tree in trees_of(attachments)]
        yield tuple(opened)


async def _open(tree: Tree, attachments: Attachments, userns: int, stack: contextlib.ExitStack) -> OpenTree:
    if tree.image:
        return OpenTree(tree=tree, mount=-1, userns=userns)
    source = trees.open_source(tree.source, () if tree.mapped else kept_directories(attachments))
    stack.callback(os.close, source)
    owners = userns
    if not tree.mapped:
        (base, count), status = attachments.host_ids, os.fstat(source)
        owners = await make_mapped(
            trees.owner_map(status.st_uid, base, count),
            trees.owner_map(status.st_gid, base, count),
            attachments.uid,
            attachments.gid,
        )
        stack.callback(os.close, owners)
    mount = trees.clone_source(
        source, owners, read_only=tree.read_only, nosuid=not tree.mapped, shown=tree.source
    )
    stack.callback(os.close, mount)
    return OpenTree(tree=tree, mount=mount, userns=owners)


def mount_trees(run_dir: Path, opened: Sequence[OpenTree]) -> None:
    """Mount them all, in the calling thread's private mount namespace."""
    for number, each in enumerate(opened):
        place = place_of(run_dir, number)
        place.mkdir(mode=0o755, parents=True, exist_ok=True)
        if each.tree.image:
            _mount_image(place, each)
        else:
            mounts.place_tree(each.mount, place)


def _mount_image(place: Path, each: OpenTree) -> None:
    plain = place.with_name(f"{place.name}.plain")
    plain.mkdir(mode=0o700, exist_ok=True)
    mounts.mount_loop(each.tree.source, plain, "ext4")
    try:
        source = os.open(plain, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            mount = trees.clone_source(
                source, each.userns, read_only=each.tree.read_only, nosuid=False, shown=each.tree.source
            )
        finally:
            os.close(source)
        try:
            mounts.place_tree(mount, place)
        finally:
            os.close(mount)
    finally:
        mounts.unmount(plain, lazy=True)


def clear_trees(run_dir: Path) -> None:
    """Remove the empty places; their mounts went with the namespace. Idempotent."""
    directory = run_dir / TREES
    if directory.is_dir():
        for place in directory.iterdir():
            place.rmdir()
        directory.rmdir()
