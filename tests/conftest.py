"""What all tests share: skips that name what is missing, homes, daemons, an image cache, and a look for leftovers.

`home` is an empty YURT_HOME; `daemon` a real daemon in one, with the shipped images at hand; `fresh_daemon` one without
any image. Each home is searched for leftovers when its test ends, and the whole host when the session does.
"""

import contextlib
import fcntl
import hashlib
import importlib.util
import json
import os
import secrets
import select
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parent.parent
SESSION = secrets.token_hex(2)
CACHE = Path(os.environ.get("YURT_TEST_CACHE", "/var/tmp/yurt-test-cache"))
CACHED = ("images", "forms", "kernels", "agents")
CACHE_KEPT_S = 86400
DAEMON_START_S = 120
SEARCH_PATH = os.environ["PATH"] + ":/usr/sbin:/sbin"


# A shell that runs us in the background makes us ignore ctrl-C, and every program we start with us.
signal.signal(signal.SIGINT, signal.default_int_handler)


def _load(path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"tools_{path.stem}", path)
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


leaks: Any = _load(ROOT / "tools" / "leaks.py")  # a script, not a package: its types are not known here


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skip a test whose host lacks something, and say what."""
    if item.get_closest_marker("root") and os.geteuid() != 0:
        pytest.skip("needs root")
    wanted = [str(need) for marker in item.iter_markers("needs") for need in marker.args]
    absent = [need for need in wanted if not _present(need)]
    if absent:
        pytest.skip(f"needs {', '.join(absent)}")


def _present(need: str) -> bool:
    return Path(need).exists() if need.startswith("/") else shutil.which(need, path=SEARCH_PATH) is not None


# --- leftovers ---------------------------------------------------------------------------------------------------


@pytest.fixture(scope="session", autouse=True)
def no_leftovers() -> Iterator[None]:
    """Fail the session if the host holds more of yurt after it than before.

    Only this session's homes count, so that two sessions do not accuse each other; YURT_TEST_LEAKS=strict counts all.
    """
    before = {leak.what for leak in leaks.find()}
    yield
    found = [leak for leak in leaks.find() if leak.what not in before]
    if os.environ.get("YURT_TEST_LEAKS") != "strict":
        found = [leak for leak in found if leak.belongs_to(f"/tmp/yt-{SESSION}")]
    if found:
        pytest.fail("left behind by the tests:\n" + _listed(found), pytrace=False)


def _listed(found: Sequence[Any]) -> str:
    return "\n".join(f"  {leak.kind} {leak.what}" for leak in found)


def _sweep(home: Path) -> list[Any]:
    """End and remove what a home still holds. Returns what there was, for the report."""
    found = [leak for leak in leaks.find() if leak.belongs_to(str(home)) and leak.kind != "file"]
    for leak in found:
        if leak.pid:
            with contextlib.suppress(ProcessLookupError):
                os.kill(leak.pid, signal.SIGKILL)
    for leak in reversed(found):
        if leak.kind == "mount":
            subprocess.run(["umount", "--lazy", leak.what], check=False)
    return found


# --- homes and daemons -------------------------------------------------------------------------------------------


@dataclass
class Home:
    """One YURT_HOME with a short path (Unix sockets allow 108 bytes) and the command line in it."""

    path: Path
    environment: dict[str, str] = field(default_factory=dict)

    @property
    def state(self) -> Path:
        return self.path / "state"

    @property
    def run(self) -> Path:
        return self.path / "run"

    def write_settings(self) -> None:
        """Networks of our own would be bridges in the host's namespace: only tests in one of theirs may have them."""
        settings = self.state / "yurt.toml"
        text = settings.read_text() if settings.exists() else ""
        if "[network]" not in text:  # a test may have settings of its own
            self.state.mkdir(mode=0o700, parents=True, exist_ok=True)
            settings.write_text(text + '[network]\ndefault = "user"\n')

    @property
    def socket(self) -> Path:
        return self.run / "yurt.sock"

    def environ(self) -> dict[str, str]:
        kept = {key: value for key, value in os.environ.items() if not key.startswith(("YURT_", "PYTEST_"))}
        return {**kept, "YURT_HOME": str(self.path), **self.environment}

    def argv(self, *words: str) -> list[str]:
        return [sys.executable, "-I", "-S", str(ROOT / "src/yurt/__main__.py"), *words]

    def yurt(
        self, *words: str, check: bool = True, timeout_s: float = 300, stdin: bytes = b"", **environment: str
    ) -> subprocess.CompletedProcess[bytes]:
        """Run the command line here to its end. With `check`, a failure shows both of its streams."""
        done = subprocess.run(
            self.argv(*words),
            input=stdin,
            capture_output=True,
            timeout=timeout_s,
            check=False,
            env={**self.environ(), **environment},
        )
        if check and done.returncode != 0:
            said = done.stderr.decode(errors="replace") + done.stdout.decode(errors="replace")
            pytest.fail(f"`yurt {' '.join(words)}` ended with {done.returncode}:\n{said[-4000:]}")
        return done

    def json(self, *words: str) -> Any:  # whatever the command prints: the test knows its shape
        return json.loads(self.yurt(*words, "--json").stdout)


