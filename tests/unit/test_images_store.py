"""The image store's own logic, with images made by hand: names, hints, forms in use, locks."""

import asyncio
import io
import os
import tarfile
import time
from pathlib import Path

import msgspec
import pytest

from yurt.errors import Internal, Invalid, NotFound
from yurt.host.layout import Layout
from yurt.images import blobs, config
from yurt.images.locks import Locks
from yurt.images.recipes import Recipe
from yurt.images.store import ImageStore
from yurt.model.image import Image

RECIPE = Recipe(
    description="by hand", builder="busybox", needed="1M", init="/sbin/init", command=("/bin/sh",)
)


def quiet(text: str, fraction: float | None) -> None:
    assert text


def publish(store: ImageStore, name: str, content: bytes) -> Image:
    """Put an image of one file into the store, the way the end of a build does."""
    asyncio.run(store._prepare())
    work = store.forms / ".build-by-hand"
    (work / "rootfs").mkdir(parents=True)
    (work / "rootfs" / "file").write_bytes(content)
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as archive:
        member = tarfile.TarInfo("file")
        member.size, member.uid, member.gid = len(content), os.getuid(), os.getgid()
        archive.addfile(member, io.BytesIO(content))
    layer = work / "layer"
    layer.write_bytes(out.getvalue())
    digest = blobs.hash_file(layer)
    document = config.document(name, RECIPE, digest, time.time())
    reference = name if ":" in name else f"{name}:latest"
    named = store.blobs.take(layer, digest, blobs.LAYER)
    manifest = blobs.Manifest(config=store.blobs.add(document, blobs.CONFIG), layers=(named,))
    found = store.blobs.add(msgspec.json.encode(manifest), blobs.MANIFEST)
    folder = store.forms / blobs.digest_hex(found.digest)
    if not folder.exists():
        folder.mkdir()
        (work / "rootfs").rename(folder / "rootfs")
    store.blobs.tag(reference, found)
    for path in sorted(work.rglob("*"), reverse=True):
        path.rmdir() if path.is_dir() else path.unlink()
    work.rmdir()
    return asyncio.run(store.get(reference))


@pytest.fixture
def store(tmp_path: Path) -> ImageStore:
    return ImageStore(Layout(tmp_path / "state", tmp_path / "run"))


def test_an_empty_store_lists_nothing_and_knows_its_recipes(store: ImageStore) -> None:
    assert asyncio.run(store.list()) == []
    assert store.recipes() == ["debian", "tiny"]


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("tiny", "`yurt image build tiny`"),
        ("debain", "`debian`"),
        ("mywbe", "`myweb`"),
        ("nothing-like-it", "`yurt image ls`"),
    ],
)
def test_an_unknown_image_comes_with_the_way_to_get_it(store: ImageStore, name: str, hint: str) -> None:
    publish(store, "myweb", b"x")
    with pytest.raises(NotFound) as caught:
        asyncio.run(store.get(name))
    assert name in caught.value.message
    assert hint in caught.value.hint


def test_a_name_out_of_form_is_refused(store: ImageStore) -> None:
    with pytest.raises(Invalid):
        asyncio.run(store.get("../../etc"))


def test_an_image_says_how_it_starts(store: ImageStore) -> None:
    image = publish(store, "hand", b"x")
    assert (image.reference, image.config.init, image.config.systemd) == ("hand:latest", "/sbin/init", False)
    assert image.config.cmd == ("/bin/sh",)
    assert image.created_at == pytest.approx(time.time(), abs=60)
    assert [each.reference for each in asyncio.run(store.list())] == ["hand:latest"]


def test_an_image_that_cannot_be_read_does_not_hide_the_others(store: ImageStore) -> None:
    publish(store, "good", b"1")
    bad = publish(store, "bad", b"2")
    store.blobs.path(bad.digest).write_bytes(b"{}")
    assert [each.reference for each in asyncio.run(store.list())] == ["good:latest"]
    with pytest.raises(Internal, match="damaged"):
        asyncio.run(store.get("bad"))
    asyncio.run(store.delete("bad"))
    with pytest.raises(NotFound):
        asyncio.run(store.delete("bad"))


def test_a_missing_tree_is_unpacked_again(store: ImageStore) -> None:
    image = publish(store, "hand", b"content")
    tree = asyncio.run(store.rootfs_dir(image, quiet))
    (tree / "file").unlink()
    tree.rmdir()
    assert asyncio.run(store.rootfs_dir(image, quiet)) == tree
    assert (tree / "file").read_bytes() == b"content"
    assert [path.name for path in tree.parent.iterdir()] == ["rootfs"]


def test_a_damaged_layer_makes_no_tree(store: ImageStore) -> None:
    image = publish(store, "hand", b"content")
    folder = store.forms / blobs.digest_hex(image.digest)
    (folder / "rootfs" / "file").unlink()
    (folder / "rootfs").rmdir()
    (layer,) = store.blobs.manifest(image.digest).layers
    path = store.blobs.path(layer.digest)
    path.write_bytes(path.read_bytes().replace(b"content", b"CONTENT"))
    with pytest.raises(Internal, match="damaged"):
        asyncio.run(store.rootfs_dir(image, quiet))
    assert list(folder.iterdir()) == []


