"""One running guest per kind for the tests of the jail, and what /proc says of its processes."""

import asyncio
import contextlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from msgspec.structs import replace
from tests.conformance.drivers_base import DriverUnderTest
from tests.conformance.drivers_fake import built_agent, host_facts
from tests.conformance.drivers_qemu import full, micro
from tests.integration.crun_guest import new_test

from yurt.drivers.base import Launched
from yurt.model.instance import Kind, NetworkMode

SECRET = "canary-Zk39vQ7w"  # in the environment, the command and the configuration of every guest here
NAMESPACES = ("cgroup", "ipc", "mnt", "net", "pid", "uts")


@dataclass(frozen=True)
class Process:
    """A process as /proc shows it."""

    pid: int

    def read(self, name: str) -> str:
        return Path(f"/proc/{self.pid}/{name}").read_text()

    def status(self, key: str) -> str:
        found = [
            line.partition(":")[2] for line in self.read("status").splitlines() if line.startswith(key + ":")
        ]
        return found[0].strip()

    def namespace(self, name: str) -> str:
        return os.readlink(f"/proc/{self.pid}/ns/{name}")  # noqa: PTH115 a magic link

    def mounts(self) -> dict[str, tuple[str, ...]]:
        """Mount point -> its options."""
        rows = [line.split() for line in self.read("mountinfo").splitlines()]
        return {row[4]: tuple(row[5].split(",")) for row in rows}

    def limit(self, name: str) -> tuple[str, str]:
        row = next(line for line in self.read("limits").splitlines() if line.startswith(name))
        soft, hard = row[len(name) :].split()[:2]
        return soft, hard

    def descriptors(self) -> dict[int, str]:
        """Number -> what it leads to."""
        found = {}
        for name in os.listdir(f"/proc/{self.pid}/fd"):  # noqa: PTH208 names only
            with contextlib.suppress(FileNotFoundError):
                found[int(name)] = os.readlink(f"/proc/{self.pid}/fd/{name}")  # noqa: PTH115
        return found

    def root(self, path: str = "") -> list[str]:
        """What a directory in its root holds, sorted."""
        return sorted(os.listdir(f"/proc/{self.pid}/root/{path}"))  # noqa: PTH208

    def threads(self) -> list["Process"]:
        return [Process(int(name)) for name in os.listdir(f"/proc/{self.pid}/task")]  # noqa: PTH208


@dataclass(frozen=True)
class Subject:
    """A guest that runs, held by no daemon."""

    kind: Kind
    test: DriverUnderTest
    launched: Launched

    @property
    def process(self) -> Process:
        """QEMU, or the container's first process."""
        return Process(self.launched.pid)

    @property
    def helper(self) -> Process:
        return Process(self.launched.helpers["network"][0])

    @property
    def uid(self) -> int:
        return self.test.attachments.uid


def prepare(kind: Kind, directory: Path) -> DriverUnderTest:
    """A guest of that kind with a user-mode network and a secret in everything that is its own."""
    if kind is Kind.CONTAINER:
        test = new_test(directory, network=NetworkMode.USER)
    else:
        test = micro(directory) if kind is Kind.MICROVM else full(directory)
    spec = replace(
        test.instance.spec, network=NetworkMode.USER, env={"TOKEN": SECRET}, command=("sh", SECRET)
    )
    test.instance = replace(test.instance, spec=spec)
    return test


@contextlib.contextmanager
def started(kind: Kind) -> Iterator[Subject]:
    """Start one guest and let go of it, as a daemon that ends; clean up at the end."""
    host_facts(), built_agent()
    directory = Path(tempfile.mkdtemp(prefix="yj-", dir="/tmp"))
    directory.chmod(0o711)
    try:
        test = prepare(kind, directory)

        async def start() -> Launched:
            driver = test.new_driver()
            launched = await driver.start(test.instance, test.attachments)
            await driver.detach()  # type: ignore[attr-defined]
            return launched

        async def end() -> None:
            driver = test.new_driver()
            await driver.cleanup(test.run_dir)
            await driver.detach()  # type: ignore[attr-defined]

        try:
            yield Subject(kind, test, asyncio.run(start()))
        finally:
            asyncio.run(end())
            assert test.leftovers() == []
    finally:
        shutil.rmtree(directory)
