"""`kill -9` at any moment of a build: the store is whole afterwards, the next build works, nothing is left running."""

import asyncio
import os
import select
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from yurt.host.layout import Layout
from yurt.images.store import ImageStore

pytestmark = [pytest.mark.root, pytest.mark.needs("busybox", "tar", "zstd", "mke2fs"), pytest.mark.slow]
SOURCE = Path(__file__).resolve().parents[2] / "src"
# builds an image and two of its forms; ends itself with SIGKILL just before the N-th call that makes something durable
# or visible or starts a program, and says DONE when there were fewer
CHILD = """
import asyncio, os, signal, sys
from pathlib import Path
from yurt.host.layout import Layout
from yurt.images.store import ImageStore

home, left = Path(sys.argv[1]), int(sys.argv[2])

def deadly(real):
    def call(*args, **kwargs):
        global left
        left -= 1
        if left == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        return real(*args, **kwargs)
    return call

for module, name in ((os, "fsync"), (os, "rename"), (os, "ftruncate"), (asyncio, "create_subprocess_exec")):
    setattr(module, name, deadly(getattr(module, name)))

async def main():
    images = ImageStore(Layout(home / "state", home / "run"))
    image = await images.build("tiny", lambda text, fraction: None)
    await images.root_disk(image, lambda text, fraction: None, size_bytes=64 << 20)

asyncio.run(main())
print("DONE")
"""
DEBIAN = """
import asyncio, sys
from pathlib import Path
from yurt.host.layout import Layout
from yurt.images.store import ImageStore

home = Path(sys.argv[1])
images = ImageStore(Layout(home / "state", home / "run"))
asyncio.run(images.build("debian", lambda text, fraction: print(text, flush=True)))
"""


def quiet(text: str, fraction: float | None) -> None:
    assert text


def child(code: str, *words: str) -> list[str]:
    return [sys.executable, "-c", code, *words]


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(SOURCE)}


def assert_whole(images: ImageStore) -> None:
    """Every name leads to a complete image, every blob is what its name says, every form that is there is usable."""
    for image in asyncio.run(images.list()):
        manifest = images.blobs.manifest(image.digest)
        for part in (manifest.config, *manifest.layers):
            images.blobs.verify(part)
        assert (asyncio.run(images.rootfs_dir(image, quiet)) / "sbin/init").is_symlink()
    for disk in images.forms.glob("[0-9a-f]*/*.ext4"):
        subprocess.run(["/usr/sbin/e2fsck", "-f", "-n", disk], check=True, capture_output=True)


def test_killed_at_every_step(tmp_path: Path) -> None:
    killed = 0
    for step in range(1, 400):
        home = tmp_path / str(step)
        done = subprocess.run(
            child(CHILD, str(home), str(step)),
            env=environment(),
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode == 0:
            assert done.stdout == "DONE\n"
            break
        assert done.returncode == -signal.SIGKILL, done.stderr
        killed += 1
        images = ImageStore(Layout(home / "state", home / "run"))
        assert_whole(images)
        again = asyncio.run(images.build("tiny", quiet))
        asyncio.run(images.root_disk(again, quiet, size_bytes=64 << 20))
        assert_whole(images)
        asyncio.run(images.prune(dry_run=False))
        left = [path.name for path in images.forms.iterdir() if path.name != ".locks"]
        assert left == [again.digest.removeprefix("sha256:")]
        assert names(images.forms / left[0]) == [f"root-{64 << 20}.ext4", "rootfs"]
        assert len(list(images.blobs.stored())) == 3
        assert names(images.blobs.root) == ["blobs", "index.json", "oci-layout"]
        subprocess.run(["rm", "-rf", str(home)], check=True)
    assert killed > 15


def builders_in(place: Path) -> dict[int, int]:
    """Processes whose command line, root or working directory lies in `place`: pid -> pidfd."""
    found = {}
    for entry in Path("/proc").iterdir():
        if not entry.name.isdecimal() or int(entry.name) == os.getpid():
            continue
        try:
            words = (entry / "cmdline").read_bytes().decode(errors="replace")
            if any(
                str(place) in text
                for text in (words, str((entry / "root").readlink()), str((entry / "cwd").readlink()))
            ):
                found[int(entry.name)] = os.pidfd_open(int(entry.name))
        except (FileNotFoundError, ProcessLookupError, PermissionError):
            continue
    return found


@pytest.mark.needs("mmdebstrap")
@pytest.mark.parametrize("moment", ["downloading packages", "installing the base system"])
def test_killing_the_builder_ends_all_it_started(tmp_path: Path, moment: str) -> None:
    home = tmp_path / "home"
    builder = subprocess.Popen(
        child(DEBIAN, str(home)),
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    try:
        assert builder.stdout
        for line in builder.stdout:
            if line.strip() == moment:
                break
        started = builders_in(home)
        assert len(started) >= 2, "nothing was running"
        builder.kill()
        builder.wait()
        for pid, descriptor in started.items():
            if pid != builder.pid:
                assert select.select([descriptor], [], [], 30)[0], f"process {pid} lives on"
            os.close(descriptor)
        assert builders_in(home) == {}
    finally:
        builder.kill()
        builder.wait()
        assert builder.stdout
        builder.stdout.close()
    assert str(home) not in Path("/proc/self/mounts").read_text()
    images = ImageStore(Layout(home / "state", home / "run"))
    assert asyncio.run(images.list()) == []
    asyncio.run(images.prune(dry_run=False))
    assert [path.name for path in images.forms.iterdir()] == [".locks"]
