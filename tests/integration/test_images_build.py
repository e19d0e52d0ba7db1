"""Images and their forms for real: built, taken apart, built anew from their blobs, and checked by the usual tools."""

import asyncio
import hashlib
import json
import os
import re
import stat
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from yurt.drivers.agent.build import agent_binary, source_dir
from yurt.drivers.agent.config import BootConfig, encode_config
from yurt.errors import Denied, Exhausted, Invalid
from yurt.host.layout import Layout
from yurt.images import forms, service, store, unpack
from yurt.images.blobs import LAYER, Descriptor, digest_hex
from yurt.images.kernel import Kernel, KernelStore
from yurt.images.store import ImageStore
from yurt.model.image import DiskFormat, Image
from yurt.storage.qcow2 import create_overlay, grow_gpt, virtual_size

pytestmark = [
    pytest.mark.root,
    pytest.mark.needs(
        "busybox", "tar", "zstd", "mke2fs", "e2fsck", "debugfs", "qemu-img", "qemu-io", "sfdisk"
    ),
]
MIB = 1 << 20
BOOT_CONFIG = encode_config(BootConfig(mode="vm", hostname="", init="/sbin/init", root_device="LABEL=root"))
ENVIRONMENT = {**os.environ, "PATH": os.environ["PATH"] + ":/usr/sbin:/sbin", "LC_ALL": "C.UTF-8"}


def quiet(text: str, fraction: float | None) -> None:
    assert text
    assert fraction is None or 0 <= fraction <= 1


def tool(*argv: str | Path) -> str:
    done = subprocess.run(
        [str(word) for word in argv], capture_output=True, text=True, check=False, env=ENVIRONMENT
    )
    assert done.returncode == 0, f"{argv}\n{done.stdout}{done.stderr}"
    return done.stdout


@pytest.fixture(scope="module")
def layout(tmp_path_factory: pytest.TempPathFactory) -> Layout:
    home = tmp_path_factory.mktemp("images")
    return Layout(home / "state", home / "run")


@pytest.fixture(scope="module")
def images(layout: Layout) -> ImageStore:
    return ImageStore(layout)


@pytest.fixture(scope="module")
def tiny(images: ImageStore) -> Image:
    return asyncio.run(images.build("tiny", quiet))


@pytest.fixture(scope="module")
def kernels(layout: Layout) -> KernelStore:
    return KernelStore(layout)


@pytest.fixture(scope="module")
def generic(kernels: KernelStore) -> Kernel:
    return asyncio.run(kernels.generic(quiet))


@pytest.fixture(scope="module")
def agent(layout: Layout) -> Path:
    return asyncio.run(agent_binary(layout.agents, source_dir(), "x86_64"))


def listing(tree: Path) -> dict[str, tuple[object, ...]]:
    """What distinguishes two trees: kind, mode, owner, time, size, target, attributes, content."""
    found: dict[str, tuple[object, ...]] = {}
    for path in [tree, *sorted(tree.rglob("*"))]:
        info = path.lstat()
        content: object = None
        if path.is_symlink():
            content = path.readlink()
        elif path.is_file():
            content = hashlib.sha256(path.read_bytes()).digest()
        names = [] if path.is_symlink() else sorted(os.listxattr(path, follow_symlinks=False))
        attributes = tuple(
            (name, os.getxattr(path, name)) for name in names if name.startswith("security.capa")
        )
        moment = None if path.is_symlink() else int(info.st_mtime)
        found[str(path.relative_to(tree))] = (
            info.st_mode,
            info.st_uid,
            info.st_gid,
            moment,
            content,
            attributes,
        )
    return found


def files_left(images: ImageStore) -> list[str]:
    """Names of scratch files in the store; none should outlive a build."""
    every = [*images.forms.rglob("*"), *images.blobs.root.rglob("*")]
    return [str(path) for path in every if re.search(r"\.tmp$|/\.work|/\.build-", str(path))]


def test_tiny_is_a_whole_system(images: ImageStore, tiny: Image) -> None:
    tree = asyncio.run(images.rootfs_dir(tiny, quiet))
    assert tiny.config.init == "/sbin/init"
    assert (tree / "sbin/init").readlink() == Path("/bin/busybox")
    assert tool("chroot", tree, "/bin/sh", "-c", "id -un; ls /etc/inittab") == "root\n/etc/inittab\n"
    for name in ("dev", "proc", "sys", "run", "tmp", "root", "var/log", "usr/lib"):
        assert (tree / name).is_dir()
    assert stat.S_IMODE((tree / "etc/shadow").stat().st_mode) == 0o640
    assert os.access(tree / "etc/init.d/rcS", os.X_OK)
    assert {
        path.stat().st_uid for path in (tree, tree / "etc", tree / "etc/passwd", tree / "bin/busybox")
    } == {0}
    assert not [path for path in tree.rglob("*") if stat.S_ISCHR(path.lstat().st_mode)]
    assert files_left(images) == []


