"""What the API needs from the engine, as protocols: mypy proves that the real engine fits, tests bring their own."""

from collections.abc import AsyncIterator
from typing import Protocol

from yurt.api.volumesface import VolumesFace
from yurt.model.host import Check
from yurt.model.image import Image
from yurt.model.instance import Instance, InstanceSpec, Usage
from yurt.model.operation import Event, Operation
from yurt.model.process import ExecRequest, FileStat
from yurt.model.profile import Profile, ProfileSettings, ProfileSpec


class ExecSessionFace(Protocol):
    """One program in a guest."""

    async def read(self) -> tuple[int, bytes] | None:
        """Return (1 stdout | 2 stderr, data), or None at the end of all output."""

    async def write(self, data: bytes) -> None:
        """Write to its standard input; waits while the program does not read."""

    async def close_stdin(self) -> None:
        """End its standard input."""

    async def resize(self, rows: int, columns: int) -> None:
        """Tell its terminal the size of the window."""

    async def signal(self, number: int) -> None:
        """Send it a signal."""

    async def wait(self) -> int:
        """Return its exit code; 128 and the number for a signal."""

    async def close(self) -> None:
        """Hang up."""


class AgentFace(Protocol):
    """A guest's agent, shared by everybody: it is never closed here."""

    async def exec(self, request: ExecRequest) -> ExecSessionFace:
        """Start a program."""

    def get_archive(self, path: str, *, follow: bool = False) -> AsyncIterator[bytes]:
        """Yield a tar stream of a file or directory."""

    async def put_archive(self, path: str, chunks: AsyncIterator[bytes]) -> None:
        """Unpack a tar stream below a directory."""

    async def stat(self, path: str) -> FileStat:
        """Describe a file."""


class ConsoleFace(Protocol):
    """One view of a guest's console."""

    @property
    def scrollback(self) -> bytes:
        """What the console showed before."""

    async def read(self) -> bytes:
        """Return what it shows next; b"" at its end."""

    async def write(self, data: bytes) -> None:
        """Type."""

    async def resize(self, rows: int, columns: int) -> None:
        """Tell it the size of the window."""

    async def close(self) -> None:
        """Let go of it."""


class ProfilesFace(Protocol):
    """The profiles: each verb is one transaction and returns its result."""

    async def all(self) -> list[Profile]: ...
    async def get(self, name: str) -> Profile: ...
    def users(self, name: str) -> list[str]: ...
    async def create(self, spec: ProfileSpec) -> Profile: ...
    async def set(self, name: str, settings: ProfileSettings, unset: list[str]) -> Profile: ...
    async def delete(self, name: str, *, force: bool) -> Profile: ...


class ImportsFace(Protocol):
    """What makes images of uploads."""

    async def image(self, reference: str, chunks: AsyncIterator[bytes]) -> Operation:
        """Take an upload, then begin to make an image of it."""


class EngineFace(VolumesFace, Protocol):
    """The engine. Verbs return at once with an operation that runs on; all else returns the answer."""

    @property
    def profiles(self) -> ProfilesFace: ...

    async def instances(self, selector: dict[str, str]) -> list[Instance]: ...
    async def instance(self, name: str) -> Instance: ...
    async def create(self, spec: InstanceSpec, *, start: bool, dry_run: bool = False) -> Operation: ...
    async def start(self, name: str, *, dry_run: bool = False) -> Operation: ...
    async def stop(self, name: str, *, timeout_s: float, force: bool) -> Operation: ...
    async def kill(self, name: str) -> Operation: ...
    async def restart(self, name: str, *, timeout_s: float, force: bool) -> Operation: ...
    async def pause(self, name: str) -> Operation: ...
    async def resume(self, name: str) -> Operation: ...
    async def delete(self, name: str, *, force: bool) -> Operation: ...
    async def rename(self, name: str, new_name: str) -> Operation: ...
    async def set(self, name: str, settings: dict[str, str], *, dry_run: bool) -> Operation: ...
    async def wait(self, name: str, condition: str, timeout_s: float) -> Instance: ...
    async def usage(self) -> list[Usage]: ...
    async def agent(self, name: str) -> AgentFace: ...
    async def attach(self, name: str) -> ExecSessionFace: ...
    async def console(self, name: str) -> ConsoleFace: ...
    def logs(self, name: str, *, source: str, tail_bytes: int, follow: bool) -> AsyncIterator[bytes]: ...
    @property
    def imports(self) -> ImportsFace: ...
    async def images(self) -> list[Image]: ...
    async def image(self, reference: str) -> Image: ...
    async def build_image(self, recipe: str) -> Operation: ...
    async def delete_image(self, reference: str) -> Operation: ...
    async def prune_images(self, *, dry_run: bool) -> Operation: ...
    async def operations(self) -> list[Operation]: ...
    async def operation(self, operation_id: str) -> Operation: ...
    async def wait_operation(self, operation_id: str, timeout_s: float) -> Operation: ...
    async def cancel_operation(self, operation_id: str) -> Operation: ...
    def events(self, *, since: int | None = None) -> AsyncIterator[Event]: ...
    async def host_info(self) -> dict[str, object]: ...
    async def doctor(self) -> list[Check]: ...
