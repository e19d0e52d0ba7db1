"""Writes initrd archives: the "newc" cpio form, uncompressed and reproducible. Pure.

The kernel unpacks several archives behind one another; each must begin at a multiple of 4 bytes and may be
padded with zeros. Equal input gives equal bytes: times are zero, inode numbers count up, owner is root.
Source: the kernel's documentation of the initramfs buffer format.
"""

import stat
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import PurePosixPath

ALIGNMENT = 512
TRAILER = "TRAILER!!!"


@dataclass(frozen=True, slots=True)
class Member:
    """One file of an archive. `path` is relative; `mode` holds type and permissions; `data` is a link's target too."""

    path: str
    mode: int
    data: bytes = b""
    device: tuple[int, int] = (0, 0)


def directory(path: str, permissions: int = 0o755) -> Member:
    """A directory."""
    return Member(path, stat.S_IFDIR | permissions)


def regular(path: str, data: bytes, permissions: int = 0o644) -> Member:
    """A regular file."""
    return Member(path, stat.S_IFREG | permissions, data)


def symlink(path: str, target: str) -> Member:
    """A symbolic link."""
    return Member(path, stat.S_IFLNK | 0o777, target.encode())


def character_device(path: str, major: int, minor: int, permissions: int = 0o600) -> Member:
    """A character device node, such as the console a kernel opens for the first program."""
    return Member(path, stat.S_IFCHR | permissions, b"", (major, minor))


def archive(members: Iterable[Member]) -> bytes:
    """Write members in the order given, the trailer, and zeros up to a multiple of 512 bytes.

    Directories a path needs are added before it. Raises ValueError for absolute, empty, dotted or repeated paths.
    """
    out, seen = bytearray(), set[str]()
    for number, member in enumerate(_with_parents(members), start=1):
        path = PurePosixPath(member.path)
        if path.is_absolute() or str(path) != member.path or not path.parts or ".." in path.parts:
            raise ValueError(f"not a path for an archive: {member.path!r}")
        if member.path in seen:
            raise ValueError(f"twice in one archive: {member.path!r}")
        seen.add(member.path)
        out += _entry(member, number)
    out += _entry(Member(TRAILER, 0), 0)
    out += bytes(-len(out) % ALIGNMENT)
    return bytes(out)


def config_cpio(config: bytes) -> bytes:
    """The second archive of one instance: only `/yurt/config`, to be put behind the shared initrd."""
    return archive([directory("yurt", 0o700), regular("yurt/config", config, 0o600)])


def _with_parents(members: Iterable[Member]) -> Iterable[Member]:
    known: set[str] = set()
    for member in members:
        for parent in reversed(PurePosixPath(member.path).parents):
            if str(parent) not in {".", "/"} and str(parent) not in known:
                known.add(str(parent))
                yield directory(str(parent))
        if stat.S_ISDIR(member.mode):
            if member.path in known:
                raise ValueError(f"twice in one archive, or after its content: {member.path!r}")
            known.add(member.path)
        yield member


def _entry(member: Member, number: int) -> bytes:
    name = member.path.encode() + b"\0"
    links = 2 if stat.S_ISDIR(member.mode) else 1
    fields = (number, member.mode, 0, 0, links, 0, len(member.data), 0, 0, *member.device, len(name), 0)
    header = b"070701" + b"".join(b"%08X" % field for field in fields) + name
    header += bytes(-len(header) % 4)
    return header + member.data + bytes(-len(member.data) % 4)
