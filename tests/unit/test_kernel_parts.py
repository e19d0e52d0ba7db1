"""The pure parts of the kernel store: taking a bzImage apart, and the order in which modules load."""

import bz2
import gzip
import lzma
import struct
from pathlib import Path

import pytest

from yurt.errors import Unsupported
from yurt.host.layout import Layout
from yurt.images import modules, vmlinux
from yurt.images.kernel import KernelStore, write_instance_initrd

KERNEL = b"\x7fELF" + b"k" * 5000


def bzimage(payload: bytes, *, version: int = 0x20F, setup_sectors: int = 3, offset: int = 0x40) -> bytes:
    head = bytearray((setup_sectors + 1) * 512)
    head[0x1F1] = setup_sectors
    head[0x202:0x206] = b"HdrS"
    struct.pack_into("<H", head, 0x206, version)
    struct.pack_into("<II", head, 0x248, offset, len(payload))
    return bytes(head) + bytes(offset) + payload + b"after"


SIZE = struct.pack("<I", len(KERNEL))
LZ4 = b"\x02\x21\x4c\x18" + b"data" + SIZE


@pytest.mark.parametrize(
    ("name", "payload"),
    [
        ("gzip", gzip.compress(KERNEL)),
        ("xz", lzma.compress(KERNEL) + SIZE),
        ("lzma", lzma.compress(KERNEL, lzma.FORMAT_ALONE) + SIZE),
        ("bzip2", bz2.compress(KERNEL) + SIZE),
        ("elf", KERNEL),
    ],
)
def test_payloads_python_can_unpack(name: str, payload: bytes) -> None:
    found, packed = vmlinux.find_payload(bzimage(payload))
    assert found == name
    assert vmlinux.unpack_program(name) == ()
    assert vmlinux.unpack(name, packed) == KERNEL


def test_lz4_goes_to_its_program_without_the_size() -> None:
    assert vmlinux.find_payload(bzimage(LZ4)) == ("lz4", LZ4[:-4])
    assert vmlinux.unpack_program("lz4")[0] == "lz4"


def test_zero_setup_sectors_mean_four() -> None:
    image = bytearray(bzimage(KERNEL, setup_sectors=4))
    image[0x1F1] = 0
    assert vmlinux.find_payload(bytes(image)) == ("elf", KERNEL)


@pytest.mark.parametrize(
    ("image", "complaint"),
    [
        (b"", "not a bzImage"),
        (b"\0" * 5000, "not a bzImage"),
        (bzimage(KERNEL, version=0x207), "older"),
        (bzimage(KERNEL)[:-900], "cut off"),
        (bzimage(b"what is this?"), "unknown format"),
    ],
)
def test_other_files_are_refused_in_words(image: bytes, complaint: str) -> None:
    with pytest.raises(Unsupported, match=complaint):
        vmlinux.find_payload(image)


@pytest.mark.parametrize("name", ["gzip", "xz", "bzip2"])
def test_a_damaged_payload_is_refused(name: str) -> None:
    with pytest.raises(Unsupported, match="damaged"):
        vmlinux.unpack(
            name, b"\x1f\x8b" + b"\xff" * 40 if name == "gzip" else b"\xfd7zXZ\0BZh" + b"\xff" * 40
        )


def elf(notes: bytes) -> bytes:
    header = bytearray(64)
    header[:6] = b"\x7fELF\x02\x01"
    struct.pack_into("<Q", header, 32, 64)
    struct.pack_into("<HH", header, 54, 56, 1)
    program = struct.pack("<IIQQQQQQ", 4, 4, 120, 0, 0, len(notes), len(notes), 4)
    return bytes(header) + program + notes


def note(owner: bytes, kind: int) -> bytes:
    return struct.pack("<III", len(owner), 8, kind) + owner.ljust((len(owner) + 3) & ~3, b"\0") + bytes(8)


def test_the_pvh_note_is_found_wherever_it_stands() -> None:
    assert vmlinux.has_pvh_entry(elf(note(b"GNU\0", 3) + note(b"Linux\0", 18) + note(b"Xen\0", 18)))
    assert not vmlinux.has_pvh_entry(elf(note(b"Xen\0", 17) + note(b"Linux\0", 18)))
    assert not vmlinux.has_pvh_entry(b"\x7fELF\x01\x01" + bytes(200))
    assert not vmlinux.has_pvh_entry(elf(note(b"Xen\0", 18))[:-20])


