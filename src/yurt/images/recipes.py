"""Image recipes: the files in `recipes/NAME/`, and the builders that turn one into a directory tree.

A recipe is `recipe.toml` (see `Recipe`) and `files/`, which is laid over the tree at the end. What may be left
behind when a build is cut off is one directory below the forms, which the next build removes.
"""

import asyncio
import os
import shutil
from pathlib import Path
from typing import Literal

import msgspec

from yurt.errors import Denied, Internal, Invalid, NotFound
from yurt.host import proc
from yurt.host.files import remove_tree
from yurt.host.ids import CONTAINER_IDS
from yurt.host.rootless import current_ids
from yurt.images import sources
from yurt.model.names import parse_name
from yurt.model.operation import Progress

# what mmdebstrap says, what we say, and the share of the whole that lies behind by then (measured)
MMDEBSTRAP_STEPS: tuple[tuple[str, str, float], ...] = (
    ("I: running apt-get update", "fetching package lists", 0.02),
    ("I: downloading packages", "downloading packages", 0.10),
    ("I: extracting archives", "unpacking packages", 0.28),
    ("I: installing essential packages", "installing the base system", 0.40),
    ("I: installing remaining packages", "installing packages", 0.55),
    ("I: cleaning package lists", "cleaning up", 0.92),
)
TREE_SHARE = 0.94  # the rest is packing the layer


