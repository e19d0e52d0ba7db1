"""`yurt cp`: one side names an instance, the other is local, or `-` for a tar stream."""

import os
import sys

from yurt.cli.arguments import Arguments
from yurt.cli.local import connect
from yurt.cli.output import note, safe
from yurt.cli.terminal import read_input, write_all
from yurt.client import requests
from yurt.client.archive import receive, send
from yurt.errors import Invalid

HINT = "write `yurt cp notes.txt NAME:/root/` or `yurt cp NAME:/etc/hosts .`"


def split(word: str) -> "tuple[str, str] | None":
    """(instance, path) of `NAME:PATH`; None for a local path, also one such as `./a:b`."""
    name, colon, path = word.partition(":")
    if not colon or not name or "/" in name or name.startswith("."):
        return None
    return name, path


def main(arguments: Arguments) -> int:
    source, target = arguments.word("SRC"), arguments.word("DST")
    out, into = split(source), split(target)
    if out is not None and into is not None:
        raise Invalid(
            "cannot copy from one instance to another at once", hint="copy to this host first, then on"
        )
    if into is not None:
        return copy_in(source, *into)
    if out is not None:
        return copy_out(*out, target, follow=arguments.flag("follow"))
    raise Invalid("neither side names an instance", hint=HINT)


def checked(path: str) -> str:
    if not path.startswith("/"):
        raise Invalid(f"`{safe(path)}` is not an absolute path in the guest", hint=HINT)
    return path


def copy_in(local: str, name: str, path: str) -> int:
    transport, path = connect(), checked(path)
    if local != "-":
        send(
            transport,
            name,
            local,
            path,
            skipped=lambda each: note(f"left out `{safe(each)}`: no file, directory or link"),
        )
        return 0
    upload = transport.upload(requests.put_archive(name, path))
    try:
        while (data := read_input()) and not upload.refused:
            upload.write(data)
    except BaseException:
        upload.abort()
        raise
    upload.finish()
    return 0


def copy_out(name: str, path: str, local: str, *, follow: bool) -> int:
    transport, path = connect(), checked(path)
    if local != "-":
        receive(transport, name, path, local, follow=follow)
        return 0
    if os.isatty(1):
        raise Invalid("a tar stream would garble the terminal", hint="send it on: `| tar t`")
    sys.stdout.flush()
    for chunk in transport.stream(requests.get_archive(name, path, follow=follow)):
        write_all(1, chunk)
    return 0
