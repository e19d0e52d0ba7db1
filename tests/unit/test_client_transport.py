"""HTTP over the socket: what is sent, what is understood, and what hostile or broken servers cannot do."""

import contextlib
import json
import os
import socket
import threading

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.fakeserver import FakeServer, Request, answer, saying

from yurt.client import requests
from yurt.client.requests import quote, target
from yurt.client.transport import HEAD_LIMIT, Transport, encode, socket_path
from yurt.errors import Busy, NotFound, Unavailable, WrongState, YurtError

LIST = requests.list_instances()


def chunked(*parts: bytes) -> bytes:
    body = b"".join(b"%x;note=1\r\n%b\r\n" % (len(part), part) for part in parts)
    return b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + body + b"0\r\nTrailer: x\r\n\r\n"


def test_both_ways_to_send_a_body_are_understood_on_one_connection() -> None:
    with FakeServer(saying(answer(b'[{"a":1}]'), chunked(b"[", b"2]"), answer(b""))) as server:
        transport = server.transport()
        assert transport.call(LIST) == [{"a": 1}]
        assert transport.call(LIST) == [2]
        assert transport.call(LIST) is None
        transport.close()
        assert server.connections == 1


def test_a_body_without_a_length_ends_with_the_connection() -> None:
    def handle(_: Request, sock: socket.socket) -> None:
        sock.sendall(b"HTTP/1.1 200 OK\r\n\r\n[1")
        sock.sendall(b"]")
        sock.shutdown(socket.SHUT_RDWR)

    with FakeServer(handle) as server:
        transport = server.transport()
        assert transport.call(LIST) == [1]
        assert transport.call(LIST) == [1]
        transport.close()
        assert server.connections == 2


def test_a_request_carries_its_json_and_its_length() -> None:
    with FakeServer(saying(answer(b"{}"))) as server:
        transport = server.transport()
        transport.call(requests.create_instance({"image": "tiny", "name": "é"}, start=True))
        transport.call(requests.act("web 1", "stop", {"force": True}))
        transport.close()
    first, second = server.requests
    assert (first.method, first.target) == ("POST", "/v1/instances?start=true&wait_s=0")
    assert json.loads(first.body) == {"image": "tiny", "name": "é"}
    assert second.target == "/v1/instances/web%201/stop?wait_s=0"


@given(st.text())
def test_any_text_survives_in_a_query(text: str) -> None:
    from urllib.parse import parse_qsl

    clean = text.encode("utf-8", "replace").decode()
    made = target(requests.execute("n", [clean]))
    assert made.isascii()
    pairs = parse_qsl(made.partition("?")[2], keep_blank_values=True, strict_parsing=True)
    assert ("command", clean) in pairs


def test_bytes_that_are_no_utf8_survive_in_a_query() -> None:
    assert quote(os.fsdecode(b"a\xffb")) == "a%FFb"
    assert quote("../x", slash=False) == "..%2Fx"


def test_an_error_comes_back_as_its_class_and_the_connection_stays() -> None:
    document = {"error": {"code": "wrong_state", "message": "instance `a` is running", "hint": "stop it"}}
    with FakeServer(saying(answer(json.dumps(document).encode(), "409 Conflict"), answer(b"[]"))) as server:
        transport = server.transport()
        with pytest.raises(WrongState) as caught:
            transport.call(LIST)
        assert caught.value.message == "instance `a` is running"
        assert caught.value.hint == "stop it"
        assert transport.call(LIST) == []
        transport.close()
        assert server.connections == 1


def test_an_idle_connection_that_the_server_closed_is_replaced() -> None:
    closed = threading.Event()

    def handle(_: Request, sock: socket.socket) -> None:
        sock.sendall(answer(b"[]"))
        sock.shutdown(socket.SHUT_RDWR)
        closed.set()

    with FakeServer(handle) as server:
        transport = server.transport()
        for _ in range(3):
            closed.clear()
            assert transport.call(LIST, timeout_s=30) == []
            assert closed.wait(30)
        transport.close()
        assert server.connections == 3


