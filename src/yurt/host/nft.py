"""Loads nftables rule sets, one transaction each, and notices when somebody takes our tables away.

It changes only the tables that the given text names; what is in the text is the business of `network/firewall`.
"""

import asyncio
import errno
import re
import socket
import struct
from collections.abc import AsyncIterator

import msgspec

from yurt.errors import Denied, ToolFailed
from yurt.host import proc

TIMEOUT_S = 60.0
NETLINK_NETFILTER, NFNLGRP_NFTABLES = 12, 7
DELETED_TABLE = 10 << 8 | 2  # NFNL_SUBSYS_NFTABLES, NFT_MSG_DELTABLE
_PLACE = re.compile(r"^(?:/dev/stdin|[^:\s]+):(\d+):(\d+)(?:-\d+)?: Error: (.*)$", re.M)


class NftFailed(ToolFailed):
    """The kernel or nft refused a rule set; nothing of it was loaded. `line` (from 1) and `text` say where, if known."""

    code, http, exit = "tool_failed", 500, 12
    line: int = 0
    text: str = ""


def failed_at(error: ToolFailed, ruleset: str, whole_stderr: str) -> NftFailed:
    """nft's complaint with the place in the rule set that it is about. Pure."""
    found = _PLACE.search(whole_stderr)
    lines = ruleset.splitlines()
    number = int(found[1]) if found else 0
    text = lines[number - 1].strip() if 0 < number <= len(lines) else ""
    where = f"line {number}, `{text[:200]}`: {found[3]}" if found and text else error.message
    result = NftFailed(
        f"nft refused the rule set: {where}", hint=error.hint, argv=error.argv, status=error.status
    )
    result.stderr, result.line, result.text = error.stderr, number, text
    return result


async def load(ruleset: str, *, dry_run: bool = False) -> None:
    """Load a rule set as one transaction: all of it or nothing. With `dry_run` only ask whether it could be loaded.

    Raises NftFailed with the place, ToolFailed when nft is missing, Timeout.
    """
    argv = ("nft", *(("--check",) if dry_run else ()), "--file", "-")
    done = await proc.run(argv, timeout_s=TIMEOUT_S, stdin=ruleset.encode(), check=False)
    if done.status != 0:
        stderr = done.stderr.decode(errors="replace")
        failure = ToolFailed(argv=argv, status=proc.describe_status(done.status), stderr=stderr)
        raise failed_at(failure, ruleset, stderr)


async def tables() -> frozenset[tuple[str, str]]:
    """Family and name of every table in this network namespace, foreign ones included."""
    done = await proc.run(("nft", "--json", "list", "tables"), timeout_s=TIMEOUT_S)
    found = msgspec.json.decode(
        done.stdout or b'{"nftables":[]}', type=dict[str, list[dict[str, dict[str, object]]]]
    )
    rows = [row["table"] for row in found["nftables"] if "table" in row]
    return frozenset((str(row["family"]), str(row["name"])) for row in rows)


async def present(table: str) -> bool:
    """Whether both of our tables of this name are there."""
    found = await tables()
    return ("bridge", table) in found and ("inet", table) in found


async def lost(table: str) -> AsyncIterator[None]:
    """Yield each time our tables of this name are found missing, at once if they are missing now. Never ends.

    The kernel tells of every table that goes; whether it was ours, and has not come back in the same transaction, is
    then looked up. Raises Denied without the right to listen.
    """
    try:
        with socket.socket(
            socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK, NETLINK_NETFILTER
        ) as events:
            events.bind((0, 1 << (NFNLGRP_NFTABLES - 1)))
            while True:
                if not await present(table):
                    yield
                await _removal(events)
    except PermissionError as error:
        raise Denied("listening to changes of the firewall needs CAP_NET_ADMIN") from error


async def _removal(events: socket.socket) -> None:
    """Return when a table was taken away, or when the kernel had more to tell than we could hear."""
    loop = asyncio.get_running_loop()
    while True:
        try:
            packet = await loop.sock_recv(events, 1 << 16)
        except OSError as error:
            if error.errno == errno.ENOBUFS:
                return
            raise
        if any(kind == DELETED_TABLE for kind in message_types(packet)):
            return


def message_types(packet: bytes) -> list[int]:
    """The types of the netlink messages in a packet. Pure."""
    found, offset = [], 0
    while offset + 16 <= len(packet):
        length, kind = struct.unpack_from("=IH", packet, offset)
        if length < 16:
            break
        found.append(kind)
        offset += (length + 3) & ~3
    return found
