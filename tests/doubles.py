"""An engine in memory for the tests of the API: real state, real waiting, no guests.

It keeps to `EngineFace`, so mypy sees when the real one moves away from it.
"""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

from msgspec.structs import replace
from tests.doublevolumes import DoubleVolumes

from yurt.api.face import EngineFace
from yurt.engine.profiles import change
from yurt.errors import Busy, Exists, Invalid, NotFound, Timeout, Unavailable, WrongState
from yurt.model.host import Check
from yurt.model.image import Image, ImageConfig
from yurt.model.instance import (
    AccelMode,
    Init,
    Instance,
    InstanceSpec,
    Kind,
    NetworkMode,
    Phase,
    ResolvedSpec,
    Usage,
)
from yurt.model.names import InstanceId, Name, parse_name
from yurt.model.network import Network, NetworkSpec, NicSpec
from yurt.model.operation import ErrorDocument, Event, Operation, OperationStatus
from yurt.model.process import ExecRequest, FileStat
from yurt.model.profile import SIZES, Profile, ProfileSettings, ProfileSpec
from yurt.network.ipam import define, free_number

CHUNK = 32 << 10


@dataclass
class DoubleSession:
    """A program that does what its first word says.

    `echo` copies input to output until the input ends, `exit N` ends with N, `flood` writes for ever, `sleep` waits for
    a signal without reading, `both` writes to both outputs, `die` loses its guest.
    """

    request: ExecRequest
    sizes: list[tuple[int, int]] = field(default_factory=list)
    signals: list[int] = field(default_factory=list)
    produced: int = 0
    closed: asyncio.Event = field(default_factory=asyncio.Event)
    pid: int = 4711

    def __post_init__(self) -> None:
        self._input: asyncio.Queue[bytes | None] = asyncio.Queue(maxsize=2)
        self._ended: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self._todo = [(1, b"out\n"), (2, b"err\n")] if self.request.argv[0] == "both" else []

    async def read(self) -> tuple[int, bytes] | None:
        word = self.request.argv[0]
        if word == "echo":
            data = await self._input.get()
            return None if data is None else (1, data)
        if word == "flood":
            await asyncio.sleep(0)
            self.produced += CHUNK
            return 1, bytes(CHUNK)
        if word == "die":
            from yurt.errors import Unavailable

            raise Unavailable("the guest is gone", hint="start it again")
        if self._todo:
            return self._todo.pop(0)
        if word == "sleep":
            await asyncio.wait([self._ended])
        return None

    async def write(self, data: bytes) -> None:
        if self.request.argv[0] == "sleep":
            await asyncio.wait([self._ended])
        else:
            await self._input.put(data)

    async def close_stdin(self) -> None:
        await self._input.put(None)

    async def resize(self, rows: int, columns: int) -> None:
        self.sizes.append((rows, columns))

    async def signal(self, number: int) -> None:
        self.signals.append(number)
        if not self._ended.done():
            self._ended.set_result(128 + number)

    async def wait(self) -> int:
        if self.request.argv[0] == "sleep":
            return await asyncio.shield(self._ended)
        return int(self.request.argv[1]) if self.request.argv[0] == "exit" else 0

    async def close(self) -> None:
        self.closed.set()


