"""What no case may do: read the canary, write outside, open a connection, take long, leave anything behind."""

import contextlib
import hashlib
import secrets
import socket
import stat
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

CASE_S = 5.0


@dataclass
class World:
    """A directory to be filled (`target`), beside decoys that must not change. `canary` is in a file of theirs."""

    root: Path
    canary: bytes = field(default_factory=lambda: secrets.token_hex(16).encode())

    def __post_init__(self) -> None:
        self.outside, self.target = self.root / "outside", self.root / "target"
        self.secret = self.outside / "secret"
        (self.outside / "deep" / "er").mkdir(parents=True)
        self.target.mkdir()
        self.secret.write_bytes(b"canary " + self.canary + b"\n")
        self.secret.chmod(0o600)
        (self.outside / "victim").write_text("untouched")
        (self.outside / "deep" / "er" / "file").write_text("untouched")
        (self.outside / "link").symlink_to("victim")
        # names that absolute members of the corpus try: nobody else uses them
        self.absolute = Path(f"/tmp/yurt-abuse-{secrets.token_hex(6)}")


def manifest(folder: Path) -> dict[str, tuple[object, ...]]:
    """Everything about a tree that a write would change; access times are no business of ours."""
    found: dict[str, tuple[object, ...]] = {}
    for path in (folder, *sorted(folder.rglob("*"))):
        status = path.lstat()
        content: object = ""
        if stat.S_ISREG(status.st_mode):
            content = hashlib.sha256(path.read_bytes()).hexdigest()
        elif stat.S_ISLNK(status.st_mode):
            content = str(path.readlink())
        found[str(path)] = (
            status.st_mode,
            status.st_uid,
            status.st_gid,
            status.st_nlink,
            status.st_mtime_ns,
            status.st_ctime_ns,
            content,
        )
    return found


def holds(folder: Path, text: bytes) -> list[str]:
    """The regular files below a folder (or the one file) that hold this text; no link is followed."""
    paths = sorted(folder.rglob("*")) if folder.is_dir() else [folder]
    return [
        str(path)
        for path in paths
        if stat.S_ISREG(path.lstat().st_mode)
        and path.lstat().st_size < 64 << 20
        and text in path.read_bytes()
    ]


@contextlib.contextmanager
def nothing_outside(world: World, *, limit_s: float = CASE_S) -> Iterator[None]:
    """Run a case: afterwards the decoys are as before, the canary is nowhere, no descriptor and no file is left over."""
    system = [Path("/etc/passwd"), Path("/etc/shadow"), Path("/etc"), Path("/")]
    before, descriptors = manifest(world.outside), len(list(Path("/proc/self/fd").iterdir()))
    stats = [(path.stat().st_mtime_ns, path.stat().st_ctime_ns) for path in system]
    beside = sorted(world.root.iterdir())
    begun = time.monotonic()
    yield
    took = time.monotonic() - begun
    assert took <= limit_s, f"took {took:.1f} s"
    assert manifest(world.outside) == before, "a decoy has changed"
    assert sorted(world.root.iterdir()) == beside, "something was left beside the target"
    assert not world.absolute.exists() and not world.absolute.is_symlink()
    assert holds(world.target, world.canary) == [], "the canary was read"
    assert [(path.stat().st_mtime_ns, path.stat().st_ctime_ns) for path in system] == stats
    assert len(list(Path("/proc/self/fd").iterdir())) == descriptors, "descriptors were left open"


class Listener:
    """Listens on TCP and UDP of the loopback; `heard` counts whoever came."""

    def __init__(self) -> None:
        self.tcp, self.udp = socket.socket(), socket.socket(type=socket.SOCK_DGRAM)
        self.tcp.bind(("127.0.0.1", 0))
        self.port = self.tcp.getsockname()[1]
        self.udp.bind(("127.0.0.1", self.port))
        self.tcp.listen(16)
        self.heard = 0
        self._thread = threading.Thread(target=self._accept, daemon=True)
        self._thread.start()
        threading.Thread(target=self._receive, daemon=True).start()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self.tcp.accept()
            except OSError:
                return
            self.heard += 1
            connection.close()

    def _receive(self) -> None:
        while True:
            try:
                data, _ = self.udp.recvfrom(1)
            except OSError:
                return
            if not data:
                return
            self.heard += 1

    def close(self) -> None:
        for each in (self.tcp, self.udp):
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
            each.close()


def rss_bytes(pid: int) -> int:
    """Resident memory of a process."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) << 10
    return 0
