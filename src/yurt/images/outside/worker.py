"""What runs in a cell: unpacks a stream, says what an archive is, reads its documents, looks over a finished tree.

Called with one JSON argument (`Task`), answers with one JSON object on standard output: `{"done": …}` or `{"error": …}`.
The standard library alone. Nothing here is believed by the daemon beyond what importing.py checks again.
"""

import hashlib
import json
import os
import sys
import tarfile
from dataclasses import asdict
from typing import Any

from yurt.beneath import DIRECTORY, RESOLVE_IN_ROOT, RESOLVE_NO_MAGICLINKS, Tree, open_beneath
from yurt.errors import Exhausted, Internal, Invalid, YurtError, to_document
from yurt.images.outside import bundle
from yurt.images.outside.extract import Meter, Quotas, Readable, StrictHeader, safe_parts, unpack_stream
from yurt.model.names import printable

TREE = "/tree"
NEEDED_DIRECTORIES = ("dev", "proc", "sys", "etc", "run")
INITS = ("sbin/init", "usr/sbin/init", "init", "bin/init")
MAX_SURVEYED = 4096  # members; a bundle with more parts than that is none
_PROGRESS_BYTES = 16 << 20


class _Stream:
    """Standard input, digested as it passes; tells on standard error how far it is."""

    def __init__(self) -> None:
        self._hasher, self._count, self._told = hashlib.sha256(), 0, 0

    def read(self, size: int = -1, /) -> bytes:
        data = os.read(0, size if 0 < size <= 1 << 20 else 1 << 20)
        self._hasher.update(data)
        self._count += len(data)
        if self._count - self._told >= _PROGRESS_BYTES:
            self._told = self._count
            print(self._count, file=sys.stderr, flush=True)
        return data

    def digest(self) -> str:
        return "sha256:" + self._hasher.hexdigest()


class _Whole:
    """Reads of exactly the asked size from a stream that gives what it has: tarfile wants whole blocks."""

    def __init__(self, source: Readable) -> None:
        self._source = source

    def read(self, size: int = -1, /) -> bytes:
        parts, left = [], size
        while left > 0 and (data := self._source.read(left)):
            parts.append(data)
            left -= len(data)
        return b"".join(parts)


def unpack(task: "dict[str, Any]") -> "dict[str, object]":
    """Unpack standard input over the tree."""
    stream, root = _Stream(), os.open(TREE, DIRECTORY)
    quotas = Quotas(**task["quotas"])
    try:
        done = unpack_stream(
            _Whole(stream), root, quotas, packed_bytes=task["packed_bytes"], layer=task["layer"]
        )
    finally:
        os.close(root)
    return {"digest": stream.digest(), **asdict(done)}


def survey(task: "dict[str, Any]") -> "dict[str, object]":
    """Say what the archive on standard input is: `rootfs` or `bundle`. Stops as soon as it knows."""
    meter = Meter(_Whole(_Stream()), Quotas(**task["quotas"]), task["packed_bytes"])
    names = set[str]()
    try:
        with tarfile.open(  # type: ignore[call-overload]
            fileobj=meter, mode="r|", encoding="utf-8", errors="surrogateescape", tarinfo=StrictHeader
        ) as archive:
            for member in archive:
                archive.members = []
                name = "/".join(safe_parts(member.name))
                if name and not bundle.is_part(name):
                    return {"kind": "rootfs"}
                names.add(name)
                if len(names) > MAX_SURVEYED:
                    raise Invalid("the archive has too many parts")
    except (tarfile.TarError, EOFError, ValueError, OverflowError, RecursionError, MemoryError) as error:
        raise Invalid(f"the archive is damaged: {printable(str(error)) or type(error).__name__}") from error
    if not names - {""}:
        raise Invalid("the archive is empty, or no tar archive")
    return {"kind": "bundle" if names & {"index.json", "manifest.json"} else "rootfs"}


def plan(task: "dict[str, Any]") -> "dict[str, object]":
    """Read the documents of an unpacked bundle."""
    root = os.open(TREE, DIRECTORY)
    try:
        return bundle.read_plan(root, task["architecture"])
    except RecursionError as error:
        raise Invalid("a document of the archive is nested too deeply") from error
    finally:
        os.close(root)


def look_over(_: "dict[str, Any]") -> "dict[str, object]":
    """Check what the host relies on in a root file system; find its init."""
    root = os.open(TREE, DIRECTORY)
    tree = Tree(root)
    try:
        for name in NEEDED_DIRECTORIES:
            try:
                os.stat(name, dir_fd=root, follow_symlinks=False)
            except FileNotFoundError:
                continue
            if not tree.is_directory(root, name):
                raise Invalid(
                    f"`/{name}` in the archive is no directory", hint="it may be missing, but no link or file"
                )
        if not os.listdir(root):  # noqa: PTH208 - by descriptor
            raise Invalid("the archive holds no root file system: it is empty")
        init = next((f"/{name}" for name in INITS if _is_program(root, name)), "")
        return {"init": init, "systemd": bool(init) and _is_program(root, "lib/systemd/systemd")}
    finally:
        os.close(root)


def _is_program(root: int, name: str) -> bool:
    """Whether a path, as the guest will see it, is an executable file. Links are followed, but only inside."""
    try:
        found = open_beneath(root, name, os.O_PATH, resolve=RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS)
    except OSError:
        return False
    try:
        mode = os.fstat(found).st_mode
        return (mode & 0o170000) == 0o100000 and bool(mode & 0o111)
    finally:
        os.close(found)


TASKS = {"unpack": unpack, "survey": survey, "plan": plan, "look_over": look_over}


def main() -> None:
    """Do the task that the only argument describes. The exit status is 0 also for a refusal: the answer says so."""
    try:
        task = json.loads(sys.argv[1])
        answer: dict[str, object] = {"done": TASKS[task["do"]](task)}
    except YurtError as error:
        answer = {"error": to_document(error)}
    except OSError as error:
        full = error.errno in (27, 28, 122)  # too large, no space, quota
        kind: YurtError = (
            Exhausted("the disk became full, or a file too large, while the archive was unpacked")
            if full
            else Invalid(f"the archive cannot be unpacked: {os.strerror(error.errno or 0)}")
        )
        answer = {"error": to_document(kind)}
    except MemoryError:
        answer = {"error": to_document(Invalid("the archive needs more memory than it may use"))}
    except Exception as error:
        answer = {"error": to_document(Internal(f"{type(error).__name__}: {printable(str(error))}"))}
    sys.stdout.write(json.dumps(answer))
    sys.stdout.flush()
