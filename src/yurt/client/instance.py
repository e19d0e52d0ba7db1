"""The handle on one instance: everything that can be done with it."""

import os
import time
from collections.abc import Iterator, Mapping, Sequence
from types import TracebackType
from typing import Literal, Self

from yurt.client import archive, requests
from yurt.client.calls import Calls, convert
from yurt.client.forward import Forward
from yurt.client.process import ConsoleSession, ExecResult, Process
from yurt.client.session import Session
from yurt.client.settings import setting_text
from yurt.errors import NotFound, YurtError
from yurt.model.instance import Instance as Record
from yurt.model.instance import Usage
from yurt.model.operation import Changed, Operation


class Instance:
    """A handle on one instance, by name. In a `with` block the instance is deleted at the end."""

    def __init__(self, calls: Calls, name: str) -> None:
        self._calls, self.name = calls, name

    def __repr__(self) -> str:
        return f"Instance({self.name!r})"

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is None:
            self.delete(force=True, missing_ok=True)
        else:
            self.discard()

    @property
    def record(self) -> Record:
        """What it is now. Raises NotFound."""
        return self._calls.get(requests.get_instance(self.name), Record)

    def _act(self, verb: str, body: dict[str, object] | None = None) -> Operation:
        return self._calls.operate(requests.act(self.name, verb, body))

    def start(self) -> None:
        """Start it; returns when the guest runs (use `wait` for its agent)."""
        self._act("start")

    def stop(self, *, timeout_s: float = 30.0, force: bool = False) -> None:
        """Ask the guest to shut down; kill it after `timeout_s`, or at once with `force`."""
        self._act("stop", {"timeout_s": timeout_s, "force": force})

    def kill(self) -> None:
        """End it at once."""
        self._act("kill")

    def restart(self, *, timeout_s: float = 30.0, force: bool = False) -> None:
        """Stop it as `stop` does, then start it."""
        self._act("restart", {"timeout_s": timeout_s, "force": force})

    def set(self, *, dry_run: bool = False, **settings: object) -> list[Changed]:
        """Change settings, named as for `yurt set` with `_` for `-`: `set(cpus=4, memory="2G", net_in="100M")`.

        None takes a limit away. Returns one line for each: what was, what is, whether `now` or at the `next-start`.
        """
        given = {key.replace("_", "-"): setting_text(value) for key, value in settings.items()}
        request = requests.set_instance(self.name, given, dry_run=dry_run)
        return convert(self._calls.operate(request).result.get("changes"), list[Changed])

    def forward(
        self, guest_port: int, *, port: int = 0, address: str = "127.0.0.1", guest_address: str = ""
    ) -> Forward:
        """Listen here (on a free port unless `port` is given) for connections to a TCP port inside the guest.

        Use it in a `with` block; its `port` and `address` say where it listens. The guest needs no network for it.
        """
        return Forward(
            self._calls.transport,
            self.name,
            guest_port,
            port=port,
            address=address,
            guest_address=guest_address,
        )

    def pause(self) -> None:
        """Freeze it."""
        self._act("pause")

    def resume(self) -> None:
        """Let it run on."""
        self._act("resume")

    def rename(self, name: str) -> None:
        """Give it another name; this handle follows."""
        self._act("rename", {"name": name})
        self.name = name

    def delete(self, *, force: bool = False, missing_ok: bool = False) -> None:
        """Delete it and its disk; `force`: also when it runs. `missing_ok`: no error when it is gone."""
        try:
            self._calls.operate(requests.delete_instance(self.name, force=force))
        except NotFound:
            if not missing_ok:
                raise

    def discard(self) -> None:
        """Delete it, and let no error hide the one that is on its way already."""
        try:
            self.delete(force=True, missing_ok=True)
        except YurtError as error:
            import warnings

            warnings.warn(f"instance {self.name} is left behind: {error}", ResourceWarning, stacklevel=2)

    def wait(
        self, condition: Literal["running", "agent", "exit"] = "agent", *, timeout_s: float = 300.0
    ) -> Record:
        """Wait until it runs, its agent answers, or it has ended. Raises Timeout."""
        return self._calls.get(
            requests.wait_instance(self.name, condition, timeout_s), Record, timeout_s=timeout_s + 60
        )

    def usage(self) -> Usage:
        """Its counters. Raises NotFound when it does not run."""
        for usage in self._calls.get(requests.usage(), list[Usage]):
            if usage.name == self.name:
                return usage
        raise NotFound(kind="running instance", name=self.name)

    def popen(
        self,
        argv: Sequence[str],
        *,
        env: Mapping[str, str] | None = None,
        workdir: str = "",
        user: str = "",
        tty: bool = False,
        stdin: bool = True,
        rows: int = 0,
        columns: int = 0,
    ) -> Process:
        """Start a program in the guest and return it while it runs."""
        request = requests.execute(
            self.name,
            list(argv),
            env=dict(env or {}),
            workdir=workdir,
            user=user,
            tty=tty,
            stdin=stdin,
            rows=rows,
            columns=columns,
        )
        return Process(Session.open(self._calls.transport, request))

    def exec(
        self,
        argv: Sequence[str],
        *,
        input: bytes | str | None = None,
        env: Mapping[str, str] | None = None,
        workdir: str = "",
        user: str = "",
        timeout_s: float | None = None,
        check: bool = False,
    ) -> ExecResult:
        """Run a program in the guest to its end and return its exit code and output.

        `timeout_s`: then it gets SIGHUP and Timeout is raised. `check`: ToolFailed when the exit code is not 0.
        """
        deadline = None if timeout_s is None else time.monotonic() + timeout_s
        with self.popen(argv, env=env, workdir=workdir, user=user, stdin=input is not None) as process:
            return process.communicate(
                input, deadline=deadline, timeout_s=timeout_s, check=check, argv=tuple(argv)
            )

    def attach(self) -> Process:
        """The guest's main process, if the instance was made to run one. Raises WrongState."""
        return Process(Session.open(self._calls.transport, requests.attach(self.name)))

    def copy_to(self, local: "str | os.PathLike[str]", remote: str) -> None:
        """Copy a local file or directory into the guest: into `remote` if that is a directory, else under that name."""
        archive.send(self._calls.transport, self.name, os.fspath(local), remote)

    def copy_from(self, remote: str, local: "str | os.PathLike[str]", *, follow: bool = False) -> None:
        """Copy a file or directory out of the guest: into `local` if that is a directory, else under that name."""
        archive.receive(self._calls.transport, self.name, remote, os.fspath(local), follow=follow)

    def logs(
        self,
        *,
        source: Literal["console", "lifecycle"] = "console",
        tail_bytes: int = 64 << 10,
        follow: bool = False,
    ) -> Iterator[bytes]:
        """The end of a log as it was written; with `follow` also what is added, until the guest stops."""
        request = requests.logs(self.name, source=source, tail_bytes=tail_bytes, follow=follow)
        return self._calls.transport.stream(request)

    def console(self) -> ConsoleSession:
        """Open the serial console."""
        return ConsoleSession(self._calls.transport.websocket(requests.console(self.name)))