def test_the_blobs_say_what_the_image_is(images: ImageStore, tiny: Image) -> None:
    assert [image.digest for image in asyncio.run(images.list())] == [tiny.digest]
    manifest = images.blobs.manifest(tiny.digest)
    assert tiny.size_bytes == sum(
        images.blobs.path(d).stat().st_size for d in images.blobs.reachable({tiny.digest})
    )
    for part in (manifest.config, *manifest.layers):
        images.blobs.verify(part)


def test_a_tree_made_from_the_blobs_is_the_one_that_was_built(images: ImageStore, tiny: Image) -> None:
    built = asyncio.run(images.rootfs_dir(tiny, quiet))
    before = listing(built)
    aside = built.with_name("aside")
    built.rename(aside)
    try:
        assert listing(asyncio.run(images.rootfs_dir(tiny, quiet))) == before
    finally:
        tool("rm", "-rf", aside)
    assert files_left(images) == []


def test_the_microvms_disk_is_a_clean_file_system(images: ImageStore, tiny: Image) -> None:
    disk = asyncio.run(images.root_disk(tiny, quiet))
    tree = asyncio.run(images.rootfs_dir(tiny, quiet))
    assert disk.stat().st_size == forms.DEFAULT_DISK_BYTES
    assert disk.stat().st_blocks * 512 < 32 * MIB
    tool("e2fsck", "-f", "-n", disk)
    assert tool("debugfs", "-R", "cat etc/passwd", disk) == (tree / "etc/passwd").read_text()
    assert re.search(r"User: +0 +Group: +0 ", tool("debugfs", "-R", "stat /", disk))
    groups = tool("dumpe2fs", disk)
    assert groups.count("ITABLE_ZEROED") == len(re.findall(r"^Group \d+:", groups, re.MULTILINE))
    assert asyncio.run(images.root_disk(tiny, quiet)) == disk


def test_equal_images_give_equal_disks(images: ImageStore, tiny: Image) -> None:
    first = asyncio.run(images.root_disk(tiny, quiet, size_bytes=64 * MIB))
    content = first.read_bytes()
    first.unlink()
    assert asyncio.run(images.root_disk(tiny, quiet, size_bytes=64 * MIB)).read_bytes() == content


def test_many_callers_get_one_disk(images: ImageStore, tiny: Image) -> None:
    async def scenario() -> set[int]:
        paths = await asyncio.gather(*(images.root_disk(tiny, quiet, size_bytes=65 * MIB) for _ in range(5)))
        return {path.stat().st_ino for path in paths}

    assert len(asyncio.run(scenario())) == 1


@pytest.mark.slow
def test_the_cloud_kernel_boots_directly(kernels: KernelStore, agent: Path) -> None:
    kernel = asyncio.run(kernels.cloud(quiet))
    assert kernel.vmlinux.read_bytes()[:4] == b"\x7fELF"
    assert (kernel.modules_dir / "modules.dep").is_file()
    said: list[str] = []
    assert asyncio.run(kernels.cloud(lambda text, _: said.append(text))) == kernel
    assert said == []
    initrd = asyncio.run(kernels.initrd(kernel, agent, "micro"))
    assert asyncio.run(kernels.initrd(kernel, agent, "micro")) == initrd
    assert initrd.stat().st_size < 8 * MIB
    assert [path.name for path in kernels.root.glob(".*")] == [".locks"]


