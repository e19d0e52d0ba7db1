"""Blobs by digest and names by tag: an OCI image layout on disk.

A blob is written aside, hashed, synced and renamed, so every file below `blobs/` is whole. The index is
replaced as one file. Whoever changes names or collects garbage holds the store's own lock (see store.py).
Source: OCI image format specification, "Image Layout", "Image Manifest", "Image Configuration".
"""

import hashlib
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

import msgspec

from yurt.errors import Internal, NotFound
from yurt.host.files import sync_directory, write_atomic

INDEX = "application/vnd.oci.image.index.v1+json"
MANIFEST = "application/vnd.oci.image.manifest.v1+json"
CONFIG = "application/vnd.oci.image.config.v1+json"
LAYER = "application/vnd.oci.image.layer.v1.tar"
REF_NAME = "org.opencontainers.image.ref.name"
DOCUMENT_LIMIT = 4 << 20  # manifests and configs; the distribution specification's own limit for manifests
_DIGEST = re.compile(r"sha256:([0-9a-f]{64})")
_CHUNK = 1 << 20


class Descriptor(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, rename="camel"):
    """What a blob is, its digest and its size in bytes."""

    media_type: str
    digest: str
    size: int
    annotations: dict[str, str] = {}


class Index(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """`index.json`: the manifests that have names."""

    schema_version: int = 2
    media_type: str = INDEX
    manifests: tuple[Descriptor, ...] = ()


class Manifest(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """One image: its config and its layers, lowest first."""

    schema_version: int = 2
    media_type: str = MANIFEST
    config: Descriptor
    layers: tuple[Descriptor, ...]
    annotations: dict[str, str] = {}


def digest_hex(digest: str) -> str:
    """The 64 hex digits of a digest. Raises Internal for anything else, so no digest becomes a path by accident."""
    found = _DIGEST.fullmatch(digest)
    if not found:
        raise Internal(f"not a digest: {digest[:100]!r}")
    return found[1]


class BlobStore:
    """One OCI image layout. Blocking; call it from a thread."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.blobs = root / "blobs" / "sha256"

    def prepare(self) -> None:
        """Make an empty layout unless one is there. Safe to repeat."""
        self.blobs.mkdir(parents=True, exist_ok=True)
        if not (self.root / "oci-layout").exists():
            write_atomic(self.root / "oci-layout", b'{"imageLayoutVersion": "1.0.0"}', mode=0o644)
        if not (self.root / "index.json").exists():
            self._write_index(Index())

    def path(self, digest: str) -> Path:
        """Where a blob lies, whether it exists or not."""
        return self.blobs / digest_hex(digest)

    def add(self, data: bytes, media_type: str) -> Descriptor:
        """Keep bytes as a blob. Safe to repeat."""
        digest = "sha256:" + hashlib.sha256(data).hexdigest()
        target = self.path(digest)
        if not target.exists():
            write_atomic(target, data, mode=0o644)
        return Descriptor(media_type=media_type, digest=digest, size=len(data))

    def take(self, source: Path, digest: str, media_type: str) -> Descriptor:
        """Move a file of the same file system in as a blob; `digest` was computed when it was written."""
        descriptor = Descriptor(media_type=media_type, digest=digest, size=source.stat().st_size)
        with source.open("rb") as file:
            os.fsync(file.fileno())
        source.chmod(0o644)
        source.rename(self.path(digest))
        sync_directory(self.blobs)
        return descriptor

    def read(self, descriptor: Descriptor) -> bytes:
        """Read a document (manifest or config) and check its size and digest. Raises NotFound and Internal."""
        if descriptor.size > DOCUMENT_LIMIT:
            raise Internal(f"blob {descriptor.digest} is too large for a document: {descriptor.size} bytes")
        try:
            with self.path(descriptor.digest).open("rb") as file:
                data = file.read(descriptor.size + 1)
        except FileNotFoundError as error:
            raise NotFound(kind="blob", name=descriptor.digest) from error
        if len(data) != descriptor.size or hashlib.sha256(data).hexdigest() != digest_hex(descriptor.digest):
            raise _damaged(descriptor.digest)
        return data

    def verify(self, descriptor: Descriptor) -> None:
        """Check a blob of any size as a whole. Raises NotFound and Internal."""
        try:
            found = hash_file(self.path(descriptor.digest))
        except FileNotFoundError as error:
            raise NotFound(kind="blob", name=descriptor.digest) from error
        if found != descriptor.digest:
            raise _damaged(descriptor.digest)

    def manifest(self, digest: str) -> Manifest:
        """Read an image's manifest by its digest. Raises NotFound and Internal."""
        path = self.path(digest)
        size = path.stat().st_size if path.exists() else 0
        data = self.read(Descriptor(media_type=MANIFEST, digest=digest, size=size))
        try:
            return msgspec.json.decode(data, type=Manifest)
        except msgspec.DecodeError as error:
            raise Internal(f"manifest {digest} cannot be read: {error}") from error

    def index(self) -> Index:
        """Read the names. A layout that is not there yet has none."""
        try:
            return msgspec.json.decode((self.root / "index.json").read_bytes(), type=Index)
        except FileNotFoundError:
            return Index()
        except msgspec.DecodeError as error:
            raise Internal(f"`{self.root / 'index.json'}` cannot be read: {error}") from error

    def tagged(self) -> dict[str, Descriptor]:
        """Map each name to its manifest."""
        return {d.annotations[REF_NAME]: d for d in self.index().manifests if REF_NAME in d.annotations}

    def tag(self, reference: str, descriptor: Descriptor) -> None:
        """Give a manifest a name, taking it from whoever had it. Safe to repeat."""
        named = msgspec.structs.replace(descriptor, annotations={REF_NAME: reference})
        others = (d for d in self.index().manifests if d.annotations.get(REF_NAME) != reference)
        self._write_index(Index(manifests=(*others, named)))

    def untag(self, reference: str) -> None:
        """Take a name away. Safe to repeat."""
        left = tuple(d for d in self.index().manifests if d.annotations.get(REF_NAME) != reference)
        self._write_index(Index(manifests=left))

    def reachable(self, manifests: set[str]) -> set[str]:
        """All digests these manifests need, themselves included; a manifest that is gone needs nothing."""
        needed: set[str] = set()
        for digest in manifests:
            if self.path(digest).exists():
                manifest = self.manifest(digest)
                needed |= {digest, manifest.config.digest, *(layer.digest for layer in manifest.layers)}
        return needed

    def stored(self) -> Iterator[tuple[str, Path]]:
        """Yield each file of the blob folder: its digest, or an empty string for what a broken write left anywhere."""
        for path in sorted(self.root.glob(".*.tmp")):
            yield "", path
        for path in sorted(self.blobs.iterdir()):
            digest = f"sha256:{path.name}"
            yield (digest if _DIGEST.fullmatch(digest) else ""), path

    def _write_index(self, index: Index) -> None:
        write_atomic(self.root / "index.json", msgspec.json.encode(index), mode=0o644)


def hash_file(path: Path) -> str:
    """The digest of a whole file."""
    with path.open("rb") as file:
        return hash_stream(file)


def hash_stream(file: BinaryIO) -> str:
    """The digest of what is left of an open file."""
    hasher = hashlib.sha256()
    while chunk := file.read(_CHUNK):
        hasher.update(chunk)
    return "sha256:" + hasher.hexdigest()


def _damaged(digest: str) -> Internal:
    hint = "the disk may be failing; delete the image and build it again"
    return Internal(f"blob {digest} is damaged: its content does not match its name", hint=hint)
