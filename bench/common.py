"""What all benches share: a yurt of their own, the API in its plainest form, interleaved rounds, and one form of report.

The API is spoken with the standard library and `websockets`, not through the SDK: a promise "at the API" is measured at
the socket. Every case runs once per round, in an order that turns from round to round, so that a busy minute hits all alike.
"""

import argparse
import http.client
import json
import os
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Self
from urllib.parse import quote, urlencode

from websockets.sync.client import unix_connect

ROOT = Path(__file__).resolve().parent.parent
HOME = Path(os.environ.get("YURT_BENCH_HOME", "/var/tmp/yurt-bench"))
EXEC_PROTOCOL = "v5.channel.k8s.io"
STATUS_CHANNEL = 3
Case = Callable[[], float | None]


# --- rounds and figures ------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Figures:
    """What the rounds of one case gave, in the case's own unit."""

    median: float
    p95: float
    least: float
    rounds: int


def figures(values: Sequence[float]) -> Figures:
    """Median, 95th percentile (nearest rank) and minimum."""
    ordered = sorted(values)
    rank = min(len(ordered) - 1, -(-len(ordered) * 95 // 100) - 1)
    return Figures(statistics.median(ordered), ordered[rank], ordered[0], len(ordered))


def interleave(cases: dict[str, Case], rounds: int, *, warm: int = 1) -> dict[str, Figures]:
    """Run every case once per round. A case returns its own seconds, or None to be timed from outside.

    `warm` rounds come first and do not count.
    """
    names = list(cases)
    values: dict[str, list[float]] = {name: [] for name in names}
    for turn in range(warm + rounds):
        for at in range(len(names)):
            name = names[(at + turn) % len(names)]
            begin = time.perf_counter()
            own = cases[name]()
            took = time.perf_counter() - begin if own is None else own
            if turn >= warm:
                values[name].append(took)
            progress(f"{turn + 1}/{warm + rounds} {name}")
    progress("")
    return {name: figures(found) for name, found in values.items()}


def progress(text: str) -> None:
    """Show one changing line at a terminal; an empty text takes it away."""
    if sys.stderr.isatty():
        print(f"\r{text:60}" + ("" if text else "\r"), end="", file=sys.stderr, flush=True)


# --- the report --------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Row:
    """One line: a figure, and the limit that was promised for it (`at_least` turns the comparison round)."""

    what: str
    value: float
    unit: str
    limit: float | None = None
    at_least: bool = False

    @property
    def kept(self) -> bool | None:
        if self.limit is None:
            return None
        return self.value >= self.limit if self.at_least else self.value <= self.limit


@dataclass
class Report:
    """The rows of one bench."""

    title: str
    rows: list[Row] = field(default_factory=list)

    def add(
        self, what: str, value: float, unit: str, limit: float | None = None, *, at_least: bool = False
    ) -> None:
        self.rows.append(Row(what, value, unit, limit, at_least))

    def add_cases(self, cases: dict[str, Figures]) -> None:
        """The plain figures of every case, in milliseconds."""
        for name, found in cases.items():
            self.add(f"{name}, median of {found.rounds}", found.median * 1e3, "ms")
            self.add(f"{name}, 95th percentile", found.p95 * 1e3, "ms")

    def show(self, *, as_json: bool) -> int:
        """Print it; the status is 1 when a promise was not kept."""
        if as_json:
            rows = [{**asdict(row), "kept": row.kept} for row in self.rows]
            print(json.dumps({"title": self.title, "rows": rows}))
        else:
            print(self.title)
            for row in self.rows:
                sign = "at least" if row.at_least else "at most"
                promise = (
                    ""
                    if row.limit is None
                    else f"   {sign} {row.limit:g}: {'kept' if row.kept else 'BROKEN'}"
                )
                print(f"  {row.what:48} {row.value:10.2f} {row.unit:5}{promise}")
        return 1 if any(row.kept is False for row in self.rows) else 0


def options(
    title: str, rounds: int, add: Callable[[argparse.ArgumentParser], None] | None = None
) -> argparse.Namespace:
    """The options every bench has, and its own."""
    parser = argparse.ArgumentParser(description=title)
    parser.add_argument(
        "--rounds", type=int, default=rounds, help=f"how often each case runs (default {rounds})"
    )
    parser.add_argument("--json", action="store_true", help="print JSON")
    if add:
        add(parser)
    return parser.parse_args()


def need(*programs: str) -> None:
    """End, and say so, when a peer is not installed."""
    missing = [program for program in programs if shutil.which(program) is None]
    if missing:
        sys.exit(f"this bench needs {', '.join(missing)}")


# --- a yurt of our own -------------------------------------------------------------------------------------------


class Failed(Exception):
    """An answer of the API that no bench expects."""


class _Http(http.client.HTTPConnection):
    def __init__(self, path: Path) -> None:
        super().__init__("localhost", timeout=600)
        self.path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(600)
        self.sock.connect(str(self.path))


class Yurt:
    """A daemon in a home that keeps its images between benches; instances are deleted at the end."""

    def __init__(self, home: Path = HOME, around: Sequence[str] = ()) -> None:
        self.home = home
        self.around = (
            around  # what the daemon's command line begins with, such as a network namespace to be in
        )
        self.socket = home / "run" / "yurt.sock"
        self.state = home / "state"
        self.environ = {**os.environ, "YURT_HOME": str(home)}
        self.process: subprocess.Popen[bytes] | None = None
        self._http: _Http | None = None

    def __enter__(self) -> Self:
        if os.geteuid() != 0:
            sys.exit("benches need root")
        self.state.mkdir(mode=0o711, parents=True, exist_ok=True)
        settings = self.state / "yurt.toml"
        if not settings.exists():  # the promises were measured with it; a bench of networks writes its own
            settings.write_text('[network]\ndefault = "user"\n')
        reading, writing = os.pipe()
        self.process = subprocess.Popen(
            [*self.around, *self.argv("daemon", "--ready-fd", str(writing))],
            env=self.environ,
            pass_fds=(writing,),
            stdin=subprocess.DEVNULL,
            start_new_session=True,
        )
        os.close(writing)
        with os.fdopen(reading, "rb") as ready:
            said = ready.readline().strip()
        if said != b"ready":
            sys.exit(f"yurtd did not start: {said.decode(errors='replace')}; see {self.state}/yurtd.log")
        return self

    def __exit__(self, *_: object) -> None:
        try:
            for instance in self.call("GET", "/v1/instances"):
                self.delete(instance["name"])
        finally:
            assert self.process
            self.process.send_signal(signal.SIGTERM)
            self.process.wait(60)

    def argv(self, *words: str) -> list[str]:
        """The command line as this interpreter runs it, without the launcher."""
        return [sys.executable, "-I", "-S", str(ROOT / "src/yurt/__main__.py"), *words]

    def launcher(self, *words: str) -> list[str]:
        """The command as users type it, where the clone is set up; else without the launcher."""
        return [str(ROOT / "yurt"), *words] if (ROOT / ".venv/.yurt-stamp").exists() else self.argv(*words)

    def call(
        self, method: str, path: str, body: object = None, **query: object
    ) -> Any:  # JSON, whose shape the bench knows
        """One request over a connection that stays open. Raises Failed with the error's own words."""
        if self._http is None:
            self._http = _Http(self.socket)
        target = path + ("?" + urlencode(query) if query else "")
        data = None if body is None else json.dumps(body).encode()
        headers = {"Content-Type": "application/json"} if data else {}
        try:
            self._http.request(method, target, data, headers)
            reply = self._http.getresponse()
        except (
            BrokenPipeError,
            ConnectionResetError,
        ):  # the daemon hung up on a connection that was long idle
            self._http = _Http(self.socket)
            self._http.request(method, target, data, headers)
            reply = self._http.getresponse()
        text = reply.read()
        answer = json.loads(text) if text else None
        if reply.status >= 400:
            raise Failed(f"{method} {target}: {answer}")
        return answer

    def done(self, operation: dict[str, Any]) -> dict[str, Any]:
        """Wait for an operation that succeeds. Raises Failed."""
        while operation["status"] in ("running", "undoing"):
            operation = self.call("GET", f"/v1/operations/{operation['id']}/wait", timeout_s=60)
        if operation["status"] != "done":
            raise Failed(f"{operation['verb']} {operation['target']}: {operation.get('error')}")
        return operation

    def image(self, name: str) -> None:
        """Have an image of a shipped recipe, built at most once."""
        references = {image["reference"] for image in self.call("GET", "/v1/images")}
        if f"{name}:latest" not in references:
            print(f"building {name}", file=sys.stderr)
            self.done(self.call("POST", "/v1/images/build", {"recipe": name}))

    def create(
        self, name: str, image: str, kind: str, *, start: bool = True, **spec: object
    ) -> dict[str, Any]:
        """Create (and start) an instance; returns its operation, ended."""
        body = {"image": image, "name": name, "kind": kind, **spec}
        query = {"start": str(start).lower(), "wait_s": 60}
        return self.done(self.call("POST", "/v1/instances", body, **query))

    def wait(self, name: str, condition: str) -> dict[str, Any]:
        found = self.call("GET", f"/v1/instances/{name}/wait", **{"for": condition, "timeout_s": 120})
        assert isinstance(found, dict)
        return found

    def delete(self, name: str) -> None:
        self.done(self.call("DELETE", f"/v1/instances/{name}", force="true", wait_s=60))

    def exec(self, name: str, *command: str) -> tuple[int, bytes]:
        """Run a command over the WebSocket; its exit code and all of its output."""
        query = urlencode([*(("command", word) for word in command), ("stdin", "false"), ("tty", "false")])
        return self._stream(f"/v1/instances/{quote(name)}/exec?{query}")

    def attach(self, name: str) -> tuple[int, bytes]:
        """Follow the main process of a `COMMAND` instance to its end."""
        return self._stream(f"/v1/instances/{quote(name)}/attach")

    def _stream(self, target: str) -> tuple[int, bytes]:
        output = bytearray()
        with unix_connect(
            str(self.socket),
            f"ws://localhost{target}",
            subprotocols=[_protocol()],
            compression=None,
            max_size=None,
        ) as stream:
            for message in stream:
                data = message.encode() if isinstance(message, str) else message
                if data[:1] == bytes([STATUS_CHANNEL]):
                    return exit_code(json.loads(data[1:])), bytes(output)
                output += data[1:]
        raise Failed("the stream ended without a status")

    @contextmanager
    def events(self) -> Iterator[Callable[[str, str], None]]:
        """Subscribe, then give a function that waits until an event of a type has come for a target."""
        with unix_connect(str(self.socket), "ws://localhost/v1/events", compression=None) as stream:

            def wait_for(kind: str, target: str) -> None:
                for message in stream:
                    event = json.loads(message)
                    if event["type"] == kind and event["target"] == target:
                        return
                raise Failed(f"the events ended before {kind} of {target}")

            yield wait_for


def _protocol() -> Any:  # websockets' own NewType, which is a str
    return EXEC_PROTOCOL


def exit_code(status: dict[str, Any]) -> int:
    """The exit code in a status message of the exec protocol."""
    if status.get("status") == "Success":
        return 0
    for cause in status.get("details", {}).get("causes", []):
        if cause.get("reason") == "ExitCode":
            return int(cause["message"])
    raise Failed(f"no exit code in {status}")


def run_quietly(argv: Sequence[str], **more: Any) -> None:
    """Run a program to its end; what it prints is only shown when it fails."""
    done = subprocess.run(argv, capture_output=True, stdin=subprocess.DEVNULL, check=False, **more)
    if done.returncode != 0:
        sys.exit(f"{' '.join(argv)}\n{done.stderr.decode(errors='replace')[-2000:]}")


# --- peers -------------------------------------------------------------------------------------------------------


def hybrid_wrapper() -> list[str]:
    """What crun and podman need in front of them on a host with both forms of control groups; nothing elsewhere."""
    unified = Path("/sys/fs/cgroup/unified")
    if not unified.is_dir():
        return []
    script = f'umount {unified}; exec "$@"'
    return ["unshare", "--mount", "--propagation", "private", "sh", "-c", script, "sh"]


@contextmanager
def podman_in(scratch: Path) -> Iterator[list[str]]:
    """podman with a store of its own and what this host needs in front; store and empty control groups go at the end."""
    parent = "libpod_parent"
    before = set(Path("/sys/fs/cgroup").glob(f"*/{parent}"))
    podman = [*hybrid_wrapper(), "podman", "--root", f"{scratch}/root", "--runroot", f"{scratch}/run"]
    podman += ["--cgroup-manager=cgroupfs", "--events-backend=file"]
    try:
        yield podman
    finally:
        run_quietly([*podman, "system", "reset", "--force"])
        for group in set(Path("/sys/fs/cgroup").glob(f"*/{parent}")) - before:
            for inner in sorted(group.rglob("*/"), reverse=True):
                inner.rmdir()
            group.rmdir()


def podman_run(rootfs: Path) -> list[str]:
    """The options of `podman run` and `create` that give it what yurt's container has, within what this host allows."""
    limits = ["--ulimit", "nofile=20000:20000", "--ulimit", "nproc=1000:1000"]
    return ["--network=none", "--read-only", *limits, "--rootfs", str(rootfs)]


def rootfs_of(yurt: Yurt, image: str) -> Path:
    """The directory form of an image, which a container of it has made."""
    digest = yurt.call("GET", f"/v1/images/{image}:latest")["digest"].partition(":")[2]
    found = [
        path for path in (yurt.state / "forms").glob("*/rootfs") if digest.startswith(path.parent.name[:12])
    ]
    if not found:
        raise Failed(f"no directory form of {image} below {yurt.state}/forms")
    return found[0]
