"""Where the agent's binary comes from."""

import asyncio
import shutil
from pathlib import Path

import pytest

from yurt.drivers.agent import build
from yurt.errors import ToolFailed


def copy_of_sources(tmp_path: Path) -> Path:
    source = tmp_path / "agent"
    shutil.copytree(build.source_dir(), source, ignore=shutil.ignore_patterns("build", "prebuilt"))
    return source


def test_the_digest_follows_the_sources_and_nothing_else(tmp_path: Path) -> None:
    source = copy_of_sources(tmp_path)
    before = build.source_digest(source)
    assert before == build.source_digest(build.source_dir())
    (source / "README.md").write_text("changed")
    assert build.source_digest(source) == before
    (source / "proto.h").write_text("#define CHANGED\n")
    assert build.source_digest(source) != before


def test_a_prebuilt_binary_is_taken_only_for_the_same_sources(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source, agents = copy_of_sources(tmp_path), tmp_path / "agents"
    monkeypatch.setattr(shutil, "which", lambda name: None)
    prebuilt = source / "prebuilt"
    prebuilt.mkdir()
    good = prebuilt / f"yurt-agent-x86_64-{build.source_digest(source)}"
    (prebuilt / "yurt-agent-x86_64-0000000000000000").write_bytes(b"stale")
    with pytest.raises(ToolFailed):
        asyncio.run(build.agent_binary(agents, source, "x86_64"))
    good.write_bytes(b"ELF")
    assert asyncio.run(build.agent_binary(agents, source, "amd64")) == good


@pytest.mark.parametrize(
    ("architecture", "hint"),
    [("x86_64", "gcc"), ("aarch64", "gcc-aarch64-linux-gnu"), ("vax", "x86_64 and aarch64")],
)
def test_without_a_compiler_the_error_names_the_package(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, architecture: str, hint: str
) -> None:
    monkeypatch.setattr(shutil, "which", lambda name: None)
    with pytest.raises(ToolFailed) as caught:
        asyncio.run(build.agent_binary(tmp_path, copy_of_sources(tmp_path), architecture))
    assert hint in caught.value.hint
    assert not list(tmp_path.glob("yurt-agent*"))


def test_a_wheel_gets_binaries_for_exactly_these_sources(tmp_path: Path) -> None:
    if build.find_compiler("x86_64") is None:
        pytest.skip("needs a compiler")
    source = copy_of_sources(tmp_path)
    (source / "prebuilt").mkdir()
    (source / "prebuilt" / "yurt-agent-x86_64-0000000000000000").write_bytes(b"stale")
    made = asyncio.run(build.prebuild(source))
    assert sorted((source / "prebuilt").iterdir()) == sorted(made)
    assert asyncio.run(build.agent_binary(tmp_path / "agents", source, "x86_64")) in made
    assert not (tmp_path / "agents").exists()


def test_sources_that_do_not_compile_leave_nothing_behind(tmp_path: Path) -> None:
    if build.find_compiler("x86_64") is None:
        pytest.skip("needs a compiler")
    source, agents = copy_of_sources(tmp_path), tmp_path / "agents"
    (source / "broken.c").write_text("int broken(void) { return }\n")
    with pytest.raises(ToolFailed) as caught:
        asyncio.run(build.agent_binary(agents, source, "x86_64"))
    assert "error" in caught.value.stderr
    assert list(agents.iterdir()) == []
