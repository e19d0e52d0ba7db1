"""An engine whose guests are only remembered: real records, operations and policies, no process, no image, no boot."""

import asyncio
import contextlib
import tempfile
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

from msgspec.structs import replace
from tests.doubles import resolve
from tests.fakeclock import FakeClock
from tests.unit.test_resolve import FACTS

from yurt.drivers.base import Attachments, Capabilities, DriverEvent, Launched, Observed
from yurt.engine.core import Core
from yurt.engine.engine import Engine
from yurt.engine.events import EventBus
from yurt.engine.reconcile import reconcile
from yurt.engine.records import Records, put_instance
from yurt.errors import ToolFailed
from yurt.host.layout import Layout
from yurt.images.kernel import KernelStore
from yurt.images.store import ImageStore
from yurt.model.host import Accelerator, HostFacts
from yurt.model.instance import Init, Instance, InstanceSpec, Kind, Phase, ResolvedSpec
from yurt.model.names import InstanceId, Name
from yurt.model.policy import Policy
from yurt.model.settings import Settings
from yurt.state.base import Put
from yurt.state.sqlite import SqliteStore


class StillDriver:
    """Guests that run until they are told to end. `most` is how many ran at once, `starting` how many started at once."""

    name = "still"

    def __init__(self) -> None:
        self.guests: dict[str, asyncio.Queue[DriverEvent]] = {}
        self.started: list[str] = []
        self.most = self.most_starting = self._starting = 0
        self.broken = self.stuck = False
        self.slow = asyncio.Event()
        self.slow.set()

    def capabilities(self, facts: HostFacts) -> Capabilities:
        return Capabilities(kinds=frozenset(Kind))

    def check(self, spec: ResolvedSpec, capabilities: Capabilities) -> None:
        pass

    async def start(self, instance: Instance, attachments: Attachments) -> Launched:
        self._starting += 1
        self.most_starting = max(self.most_starting, self._starting)
        try:
            await self.slow.wait()
            if self.broken:
                raise ToolFailed(argv=("still",), status="status 1")
        finally:
            self._starting -= 1
        self.guests[attachments.run_dir.name] = asyncio.Queue()
        self.started.append(instance.name)
        self.most = max(self.most, len(self.guests))
        return Launched(driver=self.name, pid=1, process_start=1, argv=(), versions={})

    def end(self, instance_id: str, code: int | None = 0, reason: str = "") -> None:
        """Let a guest end by itself."""
        self.guests[instance_id].put_nowait(DriverEvent(type="exited", exit_code=code, reason=reason))

    async def observe(self, run_dir: Path) -> Observed:
        runs = run_dir.name in self.guests
        return Observed(phase=Phase.RUNNING if runs else Phase.STOPPED, pid=1 if runs else None)

    async def stop(self, run_dir: Path, *, timeout_s: float) -> None:
        await self.kill(run_dir)

    async def kill(self, run_dir: Path) -> None:
        if self.stuck:
            raise ToolFailed(argv=("still",), status="status 1")
        if run_dir.name in self.guests:
            self.end(run_dir.name)

    async def pause(self, run_dir: Path) -> None:
        raise NotImplementedError

    async def resume(self, run_dir: Path) -> None:
        raise NotImplementedError

    async def cleanup(self, run_dir: Path) -> None:
        self.guests.pop(run_dir.name, None)

    async def events(self, run_dir: Path) -> AsyncIterator[DriverEvent]:
        yield await self.guests[run_dir.name].get()


class Still:
    """One such daemon; `again` gives the next one over the same records and guests."""

    def __init__(self, home: Path, clock: FakeClock, driver: StillDriver) -> None:
        self.home, self.clock, self.driver = home, clock, driver
        self.engine: Engine
        self.store: SqliteStore

    async def begin(self, *, boot_id: str = "b", settings: Settings | None = None) -> None:
        layout = Layout(self.home / "state", self.home / "run")
        for path in (layout.instances_state, layout.instances_run):
            path.mkdir(parents=True, exist_ok=True)
        self.store = await SqliteStore.open(layout.database)
        records = Records(self.store)
        await records.load()

        async def verdict() -> Accelerator:
            return Accelerator(name="tcg", reason="")

        core = Core(
            layout=layout,
            facts=replace(FACTS, boot_id=boot_id),
            records=records,
            bus=EventBus(),
            drivers=dict.fromkeys(Kind, self.driver),
            images=ImageStore(layout),
            kernels=KernelStore(layout),
            probe=verdict,
            settings=settings or Settings(),
            clock=self.clock,
        )
        core._agent = Path("/bin/true")
        self.engine = Engine(core)
        await reconcile(core)
        self.engine.keeper.begin()

    @property
    def records(self) -> Records:
        return self.engine.core.records

    async def add(self, name: str, policy: Policy | None = None, **fields: Any) -> Instance:
        """Put an instance of 1 GiB there that rests; `fields` are those of its spec."""
        spec = resolve(
            InstanceSpec(image="tiny", kind=Kind.CONTAINER, memory_bytes=1 << 30, disk_bytes=1 << 20)
        )
        spec = replace(spec, **{"policy": policy or Policy(), "init": Init.IMAGE, **fields})
        made = Instance(
            id=InstanceId(f"{len(self.records.instances):012x}"),
            name=Name(name),
            spec=spec,
            phase=Phase.STOPPED,
            slot=len(self.records.instances) + 1,
            base=str(self.home),
        )
        (self.engine.core.layout.instance_state(made.id)).mkdir()
        names = Put(f"names/{name}", made.id.encode())
        await self.records.write(lambda: [names, put_instance(made)])
        return made

    async def start(self, name: str) -> None:
        operation = await self.engine.start(name)
        ended = await self.engine.wait_operation(operation.id, 10)
        assert ended.error is None, ended.error

    def get(self, name: str) -> Instance:
        return self.records.get(name)

    async def until(self, holds: Callable[[], object], what: str = "") -> None:
        """Let the engine work until it holds. Its clock stands still meanwhile."""
        for _ in range(1000):
            if holds():
                return
            await asyncio.sleep(0.005)
        raise AssertionError(f"never came to be: {what}")

    async def end(self) -> None:
        await self.engine.keeper.close()
        await self.engine.core.close()
        await self.store.close()

    async def again(self, *, boot_id: str = "b") -> None:
        """End this daemon and begin the next; guests run on."""
        await self.end()
        await self.begin(boot_id=boot_id)


@contextlib.asynccontextmanager
async def still(**how: Any) -> AsyncIterator[Still]:
    """Such a daemon for the length of a block."""
    with tempfile.TemporaryDirectory(prefix="yt-still-", dir="/tmp") as directory:
        home = Path(directory)
        home.chmod(0o711)
        made = Still(home, FakeClock(1_000_000.0), StillDriver())
        await made.begin(**how)
        try:
            yield made
        finally:
            await made.end()
