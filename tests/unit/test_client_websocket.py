"""WebSocket framing as pure code, and the connection against a server that misbehaves."""

import socket

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.fakeserver import FakeServer, Handler, Request, accepting, answer, read_frame, server_frame

from yurt.client import requests
from yurt.client.session import Session
from yurt.client.transport import Connection
from yurt.client.websocket import (
    BINARY,
    CLOSE,
    PING,
    PONG,
    TEXT,
    FrameParser,
    WebSocket,
    accept_value,
    frame,
    mask,
)
from yurt.errors import NotFound, Unavailable

EXEC = requests.execute("web", ["true"])


def test_the_example_of_the_standard() -> None:
    assert accept_value("dGhlIHNhbXBsZSBub25jZQ==") == "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="
    # RFC 6455, section 5.7: a masked "Hello"
    assert frame(TEXT, b"Hello", bytes.fromhex("37fa213d")) == bytes.fromhex("818537fa213d7f9f4d5158")


@given(st.binary(max_size=300), st.binary(min_size=4, max_size=4))
def test_masking_is_byte_by_byte_and_its_own_inverse(data: bytes, key: bytes) -> None:
    masked = mask(data, key)
    assert masked == bytes(byte ^ key[i % 4] for i, byte in enumerate(data))
    assert mask(masked, key) == data


@pytest.mark.parametrize("size", [0, 1, 125, 126, 65535, 65536, 300_000])
def test_frames_of_every_length_form_arrive(size: int) -> None:
    data = bytes(range(256)) * (size // 256 + 1)
    here, there = socket.socketpair()
    with here, there:
        here.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 20)
        here.sendall(frame(BINARY, data[:size], b"abcd"))
        assert read_frame(there) == (BINARY, data[:size])


messages = st.lists(
    st.tuples(st.sampled_from([TEXT, BINARY]), st.binary(max_size=200), st.integers(1, 4)), max_size=6
)


