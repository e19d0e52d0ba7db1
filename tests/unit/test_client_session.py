"""Programs over a WebSocket: channels, exit codes, and errors in their status."""

import socket

import pytest
from tests.fakeserver import FakeServer, Request, accepting, read_frame, server_frame

from yurt.api.framing import exit_status, failure_status
from yurt.client import requests
from yurt.client.process import Process
from yurt.client.session import Session, exit_code_of
from yurt.errors import Busy, NotFound, Timeout, ToolFailed, Unavailable, YurtError


@pytest.mark.parametrize("code", [0, 1, 3, 137, 255])
def test_the_servers_status_is_understood(code: int) -> None:
    assert exit_code_of(exit_status(code)[1:]) == code


def test_the_servers_failure_is_understood() -> None:
    with pytest.raises(Busy) as caught:
        exit_code_of(failure_status(Busy(message="not now", hint="later"))[1:])
    assert (caught.value.message, caught.value.hint) == ("not now", "later")


@pytest.mark.parametrize(
    "status",
    [
        b"",
        b"[]",
        b"null",
        b"{}",
        b'{"status":"Failure","details":{"causes":[{"reason":"ExitCode","message":"-3"}]}}',
        b'{"status":"Failure","details":{"causes":"no"}}',
        b'{"status":"Failure","details":[1]}',
        b'{"status":"Failure","error":5,"message":{}}',
    ],
)
def test_a_status_that_makes_no_sense_is_an_error(status: bytes) -> None:
    with pytest.raises(YurtError):
        exit_code_of(status)


def program(*said: bytes, until: int = 0, seen: list[tuple[int, bytes]] | None = None) -> object:
    """A handler that reads `until` messages, says these, and ends."""

    def handle(request: Request, sock: socket.socket) -> None:
        sock.sendall(accepting(request.headers["sec-websocket-key"]))
        for _ in range(until):
            got = read_frame(sock)
            if got and seen is not None:
                seen.append(got)
        sock.sendall(b"".join(server_frame(2, each) for each in said))
        sock.shutdown(socket.SHUT_WR)

    return handle


def start(server: FakeServer) -> Process:
    return Process(Session.open(server.transport(), requests.execute("web", ["x"])))


def test_output_comes_before_the_failure_that_follows_it() -> None:
    with FakeServer(program(b"\x01out", failure_status(NotFound("gone")))) as server:  # type: ignore[arg-type]
        process = start(server)
        assert list(process.output()) == [(1, b"out")]
        with pytest.raises(NotFound, match="gone"):
            process.wait()
        process.close()


def test_a_connection_that_ends_early_gives_no_exit_code() -> None:
    with FakeServer(program(b"\x01out")) as server:  # type: ignore[arg-type]
        process = start(server)
        with pytest.raises(Unavailable):
            process.wait()
        process.close()


def test_what_is_sent_has_its_channel() -> None:
    seen: list[tuple[int, bytes]] = []
    with FakeServer(program(exit_status(0), until=4, seen=seen)) as server:  # type: ignore[arg-type]
        process = start(server)
        process.write(b"in")
        process.resize(30, 100)
        process.signal("INT")
        process.close_stdin()
        process.close_stdin()
        process.write(b"after the end")
        assert process.wait() == 0
        process.close()
    wanted = [b"\x00in", b'\x04{"Width":100,"Height":30}', b"\x05INT", b"\xff\x00"]
    assert seen == [(2, each) for each in wanted]


def test_communicate_collects_both_streams_and_checks() -> None:
    said = (b"\x01a", b"\x02bad\n", b"\x01b", exit_status(3))
    with FakeServer(program(*said, until=2)) as server:  # type: ignore[arg-type]
        process = start(server)
        with pytest.raises(ToolFailed, match="status 3: bad"):
            process.communicate(b"input", check=True, argv=("tool",))
        process.close()
        process = start(server)
        result = process.communicate("input")
        process.close()
    assert (result.exit_code, result.stdout, result.stderr, result.text) == (3, b"ab", b"bad\n", "ab")


def test_communicate_gives_up_at_the_deadline() -> None:
    with FakeServer(program(until=9)) as server:  # type: ignore[arg-type]
        process = start(server)
        with pytest.raises(Timeout):
            process.communicate(deadline=0.0, timeout_s=0.5)
        process.close()