class DoubleAgent:
    """A guest's agent with a few files."""

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {"/etc/hostname": b"double\n"}
        self.sessions: list[DoubleSession] = []
        self.taken = 0
        self.may_take = asyncio.Event()
        self.may_take.set()
        self.aborted = asyncio.Event()

    async def exec(self, request: ExecRequest) -> DoubleSession:
        if request.argv[0] == "missing":
            raise NotFound("no program `missing` in the guest", hint="check the spelling")
        session = DoubleSession(request)
        self.sessions.append(session)
        return session

    async def connect_port(self, port: int, address: str = "") -> DoubleSession:
        """Port 7 echoes, at all others nobody listens."""
        if port != 7:
            raise Unavailable(f"cannot connect to port {port} in the guest: Connection refused")
        return await self.exec(ExecRequest(argv=("echo",)))

    async def get_archive(self, path: str, *, follow: bool = False) -> AsyncIterator[bytes]:
        if path == "/dev/zero":
            while True:
                await asyncio.sleep(0)
                self.taken += CHUNK
                yield bytes(CHUNK)
        if path == "/broken":
            yield b"half"
            raise NotFound(kind="file", name=path)
        if path not in self.files:
            raise NotFound(kind="file", name=path)
        yield self.files[path]

    async def put_archive(self, path: str, chunks: AsyncIterator[bytes]) -> None:
        if path == "/nowhere":
            raise NotFound(kind="directory", name=path)
        whole = bytearray()
        try:
            async for chunk in chunks:
                await self.may_take.wait()
                self.taken += len(chunk)
                if len(whole) < 1 << 20:
                    whole += chunk
        except BaseException:
            self.aborted.set()
            raise
        self.files[path] = bytes(whole)

    async def stat(self, path: str) -> FileStat:
        if path not in self.files:
            raise NotFound(kind="file", name=path)
        return FileStat(
            path=path,
            kind="file",
            size_bytes=len(self.files[path]),
            mode=0o644,
            uid=0,
            gid=0,
            modified_at=1.0,
        )


class DoubleConsole:
    """A console that shows in upper case what is typed into it, and ends at `quit`."""

    def __init__(self) -> None:
        self.scrollback = b"login: "
        self.sizes: list[tuple[int, int]] = []
        self.closed = asyncio.Event()
        self._shown: asyncio.Queue[bytes] = asyncio.Queue()

    async def read(self) -> bytes:
        return await self._shown.get()

    async def write(self, data: bytes) -> None:
        await self._shown.put(b"" if data == b"quit" else data.upper())

    async def resize(self, rows: int, columns: int) -> None:
        self.sizes.append((rows, columns))

    async def close(self) -> None:
        self.closed.set()


class DoubleProfiles:
    """Profiles in a dictionary: the sizes, `web`, and `used`, which is in use."""

    def __init__(self) -> None:
        own = [Profile(name=Name(name), settings=ProfileSettings(cpus=2)) for name in ("web", "used")]
        self.kept: dict[str, Profile] = {each.name: each for each in (*SIZES.values(), *own)}

    async def all(self) -> list[Profile]:
        return list(self.kept.values())

    async def get(self, name: str) -> Profile:
        if name not in self.kept:
            raise NotFound(kind="profile", name=name)
        return self.kept[name]

    def users(self, name: str) -> list[str]:
        return ["web"] if name == "used" else []

    async def create(self, spec: ProfileSpec) -> Profile:
        if spec.name in self.kept:
            raise Exists(kind="profile", name=spec.name)
        made = Profile(name=parse_name(spec.name), settings=spec.settings, created_at=1.0)
        self.kept[made.name] = made
        return made

    async def set(self, name: str, settings: ProfileSettings, unset: list[str]) -> Profile:
        known = await self.get(name)
        self.kept[known.name] = replace(known, settings=change(known.settings, settings, unset))
        return self.kept[known.name]

    async def delete(self, name: str, *, force: bool) -> Profile:
        known = await self.get(name)
        if self.users(name) and not force:
            raise WrongState(f"profile `{name}` is in use", hint="add --force")
        return self.kept.pop(known.name)


class DoubleImports:
    """Takes uploads and keeps their size."""

    def __init__(self, engine: "DoubleEngine") -> None:
        self._engine = engine
        self.taken: dict[str, int] = {}

    async def image(self, reference: str, chunks: AsyncIterator[bytes]) -> Operation:
        if reference in self._engine.pictures:
            raise Exists(kind="image", name=reference)
        total = 0
        async for chunk in chunks:
            total += len(chunk)
        self.taken[reference] = total
        return self._engine.begin("image-import", reference)