@given(messages, st.lists(st.integers(1, 60), max_size=30))
def test_messages_arrive_however_they_are_cut(sent: list[tuple[int, bytes, int]], cuts: list[int]) -> None:
    wire = b""
    for opcode, data, pieces in sent:
        step = max(1, -(-len(data) // pieces))
        parts = [data[i : i + step] for i in range(0, len(data), step)] or [b""]
        for number, part in enumerate(parts):
            final = number == len(parts) - 1
            wire += server_frame(opcode if number == 0 else 0, part, final=final)
            if not final:
                wire += server_frame(PING, b"between")
    parser, found = FrameParser(), []
    for cut in cuts:
        found += parser.feed(wire[:cut])
        wire = wire[cut:]
    found += parser.feed(wire)
    assert [each for each in found if each[0] != PING] == [(opcode, data) for opcode, data, _ in sent]


@pytest.mark.parametrize(
    "wire",
    [
        b"\xc2\x00",  # compressed, which nobody asked for
        b"\x82\x80abcd",  # masked, which no server may
        b"\x83\x00",  # an opcode that does not exist
        b"\x80\x00",  # a continuation of nothing
        b"\x02\x01a\x82\x01b",  # a new message within a message
        b"\x09\x00",  # a ping in pieces
        b"\x89\x7e\x00\x80" + b"a" * 128,  # a ping too long
        b"\x82\x7f\x00\x00\x00\x01\x00\x00\x00\x00",  # 4 GiB
        b"\x82\x7f\xff\xff\xff\xff\xff\xff\xff\xff",
    ],
)
def test_what_no_server_may_send_is_refused(wire: bytes) -> None:
    with pytest.raises(Unavailable):
        FrameParser().feed(wire)


def test_small_fragments_cannot_add_up_beyond_the_limit() -> None:
    parser, part = FrameParser(), b"a" * (1 << 20)
    parser.feed(server_frame(BINARY, part, final=False))
    with pytest.raises(Unavailable):
        for _ in range(20):
            parser.feed(server_frame(0, part, final=False))


@given(st.binary(max_size=500))
def test_any_bytes_are_parsed_or_refused(noise: bytes) -> None:
    parser = FrameParser()
    try:
        for i in range(0, len(noise), 7):
            parser.feed(noise[i : i + 7])
    except Unavailable:
        pass


def upgrading(then: Handler) -> Handler:
    def handle(request: Request, sock: socket.socket) -> None:
        sock.sendall(accepting(request.headers["sec-websocket-key"]))
        then(request, sock)
        sock.shutdown(socket.SHUT_WR)

    return handle


def test_a_ping_is_answered_and_a_close_ends_with_its_reason() -> None:
    seen: list[tuple[int, bytes] | None] = []

    def serve(_: Request, sock: socket.socket) -> None:
        sock.sendall(server_frame(PING, b"there?"))
        seen.append(read_frame(sock))
        sock.sendall(server_frame(BINARY, b"x") + server_frame(CLOSE, b"\x03\xe9going"))
        seen.append(read_frame(sock))

    with FakeServer(upgrading(serve)) as server:
        ws = server.transport().websocket(EXEC)
        assert ws.receive() == (BINARY, b"x")
        assert ws.receive() is None
        assert ws.ended
        assert (ws.close_code, ws.close_reason) == (1001, "going")
        ws.close()
    assert seen == [(PONG, b"there?"), (CLOSE, b"\x03\xe9")]


def test_what_comes_with_the_handshake_is_not_lost() -> None:
    def handle(request: Request, sock: socket.socket) -> None:
        sock.sendall(accepting(request.headers["sec-websocket-key"]) + server_frame(BINARY, b"early"))
        read_frame(sock)

    with FakeServer(handle) as server:
        ws = server.transport().websocket(EXEC)
        assert ws.receive(30) == (BINARY, b"early")
        assert ws.receive(0.01) is None
        assert not ws.ended
        ws.close()


def test_a_refusal_is_the_error_it_carries() -> None:
    body = b'{"error":{"code":"not_found","message":"no instance named `x`","hint":"see `yurt ls`"}}'
    with FakeServer(lambda _, sock: sock.sendall(answer(body, "404 Not Found"))) as server:
        with pytest.raises(NotFound) as caught:
            server.transport().websocket(EXEC)
        assert caught.value.hint == "see `yurt ls`"


@pytest.mark.parametrize("wrong", ["key", "protocol"])
def test_a_handshake_for_somebody_else_is_refused(wrong: str) -> None:
    def handle(request: Request, sock: socket.socket) -> None:
        key = "another" if wrong == "key" else request.headers["sec-websocket-key"]
        sock.sendall(accepting(key, "chat" if wrong == "protocol" else "v5.channel.k8s.io"))

    with FakeServer(handle) as server, pytest.raises(Unavailable):
        server.transport().websocket(EXEC)


def test_much_output_and_much_input_at_once_do_not_lock_up() -> None:
    """The server writes without reading until all is written, then reads: a client that blocks in send would hang."""
    size = 4 << 20
    got: list[int] = []

    def serve(_: Request, sock: socket.socket) -> None:
        for _i in range(size // 65536):
            sock.sendall(server_frame(BINARY, b"o" * 65536))
        while sum(got) < size and (read := read_frame(sock)):
            got.append(len(read[1]))

    with FakeServer(upgrading(serve)) as server:
        ws = server.transport().websocket(EXEC)
        for _ in range(4):
            ws.send_binary(b"i" * (size // 4))
        received = 0
        while (message := ws.receive(60)) is not None:
            received += len(message[1])
        ws.close()
    assert received == size
    assert sum(got) == size


def test_an_end_that_comes_in_one_piece_with_the_answer_loses_nothing() -> None:
    ours, theirs = socket.socketpair()
    with theirs:
        connection = Connection(ours)
        status = b'{"metadata":{},"status":"Success"}'
        connection.buffer = (
            server_frame(BINARY, b"\1out")
            + server_frame(BINARY, b"\3" + status)
            + server_frame(CLOSE, b"\x03\xe8")
        )
        session = Session(WebSocket(connection))
        assert session.wait_events() == [(1, b"out")]
        assert session.wait_events() == []
        assert session.result() == 0
        ours.close()
