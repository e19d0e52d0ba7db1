"""Who listens on this host: sockets of this network namespace, and the programs that hold them."""

import contextlib
import os
import socket
from ipaddress import ip_address
from pathlib import Path

import msgspec

LISTENING, UNCONNECTED = "0A", "07"
TABLES = (
    ("tcp", "tcp", LISTENING),
    ("tcp6", "tcp", LISTENING),
    ("udp", "udp", UNCONNECTED),
    ("udp6", "udp", UNCONNECTED),
)


class Listener(msgspec.Struct, frozen=True, kw_only=True):
    """A socket that takes connections or datagrams. `address` may be `0.0.0.0` or `::`; `program` may be unknown."""

    protocol: str
    address: str
    port: int
    program: str = "a program"


def parse_table(text: str, protocol: str, state: str) -> list[tuple[str, int, str]]:
    """Address, port and inode of each listener in a table such as /proc/net/tcp6. Pure."""
    found = []
    for line in text.splitlines()[1:]:
        words = line.split()
        if len(words) < 10 or words[3] != state:
            continue
        address, _, port = words[1].partition(":")
        raw = b"".join(bytes.fromhex(address[i : i + 8])[::-1] for i in range(0, len(address), 8))
        family = socket.AF_INET if len(raw) == 4 else socket.AF_INET6
        found.append((str(ip_address(socket.inet_ntop(family, raw))), int(port, 16), words[9]))
    return found


def listeners(ports: set[int], *, own: bool = False) -> list[Listener]:
    """Who listens on one of these ports. Blocks for some milliseconds; looks for programs only where something listens.

    What this very process holds is left out unless `own`.
    """
    rows = []
    for table, protocol, state in TABLES:
        with contextlib.suppress(OSError):
            text = Path(f"/proc/self/net/{table}").read_text()
            rows += [(protocol, *row) for row in parse_table(text, protocol, state) if row[1] in ports]
    if not rows:
        return []
    owners = _owners({inode for *_, inode in rows})
    made = []
    for protocol, address, port, inode in rows:
        pid, name = owners.get(inode, (0, ""))
        if pid == os.getpid() and not own:
            continue
        program = f"`{name}` (pid {pid})" if pid else "a program"
        made.append(Listener(protocol=protocol, address=address, port=port, program=program))
    return made


def _owners(inodes: set[str]) -> dict[str, tuple[int, str]]:
    wanted = {f"socket:[{inode}]": inode for inode in inodes}
    found: dict[str, tuple[int, str]] = {}
    for process in Path("/proc").iterdir():
        if not process.name.isdecimal() or len(found) == len(wanted):
            continue
        with contextlib.suppress(OSError):
            for descriptor in (process / "fd").iterdir():
                with contextlib.suppress(OSError):
                    if inode := wanted.get(str(descriptor.readlink())):
                        found[inode] = (int(process.name), (process / "comm").read_text().strip())
    return found