class DoubleNetworks:
    """Networks in a dictionary; one of them in use by every instance."""

    def __init__(self, instances: dict[str, Instance]) -> None:
        self.instances = instances
        self.kept: dict[str, Network] = {}

    async def all(self) -> list[Network]:
        return list(self.kept.values())

    async def get(self, name: str) -> Network:
        if name not in self.kept:
            raise NotFound(kind="network", name=name)
        return self.kept[name]

    def users(self, name: str) -> list[Instance]:
        return list(self.instances.values()) if name == "default" else []

    def is_up(self, name: str) -> bool:
        return bool(self.users(name))

    async def create(self, spec: NetworkSpec, *, dry_run: bool) -> Network:
        if spec.name in self.kept:
            raise Exists(kind="network", name=spec.name)
        made = define(spec, free_number(self.kept.values()), "", [], b"double")
        if not dry_run:
            self.kept[made.name] = made
        return made

    async def delete(self, name: str, *, dry_run: bool) -> Network:
        known = await self.get(name)
        if users := self.users(name):
            raise Busy(f"network `{name}` is used by {users[0].name}", hint="delete these instances first")
        return known if dry_run else self.kept.pop(name)


class DoubleNics:
    """NICs that come and go without a trace."""

    def __init__(self, engine: "DoubleEngine") -> None:
        self._engine = engine

    async def attach(self, network: str, instance_name: str, wish: NicSpec) -> Operation:
        await self._engine.networks.get(network)
        return self._engine.begin("nic-attach", (await self._engine.instance(instance_name)).name)

    async def detach(self, network: str, instance_name: str) -> Operation:
        await self._engine.networks.get(network)
        return self._engine.begin("nic-detach", (await self._engine.instance(instance_name)).name)


