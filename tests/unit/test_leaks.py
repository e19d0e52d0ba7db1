"""tools/leaks.py: it must see what is there, or a clean `make leaks` means nothing."""

import importlib.util
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

TOOL = Path(__file__).resolve().parents[2] / "tools" / "leaks.py"


def load() -> Any:  # a script: its types are not known here
    spec = importlib.util.spec_from_file_location("leaks_under_test", TOOL)
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


leaks = load()


@pytest.fixture
def scratch() -> Iterator[Path]:
    """A directory that looks like a test's home."""
    path = Path(tempfile.mkdtemp(prefix="yt-leaktest", dir="/tmp"))
    yield path
    path.rmdir()


def run(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, str(TOOL), *words], capture_output=True, text=True, check=False)


def test_sees_a_file_and_forgets_a_noted_one(scratch: Path, tmp_path: Path) -> None:
    found = run("--home", str(scratch))
    assert found.returncode == 1
    assert found.stdout == f"file         {scratch}\n"
    note = tmp_path / "baseline.json"
    assert run("--write", str(note)).returncode == 0
    assert str(scratch) in json.loads(note.read_text())
    assert run("--home", str(scratch), "--baseline", str(note)).returncode == 0


def until_named(pid: int) -> None:
    """Popen returns a moment before the kernel shows the new program's command line."""
    for _ in range(1000):
        if Path(f"/proc/{pid}/cmdline").read_bytes():
            return
        time.sleep(0.001)


def test_sees_a_qemu_of_ours(scratch: Path) -> None:
    process = subprocess.Popen(["qemu-system-x86_64", "60"], executable="/usr/bin/sleep", cwd=scratch)
    try:
        until_named(process.pid)
        found = [leak for leak in leaks.find() if leak.pid == process.pid]
        assert len(found) == 1
        assert found[0].belongs_to(str(scratch))
    finally:
        process.kill()
        process.wait()
    assert not [leak for leak in leaks.find() if leak.pid == process.pid]


def test_leaves_a_strangers_qemu_alone(tmp_path: Path) -> None:
    process = subprocess.Popen(["qemu-system-x86_64", "60"], executable="/usr/bin/sleep", cwd="/")
    try:
        assert not [leak for leak in leaks.find() if leak.pid == process.pid]
    finally:
        process.kill()
        process.wait()


@pytest.mark.root
def test_sees_a_mount(scratch: Path) -> None:
    subprocess.run(["mount", "-t", "tmpfs", "none", str(scratch)], check=True)
    try:
        assert ("mount", str(scratch)) in [(leak.kind, leak.what) for leak in leaks.find()]
    finally:
        subprocess.run(["umount", str(scratch)], check=True)


@pytest.mark.root
def test_sees_a_control_group() -> None:
    parents = [path for path in (Path("/sys/fs/cgroup/pids"), Path("/sys/fs/cgroup")) if path.is_dir()]
    group = parents[0] / "yurt-leaktest"
    try:
        group.mkdir()
    except OSError as error:
        pytest.skip(f"needs a control group of its own: {error}")
    try:
        assert str(group) in [leak.what for leak in leaks.find() if leak.kind == "cgroup"]
    finally:
        group.rmdir()


@pytest.mark.root
def test_sees_a_process_of_a_guests_uid() -> None:
    process = subprocess.Popen(["sleep", "60"], user=0x40000000, group=0x40000000)
    try:
        assert [leak for leak in leaks.find() if leak.pid == process.pid]
    finally:
        process.kill()
        process.wait()


@pytest.mark.parametrize(
    ("command", "expected"),
    [
        ("/x/.venv/bin/python -I -S /x/src/yurt/__main__.py daemon --ready-fd 3", True),
        ("/x/.venv/bin/python -I -S /x/src/yurt/__main__.py ls daemon", False),
        ("python3 -m yurt.daemon", True),
        ("/opt/yurt/bin/python /opt/yurt/bin/yurtd --foreground", True),
        ("vi /x/src/yurt/daemon.py", False),
        ("grep yurt", False),
    ],
)
def test_knows_a_daemon(command: str, expected: bool) -> None:
    assert leaks.is_daemon(command) is expected


def test_does_not_see_itself() -> None:
    assert os.getpid() not in [leak.pid for leak in leaks.find()]
