"""What the daemon holds for each running guest: its driver's events, its agent, its console, its main process.

A `Live` is made when a guest starts or is re-adopted, and ends with the guest. Everything in it waits on
events; nothing polls.
"""

import asyncio
import contextlib
import logging
from collections.abc import Callable
from pathlib import Path

from yurt.drivers.agent.client import AgentClient, ExecSession
from yurt.drivers.agent.config import BootConfig
from yurt.drivers.base import Driver, DriverEvent, SupportsAgent, SupportsConsole
from yurt.engine.consoles import ConsoleHub
from yurt.engine.logs import CONSOLE_LIMIT, BoundedLog
from yurt.errors import ToolFailed, Unavailable, WrongState, YurtError
from yurt.host import layout as names
from yurt.model.instance import Init, Instance, Kind

log = logging.getLogger("yurt.live")
ATTACH_PATIENCE_S = 10.0
RETRY_S = (0.05, 0.2, 1.0, 5.0)


class Live:
    """One running guest. `exited` resolves to the driver's last event; `agent_ready` is set while the agent answers."""

    def __init__(
        self,
        instance: Instance,
        driver: Driver,
        run_dir: Path,
        state_dir: Path,
        *,
        configure: Callable[[], BootConfig] | None,
        on_event: Callable[[DriverEvent], None],
        on_agent: Callable[[bool], None],
    ) -> None:
        self.instance_id, self.name, self.kind = instance.id, instance.name, instance.spec.kind
        self.driver, self.run_dir = driver, run_dir
        self._spec, self._configure = instance.spec, configure
        self._on_event, self._on_agent = on_event, on_agent
        self.console_log = BoundedLog(state_dir / names.CONSOLE_LOG, CONSOLE_LIMIT)
        self.exited: asyncio.Future[DriverEvent] = asyncio.get_running_loop().create_future()
        self.agent_ready = asyncio.Event()
        self.client: AgentClient | None = None
        self.main: MainProcess | None = None
        self.console_hub = ConsoleHub(self.console_log)
        self.failure: DriverEvent | None = None
        self._tasks: list[asyncio.Task[None]] = []

    @property
    def command_mode(self) -> bool:
        return self._spec.init is Init.COMMAND

    def begin(self) -> None:
        """Start listening. Call before or right after the guest starts."""
        if self.command_mode:
            self.main = MainProcess(self.console_log, wait_for_client=self._spec.attach)
        self._tasks.append(asyncio.create_task(self._watch(), name=f"events {self.name}"))
        if isinstance(self.driver, SupportsAgent):
            self._tasks.append(asyncio.create_task(self._keep_agent(), name=f"agent {self.name}"))
        if isinstance(self.driver, SupportsConsole) and self.kind is not Kind.CONTAINER:
            self._tasks.append(asyncio.create_task(self._keep_console(), name=f"console {self.name}"))

    async def _watch(self) -> None:
        last = DriverEvent(type="exited", reason="its process is gone")
        try:
            async for event in self.driver.events(self.run_dir):
                last = event
                if event.type in ("failed", "panicked"):
                    self.failure = event
                self._on_event(event)
        except YurtError as error:
            log.warning("lost the events of %s: %s", self.name, error)
            last = DriverEvent(type="exited", reason=str(error))
        finally:
            if not self.exited.done():
                self.exited.set_result(last)

    async def _keep_agent(self) -> None:
        assert isinstance(self.driver, SupportsAgent)
        failures = 0
        while not self.exited.done():
            client = None
            try:
                client = await self.driver.agent(self.run_dir)
                await client.wait_ready()
                if self._configure is not None:
                    await self._set_up(client, self._configure())
                failures = 0
                await self._serve(client)
            except (YurtError, OSError, EOFError) as error:
                log.debug("agent of %s: %s", self.name, error)
            finally:
                self.client = None
                if self.agent_ready.is_set():
                    self.agent_ready.clear()
                    self._on_agent(False)
                if client is not None:
                    with contextlib.suppress(Exception):
                        await client.close()
            delay = RETRY_S[min(failures, len(RETRY_S) - 1)]
            failures += 1
            await asyncio.wait([self.exited], timeout=delay)

    async def _set_up(self, client: AgentClient, config: BootConfig) -> None:
        """Give a guest that has booted by itself its name, its network and its volumes. A mount that fails is told."""
        await client.configure(config)
        if config.mounts:
            try:
                await client.mount(config.mounts)
            except ToolFailed as error:
                self._on_event(DriverEvent(type="mount-failed", reason=error.message))

    async def _serve(self, client: AgentClient) -> None:
        self.client = client
        self.agent_ready.set()
        self._on_agent(True)
        side: list[asyncio.Task[None]] = []
        if self.main is not None and not self.main.done.done():
            side.append(asyncio.create_task(self.main.follow(client)))
        if self.kind is Kind.CONTAINER and not self.command_mode:
            side.append(asyncio.create_task(self._follow_agent_console(client)))
        gone = asyncio.ensure_future(self._gone())
        try:
            await asyncio.wait([client.closed, gone], return_when=asyncio.FIRST_COMPLETED)
            if self.main is not None and side:
                await asyncio.wait(side[:1], timeout=1.0)
        finally:
            gone.cancel()
            for task in side:
                task.cancel()
            await asyncio.gather(*side, return_exceptions=True)

    async def _gone(self) -> None:
        await asyncio.wait([self.exited])

    async def _up(self) -> None:
        await self.agent_ready.wait()

    async def _follow_agent_console(self, client: AgentClient) -> None:
        with contextlib.suppress(YurtError, OSError, EOFError):
            await self.console_hub.follow(await client.console())

    async def _keep_console(self) -> None:
        assert isinstance(self.driver, SupportsConsole)
        try:
            await self.console_hub.follow(await self.driver.console(self.run_dir))
        except (YurtError, OSError) as error:
            log.debug("console of %s: %s", self.name, error)

    async def agent(self, timeout_s: float = 0.0) -> AgentClient:
        """Return the agent's client, waiting for it if asked. Raises Unavailable."""
        if not self.agent_ready.is_set() and timeout_s > 0:
            ready = asyncio.create_task(self._up())
            gone = asyncio.create_task(self._gone())
            await asyncio.wait({ready, gone}, timeout=timeout_s, return_when=asyncio.FIRST_COMPLETED)
            ready.cancel()
            gone.cancel()
        if self.client is None or not self.agent_ready.is_set():
            raise Unavailable(
                f"the agent in `{self.name}` does not answer",
                hint=f"wait for it with `yurt wait {self.name} --for agent`, or look at `yurt logs {self.name}`",
            )
        return self.client

    async def end(self) -> None:
        """Let go of everything. Safe to repeat."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._tasks.clear()
        self.console_hub.close()
        if self.main is not None:
            self.main.abandon()
        self.console_log.close()
        if not self.exited.done():
            self.exited.set_result(DriverEvent(type="exited", reason="let go"))


class MainProcess:
    """The main process of a COMMAND-mode guest: output to the log and to at most one attached client.

    `done` resolves to its exit code. With a client attached its speed sets the pace (flow control down to the
    program); without one, output goes to the log at once.
    """

    def __init__(self, console_log: BoundedLog, *, wait_for_client: bool) -> None:
        self._log = console_log
        self._wait = wait_for_client
        self.done: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self._client_came = asyncio.Event()
        self._attachment: MainAttachment | None = None
        self.session: ExecSession | None = None
        self.running = asyncio.Event()

    async def follow(self, client: AgentClient) -> None:
        """Attach to the main process and carry its output until it ends."""
        try:
            session = await client.attach_main()
            self.session = session
            self.running.set()
            if self._wait and not self._client_came.is_set():
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self._client_came.wait(), ATTACH_PATIENCE_S)
            self._wait = False
            while (item := await session.read()) is not None:
                self._log.append(item[1])
                if self._attachment is not None:
                    await self._attachment.put(item)
            code = await session.wait()
            if not self.done.done():
                self.done.set_result(code)
            await session.close()
        except (YurtError, OSError, EOFError) as error:
            log.debug("main process: %s", error)
        finally:
            self.session = None
            self.running.clear()
            if self.done.done() and self._attachment is not None:
                self._attachment.finish()

    def attach(self) -> "MainAttachment":
        """Take the place of the one attached client. Raises WrongState when it is taken."""
        if self._attachment is not None:
            raise WrongState(
                "another client is attached to the main process", hint="use `yurt exec` beside it"
            )
        self._attachment = MainAttachment(self)
        self._client_came.set()
        return self._attachment

    def detach(self) -> None:
        self._attachment = None

    def abandon(self) -> None:
        """The guest is gone: nobody waits any longer."""
        if not self.done.done():
            self.done.set_result(137)
        if self._attachment is not None:
            self._attachment.finish()


class MainAttachment:
    """An attached client's end of the main process; the same shape as ExecSession."""

    pid = 1

    def __init__(self, main: MainProcess) -> None:
        self._main = main
        self._items: asyncio.Queue[tuple[int, bytes] | None] = asyncio.Queue(maxsize=8)
        self._closed = False

    async def put(self, item: tuple[int, bytes]) -> None:
        if not self._closed:
            await self._items.put(item)

    def finish(self) -> None:
        if self._items.full():
            asyncio.get_running_loop().create_task(self._items.put(None))
        else:
            self._items.put_nowait(None)

    async def read(self) -> tuple[int, bytes] | None:
        """Return (channel, data), or None at the end of all output."""
        if self._closed:
            return None
        item = await self._items.get()
        if item is None:
            self._closed = True
        return item

    async def _session(self) -> ExecSession | None:
        if self._main.session is None and not self._main.done.done():
            await self._main.running.wait()
        return self._main.session

    async def write(self, data: bytes) -> None:
        """Write to its standard input."""
        if session := await self._session():
            await session.write(data)

    async def close_stdin(self) -> None:
        """End its standard input."""
        if session := await self._session():
            await session.close_stdin()

    async def resize(self, rows: int, columns: int) -> None:
        """Tell its terminal's size."""
        if session := await self._session():
            await session.resize(rows, columns)

    async def signal(self, number: int) -> None:
        """Signal its process group."""
        if session := await self._session():
            await session.signal(number)

    async def wait(self) -> int:
        """Return its exit code."""
        return await asyncio.shield(self._main.done)

    async def close(self) -> None:
        """Detach; the program runs on."""
        self._closed = True
        self._main.detach()
        while not self._items.empty():
            self._items.get_nowait()
