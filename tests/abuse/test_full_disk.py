"""Imports into a state directory that has no room, or no inode, left: refused with words, nothing kept, and life goes on."""

import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.abuse import tars
from tests.conftest import Daemon, make_home

pytestmark = [pytest.mark.root, pytest.mark.needs("zstd")]
SMALL = tars.write(tars.folder("bin"), tars.file("bin/sh", b"#!", 0o755), tars.folder("etc"))


@pytest.fixture(scope="module")
def cramped() -> Iterator[Daemon]:
    """A daemon whose state is a file system of 320 MiB (of which 256 are kept back) and 3000 inodes."""
    daemon = Daemon(make_home())
    daemon.state.mkdir(mode=0o700)
    options = "size=320m,nr_inodes=3000,mode=700"
    subprocess.run(["mount", "-t", "tmpfs", "-o", options, "none", str(daemon.state)], check=True)
    try:
        daemon.start()
        yield daemon
    finally:
        try:
            daemon.clear()
        finally:
            daemon.kill()
            subprocess.run(["umount", str(daemon.state)], check=True)
            shutil.rmtree(daemon.path)


def test_a_small_image_fits(cramped: Daemon) -> None:
    cramped.yurt("image", "import", "small:1", "-", stdin=SMALL)
    cramped.yurt("image", "delete", "small:1")
    cramped.yurt("image", "prune")


@pytest.mark.parametrize(
    "data",
    [
        tars.write(*(tars.file(f"f{number}", b"") for number in range(4000))),
        tars.write(*(tars.file(f"f{number}", bytes(10 << 20)) for number in range(10))),
    ],
    ids=["inodes", "bytes"],
)
def test_what_does_not_fit_is_refused_and_leaves_nothing(
    cramped: Daemon, data: bytes, tmp_path: Path
) -> None:
    before = used(cramped)
    source = tmp_path / "large.tar"
    source.write_bytes(data)
    done = cramped.yurt("image", "import", "large:1", str(source), check=False)
    assert done.returncode == 7, done.stderr
    assert b"full" in done.stderr or b"not enough room" in done.stderr
    assert cramped.process is not None and cramped.process.poll() is None
    assert cramped.json("image", "ls") == []
    assert used(cramped) <= before + 20
    test_a_small_image_fits(cramped)


def used(daemon: Daemon) -> int:
    """How many files and directories the state holds."""
    return sum(1 for _ in daemon.state.rglob("*"))
