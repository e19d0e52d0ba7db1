"""Makes an image of an archive from outside: a root file system as tar, an OCI archive, or what `docker save` writes.

The archive is read in cells only (images/outside/). All its layers end in one tree, which is looked over and packed anew:
not a byte of the archive's own headers gets into the store, and what is stored later unpacks as any image of ours.
"""

import asyncio
import os
import time
from contextlib import closing
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from yurt.beneath import DIRECTORY, open_beneath
from yurt.errors import Denied, Exhausted, Invalid
from yurt.host.space import RESERVE_BYTES, free_bytes
from yurt.images import blobs, config, unpack
from yurt.images.outside import pipeline
from yurt.images.outside.bundle import MAX_LAYERS, is_part
from yurt.images.outside.extract import Quotas
from yurt.images.outside.spool import Spool
from yurt.model.image import Image
from yurt.model.operation import Progress
from yurt.units import format_size

if TYPE_CHECKING:
    from yurt.images.store import ImageStore

# the tree, the packed layer beside its plain form
COPIES = 3
DOCUMENT_SECONDS = 60.0
_Words = tuple[str, ...]


class Kind(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What `look_over` found."""

    init: str
    systemd: bool


class Layer(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One layer of a bundle: its file, that file's digest where the bundle says it, the digest of what is in it."""

    file: str
    digest: str
    diff_id: str


class Execution(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How a guest of a bundle starts."""

    env: _Words = ()
    entrypoint: _Words = ()
    cmd: _Words = ()
    workdir: str = ""
    user: str = ""


class BundlePlan(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a bundle's documents say."""

    layers: tuple[Layer, ...]
    config: Execution


class Imported(msgspec.Struct, frozen=True, kw_only=True):
    """The image, and what its archive was: `rootfs` or `bundle`; device nodes that were left out."""

    image: Image
    kind: str
    members: int
    devices: int


async def import_archive(
    store: "ImageStore",
    reference: str,
    spool: Spool,
    quotas: Quotas,
    architecture: str,
    report: Progress,
) -> Imported:
    """Make the upload in `spool` an image of this name; one that had the name before loses it.

    Raises Invalid, Exhausted, Timeout, Unsupported, Denied; nothing of a failed import is visible, what it wrote lies in
    the spool, which the caller removes.
    """
    if os.geteuid() != 0:
        raise Denied(
            "importing an image needs root, which gives files their owners", hint="start yurt with sudo"
        )
    run = _Import(spool, quotas, report)
    return await run.whole(store, reference, architecture)


class _Import:
    def __init__(self, spool: Spool, quotas: Quotas, report: Progress) -> None:
        self._folder, self._upload, self._report = spool.folder, spool.upload, report
        room = (free_bytes(spool.folder) - RESERVE_BYTES) // COPIES
        self._short_of_room = room < quotas.tree_bytes
        self._quotas = replace(quotas, tree_bytes=min(quotas.tree_bytes, max(room, 0)))
        self._end = time.monotonic() + quotas.seconds
        self._members = self._devices = 0

    async def whole(self, store: "ImageStore", reference: str, architecture: str) -> Imported:
        tree = self._folder / "rootfs"
        await asyncio.to_thread(tree.mkdir, 0o755)
        with closing(_Opened(self._upload)) as upload:
            self._report("looking at the archive", None)
            kind = await self._survey(upload.descriptor)
            if kind == "rootfs":
                execution = Execution()
                await self._unpack(upload.descriptor, tree, layer=False)
            else:
                execution = await self._bundle(upload.descriptor, tree, architecture)
        self._report("looking over the root file system", None)
        found = await pipeline.ask(
            {"do": "look_over"}, Kind, read=((tree, "/tree"),), timeout_s=DOCUMENT_SECONDS
        )
        self._report("packing the image", None)
        layer, diff_id = await unpack.pack(tree, self._folder)
        document = config.imported_document(
            execution=config.Execution(
                env=execution.env,
                entrypoint=execution.entrypoint,
                cmd=execution.cmd or (() if execution.entrypoint or found.init else ("/bin/sh",)),
                working_dir=execution.workdir or "/",
                user=execution.user,
            ),
            init=found.init,
            systemd=found.systemd,
            diff_id=diff_id,
            moment=time.time(),
        )
        image = await store.adopt(reference, document, tree, layer)
        return Imported(image=image, kind=kind, members=self._members, devices=self._devices)

    async def _survey(self, upload: int) -> str:
        size = os.fstat(upload).st_size
        task: dict[str, object] = {"do": "survey", "quotas": asdict(self._left()), "packed_bytes": size}
        found = await pipeline.ask(task, pipeline.Surveyed, archive=upload, timeout_s=self._seconds())
        if found.kind not in ("rootfs", "bundle"):
            raise Invalid("the archive is of no known kind")
        return found.kind

    async def _bundle(self, upload: int, tree: Path, architecture: str) -> Execution:
        parts = self._folder / "parts"
        await asyncio.to_thread(parts.mkdir, 0o700)
        await self._unpack(upload, parts, layer=False)
        plan = await pipeline.ask(
            {"do": "plan", "architecture": architecture},
            BundlePlan,
            read=((parts, "/tree"),),
            timeout_s=min(DOCUMENT_SECONDS, self._seconds()),
        )
        if len(plan.layers) > MAX_LAYERS or not all(is_part(layer.file) for layer in plan.layers):
            raise Invalid("the archive names its layers by something that is no part of it")
        root = os.open(parts, DIRECTORY)
        try:
            for number, layer in enumerate(plan.layers, 1):
                self._report(f"unpacking layer {number} of {len(plan.layers)}", None)
                await self._layer(root, layer, tree)
        finally:
            os.close(root)
        return plan.config

    async def _layer(self, root: int, layer: Layer, tree: Path) -> None:
        try:
            archive = open_beneath(root, layer.file, os.O_RDONLY | os.O_NONBLOCK)
        except OSError as error:
            raise Invalid("the archive lacks a layer that it names, or leads elsewhere") from error
        try:
            if layer.digest and await asyncio.to_thread(_digest, archive) != layer.digest:
                raise Invalid("a layer in the archive does not match its digest")
            done = await self._unpack(archive, tree, layer=True)
        finally:
            os.close(archive)
        if done.digest != layer.diff_id:
            raise Invalid("a layer in the archive does not hold what its image says")

    async def _unpack(self, archive: int, tree: Path, *, layer: bool) -> pipeline.Unpacked:
        quotas = self._left()
        try:
            done = await unpack.unpack_archive_file(archive, tree, quotas, layer=layer, report=self._report)
        except Exhausted as error:
            if not self._short_of_room:
                raise
            raise Exhausted(
                f"not enough room for the image below `{self._folder.parent}`: "
                f"{format_size(quotas.tree_bytes)} could be used for what is unpacked",
                hint="free some room, for example with `yurt image prune`, or delete instances",
            ) from error
        self._members += done.members
        self._devices += done.devices
        self._quotas = replace(
            self._quotas,
            tree_bytes=max(0, quotas.tree_bytes - done.tree_bytes),
            members=max(0, quotas.members - done.members),
        )
        return done

    def _left(self) -> Quotas:
        return replace(self._quotas, seconds=self._seconds())

    def _seconds(self) -> float:
        return max(0.1, self._end - time.monotonic())


class _Opened:
    """A descriptor of an upload."""

    def __init__(self, path: Path) -> None:
        self.descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)

    def close(self) -> None:
        os.close(self.descriptor)


def _digest(descriptor: int) -> str:
    with os.fdopen(os.dup(descriptor), "rb") as file:
        os.lseek(descriptor, 0, os.SEEK_SET)
        found = blobs.hash_stream(file)
    os.lseek(descriptor, 0, os.SEEK_SET)
    return found
