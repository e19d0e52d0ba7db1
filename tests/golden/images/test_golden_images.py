"""Command lines, tables and bytes that image forms are made of, compared with files: a changed default is a readable diff.

`YURT_GOLDEN=write` writes the files anew.
"""

import os
import uuid
from pathlib import Path

import pytest

from yurt.host.data import data_path
from yurt.images import config, cpio, forms, service
from yurt.images.kernel import build_initrd
from yurt.images.modules import FLAVOURS
from yurt.images.recipes import mmdebstrap_argv, read_recipe
from yurt.model.image import DiskFormat
from yurt.storage.qcow2 import overlay_header

HERE = Path(__file__).parent
DIGEST = "sha256:" + "ab" * 32
GIB = 1 << 30


def lines(argv: list[str]) -> str:
    return "\n".join(argv) + "\n"


def dump(data: bytes) -> str:
    """A hex dump without the lines that are all zero."""
    rows = ((at, data[at : at + 16]) for at in range(0, len(data), 16))
    return "".join(f"{at:08x} {row.hex(' ')}\n" for at, row in rows if any(row)) + f"{len(data):08x}\n"


def cases() -> dict[str, str]:
    debian = read_recipe(data_path("recipes"), "debian")
    tree, identity = Path("/work/rootfs"), forms.identity(DIGEST, "root")
    return {
        "mmdebstrap.txt": lines(mmdebstrap_argv(debian, tree, Path("/work/debian.sources"), ())),
        "mmdebstrap-plain.txt": lines(
            mmdebstrap_argv(debian, tree, None, ('Acquire::http::Proxy "http://p";',))
        ),
        "root-disk.txt": lines(forms.file_system_argv(tree, Path("/work/root.ext4"), identity, 0, 10 * GIB)),
        "boot-disk-root.txt": lines(
            forms.file_system_argv(tree, Path("/work/disk.raw"), identity, forms.ROOT_START, 10 * GIB)
        ),
        "partitions.txt": forms.partition_script(DIGEST, forms.DEFAULT_DISK_BYTES),
        "syslinux.cfg": forms.boot_menu("6.1.0-1-amd64"),
        "yurt-agent.service": service.UNIT,
        "config-debian.json": config.document("debian", debian, DIGEST, 1_700_000_000.9).decode() + "\n",
        "modules.txt": "".join(f"{name}: {' '.join(words)}\n" for name, words in FLAVOURS.items()),
        "initrd.txt": dump(build_initrd(b"AGENT", [("kernel/a/x.ko", b"X")]) + cpio.config_cpio(b"CONFIG")),
        "overlay.txt": dump(overlay_header("/forms/root.ext4", DiskFormat.RAW, 10 * GIB)),
    }


@pytest.mark.parametrize("name", sorted(cases()))
def test_it_is_what_the_file_says(name: str) -> None:
    found = cases()[name]
    if os.environ.get("YURT_GOLDEN") == "write":
        (HERE / name).write_text(found)
    assert found == (HERE / name).read_text()


def test_identifiers_follow_from_the_image_alone() -> None:
    others = [forms.identity(DIGEST, "disk"), forms.identity("sha256:" + "0" * 64, "root")]
    assert forms.identity(DIGEST, "root") == uuid.UUID(str(forms.identity(DIGEST, "root")))
    assert forms.identity(DIGEST, "root") not in others