@pytest.mark.slow
@pytest.mark.needs("mcopy", "mkfs.vfat", "syslinux", "/usr/lib/syslinux/mbr/gptmbr.bin")
def test_the_bootable_disk_holds_kernel_agent_and_service(
    images: ImageStore, tiny: Image, kernels: KernelStore, generic: Kernel, agent: Path, tmp_path: Path
) -> None:
    tree = asyncio.run(images.rootfs_dir(tiny, quiet))
    before = listing(tree)
    disk = asyncio.run(images.boot_disk(tiny, generic, kernels, agent, BOOT_CONFIG, quiet))
    assert asyncio.run(images.boot_disk(tiny, generic, kernels, agent, BOOT_CONFIG, quiet)) == disk
    assert listing(tree) == before
    assert files_left(images) == []
    tool("qemu-img", "check", "-f", "qcow2", disk)
    raw = tmp_path / "raw"
    tool("qemu-img", "convert", "-f", "qcow2", "-O", "raw", disk, raw)
    tool("sfdisk", "--verify", raw)
    parts = json.loads(tool("sfdisk", "--json", raw))["partitiontable"]["partitions"]
    assert [part["name"] for part in parts] == ["ESP", "root"]
    with raw.open("rb") as file:
        assert file.read(440).strip(b"\0") == forms.BOOT_CODE.read_bytes().strip(b"\0")
    esp, root = f"{raw}@@{parts[0]['start'] * 512}", f"{raw}?offset={parts[1]['start'] * 512}"
    names = tool("mdir", "-b", "-i", esp, "::/")
    assert {"::/vmlinuz", "::/initrd.img", "::/syslinux/"} <= set(names.split())
    tool("e2fsck", "-f", "-n", root)
    assert (
        tool("debugfs", "-R", "cat etc/inittab", root)
        == (tree / "etc/inittab").read_text() + service.INITTAB_LINE
    )
    assert re.search(
        r"Mode: +0755.*User: +0 ", tool("debugfs", "-R", f"stat {service.AGENT_PATH}", root), re.DOTALL
    )
    table = tool("debugfs", "-R", f"cat usr/lib/modules/{generic.version}/modules.dep", root)
    assert "/e1000e.ko:" in table
    assert "/snd.ko:" not in table


def test_an_image_without_init_gets_no_bootable_disk(
    images: ImageStore, tiny: Image, kernels: KernelStore, tmp_path: Path
) -> None:
    from msgspec.structs import replace

    bare = replace(tiny, config=replace(tiny.config, init=""))
    attempt = images.boot_disk(bare, Kernel("1", tmp_path), kernels, tmp_path / "agent", b"", quiet)
    with pytest.raises(Invalid, match="no init"):
        asyncio.run(attempt)


def test_an_overlay_is_good_in_qemus_eyes(tmp_path: Path) -> None:
    base, overlay = tmp_path / "base", tmp_path / "overlay.qcow2"
    base.write_bytes(b"\x11" * (4 * MIB))
    asyncio.run(create_overlay(overlay, base, DiskFormat.RAW, 3 << 30))
    info = json.loads(tool("qemu-img", "info", "--output=json", overlay))
    assert (info["virtual-size"], info["full-backing-filename"]) == (3 << 30, str(base))
    assert info["backing-filename-format"] == "raw"
    assert info["format-specific"]["data"]["extended-l2"] is True
    commands = [
        *(
            "read -P 0x11 0 4M",
            "read -P 0 4M 1M",
            "write -P 0x22 1052672 4096",
            "write -P 0x33 2147483136 1024",
        ),
        *("read -P 0x11 1048576 4096", "read -P 0x22 1052672 4096", "read -P 0x33 2147483136 1024"),
        *("read -P 0x11 1056768 8192", "read -P 0 3221221376 4096"),
    ]
    words = [word for command in commands for word in ("-c", command)]
    assert "fail" not in tool("qemu-io", "-f", "qcow2", *words, overlay).lower()
    tool("qemu-img", "check", "-f", "qcow2", overlay)
    assert base.read_bytes() == b"\x11" * (4 * MIB)


@pytest.mark.parametrize("new_mib", [201, 4096, 3 << 20])
def test_a_bigger_overlay_gets_a_bigger_last_partition(tmp_path: Path, new_mib: int) -> None:
    raw, base, overlay = tmp_path / "raw", tmp_path / "base.qcow2", tmp_path / "with space.qcow2"
    with raw.open("wb") as file:
        file.truncate(200 * MIB)
    digest = "sha256:" + "1" * 64
    subprocess.run(
        ["sfdisk", "-q", raw],
        input=forms.partition_script(digest, 200 * MIB).encode(),
        check=True,
        env=ENVIRONMENT,
    )
    tool("qemu-img", "convert", "-f", "raw", "-O", "qcow2", raw, base)
    old = asyncio.run(virtual_size(base, DiskFormat.QCOW2))

    async def make() -> None:
        await create_overlay(overlay, base, DiskFormat.QCOW2, new_mib * MIB)
        await grow_gpt(overlay, new_mib * MIB, old)

    asyncio.run(make())
    tool("qemu-img", "check", "-f", "qcow2", overlay)
    grown = tmp_path / "grown"
    tool("qemu-img", "convert", "-f", "qcow2", "-O", "raw", overlay, grown)
    assert "No errors detected" in tool("sfdisk", "--verify", grown)
    esp, root = json.loads(tool("sfdisk", "--json", grown))["partitiontable"]["partitions"]
    assert (esp["start"], esp["size"]) == (2048, 131072)
    end = (root["start"] + root["size"]) * 512
    assert new_mib * MIB - 2 * MIB < end <= new_mib * MIB - 33 * 512
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "base.qcow2",
        "grown",
        "raw",
        "with space.qcow2",
    ]


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    place = tmp_path / "small"
    place.mkdir()
    tool("mount", "-t", "tmpfs", "-o", "size=3m", "tmpfs", place)
    try:
        yield place
    finally:
        tool("umount", place)


