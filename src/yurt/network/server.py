"""One network's dnsmasq: started, found again by a later daemon, started anew when it ends, taken down.

It runs in a jail as an unprivileged user of its own, outlives the daemon, and is found again through `dnsmasq.json`.
"""

import asyncio
import contextlib
import os
import signal
from pathlib import Path

import msgspec

from yurt.errors import Timeout, ToolFailed
from yurt.host import proc
from yurt.host.files import remove_tree, write_atomic
from yurt.host.jail import spawn_jailed
from yurt.host.jailroot import system_libraries
from yurt.host.jailspec import HOST_NETWORK, Bind, JailSpec
from yurt.host.machinelog import MachineLog
from yurt.host.seccomp import AF_INET, AF_INET6, AF_UNIX
from yurt.model.network import Network, Nic
from yurt.network import dns

READY_S, LOOK_S = 10.0, 0.005
PLACE = Path("/network")  # where it finds its files in its jail
RESOLVER = Path("/etc/resolv.conf")
AF_NETLINK = 16
LIMITS = (("core", 0), ("fsize", 16 << 20), ("nofile", 1024), ("as", 512 << 20))
FIRST_SERVER_UID = 0x3D000000 + 0x8000  # above those of instances; the network's number selects one


class Record(msgspec.Struct, frozen=True):
    """What `dnsmasq.json` keeps."""

    pid: int
    start: int


def server_jail(network: Network, program: str, directory: Path) -> JailSpec:
    """The jail of one network's server: the host's network, its own files, and three capabilities. Pure but for looking."""
    libraries, links = system_libraries()
    uid = FIRST_SERVER_UID + network.number
    own = (Bind(str(directory), str(PLACE)), Bind(str(directory / dns.OWN), str(PLACE / dns.OWN), True))
    return JailSpec(
        uid=uid,
        gid=uid,
        capabilities=dns.CAPABILITIES,
        binds=(*libraries, Bind(str(Path(program).resolve()), program), *own),
        links=links,
        network=HOST_NETWORK,
        families=(AF_UNIX, AF_INET, AF_INET6, AF_NETLINK),
        limits=LIMITS,
    )


class NameServer:
    """The server of one network, in `directory`."""

    def __init__(self, network: Network, directory: Path, program: str = "/usr/sbin/dnsmasq") -> None:
        self.network, self.directory, self._program = network, directory, program
        self.process: proc.Process | None = None

    async def ensure(self, *, anew: bool = False) -> None:
        """Return when it serves: one that runs with the same configuration is kept, unless it is to begin `anew`.

        Raises ToolFailed with its words.
        """
        config = dns.dnsmasq_config(self.network, PLACE)
        await asyncio.to_thread(self._make_directories)
        if self.process is None:
            self.process = self._adopt()
        if self.process is not None:
            if not anew and self.process.alive() and _read(self.directory / dns.CONFIG) == config:
                return
            await self._end()
        write_atomic(self.directory / dns.CONFIG, config.encode(), mode=0o644, durable=False)
        await self._start()

    def _make_directories(self) -> None:
        uid = FIRST_SERVER_UID + self.network.number
        self.directory.parent.mkdir(mode=0o711, parents=True, exist_ok=True)
        for name in ("", dns.HOSTS, dns.LEASES_OF, dns.OWN):
            place = self.directory / name
            place.mkdir(exist_ok=True)
            place.chmod(0o755)
        os.chown(self.directory / dns.OWN, uid, uid)
        self._copy_upstream()

    def _copy_upstream(self) -> None:
        """Let it ask whom the host asks; it notices a new copy by itself."""
        if not self.network.isolated:
            self._write(self.directory / dns.UPSTREAM, _read(RESOLVER))

    def _adopt(self) -> proc.Process | None:
        try:
            record = msgspec.json.decode((self.directory / dns.RECORD).read_bytes(), type=Record)
        except (OSError, msgspec.MsgspecError):
            return None
        return proc.Process.adopt(record.pid, record.start)

    async def _start(self) -> None:
        ready = self.directory / dns.OWN / "pid"
        ready.unlink(missing_ok=True)
        argv, words = dns.dnsmasq_argv(self._program, PLACE), MachineLog.make()
        jail = server_jail(self.network, self._program, self.directory)

        def record(process: proc.Process) -> None:
            data = msgspec.json.encode(Record(process.pid, process.start))
            write_atomic(self.directory / dns.RECORD, data, durable=False)

        try:
            process = await asyncio.to_thread(spawn_jailed, argv, jail, record, output=words.descriptor)
            try:
                await self._wait_ready(process, ready)
            except TimeoutError as error:
                await process.end(grace_s=0)
                raise Timeout(what="dnsmasq to serve", timeout_s=READY_S) from error
            if not process.alive():
                hint = "is another name server bound to all addresses of this host?"
                raise ToolFailed(argv=tuple(argv), status="an early end", stderr=words.text(), hint=hint)
        finally:
            words.close()
        self.process = process

    async def _wait_ready(self, process: proc.Process, ready: Path) -> None:
        """dnsmasq writes its pid file once its sockets are bound; it has no other way to say so."""
        ended = asyncio.create_task(process.wait())
        try:
            async with asyncio.timeout(READY_S):
                while not ended.done() and not ready.exists():
                    await asyncio.wait([ended], timeout=LOOK_S)
        finally:
            ended.cancel()

    async def _end(self) -> None:
        if self.process is not None:
            await self.process.end(grace_s=1)
            self.process.close()
            self.process = None

    async def remove(self) -> None:
        """End it and take away its files. Safe to repeat."""
        if self.process is None:
            self.process = self._adopt()
        await self._end()
        await asyncio.to_thread(remove_tree, self.directory)

    def detach(self) -> None:
        """Let go of it; it serves on."""
        if self.process is not None:
            self.process.close()
            self.process = None

    def tell(self, instance_id: str, name: str, nics: list[Nic]) -> None:
        """Let a guest have its addresses by DHCP, and its name lead to them. Safe to repeat."""
        self._copy_upstream()
        leases = self.directory / dns.LEASES_OF / instance_id
        text = dns.leases_of(nics)
        if _read(leases) not in ("", text):
            self._write(leases, text)
            self.reload()  # dnsmasq adds what is new by itself, but forgets nothing
        else:
            self._write(leases, text)
        self._write(self.directory / dns.HOSTS / instance_id, dns.names_of(name, nics))

    def _write(self, path: Path, text: str) -> None:
        if _read(path) != text or not path.exists():
            write_atomic(path, text.encode(), mode=0o644, durable=False)

    def forget(self, instance_id: str) -> None:
        """Take back what was told of a guest. Safe to repeat."""
        (self.directory / dns.HOSTS / instance_id).unlink(missing_ok=True)
        with contextlib.suppress(FileNotFoundError):
            (self.directory / dns.LEASES_OF / instance_id).unlink()
            self.reload()

    def reload(self) -> None:
        """Let it read all files again."""
        if self.process is not None:
            self.process.send(signal.SIGHUP)


def _read(path: Path) -> str:
    try:
        return path.read_text()
    except OSError:
        return ""