def test_a_layer_that_is_not_what_its_config_says_makes_no_tree(store: ImageStore) -> None:
    image = publish(store, "hand", b"content")
    manifest = store.blobs.manifest(image.digest)
    other = config.document("hand", RECIPE, "sha256:" + "0" * 64, 0)
    forged = msgspec.structs.replace(manifest, config=store.blobs.add(other, blobs.CONFIG))
    found = store.blobs.add(msgspec.json.encode(forged), blobs.MANIFEST)
    store.blobs.tag("forged:latest", found)

    async def attempt() -> None:
        await store.rootfs_dir(await store.get("forged"), quiet)

    with pytest.raises(Internal, match="does not hold"):
        asyncio.run(attempt())
    assert not (store.forms / blobs.digest_hex(found.digest) / "rootfs").exists()


def test_prune_keeps_what_has_a_name_or_a_user(store: ImageStore) -> None:
    old, used = publish(store, "a", b"old"), publish(store, "b", b"used")
    kept = publish(store, "c", b"kept")
    base = asyncio.run(store.rootfs_dir(used, quiet))
    for name in ("a", "b"):
        asyncio.run(store.delete(name))
    plan = asyncio.run(
        store.prune(dry_run=True, used={str(base), "", "/somewhere/else", str(store.forms / ".locks" / "x")})
    )
    assert (store.forms / blobs.digest_hex(old.digest)).exists()
    done = asyncio.run(
        store.prune(dry_run=False, used={str(base), "", "/somewhere/else", str(store.forms / ".locks" / "x")})
    )
    assert plan == done
    assert done.freed_bytes > 0
    assert len(done.removed) == 4  # the form's folder, manifest, config and layer of `a`
    assert not (store.forms / blobs.digest_hex(old.digest)).exists()
    assert base.is_dir()
    assert (asyncio.run(store.rootfs_dir(kept, quiet)) / "file").exists()
    assert len(list(store.blobs.stored())) == 6
    assert asyncio.run(store.prune(dry_run=False, used={str(base)})).removed == ()


def test_prune_lets_whoever_makes_a_form_finish(store: ImageStore) -> None:
    image = publish(store, "a", b"x")
    asyncio.run(store.delete("a"))

    async def scenario() -> None:
        async with Locks(store.forms / ".locks").held(f"form-{blobs.digest_hex(image.digest)}"):
            assert (await store.prune(dry_run=False)).removed == ()
        assert (await store.rootfs_dir(image, quiet)).is_dir()
        assert len((await store.prune(dry_run=False)).removed) == 4

    asyncio.run(scenario())


def test_prune_keeps_the_boot_disk_asked_for_last_and_those_in_use(store: ImageStore) -> None:
    image = publish(store, "a", b"x")
    folder = store.forms / blobs.digest_hex(image.digest)
    for number, name in enumerate(("disk-1.qcow2", "disk-2.qcow2", "disk-3.qcow2", "root.ext4")):
        (folder / name).write_bytes(b"x" * 5000)
        os.utime(folder / name, (number, number))
    asyncio.run(store.prune(dry_run=False, used={str(folder / "disk-1.qcow2")}))
    assert sorted(path.name for path in folder.iterdir()) == [
        "disk-1.qcow2",
        "disk-3.qcow2",
        "root.ext4",
        "rootfs",
    ]


def test_prune_takes_what_killed_builds_left_and_no_running_ones(store: ImageStore) -> None:
    image = publish(store, "a", b"x")
    folder = store.forms / blobs.digest_hex(image.digest)
    for path in (store.forms / ".build-tiny" / "rootfs", store.forms / ".build-debian", folder / ".work"):
        path.mkdir(parents=True)
    (store.blobs.blobs / ".half.tmp").write_bytes(b"")

    async def scenario() -> tuple[str, ...]:
        async with Locks(store.forms / ".locks").held("recipe-debian"):
            return (await store.prune(dry_run=False)).removed

    removed = asyncio.run(scenario())
    assert sorted(Path(path).name for path in removed) == [".build-tiny", ".half.tmp", ".work"]
    assert (store.forms / ".build-debian").is_dir()
    assert (folder / "rootfs").is_dir()


def test_a_lock_is_one_holders_at_a_time_even_between_stores(tmp_path: Path) -> None:
    order: list[str] = []

    async def holder(locks: Locks, name: str, inside: asyncio.Event, leave: asyncio.Event) -> None:
        async with locks.held("x"):
            order.append(f"{name} in")
            inside.set()
            await leave.wait()
            order.append(f"{name} out")

    async def scenario() -> None:
        one, other = Locks(tmp_path), Locks(tmp_path)  # like two processes
        inside, leave, second, free = (asyncio.Event() for _ in range(4))
        free.set()
        async with asyncio.TaskGroup() as group:
            group.create_task(holder(one, "first", inside, leave))
            await inside.wait()
            group.create_task(holder(other, "second", second, free))
            async with other.tried("x") as ours:
                assert not ours
            leave.set()
        async with other.tried("x") as ours:
            assert ours

    asyncio.run(scenario())
    assert order == ["first in", "first out", "second in", "second out"]


def test_who_stops_waiting_for_a_lock_does_not_keep_it(tmp_path: Path) -> None:
    async def scenario() -> None:
        one, other = Locks(tmp_path), Locks(tmp_path)

        async def wait() -> None:
            async with other.held("x"):
                pytest.fail("the lock was somebody else's")

        async with one.held("x"):
            waiting = asyncio.create_task(wait())
            await asyncio.sleep(0)  # one step brings it to where it waits
            assert other._tasks["x"].locked()
            waiting.cancel()
            with pytest.raises(asyncio.CancelledError):
                await waiting
        async with asyncio.timeout(20), one.held("x"):
            pass

    asyncio.run(scenario())
