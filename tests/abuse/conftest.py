"""What the abuse suite shares: a world of decoys for each case, one agent, one listener."""

import secrets
import shutil
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.abuse.importers import Agent
from tests.abuse.oracles import Listener, World
from tests.integration.agent.conftest import agent_program

__all__ = ["agent_program"]


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    root = tmp_path / secrets.token_hex(3)
    root.mkdir(mode=0o711)
    for path in (root, *tmp_path.parents[:3], tmp_path):
        if path.is_relative_to("/tmp") and path != Path("/tmp"):
            path.chmod(path.stat().st_mode | 0o011)  # a cell's user has to pass
    yield World(root)
    for attempt in range(20):  # who was hung up on may still be writing for a moment
        for path in root.rglob("*"):
            if path.is_dir() and not path.is_symlink():
                path.chmod(0o700)
        try:
            shutil.rmtree(root)
            return
        except OSError:
            if attempt == 19:
                raise
            time.sleep(0.1)


@pytest.fixture(scope="session")
def agent(agent_program: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Agent]:
    found = Agent(agent_program, tmp_path_factory.mktemp("agent"))
    try:
        yield found
    finally:
        found.close()


@pytest.fixture(scope="session")
def listener() -> Iterator[Listener]:
    found = Listener()
    try:
        yield found
    finally:
        found.close()
