"""What a `vm`'s root file system has more than the image: the agent as a service, and the kernel's modules.

Everything is first laid out in a stage directory, then written into the file system by a debugfs script, so the
image's own tree, which running containers may lie over, is never touched.
"""

import os
import shutil
import stat
from pathlib import Path, PurePosixPath

from yurt import beneath
from yurt.errors import Invalid
from yurt.images.kernel import Kernel
from yurt.images.modules import worth_keeping

AGENT_PATH = "usr/lib/yurt/yurt-agent"
UNIT_PATH = "etc/systemd/system/yurt-agent.service"
WANTS_PATH = "etc/systemd/system/multi-user.target.wants/yurt-agent.service"
INITTAB_PATH = "etc/inittab"
UNIT = f"""\
# The agent from the initrd serves the host from the first moment on; this one takes over where there is none,
# and ends quietly where there is.
[Unit]
Description=yurt's agent
DefaultDependencies=no
Conflicts=shutdown.target
Before=shutdown.target

[Service]
ExecStart=/{AGENT_PATH} --service
Restart=on-failure
RestartSec=1

[Install]
WantedBy=multi-user.target
"""
MAX_INITTAB_BYTES = 1 << 20
INITTAB_LINE = f"::once:/{AGENT_PATH} --service 2>/dev/null\n"  # where one serves already, that is no news


def stage(tree: Path, target: Path, agent: Path, kernel: Kernel) -> None:
    """Lay out at `target` what is to be added to `tree`; the modules' dependency table is still to be made."""
    _copy(agent, target / AGENT_PATH, 0o755)
    found = _Seen(tree)
    if found.is_directory("usr/lib/systemd/system") or found.is_directory("lib/systemd/system"):
        _write(target / UNIT_PATH, UNIT.encode())
        link = target / WANTS_PATH
        link.parent.mkdir(parents=True)
        link.symlink_to(f"/{UNIT_PATH}")
    elif (table := found.content(INITTAB_PATH)) is not None:
        _write(target / INITTAB_PATH, table + INITTAB_LINE.encode())
    folder = target / "usr" / "lib" / "modules" / kernel.version
    for source in sorted(kernel.modules_dir.rglob("*")):
        name = source.relative_to(kernel.modules_dir)
        if not source.is_file() or source.is_symlink() or not _belongs(name):
            continue
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        try:
            os.link(source, folder / name)
        except OSError:  # another file system
            shutil.copyfile(source, folder / name)


class _Seen:
    """An image's tree as a guest sees it: its links are followed, but none leads out into the host's files."""

    def __init__(self, tree: Path) -> None:
        self._tree = tree

    def _open(self, name: str, flags: int) -> int | None:
        root = os.open(self._tree, beneath.DIRECTORY)
        inside = beneath.RESOLVE_IN_ROOT | beneath.RESOLVE_NO_MAGICLINKS
        try:
            return beneath.open_beneath(root, name, flags, resolve=inside)
        except OSError:
            return None
        finally:
            os.close(root)

    def mode(self, name: str) -> int | None:
        """The type and mode of what is there; None when nothing is."""
        found = self._open(name, os.O_PATH)
        if found is None:
            return None
        try:
            return os.fstat(found).st_mode
        finally:
            os.close(found)

    def is_directory(self, name: str) -> bool:
        return stat.S_ISDIR(self.mode(name) or 0)

    def content(self, name: str) -> bytes | None:
        """What is in a file; None when there is none, or something else."""
        found = self._open(name, os.O_RDONLY | os.O_NONBLOCK)
        if found is None:
            return None
        with os.fdopen(found, "rb") as file:
            if not stat.S_ISREG(os.fstat(found).st_mode):
                return None
            data = file.read(MAX_INITTAB_BYTES + 1)
        return data if len(data) <= MAX_INITTAB_BYTES else None


def _belongs(name: Path) -> bool:
    if name.suffix == ".ko":
        return worth_keeping(str(name))
    return str(name) in {"modules.order", "modules.builtin", "modules.builtin.modinfo"}


def debugfs_script(tree: Path, stage: Path) -> str:
    """The commands that copy `stage` into the file system made from `tree`: new directories, files and links.

    Modules go where the image keeps libraries: `/usr/lib`, or `/lib` where that is a directory of its own.
    debugfs follows no host links and splits words at spaces, so names with spaces are refused.
    """
    separate_lib = (tree / "lib").is_dir() and not (tree / "lib").is_symlink()
    lines, made, found = [], set[str](), _Seen(tree)
    for source in sorted(stage.rglob("*")):
        name = source.relative_to(stage).as_posix()
        if any(character in name for character in ' "\t\n'):
            raise Invalid(f"a name that debugfs cannot take: {name!r}")
        target = name.removeprefix("usr/") if separate_lib and name.startswith("usr/lib/modules") else name
        for parent in reversed(PurePosixPath(target).parents):
            folder = str(parent)
            if folder != "." and folder not in made:
                made.add(folder)
                if not found.is_directory(folder):
                    lines.append(f"mkdir {folder}")
        if source.is_symlink():
            lines.append(f"symlink {target} {source.readlink()}")
        elif source.is_file():
            if found.mode(target) is not None:
                lines.append(f"rm {target}")
            lines += [f"write {name} {target}", *_owner(target, source)]
    return "\n".join(lines) + "\n"


def _owner(target: str, source: Path) -> list[str]:
    mode = stat.S_IFREG | stat.S_IMODE(source.stat().st_mode)
    return [f"sif {target} mode 0{mode:o}", f"sif {target} uid 0", f"sif {target} gid 0"]


def _copy(source: Path, target: Path, mode: int) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(source, target)
    target.chmod(mode)


def _write(target: Path, data: bytes, mode: int = 0o644) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_bytes(data)
    target.chmod(mode)