class DoubleEngine(DoubleVolumes):
    """Instances, images and operations in dictionaries. `hold` set makes operations run until `release`."""

    def __init__(self) -> None:
        self.records: dict[str, Instance] = {}
        self.kept: dict[str, Operation] = {}
        self._volumes = {}
        self.agents: dict[str, DoubleAgent] = {}
        self.profiles = DoubleProfiles()
        self.networks = DoubleNetworks(self.records)
        self.nics = DoubleNics(self)
        self.consoles: list[DoubleConsole] = []
        self.imports = DoubleImports(self)
        self.pictures = {
            "tiny:latest": Image(
                reference="tiny:latest", digest="sha256:0", size_bytes=1, created_at=1.0, config=ImageConfig()
            )
        }
        self.happened: list[Event] = []
        self.first = 100
        self.history = 1 << 30
        self.subscribers = 0
        self.waiting = 0
        self.hold = False
        self.fail: Exception | None = None
        self._news = asyncio.Event()
        self._released = asyncio.Event()

    def add(self, name: str, phase: Phase = Phase.RUNNING) -> Instance:
        """Put an instance there."""
        spec = resolve(InstanceSpec(image="tiny", name=name))
        self.records[name] = Instance(
            id=InstanceId(f"{len(self.records):012x}"),
            name=Name(name),
            spec=spec,
            phase=phase,
            created_at=1.0,
        )
        self.agents[name] = DoubleAgent()
        return self.records[name]

    def publish(self, kind: str, target: str) -> Event:
        """Let an event happen."""
        event = Event(sequence=self.first + len(self.happened), type=kind, at=1.0, target=target)
        self.happened.append(event)
        self._notify()
        return event

    def _notify(self) -> None:
        self._news.set()
        self._news = asyncio.Event()

    def release(self) -> None:
        """Let held operations end."""
        self._released.set()
        for operation in list(self.kept.values()):
            if not operation.status.ended:
                self.kept[operation.id] = replace(operation, status=OperationStatus.DONE, ended_at=2.0)

    def _begin(self, verb: str, target: str, **arguments: object) -> Operation:
        ended = not self.hold
        made = Operation(
            id=f"{len(self.kept):012x}",
            verb=verb,
            target=target,
            arguments=arguments,
            status=OperationStatus.DONE if ended else OperationStatus.RUNNING,
            created_at=1.0,
        )
        self.kept[made.id] = made
        self._notify()
        return made

    async def until_begun(self, count: int) -> None:
        """Return when so many operations have begun."""
        while len(self.kept) < count:
            await self._news.wait()

    async def instances(self, selector: dict[str, str]) -> list[Instance]:
        if self.fail:
            raise self.fail
        return [i for i in self.records.values() if selector.items() <= i.spec.labels.items()]

    async def instance(self, name: str) -> Instance:
        if name not in self.records:
            raise NotFound(kind="instance", name=name)
        return self.records[name]

    async def create(self, spec: InstanceSpec, *, start: bool, dry_run: bool = False) -> Operation:
        name = parse_name(spec.name or "made-up")
        if name in self.records:
            raise Exists(kind="instance", name=name)
        if dry_run:
            return Operation(id="dry-run", verb="create", target=name, status=OperationStatus.DONE)
        self.add(name, Phase.RUNNING if start else Phase.STOPPED)
        self.records[name] = replace(self.records[name], spec=resolve(spec))
        return self._begin("create", name, start=start)

    async def _verb(self, verb: str, name: str, **arguments: object) -> Operation:
        await self.instance(name)
        return self._begin(verb, name, **arguments)

    async def start(self, name: str, *, dry_run: bool = False) -> Operation:
        if dry_run:
            return Operation(id="dry-run", verb="start", target=name, status=OperationStatus.DONE)
        if (await self.instance(name)).phase is Phase.RUNNING:
            raise WrongState(kind="instance", name=name, actual="running", wanted="stopped")
        return self._begin("start", name)

    async def stop(self, name: str, *, timeout_s: float, force: bool) -> Operation:
        return await self._verb("stop", name, timeout_s=timeout_s, force=force)

    async def kill(self, name: str) -> Operation:
        return await self._verb("kill", name)

    async def restart(self, name: str, *, timeout_s: float, force: bool) -> Operation:
        return await self._verb("restart", name, timeout_s=timeout_s, force=force)

    async def pause(self, name: str) -> Operation:
        return await self._verb("pause", name)

    async def resume(self, name: str) -> Operation:
        return await self._verb("resume", name)

    async def delete(self, name: str, *, force: bool) -> Operation:
        return await self._verb("delete", name, force=force)

    async def rename(self, name: str, new_name: str) -> Operation:
        return await self._verb("rename", name, new_name=new_name)

    async def set(self, name: str, settings: dict[str, str], *, dry_run: bool = False) -> Operation:
        return await self._verb("set", name, settings=settings, dry_run=dry_run)

    async def wait(self, name: str, condition: str, timeout_s: float) -> Instance:
        found = await self.instance(name)
        if condition == "exit" and found.phase is Phase.RUNNING:
            self.waiting += 1
            self._notify()
            try:
                async with asyncio.timeout(timeout_s):
                    await self._released.wait()
            except TimeoutError as error:
                raise Timeout(what=f"`{name}` to exit", timeout_s=timeout_s) from error
            finally:
                self.waiting -= 1
                self._notify()
        return self.records[name]

    async def until_waiting(self, count: int) -> None:
        """Return when so many callers wait for an exit."""
        while self.waiting != count:
            await self._news.wait()

    async def usage(self) -> list[Usage]:
        return [
            Usage(
                name=each.name, kind=each.spec.kind, at=1.0, cpu_s=0.5, memory_bytes=1, memory_limit_bytes=2,
                read_bytes=3, write_bytes=4, pids=5,
            )
            for each in self.records.values()
        ]  # fmt: skip

    async def agent(self, name: str) -> DoubleAgent:
        if (await self.instance(name)).phase is not Phase.RUNNING:
            raise WrongState(kind="instance", name=name, actual="stopped", wanted="running")
        return self.agents[name]

    async def attach(self, name: str) -> DoubleSession:
        return await (await self.agent(name)).exec(ExecRequest(argv=("echo",)))

    async def console(self, name: str) -> DoubleConsole:
        await self.agent(name)
        self.consoles.append(DoubleConsole())
        return self.consoles[-1]

    async def logs(self, name: str, *, source: str, tail_bytes: int, follow: bool) -> AsyncIterator[bytes]:
        await self.instance(name)
        yield f"{source} of {name}\n".encode()[-tail_bytes:]
        if follow:
            await self._released.wait()
            yield b"later\n"

    def begin(self, verb: str, target: str) -> Operation:
        """An operation, for what the engine's parts begin."""
        return self._begin(verb, target)

    async def images(self) -> list[Image]:
        return list(self.pictures.values())

    async def image(self, reference: str) -> Image:
        if reference not in self.pictures:
            raise NotFound(kind="image", name=reference)
        return self.pictures[reference]

    async def build_image(self, recipe: str) -> Operation:
        if recipe != "tiny":
            raise NotFound(kind="recipe", name=recipe)
        return self._begin("image-build", recipe)

    async def delete_image(self, reference: str) -> Operation:
        await self.image(reference)
        return self._begin("image-delete", reference)

    async def prune_images(self, *, dry_run: bool) -> Operation:
        return self._begin("image-prune", "images", dry_run=dry_run)

    async def operations(self) -> list[Operation]:
        return list(self.kept.values())

    async def operation(self, operation_id: str) -> Operation:
        if operation_id not in self.kept:
            raise NotFound(kind="operation", name=operation_id)
        return self.kept[operation_id]

    async def wait_operation(self, operation_id: str, timeout_s: float) -> Operation:
        if not (await self.operation(operation_id)).status.ended:
            try:
                async with asyncio.timeout(timeout_s):
                    await self._released.wait()
            except TimeoutError:
                pass
        return self.kept[operation_id]

    async def cancel_operation(self, operation_id: str) -> Operation:
        found = await self.operation(operation_id)
        self.kept[operation_id] = replace(
            found, status=OperationStatus.CANCELLED, error=ErrorDocument("cancelled", "cancelled")
        )
        return self.kept[operation_id]

    async def events(self, *, since: int | None = None) -> AsyncIterator[Event]:
        position = self.first + len(self.happened) if since is None else since
        self.subscribers += 1
        self._notify()
        try:
            while True:
                oldest = max(self.first, self.first + len(self.happened) - self.history)
                position = max(position, oldest)
                while position < self.first + len(self.happened):
                    yield self.happened[position - self.first]
                    position += 1
                await self._news.wait()
        finally:
            self.subscribers -= 1
            self._notify()

    async def until_subscribed(self, count: int) -> None:
        """Return when so many readers follow the events."""
        while self.subscribers != count:
            await self._news.wait()

    async def host_info(self) -> dict[str, object]:
        return {"hostname": "double", "cpus": 2}

    async def doctor(self) -> list[Check]:
        return [Check(name="kvm", status="ok", detail="works")]


def resolve(spec: InstanceSpec) -> ResolvedSpec:
    """Fill in what the tests do not care about."""
    if spec.image == "unknown":
        raise Invalid("unknown")
    return ResolvedSpec(
        image=f"{spec.image}:latest",
        image_digest="sha256:0",
        kind=spec.kind or Kind.MICROVM,
        cpus=spec.cpus or 1,
        memory_bytes=spec.memory_bytes or 256 << 20,
        disk_bytes=spec.disk_bytes or 1 << 30,
        env=dict(spec.env),
        workdir=spec.workdir or "/",
        user=spec.user or "root",
        labels=dict(spec.labels),
        command=spec.command,
        init=Init.IMAGE,
        init_path="/sbin/init",
        systemd=False,
        stdin=spec.stdin,
        tty=spec.tty,
        network=spec.network or NetworkMode.USER,
        accel=spec.accel or AccelMode.AUTO,
        ephemeral=spec.ephemeral,
        policy=spec.policy.filled(),
    )


def _keeps_to_the_face(engine: DoubleEngine) -> EngineFace:
    return engine
