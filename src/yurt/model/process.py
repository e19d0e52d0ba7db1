"""Programs inside a guest and files inside a guest, as they are asked for and described."""

from typing import Annotated

import msgspec
from msgspec import Meta

from yurt.model.instance import Command, Environment, ShortText

WindowSize = Annotated[int, Meta(ge=0, le=65535)]


class ExecRequest(msgspec.Struct, frozen=True, kw_only=True):
    """A program to run in a guest. Empty `workdir` and `user` mean the instance's own."""

    argv: Command
    env: Environment = {}
    workdir: ShortText = ""
    user: Annotated[str, Meta(max_length=255)] = ""
    tty: bool = False
    stdin: bool = False
    rows: WindowSize = 0
    columns: WindowSize = 0


class FileStat(msgspec.Struct, frozen=True, kw_only=True):
    """One file in a guest, not following a symbolic link.

    `kind` is `file`, `directory`, `symlink` or `other`; `mode` holds the permission bits; times are epoch seconds.
    """

    path: str
    kind: str
    size_bytes: int
    mode: int
    uid: int
    gid: int
    modified_at: float = 0.0
    target: str = ""  # of a symbolic link