DEPENDENCIES = """\
kernel/drivers/virtio/virtio.ko: kernel/drivers/virtio/virtio_ring.ko
kernel/drivers/virtio/virtio_ring.ko:
kernel/net/failover.ko:
kernel/drivers/net/net_failover.ko: kernel/net/failover.ko
kernel/drivers/net/virtio_net.ko: kernel/drivers/net/net_failover.ko kernel/net/failover.ko kernel/drivers/virtio/virtio_ring.ko kernel/drivers/virtio/virtio.ko
kernel/drivers/char/virtio-rng.ko: kernel/drivers/virtio/virtio_ring.ko kernel/drivers/virtio/virtio.ko
"""  # noqa: E501 - the form of the file


def test_what_a_module_needs_loads_before_it() -> None:
    order = modules.load_order(["virtio_net", "virtio_rng", "ext4"], DEPENDENCIES, "kernel/fs/ext4/ext4.ko\n")
    names = [modules.module_name(path) for path in order]
    assert sorted(names) == ["failover", "net_failover", "virtio", "virtio_net", "virtio_ring", "virtio_rng"]
    for path, needs in modules.parse_dependencies(DEPENDENCIES).items():
        for need in needs:
            assert order.index(need) < order.index(path)


def test_a_driver_this_kernel_lacks_is_named() -> None:
    with pytest.raises(Unsupported, match="virtio_mmio"):
        modules.load_order(["virtio_mmio"], DEPENDENCIES, "")


def test_a_virtual_machine_keeps_what_it_may_need() -> None:
    kept = [
        *(
            "kernel/fs/btrfs/btrfs.ko",
            "kernel/drivers/net/ethernet/intel/e1000e/e1000e.ko",
            "kernel/net/ipv6/ipv6.ko",
        ),
        *(
            "kernel/drivers/gpu/drm/virtio/virtio-gpu.ko",
            "kernel/drivers/net/tun.ko",
            "kernel/drivers/md/dm-mod.ko",
        ),
    ]
    dropped = [
        *("kernel/sound/core/snd.ko", "kernel/drivers/net/ethernet/mellanox/mlx5/mlx5_core.ko"),
        *("kernel/drivers/net/wireless/ath/ath.ko", "kernel/drivers/gpu/drm/amd/amdgpu/amdgpu.ko"),
    ]
    assert [path for path in kept + dropped if modules.worth_keeping(path)] == kept


def test_the_newest_kernel_of_each_flavour_comes_first(tmp_path: Path) -> None:
    store = KernelStore(Layout(tmp_path, tmp_path / "run"))
    for name in (
        "6.1.0-9-amd64",
        "6.1.0-56-amd64",
        "6.1.0-56-cloud-amd64",
        "6.12.3-1-amd64",
        "6.1.0-7-cloud-amd64",
    ):
        (store.root / name).mkdir(parents=True)
        (store.root / name / "vmlinux").write_bytes(b"")
    (store.root / "6.99.0-1-amd64").mkdir()  # incomplete
    assert [k.version for k in store.kept("generic")] == ["6.12.3-1-amd64", "6.1.0-56-amd64", "6.1.0-9-amd64"]
    assert [k.version for k in store.kept("cloud")] == ["6.1.0-56-cloud-amd64", "6.1.0-7-cloud-amd64"]


@pytest.mark.parametrize("size", [0, 1, 511, 512, 100_000])
def test_an_instances_initrd_is_the_shared_one_and_its_config(tmp_path: Path, size: int) -> None:
    base, target = tmp_path / "base", tmp_path / "initrd"
    base.write_bytes(b"\x07" * size)
    target.write_bytes(b"an older one")
    write_instance_initrd(base, b"CONFIG", target)
    data = target.read_bytes()
    begin = -(-size // 512) * 512
    assert data[:size] == base.read_bytes()
    assert set(data[size:begin]) <= {0}
    assert data[begin : begin + 6] == b"070701"
    assert b"CONFIG" in data
    assert target.stat().st_mode & 0o777 == 0o600
    assert sorted(path.name for path in tmp_path.iterdir()) == ["base", "initrd"]
