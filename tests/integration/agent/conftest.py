"""A real agent as an ordinary process of this host, for the tests beside this file."""

import asyncio
import contextlib
import os
import secrets
import socket
import subprocess
import tempfile
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path

import pytest

from yurt.drivers.agent.build import agent_binary, find_compiler, source_dir
from yurt.drivers.agent.client import AgentClient
from yurt.drivers.agent.config import BootConfig, encode_config

DEADLINE_S = 60


@pytest.fixture(scope="session")
def agent_program() -> Iterator[Path]:
    if find_compiler(os.uname().machine) is None:
        pytest.skip("needs a C compiler")
    with tempfile.TemporaryDirectory(prefix="yurt-agent-") as directory:
        yield asyncio.run(agent_binary(Path(directory), source_dir(), os.uname().machine))


class Rig:
    """One agent process and the socket it listens on."""

    def __init__(self, binary: Path, directory: Path, config: BootConfig | None = None) -> None:
        self.socket = directory / f"{secrets.token_hex(4)}.sock"
        descriptors, words = [], []
        with contextlib.ExitStack() as stack:
            listener = stack.enter_context(socket.socket(socket.AF_UNIX))
            listener.bind(str(self.socket))
            listener.listen(8)
            descriptors.append(listener.fileno())
            words = ["--socket-fd", str(listener.fileno())]
            if config is not None:
                inner, outer = os.pipe()
                stack.callback(os.close, inner)
                os.write(outer, encode_config(config))
                os.close(outer)
                descriptors.append(inner)
                words += ["--config-fd", str(inner)]
            self.process = subprocess.Popen([binary, *words], pass_fds=descriptors)

    def close(self) -> None:
        """End the agent, and with it its main process."""
        self.process.terminate()
        try:
            self.process.wait(DEADLINE_S)
        finally:
            self.process.kill()
            self.process.wait()


@pytest.fixture
def place() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="yurt-agent-") as directory:
        yield Path(directory)


Test = Callable[[AgentClient, Rig], Awaitable[None]]


@pytest.fixture
def agent(agent_program: Path, place: Path) -> Callable[..., None]:
    """Run a test against a fresh agent, under a deadline that only a hanging agent meets."""

    async def under_deadline(rig: Rig, test: Test) -> None:
        async with asyncio.timeout(DEADLINE_S):
            client = await AgentClient.connect(rig.socket)
            try:
                await client.wait_ready()
                await test(client, rig)
            finally:
                await client.close()

    def run(test: Test, config: BootConfig | None = None) -> None:
        rig = Rig(agent_program, place, config)
        try:
            asyncio.run(under_deadline(rig, test))
        finally:
            rig.close()

    return run
