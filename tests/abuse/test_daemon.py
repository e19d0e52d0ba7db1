"""The same through a real daemon: uploads that are hostile, bombs, bundles that lie. It lives on and keeps nothing."""

import gzip
import hashlib
import json
import lzma
import subprocess
import time
import zlib
from collections.abc import Callable, Iterator

import pytest
from tests.abuse import archive_cases, header_cases, tars
from tests.abuse.archive_cases import Archive
from tests.abuse.oracles import World, nothing_outside, rss_bytes
from tests.abuse.tars import file, folder, link
from tests.conftest import Daemon, _daemon

pytestmark = [pytest.mark.root, pytest.mark.needs("zstd")]
GROWTH_BYTES = 64 << 20
LIMITS = '[imports]\nupload_bytes = "64M"\ntree_bytes = "128M"\nmembers = 5000\nseconds = 30.0\n'


@pytest.fixture(scope="module")
def shared() -> Iterator[Daemon]:
    """One daemon with small quotas."""
    with _daemon(None) as daemon:
        daemon.stop()
        (daemon.state / "yurt.toml").write_text(LIMITS)
        daemon.start()
        yield daemon


def zeros(size: int, pack: Callable[[bytes], bytes]) -> bytes:
    return pack(tars.header(b"top", size=size) + bytes(size))


def zstd(data: bytes) -> bytes:
    return subprocess.run(["zstd", "-q", "-c"], input=data, capture_output=True, check=True).stdout


def xz_with_large_dictionary() -> bytes:
    filters = [{"id": lzma.FILTER_LZMA2, "dict_size": 1 << 20}]
    data = bytearray(lzma.compress(tars.write(file("x")), format=lzma.FORMAT_XZ, filters=filters))
    # the block's header says how large a dictionary to make: 40 is 4 GiB less one
    at = data.index(b"\x21\x01", 12) + 2
    data[at] = 40
    size = (data[12] + 1) * 4
    data[12 + size - 4 : 12 + size] = _crc32(bytes(data[12 : 12 + size - 4]))
    return bytes(data)


def _crc32(data: bytes) -> bytes:
    return zlib.crc32(data).to_bytes(4, "little")


def bundle(layer: bytes, **changes: object) -> bytes:
    """An OCI archive of one layer; `changes` replace what its documents say."""
    blobs: dict[str, bytes] = {}

    def blob(data: bytes) -> str:
        name = hashlib.sha256(data).hexdigest()
        blobs[name] = data
        return f"sha256:{name}"

    config: dict[str, object] = {
        "architecture": "amd64",
        "os": "linux",
        "rootfs": {"diff_ids": [blob(layer)]},
        "config": {},
    }
    config |= {
        key: value for key, value in changes.items() if key in ("rootfs", "config", "architecture", "os")
    }
    described = {"digest": blob(layer), "size": len(layer), **dict(changes.get("described") or {})}  # type: ignore[call-overload]
    manifest = {
        "config": {"digest": blob(json.dumps(config).encode())},
        "layers": changes.get("layers", [described]),
    }
    index = {"manifests": changes.get("manifests", [{"digest": blob(json.dumps(manifest).encode())}])}
    text = changes.get("index", json.dumps(index).encode())
    assert isinstance(text, bytes)
    parts = [file("index.json", text), *(file(f"blobs/sha256/{name}", data) for name, data in blobs.items())]
    extra = changes.get("extra", ())
    assert isinstance(extra, tuple)
    return tars.write(*parts, *extra)


def good(world: World) -> bytes:
    return tars.write(folder("bin"), file("bin/sh", b"#!", 0o755), folder("etc"))


