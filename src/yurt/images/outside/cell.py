"""A cell: where a program looks at bytes from outside. It sees the system's programs, what it is given, and nothing else.

Namespaces of its own (mounts, processes, network without an interface, IPC, host name), a root that holds /usr read-only
and the given paths, an unprivileged user without capabilities (or root with the few that unpacking owners needs, and
only the tree it fills), no way to gain any, an empty environment, limits on memory, file size and CPU time.
"""

import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from yurt.errors import ToolFailed
from yurt.host import proc
from yurt.host.confine import confined
from yurt.host.ids import TOOL_UID
from yurt.host.rootless import current_ids

OWNERS = ("CAP_CHOWN", "CAP_DAC_OVERRIDE", "CAP_FOWNER", "CAP_FSETID", "CAP_SETFCAP")
_TO_DROP = ("CAP_SETUID", "CAP_SETGID", "CAP_SETPCAP")
SOURCE = Path(__file__).resolve().parents[2]  # the package `yurt`
_MERGED = ("bin", "sbin", "lib", "lib32", "lib64", "libx32")
_FATAL = {"SIGXCPU": "time", "SIGXFSZ": "room", "SIGKILL": "memory"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    """What a program in it may see and use. `read` and `write`: (path here, path inside). Sizes in bytes.

    `owners`: it runs as root with the capabilities to give files their owners, else as nobody.
    """

    read: tuple[tuple[Path, str], ...] = ()
    write: tuple[tuple[Path, str], ...] = ()
    owners: bool = False
    memory_bytes: int = 1 << 30
    file_bytes: int = 1 << 40
    cpu_s: int = 3600


def cell_argv(cell: Cell, argv: Sequence[str], *, root: bool, uid: int = TOOL_UID) -> list[str]:
    """The whole command. Pure but for a look at how this host lays out /usr."""
    limits = [f"--as={cell.memory_bytes}", f"--fsize={cell.file_bytes}", f"--cpu={cell.cpu_s}"]
    words = ["prlimit", *limits, "--core=0", "--nofile=256", "--", "bwrap", "--unshare-ipc", "--unshare-pid"]
    words += ["--unshare-net", "--unshare-uts", "--die-with-parent", "--new-session", "--cap-drop", "ALL"]
    words += ["--ro-bind", "/usr", "/usr", "--dev", "/dev"]
    for name in _MERGED:
        path = Path("/") / name
        if path.is_symlink():
            words += ["--symlink", f"usr/{name}", f"/{name}"]
        elif path.is_dir():
            words += ["--ro-bind", f"/{name}", f"/{name}"]
    for outside, inside in cell.read:
        words += ["--ro-bind", str(outside), inside]
    for outside, inside in cell.write:
        words += ["--bind", str(outside), inside]
    words += ["--chdir", "/"]
    if cell.owners or not root:
        kept = OWNERS if cell.owners and root else ()
        user = () if root else ("--unshare-user",)
        return [*words, *user, *(word for name in kept for word in ("--cap-add", name)), "--", *argv]
    dropped = [word for name in _TO_DROP for word in ("--cap-add", name)]
    return [*words, *dropped, "--", *confined(argv, uid, uid)]


async def run_in_cell(
    cell: Cell,
    argv: Sequence[str],
    *,
    timeout_s: float,
    input_fd: int | None = None,
    output_fd: int | None = None,
    on_stderr: Callable[[str], None] | None = None,
) -> proc.Finished:
    """Run a program in a cell to its end; its status is the caller's to judge. Raises Timeout, and ToolFailed without bwrap.

    `input_fd` and `output_fd` become its standard input and output; they stay the caller's.
    """
    return await proc.run(
        cell_argv(cell, argv, root=os.geteuid() == 0, uid=cell_uid()),
        timeout_s=timeout_s,
        check=False,
        input_fd=input_fd,
        output_fd=output_fd,
        on_stderr=on_stderr,
    )


def python_in_cell(module: str) -> tuple[list[str], tuple[tuple[Path, str], ...]]:
    """The command that calls `main()` of one of our modules with the standard library alone, and what it has to see."""
    seen = [(SOURCE, "/source/yurt")]
    base = Path(sys.base_prefix)
    if not base.is_relative_to("/usr"):
        seen.append((base, str(base)))
    program = str(Path(getattr(sys, "_base_executable", "") or sys.executable).resolve())
    script = f"import sys; sys.path.insert(0, '/source'); from {module} import main; main()"
    return [program, "-I", "-S", "-B", "-c", script], tuple(seen)


def cell_uid() -> int:
    """The user that programs in cells are; an ordinary user's daemon has other numbers."""
    return current_ids().tool_uid


def lend(path: Path) -> None:
    """Let the cell's user read a file or write in a directory of ours."""
    if os.geteuid() == 0:
        os.chown(path, cell_uid(), cell_uid())


def why_it_ended(done: proc.Finished) -> str:
    """`time`, `room` or `memory` when a limit ended it, else an empty string."""
    name = proc.describe_status(done.status).removeprefix("signal ")
    if done.status > 128:  # the launcher passes its child's signal on as a status
        name = proc.describe_status(128 - done.status).removeprefix("signal ")
    return _FATAL.get(name, "")


def last_words(done: proc.Finished) -> str:
    """The last line of standard error, as it came."""
    lines = done.stderr.decode(errors="replace").strip().splitlines()
    return lines[-1] if lines else proc.describe_status(done.status)


def check_launched(done: proc.Finished) -> None:
    """Raise ToolFailed when the cell itself could not be made: that is the host's fault, not the image's."""
    if done.status != 0 and done.stderr.startswith((b"bwrap:", b"setpriv:", b"prlimit:")):
        raise ToolFailed(
            argv=done.argv,
            status=proc.describe_status(done.status),
            stderr=done.stderr.decode(errors="replace"),
            hint="run `yurt doctor` to see what is missing",
        )
