"""The OCI layout: whole blobs only, names that replace one another, digests that are checked and never become paths."""

import hashlib
import json
import os
from pathlib import Path

import msgspec
import pytest

from yurt.errors import Internal, NotFound
from yurt.images.blobs import CONFIG, LAYER, MANIFEST, BlobStore, Descriptor, Manifest, hash_file


@pytest.fixture
def store(tmp_path: Path) -> BlobStore:
    made = BlobStore(tmp_path / "images")
    made.prepare()
    return made


def digest(data: bytes) -> str:
    return "sha256:" + hashlib.sha256(data).hexdigest()


def add_image(store: BlobStore, name: bytes) -> Descriptor:
    layer = store.root / "layer"
    layer.write_bytes(b"layer of " + name)
    manifest = Manifest(
        config=store.add(b'{"config of": "' + name + b'"}', CONFIG),
        layers=(store.take(layer, digest(b"layer of " + name), LAYER),),
    )
    return store.add(msgspec.json.encode(manifest), MANIFEST)


def test_the_layout_is_the_specifications(store: BlobStore) -> None:
    assert json.loads((store.root / "oci-layout").read_text()) == {"imageLayoutVersion": "1.0.0"}
    store.tag("tiny:latest", add_image(store, b"tiny"))
    index = json.loads((store.root / "index.json").read_text())
    assert (index["schemaVersion"], len(index["manifests"])) == (2, 1)
    named = index["manifests"][0]
    assert named["annotations"] == {"org.opencontainers.image.ref.name": "tiny:latest"}
    manifest = json.loads((store.root / "blobs/sha256" / named["digest"].removeprefix("sha256:")).read_text())
    assert manifest["mediaType"] == named["mediaType"] == MANIFEST
    for part in (manifest["config"], *manifest["layers"]):
        data = (store.root / "blobs/sha256" / part["digest"].removeprefix("sha256:")).read_bytes()
        assert (digest(data), len(data)) == (part["digest"], part["size"])


def test_preparing_again_keeps_what_is_there(store: BlobStore) -> None:
    store.tag("tiny:latest", add_image(store, b"tiny"))
    store.prepare()
    assert list(store.tagged()) == ["tiny:latest"]


def test_a_name_moves_to_the_newer_image(store: BlobStore) -> None:
    old, new = add_image(store, b"old"), add_image(store, b"new")
    store.tag("a:latest", old)
    store.tag("b:latest", old)
    store.tag("a:latest", new)
    assert {name: found.digest for name, found in store.tagged().items()} == {
        "a:latest": new.digest,
        "b:latest": old.digest,
    }
    store.untag("a:latest")
    store.untag("a:latest")
    assert list(store.tagged()) == ["b:latest"]


def test_reachable_is_the_image_and_all_it_needs(store: BlobStore) -> None:
    one, two = add_image(store, b"one"), add_image(store, b"two")
    assert len(store.reachable({one.digest})) == 3
    assert len(store.reachable({one.digest, two.digest})) == 6
    assert store.reachable({digest(b"gone")}) == set()
    assert {found for found, _ in store.stored()} == store.reachable({one.digest, two.digest})


def test_a_damaged_document_is_noticed(store: BlobStore) -> None:
    kept = store.add(b"content", CONFIG)
    assert store.read(kept) == b"content"
    for damaged in (b"Content", b"conten", b"content and more"):
        store.path(kept.digest).write_bytes(damaged)
        with pytest.raises(Internal, match="damaged"):
            store.read(kept)
        with pytest.raises(Internal, match="damaged"):
            store.verify(kept)
    store.path(kept.digest).unlink()
    with pytest.raises(NotFound):
        store.read(kept)
    with pytest.raises(NotFound):
        store.verify(kept)


def test_a_manifest_that_is_gone_or_no_manifest(store: BlobStore) -> None:
    with pytest.raises(NotFound):
        store.manifest(digest(b"gone"))
    with pytest.raises(Internal, match="cannot be read"):
        store.manifest(store.add(b"{}", MANIFEST).digest)


def test_a_document_without_end_is_not_read(store: BlobStore) -> None:
    with pytest.raises(Internal, match="too large"):
        store.read(Descriptor(media_type=CONFIG, digest=digest(b""), size=1 << 40))


@pytest.mark.parametrize(
    "text", ["", "sha256:../../etc/passwd", "sha256:" + "A" * 64, "md5:" + "a" * 64, "a" * 64]
)
def test_only_a_digest_becomes_a_path(store: BlobStore, text: str) -> None:
    with pytest.raises(Internal, match="not a digest"):
        store.path(text)


def test_a_damaged_index_is_an_error_and_not_an_empty_store(store: BlobStore) -> None:
    (store.root / "index.json").write_text('{"schemaVersion": 2, "manif')
    with pytest.raises(Internal, match="cannot be read"):
        store.tagged()


def test_no_index_means_no_names(tmp_path: Path) -> None:
    assert BlobStore(tmp_path / "never").tagged() == {}


def test_what_a_broken_write_left_has_no_digest(store: BlobStore) -> None:
    (store.blobs / ".abc.tmp").write_bytes(b"half")
    assert [found for found, _ in store.stored()] == [""]


def test_hashing_a_file_reads_all_of_it(tmp_path: Path) -> None:
    data = os.urandom((1 << 20) + 17)
    (tmp_path / "f").write_bytes(data)
    assert hash_file(tmp_path / "f") == digest(data)
