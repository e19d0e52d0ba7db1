"""The tagged list that tells the agent how to boot and what to run. Pure; agent/protocol.md holds the tags."""

import struct
from collections.abc import Iterable

import msgspec

from yurt.drivers.base import NicAttachment
from yurt.errors import Invalid
from yurt.model.process import ExecRequest

MAGIC = b"YURTCFG1"
LIMIT_BYTES = 1 << 20
_HEAD = struct.Struct("<HI")

MODE, HOSTNAME, INIT, INIT_ARGUMENT, COMMAND, ENV, WORKDIR, USER, TTY, STDIN = range(1, 11)
NETWORK, ADDRESS, GATEWAY, DNS, ROOT_DEVICE, MACHINE_ID, ROWS, COLUMNS = range(11, 19)
PATH, FOLLOW, ACTION, GRACE_MS, NIC, SEARCH = range(19, 25)
CPUS, MEMORY_MIB, DISK_MIB = range(40, 43)
MOUNT = 32
PORT = 48


class GuestMount(msgspec.Struct, frozen=True, kw_only=True):
    """Something that the agent mounts. `kind`: `disk` (source: its serial number) or `share` (source: its tag)."""

    kind: str
    source: str
    target: str
    read_only: bool = False

    def text(self) -> str:
        """As it is written in a setting. The target comes last, for it alone may hold a colon."""
        return f"{self.kind}:{'ro' if self.read_only else 'rw'}:{self.source}:{self.target}"


class BootConfig(msgspec.Struct, frozen=True, kw_only=True):
    """What a guest is told when it starts.

    `init` empty: `command` is the guest's main process. `network` is `none`, `user` or `managed`; `address` is written
    as `10.0.2.15/24` and is for `user`, `nics` are for `managed`. `root_device` is a path such as
    `/dev/vda`, `LABEL=name` or `SERIAL=number`. `mounts` are made in this order, before the init of a microVM runs.
    """

    mode: str
    hostname: str
    init: str = ""
    init_args: tuple[str, ...] = ()
    command: tuple[str, ...] = ()
    env: dict[str, str] = {}
    workdir: str = ""
    user: str = ""
    tty: bool = False
    stdin: bool = False
    network: str = "none"
    address: str = ""
    gateway: str = ""
    dns: str = ""
    search: str = ""
    nics: tuple[NicAttachment, ...] = ()
    root_device: str = "/dev/vda"
    machine_id: str = ""
    mounts: tuple[GuestMount, ...] = ()


Setting = tuple[int, str | int | bool]


def nic_words(nic: NicAttachment) -> str:
    """One NIC as the agent reads it: `KEY=VALUE` words, the ones without a value left out."""
    words = {"index": nic.index, "mac": nic.mac, "mtu": nic.mtu, "ipv4": nic.ipv4, "gateway4": nic.gateway4}
    words |= {"ipv6": nic.ipv6, "gateway6": nic.gateway6}
    return " ".join(f"{key}={value}" for key, value in words.items() if value != "")


def encode_settings(settings: Iterable[Setting]) -> bytes:
    """Encode tagged values; empty texts and zeros are left out. Raises Invalid for a zero byte or above 1 MiB."""
    out = bytearray()
    for tag, value in settings:
        if isinstance(value, str):
            if "\0" in value:
                raise Invalid("a zero byte cannot be passed to a guest")
            data = value.encode("utf-8", "surrogateescape")
            repeats = tag in (INIT_ARGUMENT, COMMAND, ENV, NIC, MOUNT)
            if not data and not repeats:
                continue
        elif value == 0:
            continue
        else:
            data = int(value).to_bytes(4, "little")
        out += _HEAD.pack(tag, len(data)) + data
    if len(out) > LIMIT_BYTES - 64:
        raise Invalid("the command and its environment are too long", hint="pass at most 1 MiB in all")
    return bytes(out)


def _environment(env: dict[str, str]) -> list[Setting]:
    for name in env:
        if not name or "=" in name:
            raise Invalid(f"{name!r} is not a name of an environment variable")
    return [(ENV, f"{name}={value}") for name, value in env.items()]


def encode_config(config: BootConfig) -> bytes:
    """Encode a boot configuration. Equal configurations give equal bytes. Raises Invalid."""
    body = encode_settings(
        [
            (MODE, config.mode),
            (HOSTNAME, config.hostname),
            (INIT, config.init),
            *((INIT_ARGUMENT, word) for word in config.init_args),
            *((COMMAND, word) for word in config.command),
            *_environment(config.env),
            (WORKDIR, config.workdir),
            (USER, config.user),
            (TTY, config.tty),
            (STDIN, config.stdin),
            (NETWORK, config.network),
            (ADDRESS, config.address),
            (GATEWAY, config.gateway),
            (DNS, config.dns),
            (SEARCH, config.search),
            *((NIC, nic_words(nic)) for nic in config.nics),
            (ROOT_DEVICE, config.root_device),
            (MACHINE_ID, config.machine_id),
            *((MOUNT, mount.text()) for mount in config.mounts),
        ]
    )
    return MAGIC + len(body).to_bytes(4, "little") + body


def encode_exec(request: ExecRequest) -> bytes:
    """Encode the body of a request to run a program. Raises Invalid."""
    if not request.argv or not request.argv[0]:
        raise Invalid("no program was named")
    return encode_settings(
        [
            *((COMMAND, word) for word in request.argv),
            *_environment(request.env),
            (WORKDIR, request.workdir),
            (USER, request.user),
            (TTY, request.tty),
            (STDIN, request.stdin),
            (ROWS, request.rows),
            (COLUMNS, request.columns),
        ]
    )
