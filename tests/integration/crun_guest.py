"""A busybox container for tests: starts it, runs programs in it, and sees that nothing of it is left."""

import asyncio
import shutil
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from msgspec.structs import replace
from tests.conformance.drivers_base import DriverUnderTest
from tests.conformance.drivers_crun import boot_config, crun
from tests.conformance.drivers_fake import built_agent, host_facts

from yurt.drivers.agent.client import AgentClient, ExecSession
from yurt.drivers.base import DriverEvent, Launched
from yurt.drivers.container.crun import CrunDriver
from yurt.host.proc import process_start
from yurt.model.instance import NetworkMode
from yurt.model.process import ExecRequest

DEADLINE_S = 60


@dataclass
class Guest:
    """A running container."""

    driver: CrunDriver
    launched: Launched
    client: AgentClient
    test: DriverUnderTest

    async def sh(self, script: str, **fields: Any) -> tuple[int, str]:
        """Run a script in it: exit code, all output."""
        session = await self.client.exec(ExecRequest(argv=("/bin/sh", "-c", script), **fields))
        return await collect(session)


async def collect(session: ExecSession) -> tuple[int, str]:
    """Read a program's output to its end: exit code, all output."""
    output = b""
    while (part := await session.read()) is not None:
        output += part[1]
    return await session.wait(), output.decode(errors="replace")


def new_test(directory: Path, command: tuple[str, ...] = (), **spec: Any) -> DriverUnderTest:
    """A container of that command, or of one that waits; `spec` changes its spec, `network` its boot config too."""
    test = crun(directory)
    user = spec.get("network") is NetworkMode.USER
    network = {"network": "user", "address": "10.0.2.15/24", "gateway": "10.0.2.2", "dns": "10.0.2.3"}
    config = boot_config(*command, **(network if user else {}))
    test.attachments = replace(test.attachments, config=config)
    if "disk_bytes" in spec:
        assert test.attachments.rootfs is not None
        rootfs = replace(test.attachments.rootfs, size_bytes=spec["disk_bytes"])
        test.attachments = replace(test.attachments, rootfs=rootfs)
    test.instance = replace(test.instance, spec=replace(test.instance.spec, **spec))
    return test


@asynccontextmanager
async def running(test: DriverUnderTest) -> AsyncIterator[Guest]:
    """Start it, connect, and at the end clean up and check that nothing is left."""
    driver = test.new_driver()
    assert isinstance(driver, CrunDriver)
    launched = await driver.start(test.instance, test.attachments)
    try:
        client = await driver.agent(test.run_dir)
        try:
            await client.wait_ready()
            yield Guest(driver, launched, client, test)
        finally:
            await client.close()
    finally:
        await driver.cleanup(test.run_dir)
        assert test.leftovers() == []
        assert process_start(launched.pid) is None
        await driver.detach()


def in_guest(story: Callable[[Guest], Awaitable[None]], command: tuple[str, ...] = (), **spec: Any) -> None:
    """Run a story in a fresh container."""

    async def main(directory: Path) -> None:
        async with asyncio.timeout(DEADLINE_S), running(new_test(directory, command, **spec)) as guest:
            await story(guest)

    with_directory(main)


def with_directory(main: Callable[[Path], Awaitable[None]]) -> None:
    """Run with an empty directory of a short path."""
    host_facts(), built_agent()  # both are kept from now on, and neither can be found from within a loop

    async def run(directory: Path) -> None:
        await main(directory)

    directory = Path(tempfile.mkdtemp(prefix="yc-", dir="/tmp"))
    directory.chmod(0o711)
    try:
        asyncio.run(run(directory))
    finally:
        shutil.rmtree(directory)


async def events_of(guest: Guest) -> list[DriverEvent]:
    """All that the driver tells until the guest has ended."""
    return [event async for event in guest.driver.events(guest.test.run_dir)]
