"""Packs a directory tree into a layer and unpacks layers again.

What is unpacked, by which rules, is in images/outside/extract.py; that it happens in a cell, in images/outside/pipeline.py.
Source: OCI image format specification, "Image Layer Filesystem Changeset".
"""

import asyncio
import os
from dataclasses import asdict
from pathlib import Path

from yurt.errors import Internal, Invalid
from yurt.host import proc
from yurt.images.blobs import LAYER, Descriptor, hash_file
from yurt.images.outside import pipeline
from yurt.images.outside.extract import Quotas
from yurt.model.names import printable
from yurt.model.operation import Progress

# layers in the store are of our own making: what is in them was held to quotas before
LAYER_QUOTAS = Quotas(
    tree_bytes=1 << 50, members=1 << 32, depth=2048, name_bytes=1 << 16, ratio=1 << 20, odd_names=True
)
KNOWN_LAYERS = (LAYER, LAYER + "+zstd", LAYER + "+gzip")


async def pack(tree: Path, work: Path) -> tuple[Path, str]:
    """Pack a tree as a zstd layer in `work`. Returns the layer and its diff id (the digest of the plain archive)."""
    plain, packed = work / "layer.tar", work / "layer.tar.zst"
    options = ("--format=posix", "--sort=name", "--numeric-owner", "--xattrs", "--xattrs-include=*")
    await proc.run(
        [
            "tar",
            "--create",
            f"--file={plain}",
            *options,
            "--pax-option=delete=atime,delete=ctime",
            "-C",
            str(tree),
            ".",
        ],
        timeout_s=1800,
    )
    async with asyncio.TaskGroup() as group:
        digest = group.create_task(asyncio.to_thread(hash_file, plain))
        group.create_task(proc.run(["zstd", "-q", "-f", "-3", str(plain), "-o", str(packed)], timeout_s=1800))
    plain.unlink()
    return packed, digest.result()


async def unpack_layer(
    blob: Path, descriptor: Descriptor, diff_id: str, target: Path, quotas: Quotas = LAYER_QUOTAS
) -> pipeline.Unpacked:
    """Unpack one layer over `target`, which exists; decompressing and parsing happen in cells.

    Raises Invalid for an archive that is damaged or steps out of line, Internal when its content is not what its
    digest says; `target` is then half-filled and to be removed by the caller.
    """
    if descriptor.media_type not in KNOWN_LAYERS:
        raise Invalid(f"layers of type `{printable(descriptor.media_type)}` are not known here")
    archive = os.open(blob, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
    try:
        done = await unpack_archive_file(archive, target, quotas, layer=True)
    finally:
        os.close(archive)
    if done.digest != diff_id:
        hint = "delete the image, build it again"
        raise Internal(f"layer {descriptor.digest} does not hold what its image says", hint=hint)
    return done


async def unpack_archive_file(
    archive: int, target: Path, quotas: Quotas, *, layer: bool, report: Progress | None = None
) -> pipeline.Unpacked:
    """Unpack a tar archive (an open file, read from its beginning), compressed or not, over `target`.

    Raises Invalid, Exhausted, Timeout.
    """
    size = os.fstat(archive).st_size
    task: dict[str, object] = {
        "do": "unpack",
        "quotas": asdict(quotas),
        "packed_bytes": size,
        "layer": layer,
    }
    return await pipeline.ask(
        task,
        pipeline.Unpacked,
        archive=archive,
        write=((target, "/tree"),),
        timeout_s=quotas.seconds + 10,
        report=report,
    )
