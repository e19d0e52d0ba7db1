"""Sends a local file as the body of a request: archives and disk images. The file is opened here, never by the daemon."""

import os
import stat

from yurt.client.requests import Request, quote
from yurt.errors import Invalid

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from yurt.client.transport import Transport

CHUNK = 256 << 10


def import_image(reference: str) -> Request:
    """The request whose body is the archive."""
    return Request("PUT", f"/v1/images/{quote(reference, slash=False)}/archive", [("wait_s", "0")])


def send_file(
    transport: "Transport", request: Request, path: str, told: "Callable[[int, int], None] | None" = None
) -> object:
    """Send a file's bytes and return the parsed answer; `told` hears of bytes sent and of all of them (0: not known).

    `-` is standard input. Raises OSError for a file that cannot be read, Invalid for a directory.
    """
    descriptor = 0 if path == "-" else os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        status = os.fstat(descriptor)
        if stat.S_ISDIR(status.st_mode):
            raise Invalid(
                f"`{path}` is a directory", hint="pack it: `tar c -C DIR . | yurt image import NAME -`"
            )
        total = status.st_size if stat.S_ISREG(status.st_mode) else 0
        return _send(transport, request, descriptor, total, told)
    finally:
        if descriptor:
            os.close(descriptor)


def _send(
    transport: "Transport",
    request: Request,
    descriptor: int,
    total: int,
    told: "Callable[[int, int], None] | None",
) -> object:
    upload, sent = transport.upload(request), 0
    try:
        while (data := os.read(descriptor, CHUNK)) and not upload.refused:
            upload.write(data)
            sent += len(data)
            if told is not None:
                told(sent, total)
    except BaseException:
        upload.abort()
        raise
    return upload.finish()
