"""Every error a user can meet, with its code, HTTP status and exit status.

The class docstring is the message template; keyword arguments fill it. Nothing below
`cli/` prints or exits: it raises one of these, and the edges translate. This module is on
the command line's hot path, so it imports nothing.
"""

CODES: "dict[str, type[YurtError]]" = {}


class YurtError(Exception):
    """{message}"""

    code = "internal"
    http = 500
    exit = 1

    def __init_subclass__(cls) -> None:
        CODES.setdefault(cls.code, cls)

    def __init__(self, message: str = "", *, hint: str = "", **fields: object) -> None:
        template = (type(self).__doc__ or "{message}").strip().splitlines()[0]
        self.message = message or template.format(message=message, **fields)
        self.hint = hint
        self.fields = fields
        super().__init__(self.message)


class Invalid(YurtError):
    """{message}"""

    code, http, exit = "invalid", 400, 2


class NotFound(YurtError):
    """no {kind} named `{name}`"""

    code, http, exit = "not_found", 404, 3


class Exists(YurtError):
    """{kind} `{name}` exists already"""

    code, http, exit = "exists", 409, 4


class WrongState(YurtError):
    """{kind} `{name}` is {actual}, needs to be {wanted}"""

    code, http, exit = "wrong_state", 409, 5


class Busy(YurtError):
    """{kind} `{name}` is busy with {operation}"""

    code, http, exit = "busy", 409, 6


class Exhausted(YurtError):
    """{message}"""

    code, http, exit = "exhausted", 503, 7


class Denied(YurtError):
    """{message}"""

    code, http, exit = "denied", 403, 8


class Unsupported(YurtError):
    """{message}"""

    code, http, exit = "unsupported", 422, 9


class Timeout(YurtError):
    """gave up waiting for {what} after {timeout_s:g} s"""

    code, http, exit = "timeout", 504, 10


class Unavailable(YurtError):
    """{message}"""

    code, http, exit = "unavailable", 503, 11


class ToolFailed(YurtError):
    """`{tool}` failed with {status}"""

    code, http, exit = "tool_failed", 500, 12

    def __init__(
        self,
        message: str = "",
        *,
        hint: str = "",
        argv: "tuple[str, ...]" = (),
        status: str = "",
        stderr: str = "",
        log: str = "",
    ) -> None:
        self.argv, self.status, self.log = argv, status, log
        self.stderr = "\n".join(stderr.strip().splitlines()[-20:])
        tool = argv[0].rsplit("/", 1)[-1] if argv else "program"
        text = message or f"`{tool}` failed with {status}"
        if self.stderr:
            text += ": " + self.stderr.splitlines()[-1]
        super().__init__(text, hint=hint, argv=argv, status=status, stderr=self.stderr, log=log)


class GuestFailed(ToolFailed):
    """A guest's machine stopped by a fault of the machine itself, such as a KVM internal error."""

    code, http, exit = "guest_failed", 500, 12


class Internal(YurtError):
    """{message}"""

    code, http, exit = "internal", 500, 1


CODES["internal"] = Internal


def to_document(error: YurtError) -> "dict[str, object]":
    """The JSON form of an error as the API sends it: `code`, `message`, `hint`."""
    return {"code": error.code, "message": error.message, "hint": error.hint}


def from_document(document: "dict[str, object]") -> YurtError:
    """Rebuild an error received from the API; an unknown code becomes `Internal`."""
    cls = CODES.get(str(document.get("code", "")), Internal)
    error = cls.__new__(cls)
    message, hint = str(document.get("message", "")), str(document.get("hint", ""))
    YurtError.__init__(error, message or "unknown error", hint=hint)
    return error
