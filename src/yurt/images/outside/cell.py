"""A cell: where a program looks at bytes from outside. It sees the system's programs, what it is given, and nothing else.

It is a jail as host/jail.py makes them: a root that holds the program, the system's libraries and the given paths, no
network, an unprivileged user without capabilities (or root with the few that unpacking owners needs, and only the tree it
fills), the system call filter and Landlock, limits on memory, file size and CPU time.
"""

import os
import shutil
import signal
import sys
import sysconfig
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from yurt.host import proc
from yurt.host.jail import run_jailed
from yurt.host.jailroot import system_libraries
from yurt.host.jailspec import Bind, JailSpec
from yurt.host.rootless import current_ids

OWNERS = ("CAP_CHOWN", "CAP_DAC_OVERRIDE", "CAP_FOWNER", "CAP_FSETID", "CAP_SETFCAP")
SOURCE = Path(__file__).resolve().parents[2]  # the package `yurt`


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


def cell_jail(cell: Cell, program: str, uid: int) -> JailSpec:
    """The jail that a cell is, for a program at its place on the host. Pure but for a look at the system's libraries."""
    libraries, links = system_libraries()
    given = [Bind(str(outside), inside) for outside, inside in cell.read]
    given += [Bind(str(outside), inside, True) for outside, inside in cell.write]
    return JailSpec(
        uid=0 if cell.owners else uid,
        gid=0 if cell.owners else uid,
        capabilities=OWNERS if cell.owners else (),
        binds=(*libraries, Bind(str(Path(program).resolve()), program), *given),
        links=links,
        limits=(
            ("as", cell.memory_bytes),
            ("core", 0),
            ("cpu", cell.cpu_s),
            ("fsize", cell.file_bytes),
            ("nofile", 256),
        ),
    )


async def run_in_cell(
    cell: Cell,
    argv: Sequence[str],
    *,
    timeout_s: float,
    input_fd: int | None = None,
    output_fd: int | None = None,
    on_stderr: Callable[[str], None] | None = None,
) -> proc.Finished:
    """Run a program in a cell to its end; its status is the caller's to judge. Raises Timeout, and ToolFailed without it.

    `input_fd` and `output_fd` become its standard input and output; they stay the caller's.
    """
    program = shutil.which(argv[0], path=proc.CLEAN_ENVIRONMENT["PATH"])
    if program is None:
        raise proc.not_installed(argv)
    return await run_jailed(
        [program, *argv[1:]],
        cell_jail(cell, program, cell_uid()),
        timeout_s=timeout_s,
        check=False,
        input_fd=input_fd,
        output_fd=output_fd,
        on_stderr=on_stderr,
    )


def python_in_cell(module: str) -> tuple[list[str], tuple[tuple[Path, str], ...]]:
    """The command that calls `main()` of one of our modules with the standard library alone, and what it has to see."""
    base, library = Path(sys.base_prefix), Path(sysconfig.get_path("stdlib"))
    own = (
        library if base == Path("/usr") else base
    )  # of the system's Python no more than its standard library
    seen = [(SOURCE, "/source/yurt"), (own, str(own))]
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
    """`time or memory` when a limit ended it, else an empty string.

    As the first process of its namespace it gets no signal about time or file size: at the limit of time the kernel kills
    it, and a write beyond the limit of size fails.
    """
    return "time or memory" if done.status == -signal.SIGKILL else ""


def last_words(done: proc.Finished) -> str:
    """The last line of standard error, as it came."""
    lines = done.stderr.decode(errors="replace").strip().splitlines()
    return lines[-1] if lines else proc.describe_status(done.status)
