"""Finds and removes what no image name and no instance stands for any longer. Blocking."""

import os
import re
from collections.abc import Collection, Iterator
from pathlib import Path

import msgspec

from yurt.host.files import remove_tree
from yurt.images.blobs import BlobStore

_FOLDER = re.compile(r"[0-9a-f]{64}")


class PruneReport(msgspec.Struct, frozen=True, kw_only=True):
    """What went (or would go): paths, and the bytes on disk they took."""

    removed: tuple[str, ...] = ()
    freed_bytes: int = 0

    def __add__(self, other: "PruneReport") -> "PruneReport":
        return PruneReport(
            removed=self.removed + other.removed, freed_bytes=self.freed_bytes + other.freed_bytes
        )


def form_lock(name: str) -> str:
    """The name of the lock that holds whoever builds a form in the folder `name`."""
    return f"form-{name}"


class Findings:
    """One look over the store. `used` holds paths of forms that must stay. To be used with the store's lock held."""

    def __init__(self, blobs: BlobStore, forms: Path, used: Collection[str]) -> None:
        self._blobs, self._forms = blobs, forms
        self._used_paths = set(used)
        self._used = {name for path in used if (name := self._folder_of(path))}

    def form_folders(self) -> list[Path]:
        """All folders of forms, one for each image."""
        return list(self._folders())

    def unneeded(self, busy: Collection[str]) -> list[Path]:
        """Everything without a user, but nothing of the images (hex digits) that somebody is working on."""
        kept = self._kept() | {f"sha256:{name}" for name in busy}
        needed = self._blobs.reachable(kept)
        found = [path for digest, path in self._blobs.stored() if digest not in needed]
        for folder in self._folders():
            if f"sha256:{folder.name}" not in kept:
                found.append(folder)
            elif folder.name not in busy:
                found += self._old_boot_disks(folder)
        return found

    def _kept(self) -> set[str]:
        named = {found.digest for found in self._blobs.tagged().values()}
        return named | {f"sha256:{name}" for name in self._used}

    def _old_boot_disks(self, folder: Path) -> list[Path]:
        """Boot disks made for an older kernel or agent: all but the one asked for last, and those in use."""
        disks = sorted(folder.glob("disk-*.qcow2"), key=lambda path: path.stat().st_mtime_ns)
        return [path for path in disks[:-1] if str(path) not in self._used_paths]

    def leftovers(self, build_prefix: str, work: str) -> list[tuple[str, list[Path]]]:
        """What killed builds may have left, each with the lock that tells a killed build from a running one."""
        found = []
        for path in sorted(self._forms.glob(f"{build_prefix}*")):
            found.append((f"recipe-{path.name.removeprefix(build_prefix)}", [path]))
        for folder in self._folders():
            left = [each for each in folder.iterdir() if each.name == work or each.name.endswith(".tmp")]
            if left:
                found.append((form_lock(folder.name), left))
        return found

    def _folders(self) -> Iterator[Path]:
        for path in sorted(self._forms.iterdir()):
            if _FOLDER.fullmatch(path.name) and path.is_dir():
                yield path

    def _folder_of(self, path: str) -> str:
        try:
            name = Path(path).relative_to(self._forms).parts[0] if path else ""
        except (ValueError, IndexError):
            return ""  # not one of ours
        return name if _FOLDER.fullmatch(name) else ""


def remove_all(paths: Collection[Path], *, dry_run: bool) -> PruneReport:
    """Remove files and trees, or only count them."""
    removed, freed = [], 0
    for path in paths:
        if not path.exists():
            continue
        removed.append(str(path))
        freed += used_bytes(path)
        if not dry_run:
            remove_tree(path)
    return PruneReport(removed=tuple(removed), freed_bytes=freed)


def used_bytes(path: Path) -> int:
    """The bytes a file or a whole tree takes on disk; each hard-linked file counts once."""
    total, seen = 0, set[tuple[int, int]]()

    def add(entry: os.stat_result) -> None:
        nonlocal total
        if entry.st_nlink > 1:
            if (entry.st_dev, entry.st_ino) in seen:
                return
            seen.add((entry.st_dev, entry.st_ino))
        total += entry.st_blocks * 512

    add(path.lstat())
    if path.is_dir() and not path.is_symlink():
        for folder, directories, files in os.walk(path):
            for name in (*directories, *files):
                add(os.lstat(os.path.join(folder, name)))  # noqa: PTH118 - twice as fast over a whole system
    return total
