"""Finds and removes what no image name and no instance stands for any longer. Blocking."""

import os
from collections.abc import Collection, Iterator
from pathlib import Path

import msgspec

from yurt.host.files import remove_tree
from yurt.images.blobs import BlobStore, digest_hex


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
    """One look over the store. `used` holds paths of forms that must stay."""

    def __init__(self, blobs: BlobStore, forms: Path, used: Collection[str]) -> None:
        self._blobs, self._forms = blobs, forms
        self._used = {name for path in used if (name := self._folder_of(path))}

    def remove_unreachable(self, *, dry_run: bool) -> PruneReport:
        """Remove blobs and whole form folders without a user. To be called with the store's lock held."""
        kept = {found.digest for found in self._blobs.tagged().values()} | {f"sha256:{n}" for n in self._used}
        needed = self._blobs.reachable(kept)
        unneeded = [path for digest, path in self._blobs.stored() if digest not in needed]
        names = {digest_hex(digest) for digest in kept}
        unneeded += [path for path in self._folders() if path.name not in names]
        return remove_all(unneeded, dry_run=dry_run)

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
            if len(path.name) == 64 and path.is_dir():
                yield path

    def _folder_of(self, path: str) -> str:
        try:
            return Path(path).relative_to(self._forms).parts[0] if path else ""
        except (ValueError, IndexError):
            return ""  # not one of ours


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