BOMBS: dict[str, Callable[[World], bytes]] = {
    "gzip-of-600-mib": lambda _: zeros(600 << 20, lambda data: gzip.compress(data, 6)),
    "zstd-of-200-mib": lambda _: zeros(200 << 20, zstd),
    "xz-of-4-gib-dictionary": lambda _: xz_with_large_dictionary(),
    "6000-files": lambda _: tars.write(*(file(f"f{n}", b"") for n in range(6000))),
    "size-of-8-exbi": lambda _: tars.header(b"x", size=tars.base256((1 << 63) - 512)),
    "upload-of-65-mib": lambda _: bytes(65 << 20),
    "gzip-in-gzip": lambda w: gzip.compress(gzip.compress(good(w))),
    "bzip2": lambda _: b"BZh91AY&SY" + bytes(100),
    "cut-gzip": lambda w: gzip.compress(good(w))[:-20],
    "cut-zstd": lambda w: zstd(good(w))[:-8],
}
BUNDLES: dict[str, Callable[[World], bytes]] = {
    "layer-leads-out": lambda w: bundle(tars.write(link("up", str(w.outside)), file("up/x"))),
    "layer-up": lambda w: bundle(tars.write(file("../../../outside/x"))),
    "wrong-digest": lambda w: bundle(good(w), described={"digest": "sha256:" + "0" * 64}),
    "digest-is-a-path": lambda w: bundle(good(w), described={"digest": "sha256:../../../../etc/shadow"}),
    "digest-is-a-number": lambda w: bundle(good(w), described={"digest": 7}),
    "wrong-diff-id": lambda w: bundle(good(w), rootfs={"diff_ids": ["sha256:" + "0" * 64]}),
    "no-diff-ids": lambda w: bundle(good(w), rootfs={}),
    "layers-are-text": lambda w: bundle(good(w), layers="many"),
    "layers-are-null": lambda w: bundle(good(w), layers=[None]),
    "10000-layers": lambda w: bundle(good(w), layers=[{"digest": "sha256:" + "1" * 64}] * 10_000),
    "deep-index": lambda w: bundle(good(w), index=b"[" * 100_000),
    "index-is-list": lambda w: bundle(good(w), index=b"[]"),
    "index-of-5-mib": lambda w: bundle(good(w), index=b" " * (5 << 20) + b"{}"),
    "other-machine": lambda w: bundle(good(w), architecture="riscv64"),
    "other-system": lambda w: bundle(good(w), os="windows"),
    "line-break-in-env": lambda w: bundle(good(w), config={"Env": ["A=b\nB=c"]}),
    "zero-byte-in-command": lambda w: bundle(good(w), config={"Cmd": ["a\0b"]}),
    "workdir-up": lambda w: bundle(good(w), config={"WorkingDir": "/../../etc"}),
    "env-is-a-number": lambda w: bundle(good(w), config={"Env": 7}),
    "two-images": lambda w: bundle(good(w), manifests=[{"digest": "sha256:" + "1" * 64}] * 2),
    "blob-is-a-link": lambda w: bundle(
        good(w),
        layers=[{"digest": "sha256:" + "2" * 64}],
        rootfs={"diff_ids": ["sha256:" + "3" * 64]},
        extra=(link("blobs/sha256/" + "2" * 64, str(w.secret)),),
    ),
    "blobs-is-a-link": lambda w: bundle(good(w), extra=(link("blobs/sha256", str(w.outside)),)),
    "docker-config-is-a-path": lambda w: tars.write(
        file("manifest.json", json.dumps([{"Config": str(w.secret), "Layers": ["x"]}]).encode())
    ),
    "docker-layer-up": lambda w: tars.write(
        file("manifest.json", b'[{"Config":"' + b"0" * 64 + b'.json","Layers":["../../x"]}]'),
        file("0" * 64 + ".json", b"{}"),
    ),
}
SAMPLE = [
    case
    for case in (
        *archive_cases.names_that_lead_up()[::12],
        *archive_cases.through_links()[::8],
        *archive_cases.missing_rooms()[::6],
        *header_cases.numbers()[::8],
    )
    if "rootfs" in case.refuse
]


def put(daemon: Daemon, world: World, data: bytes) -> subprocess.CompletedProcess[bytes]:
    source = world.root / "upload"
    source.write_bytes(data)
    return daemon.yurt("image", "import", "hostile:1", str(source), check=False, timeout_s=30)


def assert_alive_and_clean(daemon: Daemon, memory: int) -> None:
    assert daemon.process is not None and daemon.process.poll() is None, "the daemon has ended"
    assert rss_bytes(daemon.pid) - memory < GROWTH_BYTES
    assert not list((daemon.state / "forms").glob(".import-*"))
    assert daemon.json("image", "ls") == []


def refused(daemon: Daemon, world: World, data: bytes) -> None:
    memory = rss_bytes(daemon.pid)
    (world.root / "upload").touch()
    with nothing_outside(world, limit_s=20):
        begun = time.monotonic()
        done = put(daemon, world, data)
        took = time.monotonic() - begun
    said = done.stderr.decode()
    assert done.returncode in (2, 7, 9, 10), said
    assert took < 10, f"{took:.1f} s"
    assert world.canary.decode() not in said and "Traceback" not in said
    assert_alive_and_clean(daemon, memory)


@pytest.mark.parametrize("name", BOMBS)
def test_bombs(name: str, shared: Daemon, world: World) -> None:
    refused(shared, world, BOMBS[name](world))


@pytest.mark.parametrize("name", BUNDLES)
def test_bundles_that_lie(name: str, shared: Daemon, world: World) -> None:
    refused(shared, world, BUNDLES[name](world))


@pytest.mark.parametrize("case", SAMPLE, ids=lambda case: case.name)
def test_archives(case: Archive, shared: Daemon, world: World) -> None:
    refused(shared, world, case.tar(world))


def test_honest_ones_are_taken(shared: Daemon, world: World) -> None:
    """Else all of the above would prove nothing."""
    for data in (
        good(world),
        gzip.compress(good(world)),
        zstd(good(world)),
        lzma.compress(good(world)),
        bundle(good(world)),
    ):
        done = put(shared, world, data)
        assert done.returncode == 0, done.stderr
        shared.yurt("image", "delete", "hostile:1")
    shared.yurt("image", "prune")


def test_trees_of_images_are_out_of_reach_of_other_users(shared: Daemon) -> None:
    """Images bring set-user-id programs: no user of the host may get at them."""
    shared.yurt(
        "image", "import", "suid:1", "-", stdin=tars.write(folder("bin"), file("bin/evil", b"x", 0o4755))
    )
    try:
        tree = next((shared.state / "forms").glob("*/rootfs/bin/evil"))
        assert tree.stat().st_mode & 0o4000
        done = subprocess.run(
            ["setpriv", "--reuid=65534", "--clear-groups", "cat", str(tree)], capture_output=True, check=False
        )
        assert done.returncode != 0 and b"denied" in done.stderr
    finally:
        shared.yurt("image", "delete", "suid:1")
        shared.yurt("image", "prune")