@pytest.mark.parametrize(
    "said",
    [
        b"SSH-2.0-OpenSSH_9.2\r\n\r\n",
        b"HTTP/1.1 abc\r\n\r\n",
        b"HTTP/1.1 2000 OK\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nno colon here\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 0x10\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 99999999999999999999\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 999999999\r\n\r\n" + b"[" * 1000,
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabcdef\r\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + b"1" * 8192,
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nab",
        b"HTTP/1.1 500 Oops\r\nContent-Length: 4\r\n\r\noops",
        b'HTTP/1.1 404 No\r\nContent-Length: 13\r\n\r\n{"error": 42}',
        b"HTTP/1.1 200 OK\r\nX: " + b"a" * (HEAD_LIMIT + 70000),
        b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n\xff\xfe\xfd",
        b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\n[1,}",
        answer(b"[" * 100_000),
        b"",
    ],
)
def test_nonsense_is_an_error_and_no_crash(said: bytes) -> None:
    def handle(_: Request, sock: socket.socket) -> None:
        with contextlib.suppress(OSError):
            sock.sendall(said)
            sock.shutdown(socket.SHUT_WR)

    with FakeServer(handle) as server, pytest.raises(Unavailable):
        server.transport().call(LIST, timeout_s=30)


@settings(max_examples=60, deadline=None)
@given(st.binary(max_size=400), st.booleans())
def test_any_bytes_give_a_value_or_an_error_of_ours(noise: bytes, headed: bool) -> None:
    def handle(_: Request, sock: socket.socket) -> None:
        with contextlib.suppress(OSError):
            sock.sendall((b"HTTP/1.1 200 OK\r\n" if headed else b"") + noise)
            sock.shutdown(socket.SHUT_WR)

    with FakeServer(handle) as server:
        transport = server.transport()
        with contextlib.suppress(YurtError):
            transport.call(LIST, timeout_s=30)
        transport.close()


def test_a_body_above_the_limit_is_refused_while_it_comes() -> None:
    def handle(_: Request, sock: socket.socket) -> None:
        sock.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
        with contextlib.suppress(OSError):
            while True:
                sock.sendall(b" " * 65536)

    with FakeServer(handle) as server:
        transport = server.transport()
        response = transport.send(LIST)
        with pytest.raises(Unavailable, match="too large"):
            response.read(limit=200_000)
        response.close()


def test_silence_ends_when_a_time_was_given() -> None:
    with (
        FakeServer(lambda _request, _sock: None) as server,
        pytest.raises(Unavailable, match="does not answer"),
    ):
        server.transport().call(LIST, timeout_s=0.05)


def test_nobody_there_is_said_with_the_way_out(tmp_path: object) -> None:
    with pytest.raises(Unavailable) as caught:
        Transport(f"{tmp_path}/none", start=False).call(LIST)
    assert "yurt serve" in caught.value.hint


def test_an_upload_goes_in_chunks_and_gives_the_answer() -> None:
    with FakeServer(saying(answer(b'{"ok":true}'))) as server:
        transport = server.transport()
        upload = transport.upload(requests.put_archive("web", "/root"))
        assert upload.write(b"abc") == 3
        upload.write(b"")
        upload.write(b"d" * 70000)
        assert upload.finish() == {"ok": True}
        transport.close()
    assert server.requests[0].body == b"abc" + b"d" * 70000


def test_an_upload_that_the_server_refuses_says_why() -> None:
    document = {"error": {"code": "busy", "message": "not now", "hint": ""}}

    def handle(_: Request, sock: socket.socket) -> None:
        sock.sendall(answer(json.dumps(document).encode(), "409 Conflict", "Connection: close"))
        sock.shutdown(socket.SHUT_RDWR)

    with FakeServer(handle) as server:
        request = requests.Request("PUT", "/refuse")
        upload = server.transport().upload(request)
        while not upload.refused:
            upload.write(b"x" * 65536)
        with pytest.raises(Busy, match="not now"):
            upload.finish()


def test_a_stream_left_early_gives_up_its_connection() -> None:
    def handle(_: Request, sock: socket.socket) -> None:
        sock.sendall(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        with contextlib.suppress(OSError):
            while True:
                sock.sendall(b"4\r\nline\r\n")

    with FakeServer(handle) as server:
        stream = server.transport().stream(requests.logs("web"))
        assert next(stream)
        stream.close()  # type: ignore[attr-defined]  # it is a generator


def test_an_error_of_a_stream_comes_before_its_first_piece() -> None:
    document = {"error": {"code": "not_found", "message": "no instance named `x`", "hint": ""}}
    with FakeServer(saying(answer(json.dumps(document).encode(), "404 Not Found"))) as server:
        transport = server.transport()
        with pytest.raises(NotFound):
            list(transport.stream(requests.logs("x")))
        transport.close()


def test_no_header_can_be_smuggled_through_a_name() -> None:
    made = encode(requests.get_instance("a HTTP/1.1\r\nX: y"))
    assert made.count(b"\r\n") == 3


def test_where_the_daemon_listens() -> None:
    assert socket_path({"YURT_HOME": "/h"}) == "/h/run/yurt.sock"
    assert socket_path({"YURT_SOCKET": "/s", "YURT_HOME": "/h"}) == "/s"
