"""Local trouble in words, and the connection that commands share."""

from yurt.client.transport import Transport
from yurt.errors import Denied, Exists, Internal, Invalid, NotFound, YurtError


def connect() -> Transport:
    """The way to the daemon; starts it when nobody listens, and says so if that takes long."""
    from yurt.cli.output import note

    return Transport(notice=note)


def translated(error: OSError) -> YurtError:
    """A local system error as one of ours."""
    where = f"`{error.filename}`: " if error.filename else ""
    text = f"{where}{error.strerror or error}"
    kinds: list[tuple[type[OSError], type[YurtError]]] = [
        (FileNotFoundError, NotFound),
        (PermissionError, Denied),
        (FileExistsError, Exists),
        (NotADirectoryError, Invalid),
        (IsADirectoryError, Invalid),
    ]
    for system, ours in kinds:
        if isinstance(error, system):
            return ours(text)
    return Internal(text)