class Recipe(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One recipe. Paths inside the image are relative; `NAME:MODE` in `directories` gives an octal mode.

    `remove` may end in `/*`; `mask` and `disable` are systemd units; `empty` names files to be made empty.
    """

    description: str
    builder: Literal["busybox", "mmdebstrap"]
    needed: str
    init: str = ""
    systemd: bool = False
    command: tuple[str, ...] = ()
    environment: tuple[str, ...] = ()
    suite: str = ""
    variant: str = ""
    packages: tuple[str, ...] = ()
    leave_out: tuple[str, ...] = ()
    disable: tuple[str, ...] = ()
    mask: tuple[str, ...] = ()
    remove: tuple[str, ...] = ()
    empty: tuple[str, ...] = ()
    directories: tuple[str, ...] = ()
    links: dict[str, str] = {}
    modes: dict[str, str] = {}


def recipe_names(folder: Path) -> list[str]:
    """List the recipes that exist, by name."""
    return sorted(path.parent.name for path in folder.glob("*/recipe.toml"))


def read_recipe(folder: Path, name: str) -> Recipe:
    """Read one recipe. Raises NotFound, and Invalid when its file is wrong."""
    if name not in recipe_names(folder):
        known = ", ".join(f"`{each}`" for each in recipe_names(folder)) or "none"
        raise NotFound(kind="recipe", name=str(name)[:80], hint=f"recipes here: {known}")
    try:
        return msgspec.toml.decode((folder / parse_name(name) / "recipe.toml").read_bytes(), type=Recipe)
    except msgspec.DecodeError as error:
        raise Invalid(f"recipe `{name}` is wrong: {error}") from error


async def build_tree(recipe: Recipe, files: Path, tree: Path, work: Path, progress: Progress) -> None:
    """Build a recipe's directory tree at `tree`, which must not exist; scratch files go to `work`.

    Raises Denied without root, ToolFailed when a builder fails. Leaves no mounts and no processes.
    """
    if os.geteuid() != 0:
        raise Denied("building an image needs root", hint="start yurt as root, or with sudo")
    if recipe.builder != "busybox" and (ids := current_ids()).total < CONTAINER_IDS:
        raise Denied(
            f"building this image takes {CONTAINER_IDS} user ids, and this user has {ids.total}",
            hint="apt-get install uidmap, and give the user a range: `usermod --add-subuids 100000-165535 "
            "--add-subgids 100000-165535 USER`; then restart the daemon",
        )
    if recipe.builder == "busybox":
        await _busybox(tree, progress)
    else:
        await _mmdebstrap(recipe, tree, work, progress)
    await asyncio.to_thread(finish_tree, recipe, files, tree)


def finish_tree(recipe: Recipe, files: Path, tree: Path) -> None:
    """Take out what must not be shared, make directories and links, lay `files` over it, switch units off."""
    for pattern in recipe.remove:
        for path in list(tree.glob(pattern)) if pattern.endswith("/*") else [tree / pattern]:
            _remove(path)
    for entry in recipe.directories:
        name, _, mode = entry.partition(":")
        (tree / name).mkdir(parents=True, exist_ok=True)
        if mode:
            (tree / name).chmod(int(mode, 8))
    for name in recipe.empty:
        (tree / name).write_bytes(b"")
    for name, goal in recipe.links.items():
        (tree / name).parent.mkdir(parents=True, exist_ok=True)
        (tree / name).symlink_to(goal)
    for source in sorted(files.rglob("*")):
        target = tree / source.relative_to(files)
        if source.is_dir():
            target.mkdir(parents=True, exist_ok=True)
        else:
            remove_tree(target)
            shutil.copyfile(source, target)
            target.chmod(0o644)
    for name, mode in recipe.modes.items():
        (tree / name).chmod(int(mode, 8))
    units = tree / "etc" / "systemd" / "system"
    for unit in recipe.disable:
        for link in units.glob(f"*.wants/{unit}"):
            link.unlink()
    for unit in recipe.mask:
        remove_tree(units / unit)
        (units / unit).symlink_to("/dev/null")


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        remove_tree(path)
    else:  # device nodes too, which remove_tree leaves alone
        path.unlink(missing_ok=True)


async def _busybox(tree: Path, progress: Progress) -> None:
    progress("laying out busybox", None)
    binary = shutil.which("busybox", path=proc.CLEAN_ENVIRONMENT["PATH"])
    if binary is None:
        raise NotFound(kind="program", name="busybox", hint="install package `busybox-static`")
    data = await asyncio.to_thread(Path(binary).read_bytes)
    if b"/ld-linux" in data[:4096] or b"/lib/ld-" in data[:4096]:
        raise Invalid(
            "`busybox` needs shared libraries, so it cannot stand alone",
            hint="install package `busybox-static`",
        )
    listed = await proc.run([binary, "--list-full"], timeout_s=10)
    (tree / "bin").mkdir(parents=True, mode=0o755)
    (tree / "bin" / "busybox").write_bytes(data)
    (tree / "bin" / "busybox").chmod(0o755)
    for applet in listed.stdout.decode().split():
        link = tree / applet
        if (
            link.is_relative_to(tree)
            and ".." not in link.parts
            and not link.is_symlink()
            and not link.exists()
        ):
            link.parent.mkdir(parents=True, exist_ok=True)
            link.symlink_to("/bin/busybox")
    tree.chmod(0o755)


def mmdebstrap_argv(recipe: Recipe, tree: Path, mirror: Path | None, options: tuple[str, ...]) -> list[str]:
    """The command that builds a Debian tree.

    It runs in mount and process namespaces of its own: whatever it mounts or starts is gone when it is, and it
    is killed when yurt is. Without `mirror` (an apt sources file) mmdebstrap uses Debian's own.
    """
    return [
        *("setpriv", "--pdeathsig", "KILL", "--"),
        *(
            "unshare",
            "--mount",
            "--propagation",
            "slave",
            "--pid",
            "--fork",
            "--kill-child=KILL",
            "--mount-proc",
            "--",
        ),
        *("mmdebstrap", "--mode=root", "--format=directory", f"--variant={recipe.variant}"),
        f"--include={','.join(recipe.packages)}",
        "--dpkgopt=force-unsafe-io",  # one sync at the end makes the whole tree durable
        *(f"--dpkgopt=path-exclude={pattern}" for pattern in recipe.leave_out),
        *(f"--aptopt={option}" for option in options),
        *(recipe.suite, str(tree)),
        *([str(mirror)] if mirror else []),
    ]


async def _mmdebstrap(recipe: Recipe, tree: Path, work: Path, progress: Progress) -> None:
    chosen = await asyncio.to_thread(sources.host_sources, Path("/etc/apt"), recipe.suite)
    mirror = None
    if chosen:
        mirror = work / "debian.sources"
        mirror.write_text(chosen)
        mirror.chmod(0o644)

    def on_line(line: str) -> None:
        for begin, text, fraction in MMDEBSTRAP_STEPS:
            if line.startswith(begin):
                progress(text, fraction * TREE_SHARE)

    argv = mmdebstrap_argv(recipe, tree, mirror, await sources.proxy_options())
    await proc.run(argv, timeout_s=3600, env=sources.proxy_environment(), cwd=work, on_stderr=on_line)
    if mirror:
        written = tree / "etc/apt/sources.list.d/0000debian.sources"
        if not written.is_file():
            raise Internal("mmdebstrap put its package sources in an unexpected place")
        written.unlink()
        target = tree / "etc/apt/sources.list.d/debian.sources"
        target.write_text(sources.without_secrets(chosen))
        target.chmod(0o644)
