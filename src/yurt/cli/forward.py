"""`yurt forward`: a temporary way to a TCP port inside a guest."""

import signal

from yurt.cli.arguments import Arguments
from yurt.cli.local import connect
from yurt.cli.output import note, safe
from yurt.client import requests
from yurt.client.forward import Forward
from yurt.errors import Invalid, YurtError
from yurt.rules import split

TYPE_CHECKING = False
if TYPE_CHECKING:
    from yurt.client.transport import Transport


def parse(word: str) -> "tuple[str, int, str, int]":
    """`[ADDRESS:]PORT:[GUEST-ADDRESS:]GUEST-PORT`, or one port for both. IPv6 addresses stand in brackets. Pure."""
    parts = split(word)
    if len(parts) == 1:
        parts = [parts[0], parts[0]]
    near = "127.0.0.1" if len(parts) == 2 or parts[0].isdecimal() else parts.pop(0)
    if len(parts) not in (2, 3):
        raise _unclear(word)
    guest = parts[1] if len(parts) == 3 else ""
    return near, _port(parts[0], word), guest, _port(parts[-1], word)


def _port(text: str, word: str) -> int:
    if not text.isdecimal() or not 0 <= int(text) <= 65535:
        raise _unclear(word)
    return int(text)


def _unclear(word: str) -> Invalid:
    return Invalid(
        f"`{safe(word)}` is not a forward",
        hint="write PORT:GUEST-PORT, such as 8080:80, or ADDRESS:PORT:GUEST-PORT",
    )


def main(arguments: Arguments) -> int:
    name = arguments.word("NAME")
    wanted = [parse(word) for word in arguments.words("PORTS")]
    transport = connect()
    transport.call(requests.get_instance(name))  # a wrong name is told now, not at the first connection
    return _run(transport, name, wanted)


def _run(transport: "Transport", name: str, wanted: "list[tuple[str, int, str, int]]") -> int:
    def complain(error: YurtError) -> None:
        note(f"warning: {safe(error.message)}")

    signals = {signal.SIGINT, signal.SIGTERM, signal.SIGHUP}
    signal.pthread_sigmask(signal.SIG_BLOCK, signals)  # threads inherit it; the wait below takes them
    forwards: list[Forward] = []
    try:
        for address, port, guest_address, guest_port in wanted:
            made = Forward(
                transport,
                name,
                guest_port,
                port=port,
                address=address,
                guest_address=guest_address,
                on_error=complain,
            )
            forwards.append(made)
            place = f"[{made.address}]" if ":" in made.address else made.address
            target = f"{guest_address} port {guest_port}" if guest_address else f"port {guest_port}"
            note(f"{place}:{made.port} leads to {target} in `{safe(name)}`; ctrl-C ends it")
        number = signal.sigwait(signals)
    finally:
        for each in forwards:
            each.close()
    return 0 if number == signal.SIGINT else 128 + number