@dataclass
class Daemon(Home):
    """A home with a daemon that the test owns: it can be killed and started again."""

    process: subprocess.Popen[bytes] | None = None
    around: tuple[str, ...] = ()  # words before the daemon's own, such as what puts it into a namespace

    @property
    def pid(self) -> int:
        assert self.process
        return self.process.pid

    def start(self, **environment: str) -> None:
        """Start the daemon and return when it listens; its own words are the failure if it does not."""
        for path in (self.state, self.run):
            path.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.write_settings()
        reading, writing = os.pipe()
        try:
            with (self.state / "yurtd.log").open("ab") as log:
                self.process = subprocess.Popen(
                    [*self.around, *self.argv("daemon", "--ready-fd", str(writing))],
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    pass_fds=(writing,),
                    start_new_session=True,
                    env={**self.environ(), **environment},
                )
        finally:
            os.close(writing)
        with os.fdopen(reading, "rb") as ready:
            said = ready.readline()
        if said.strip() != b"ready":
            log_text = (self.state / "yurtd.log").read_text(errors="replace")
            pytest.fail(f"yurtd did not start: {said.decode(errors='replace')}\n{log_text[-4000:]}")

    def kill(self) -> None:
        """End it as a crash would."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process = None

    def wait_killed(self, timeout_s: float = 60) -> int:
        """Wait for a daemon that ends by itself (a failpoint); returns its status."""
        assert self.process
        status = self.process.wait(timeout_s)
        self.process = None
        return status

    def stop(self) -> None:
        """Ask it to end; guests run on."""
        if self.process is not None:
            self.process.terminate()
            try:
                self.process.wait(30)
            except subprocess.TimeoutExpired:
                self.kill()
                pytest.fail("yurtd ignored SIGTERM for 30 s")
            self.process = None

    def clear(self) -> None:
        """Delete every instance, then end the daemon."""
        if self.process is None or self.process.poll() is not None:
            self.start()
        if names := [instance["name"] for instance in self.json("ls")]:
            self.yurt("delete", "--force", *names)
        self.stop()


def make_home() -> Path:
    home = Path(tempfile.mkdtemp(prefix=f"yt-{SESSION}", dir="/tmp"))
    home.chmod(0o711)  # guests run as users of their own and pass through
    return home


def _leave(home: Path) -> None:
    """Remove a home; fail if anything of it was still there."""
    found = _sweep(home)
    for name in CACHED:
        link = home / "state" / name
        if link.is_symlink():
            link.unlink()
    shutil.rmtree(home, ignore_errors=False)
    if found:
        pytest.fail("left behind in this home:\n" + _listed(found), pytrace=False)


@pytest.fixture
def home() -> Iterator[Home]:
    """An empty YURT_HOME. A daemon that the command line starts in it is ended with the test."""
    path = make_home()
    Home(path).write_settings()
    try:
        yield Home(path)
    finally:
        for leak in leaks.find():
            if leak.pid and leak.belongs_to(str(path)) and leaks.is_daemon(leak.evidence):
                _end(leak.pid)
        _leave(path)


def _end(pid: int) -> None:
    """SIGTERM, and SIGKILL when that is ignored for ten seconds."""
    try:
        descriptor = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    try:
        signal.pidfd_send_signal(descriptor, signal.SIGTERM)
        if not select.select([descriptor], [], [], 10)[0]:
            signal.pidfd_send_signal(descriptor, signal.SIGKILL)
            select.select([descriptor], [], [], 10)
    except ProcessLookupError:
        pass
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def _daemon(cache: Path | None) -> Iterator[Daemon]:
    daemon = Daemon(make_home())
    try:
        if cache is not None:
            daemon.state.mkdir(mode=0o700)
            for name in CACHED:
                (daemon.state / name).symlink_to(cache / "state" / name, target_is_directory=True)
        daemon.start()
        yield daemon
    finally:
        try:
            daemon.clear()
        finally:
            daemon.kill()
            _leave(daemon.path)


@pytest.fixture
def fresh_daemon() -> Iterator[Daemon]:
    """A daemon in a home of its own, without any image."""
    with _daemon(None) as daemon:
        yield daemon


@pytest.fixture
def daemon(image_cache: Path) -> Iterator[Daemon]:
    """A daemon in a home of its own that has the images `tiny` and `debian`. Tests must not delete those."""
    with _daemon(image_cache) as daemon:
        yield daemon


@pytest.fixture(scope="module")
def shared_daemon(image_cache: Path) -> Iterator[Daemon]:
    """One daemon for a module whose tests do not disturb each other."""
    with _daemon(image_cache) as daemon:
        yield daemon


@pytest.fixture(scope="session")
def image_cache() -> Iterator[Path]:
    """A home that has the shipped images built, kept between sessions and renewed when what they are made of changes."""
    if os.geteuid() != 0:
        pytest.skip("building images needs root")
    CACHE.mkdir(mode=0o711, parents=True, exist_ok=True)
    CACHE.chmod(0o711)
    if CACHE.stat().st_uid != os.geteuid() or CACHE.is_symlink():
        pytest.fail(f"`{CACHE}` is not ours")
    with (CACHE / "lock").open("w") as lock:
        home = CACHE / _cache_key()
        fcntl.flock(lock, fcntl.LOCK_SH)  # many sessions may use what is built
        if not (home / "built").exists():
            fcntl.flock(lock, fcntl.LOCK_EX)
            for old in CACHE.iterdir():
                # one of another branch may be in use right now, or again soon
                if old.is_dir() and old != home and time.time() - old.stat().st_mtime > CACHE_KEPT_S:
                    shutil.rmtree(old)
            _build_images(home)
            fcntl.flock(lock, fcntl.LOCK_SH)
        os.utime(home)
        yield home


def _cache_key() -> str:
    digest = hashlib.sha256()
    for base in ("recipes", "agent", "src/yurt/images"):
        for path in sorted((ROOT / base).rglob("*")):
            if "outside" in path.parts or path.name == "inspect.py":
                continue  # what reads images from outside makes nothing that is in the cache
            if (
                path.is_file()
                and "build" not in path.parts
                and path.suffix in ("", ".py", ".c", ".h", ".toml", ".json", ".sh")
            ):
                digest.update(f"{path.relative_to(ROOT)}\0".encode() + path.read_bytes())
    return digest.hexdigest()[:8]


def _build_images(home: Path) -> None:
    builder = Daemon(home)
    if (home / "built").exists():
        return
    builder.start()
    try:
        for recipe in ("tiny", "debian"):
            builder.yurt("image", "build", recipe, timeout_s=900)
    finally:
        builder.stop()
    for name in CACHED:
        (builder.state / name).mkdir(mode=0o700, exist_ok=True)
    (home / "built").touch()


# --- failures ----------------------------------------------------------------------------------------------------


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Keep what the guests of a failed test said, and what was really started, under build/failures."""
    report = yield
    if report.when == "call" and report.failed:
        for value in getattr(item, "funcargs", {}).values():
            if isinstance(value, Home):
                _keep_evidence(item, value, report)
    return report


def _keep_evidence(item: pytest.Item, home: Home, report: pytest.TestReport) -> None:
    kept = ROOT / "build" / "failures" / "".join(c if c.isalnum() else "_" for c in item.nodeid)[-120:]
    shutil.rmtree(kept, ignore_errors=True)
    names = ("yurtd.log", "state/instances/*/*.log", "run/instances/*/*.log", "run/instances/*/launched.json")
    sources = [
        home.state / "yurtd.log",
        *(path for name in names[1:] for path in sorted(home.path.glob(name))),
    ]
    for source in sources:
        if source.is_file():
            target = kept / source.relative_to(home.path)
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source, target)
            tail = source.read_text(errors="replace").splitlines()[-40:]
            report.sections.append((f"{source.relative_to(home.path)} (whole: {kept})", "\n".join(tail)))
