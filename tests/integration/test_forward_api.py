"""`yurt forward` and the SDK's `forward` against the real API server with an engine in memory: port 7 echoes."""

import contextlib
import re
import secrets
import signal
import socket
import subprocess
import threading
from collections.abc import Iterator

import pytest
from tests.clihost import CliHost, cli_host

import yurt
from yurt.errors import Invalid, Unavailable


@pytest.fixture
def host() -> Iterator[CliHost]:
    with cli_host() as made:
        yield made


@pytest.fixture
def guest(host: CliHost) -> Iterator[yurt.Instance]:
    with yurt.connect(host.api.path) as client:
        yield client.instance("web")


def everything(connection: socket.socket) -> bytes:
    parts = []
    while data := connection.recv(1 << 16):
        parts.append(data)
    return b"".join(parts)


def exchange(port: int, data: bytes, address: str = "127.0.0.1") -> bytes:
    with socket.create_connection((address, port), timeout=20) as connection:

        def write() -> None:
            connection.sendall(data)
            connection.shutdown(socket.SHUT_WR)

        writing = threading.Thread(target=write)
        writing.start()
        heard = everything(connection)
        writing.join()
        return heard


def test_bytes_and_their_end_go_both_ways(guest: yurt.Instance) -> None:
    sent = secrets.token_bytes(2 << 20)
    with guest.forward(7) as way:
        assert way.address == "127.0.0.1"
        assert exchange(way.port, sent) == sent
        assert exchange(way.port, b"") == b""
        with guest.forward(7, address="::1") as other:
            assert exchange(other.port, b"six", "::1") == b"six"
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", way.port), timeout=5)


def test_many_at_once(guest: yurt.Instance) -> None:
    with guest.forward(7) as way, contextlib.ExitStack() as stack:
        open_ones = [
            stack.enter_context(socket.create_connection(("127.0.0.1", way.port), timeout=20))
            for _ in range(40)
        ]
        for number, connection in enumerate(open_ones):
            connection.sendall(b"%d" % number)
        for number, connection in enumerate(open_ones):
            assert connection.recv(10) == b"%d" % number


def test_who_does_not_read_holds_up_only_itself(guest: yurt.Instance) -> None:
    with guest.forward(7) as way, socket.create_connection(("127.0.0.1", way.port), timeout=20) as deaf:
        deaf.setblocking(False)
        sent = 0
        with contextlib.suppress(BlockingIOError):
            while sent < 256 << 20:
                sent += deaf.send(bytes(1 << 20))
        assert sent < 64 << 20, "what nobody reads piles up nowhere"
        assert exchange(way.port, b"others") == b"others"


def test_a_port_where_nobody_listens_and_one_that_is_taken(guest: yurt.Instance) -> None:
    with guest.forward(8) as way, socket.create_connection(("127.0.0.1", way.port), timeout=20) as connection:
        with pytest.raises(ConnectionResetError):
            connection.recv(1)
        with pytest.raises(Unavailable, match="cannot listen"):
            guest.forward(7, port=way.port)
    with pytest.raises(Invalid):
        guest.forward(7, address="localhost")


def test_the_command_says_where_it_listens_and_ends_with_ctrl_c(host: CliHost, guest: yurt.Instance) -> None:
    argv = host.argv("forward", "web", "0:7", "[::1]:0:8")
    with subprocess.Popen(argv, env=host.environ, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        try:
            first, second = process.stderr.readline(), process.stderr.readline()
            found = re.fullmatch(r"127\.0\.0\.1:(\d+) leads to port 7 in `web`; ctrl-C ends it\n", first)
            assert found, first
            assert exchange(int(found[1]), b"through the command line") == b"through the command line"
            refused = re.match(r"\[::1\]:(\d+) leads to port 8", second)
            assert refused, second
            with pytest.raises(ConnectionResetError):
                exchange(int(refused[1]), b"", "::1")
            assert "Connection refused" in process.stderr.readline()
            process.send_signal(signal.SIGINT)
            assert process.wait(20) == 0
        finally:
            process.kill()


def test_an_instance_that_is_not_there_is_told_at_once(host: CliHost) -> None:
    done = host.run("forward", "nobody", "80")
    assert done.returncode == 3