def test_no_room_is_said_before_anything_is_built(small_disk: Path) -> None:
    images = ImageStore(Layout(small_disk / "state", small_disk / "run"))
    with pytest.raises(Exhausted, match="128M for building `tiny`"):
        asyncio.run(images.build("tiny", quiet))
    assert files_left(images) == []


def test_a_disk_that_fills_up_is_an_error_and_leaves_nothing(
    small_disk: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store, "check_space", lambda path, wanted: None)
    images = ImageStore(Layout(small_disk / "state", small_disk / "run"))
    with pytest.raises(Exhausted, match="became full"):
        asyncio.run(images.build("tiny", quiet))
    assert asyncio.run(images.list()) == []
    assert files_left(images) == []


def test_without_root_nothing_is_built(layout: Layout, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    with pytest.raises(Denied, match="root"):
        asyncio.run(ImageStore(layout).build("tiny", quiet))


@pytest.mark.slow
@pytest.mark.needs("mmdebstrap")
def test_debian_is_clean_and_comes_back_from_its_blobs(layout: Layout) -> None:
    images = ImageStore(layout)
    said: list[tuple[str, float | None]] = []
    image = asyncio.run(images.build("debian", lambda text, fraction: said.append((text, fraction))))
    tree = asyncio.run(images.rootfs_dir(image, quiet))
    assert image.config.systemd
    assert "bookworm" in (tree / "etc/os-release").read_text()
    assert (tree / "sbin/init").resolve().name == "systemd" or "systemd" in str(
        (tree / "sbin/init").readlink()
    )
    for name in (
        "etc/hostname",
        "etc/resolv.conf",
        "var/lib/systemd/random-seed",
        "etc/apt/apt.conf.d/99mmdebstrap",
    ):
        assert not (tree / name).exists(), name
    assert (tree / "etc/machine-id").read_bytes() == b""
    assert list((tree / "etc/ssh").glob("ssh_host_*")) == []
    assert [path.name for path in (tree / "etc/apt/sources.list.d").iterdir()] in (["debian.sources"], [])
    assert [path for path in tree.rglob("*") if stat.S_ISCHR(path.lstat().st_mode)] == []
    assert "security.capability" in os.listxattr(tree / "usr/bin/ping")
    fractions = [fraction for _, fraction in said if fraction is not None]
    assert fractions == sorted(fractions)
    assert len(said) >= 6
    assert "/rootfs" not in Path("/proc/self/mounts").read_text()
    before = listing(tree)
    tree.rename(tree.with_name("aside"))
    assert listing(asyncio.run(images.rootfs_dir(image, quiet))) == before
    tool("rm", "-rf", tree.with_name("aside"))
    disk = asyncio.run(images.root_disk(image, quiet))
    tool("e2fsck", "-f", "-n", disk)
    assert "security.capability" in tool("debugfs", "-R", "ea_list usr/bin/ping", disk)


def test_packing_and_unpacking_keeps_odd_files(tmp_path: Path) -> None:
    tree, work, target = tmp_path / "tree", tmp_path / "work", tmp_path / "target"
    for path in (tree, work, target):
        path.mkdir()
    (tree / ("n" * 255)).write_bytes(b"long")
    (tree / "sp ace\n").write_bytes(b"odd")
    (tree / "bytes").mkdir()
    os.chown(tree / "bytes", 1234, 4_000_000_000)
    (tree / "a").write_bytes(os.urandom(3 * MIB))
    os.link(tree / "a", tree / "b")
    os.setxattr(tree / "a", "user.note", bytes(range(1, 256)))
    (tree / "dangling").symlink_to("no/where")
    os.mkfifo(tree / "pipe")

    async def both() -> None:
        layer, diff_id = await unpack.pack(tree, work)
        found = Descriptor(media_type=LAYER + "+zstd", digest="sha256:" + "0" * 64, size=0)
        await unpack.unpack_layer(layer, found, diff_id, target)

    asyncio.run(both())
    assert listing(target) == listing(tree)
    assert (target / "a").stat().st_ino == (target / "b").stat().st_ino
    assert os.getxattr(target / "a", "user.note") == bytes(range(1, 256))
    assert [path.name for path in work.iterdir()] == ["layer.tar.zst"]


def test_a_form_folder_is_named_after_the_image(images: ImageStore, tiny: Image) -> None:
    assert [path.name for path in images.forms.iterdir() if len(path.name) == 64][0:] != []
    assert (images.forms / digest_hex(tiny.digest) / "rootfs").is_dir()
