"""Finds or makes the agent's binary: prebuilt where the package brings one, else compiled here once and kept."""

import hashlib
import os
import shutil
from pathlib import Path

from yurt.errors import ToolFailed
from yurt.host import proc
from yurt.host.files import temporary_sibling

CROSS_COMPILERS = {"x86_64": ("x86_64-linux-gnu-gcc",), "aarch64": ("aarch64-linux-gnu-gcc",)}
PACKAGES = {"x86_64": "gcc libc6-dev", "aarch64": "gcc-aarch64-linux-gnu libc6-dev-arm64-cross"}
FLAGS = ("-O2", "-static", "-std=gnu11", "-D_GNU_SOURCE", "-fstack-protector-strong", "-D_FORTIFY_SOURCE=2")
_NAMES = {"amd64": "x86_64", "arm64": "aarch64"}
_MAKEFILE_PROGRAMS = frozenset({"fuzz_parser.c"})


def source_dir() -> Path:
    """Return the directory of the agent's sources: in the installed package, else in the checkout. Raises ToolFailed."""
    package = Path(__file__).resolve().parents[2]
    for place in (package / "_data" / "agent", package.parents[1] / "agent"):
        if (place / "main.c").is_file():
            return place
    raise ToolFailed(
        "the sources of yurt-agent are missing from this installation", hint="install yurt again"
    )


def source_files(source: Path) -> list[Path]:
    """The C files that make the agent, by name."""
    return sorted(path for path in source.glob("*.c") if path.name not in _MAKEFILE_PROGRAMS)


def source_digest(source: Path) -> str:
    """A digest over everything the binary is made from; 16 hex digits."""
    digest = hashlib.sha256("\0".join(FLAGS).encode())
    for path in sorted([*source_files(source), *source.glob("*.h")]):
        digest.update(path.name.encode() + b"\0" + path.read_bytes() + b"\0")
    return digest.hexdigest()[:16]


async def agent_binary(agents_dir: Path, source: Path, architecture: str) -> Path:
    """Return a yurt-agent for this architecture, compiling it at most once per version of its sources.

    Raises ToolFailed when it has to be compiled and cannot be.
    """
    architecture = _NAMES.get(architecture, architecture)
    name = f"yurt-agent-{architecture}-{source_digest(source)}"
    prebuilt = source / "prebuilt" / name
    if prebuilt.is_file():
        return prebuilt
    target = agents_dir / name
    if not target.is_file():
        agents_dir.mkdir(parents=True, exist_ok=True)
        with temporary_sibling(target) as temporary:
            await _compile(source, architecture, temporary)
            temporary.chmod(0o755)
    return target


async def prebuild(source: Path) -> list[Path]:
    """Compile into `source/prebuilt`, for a wheel, for each architecture that has a compiler here; drop older ones."""
    prebuilt = source / "prebuilt"
    prebuilt.mkdir(exist_ok=True)
    made = [
        await agent_binary(prebuilt, source, name) for name in PACKAGES if find_compiler(name) is not None
    ]
    for path in set(prebuilt.iterdir()) - set(made):
        path.unlink()
    return made


async def _compile(source: Path, architecture: str, target: Path) -> None:
    compiler = find_compiler(architecture)
    if compiler is None:
        packages = PACKAGES.get(architecture)
        raise ToolFailed(
            f"yurt-agent has to be compiled for {architecture}, and there is no compiler for it",
            hint=f"apt-get install {packages}" if packages else "yurt guests run on x86_64 and aarch64",
        )
    files = [str(path) for path in source_files(source)]
    await proc.run([compiler, *FLAGS, "-o", str(target), *files], timeout_s=300)


def find_compiler(architecture: str) -> str | None:
    """The compiler for an architecture, None when it is not installed."""
    for name in ("cc" if _machine() == architecture else "", *CROSS_COMPILERS.get(architecture, ())):
        path: str | None = shutil.which(name) if name else None
        if path is not None:
            return path
    return None


def _machine() -> str:
    return os.uname().machine
