"""`yurt console` and `yurt logs`."""

import os
import sys

from yurt.cli.arguments import Arguments
from yurt.cli.harmless import LogCleaner
from yurt.cli.local import connect
from yurt.cli.output import note, safe
from yurt.cli.terminal import Ended, relay_console, write_all
from yurt.client import requests

TAIL = 64 << 10


def console(arguments: Arguments) -> int:
    name = arguments.word("NAME")
    socket = connect().websocket(requests.console(name))
    if os.isatty(0):
        note(f"connected to `{safe(name)}`; ctrl-] leaves")
    try:
        ended = relay_console(socket)
    except Ended as end:
        return 128 + end.number
    note("\r" * os.isatty(2) + ("the console has ended" if ended else f"left; `{safe(name)}` runs on"))
    return 0


def logs(arguments: Arguments) -> int:
    size = arguments.size("tail")
    request = requests.logs(
        arguments.word("NAME"),
        source=arguments.text("source", "console"),
        tail_bytes=TAIL if size is None else size,
        follow=arguments.flag("follow"),
    )
    sys.stdout.flush()
    cleaner = LogCleaner() if os.isatty(1) and not arguments.flag("raw") else None
    for chunk in connect().stream(request):
        write_all(1, chunk if cleaner is None else cleaner.feed(chunk).encode("utf-8", "backslashreplace"))
    if cleaner is not None:
        write_all(1, cleaner.close().encode("utf-8", "backslashreplace"))
    return 0


def main(arguments: Arguments) -> int:
    return console(arguments) if arguments.command.name == "console" else logs(arguments)
