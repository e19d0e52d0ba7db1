"""The agent's own tests and its fuzz target, with sanitizers, and the build for every architecture."""

import asyncio
import os
import shutil
import subprocess
from pathlib import Path

import pytest

from yurt.drivers.agent.build import agent_binary, source_dir

pytestmark = pytest.mark.needs("make", "cc")


def make(tmp_path: Path, *words: str) -> str:
    done = subprocess.run(
        ["make", "-C", str(source_dir()), f"OUT={tmp_path}", *words],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-6000:]
    return done.stdout


def test_the_unit_tests(tmp_path: Path) -> None:
    assert "all good" in make(tmp_path, "check")


def test_the_parsers_stand_mutated_input(tmp_path: Path) -> None:
    make(tmp_path, f"{tmp_path}/fuzz")
    seed = str(int.from_bytes(os.urandom(4), "little"))
    done = subprocess.run(
        [tmp_path / "fuzz", "--random", "150000", seed], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, f"seed {seed}\n{done.stderr[-4000:]}"


@pytest.mark.parametrize(
    ("architecture", "machine"),
    [
        pytest.param(
            "x86_64", 62, marks=pytest.mark.skipif(os.uname().machine != "x86_64", reason="needs x86_64")
        ),
        pytest.param("aarch64", 183, marks=pytest.mark.needs("aarch64-linux-gnu-gcc")),
    ],
)
def test_it_builds_static_for(tmp_path: Path, architecture: str, machine: int) -> None:
    binary = asyncio.run(agent_binary(tmp_path, source_dir(), architecture))
    head = binary.read_bytes()
    assert head[:4] == b"\x7fELF"
    assert int.from_bytes(head[18:20], "little") == machine
    assert b"/ld-linux" not in head.split(b"\0.shstrtab")[0][:4096]  # no program interpreter: it is static
    assert asyncio.run(agent_binary(tmp_path, source_dir(), architecture)) == binary
    assert [path.name for path in tmp_path.iterdir()] == [binary.name]


def test_it_compiles_without_warnings(tmp_path: Path) -> None:
    make(tmp_path, "all")
    if shutil.which("aarch64-linux-gnu-gcc"):
        make(tmp_path, "aarch64")
