"""Bytes no client of ours sends. After each of them the server must still be there, and must not have grown."""

import asyncio
import contextlib
import socket
from collections.abc import Iterator

import pytest
from tests.apiserver import Served, against, parse
from tests.doubles import DoubleEngine

from yurt.api import table

DEEP = 100_000
HEAD = b"POST /v1/instances HTTP/1.1\r\nHost: y\r\nConnection: close\r\n"


def post(body: bytes, *extra: bytes) -> bytes:
    length = b"Content-Length: %d\r\n" % len(body)
    return HEAD + length + b"".join(line + b"\r\n" for line in extra) + b"\r\n" + body


BODIES = {
    "nothing": b"",
    "not an object": b"[]",
    "a number": b"1",
    "null": b"null",
    "a half": b'{"image": "ti',
    "two": b'{"image":"tiny"}{"image":"tiny"}',
    "invalid utf-8": b'{"image":"\xff\xfe"}',
    "half a surrogate": b'{"image":"\\ud800"}',
    "a zero byte": b'{"image":"a","user":"\\u0000","name":"\\u0000"}',
    "not a number": b'{"image":"tiny","cpus":NaN}',
    "infinity": b'{"image":"tiny","cpus":1e999}',
    "more than 64 bits": b'{"image":"tiny","cpus":%d}' % 2**70,
    "a very long number": b'{"image":"tiny","cpus":' + b"9" * 500_000 + b"}",
    "deep arrays": b'{"image":' + b"[" * DEEP,
    "deep objects": b'{"image":' + b'{"a":' * DEEP,
    "a deep unknown": b'{"zzz":' + b"[" * DEEP + b"]" * DEEP + b"}",
    "a huge array": b'{"image":"tiny","command":[' + b'"",' * 200_000 + b'""]}',
    "a huge object": b'{"image":"tiny","env":{' + b",".join(b'"a%d":""' % n for n in range(50_000)) + b"}}",
    "a long name": b'{"image":"tiny","name":"' + b"a" * 64 + b'"}',
    "a path as name": b'{"image":"tiny","name":"../../etc/passwd"}',
    "a flag for a number": b'{"image":"tiny","cpus":true}',
    "text for a number": b'{"image":"tiny","cpus":"2"}',
}


@pytest.mark.parametrize("body", BODIES.values(), ids=BODIES)
def test_bodies_are_refused(body: bytes) -> None:
    async def check(api: Served) -> None:
        answer = parse(await api.raw(post(body), end=False))
        assert answer.status == 400 and answer.error["code"] == "invalid"
        assert len(answer.body) < 2000 and answer.body.decode().isprintable()
        assert set(api.engine.records) == {"web"}

    against(check)


def test_a_repeated_key_means_its_last_value() -> None:
    async def check(api: Served) -> None:
        await api.raw(post(b'{"image":"tiny","name":"one","name":"two"}'), end=False)
        assert set(api.engine.records) == {"web", "two"}

    against(check)


def test_a_body_may_be_a_mebibyte_and_no_more() -> None:
    async def check(api: Served) -> None:
        frame = b'{"image":"tiny","name":"big","labels":{"k":"%s"}}'
        fits = frame % (b"v" * (table.MAX_BODY_BYTES - len(frame) + 2))
        assert len(fits) == table.MAX_BODY_BYTES
        assert parse(await api.raw(post(fits), end=False)).status == 200
        over = parse(await api.raw(post(fits + b" "), end=False))
        assert over.status == 413 and over.error["code"] == "invalid"
        chunked = HEAD + b"Transfer-Encoding: chunked\r\n\r\n" + b"10000\r\n%s\r\n" % bytes(65536) * 20
        assert parse(await api.raw(chunked, end=False)).status == 413
        claimed = HEAD + b"Content-Length: 99999999999999999999\r\n\r\n"
        assert parse(await api.raw(claimed, end=False)).status in (400, 413)

    against(check)


REQUESTS = {
    "noise": bytes(range(256)) * 10,
    "a tls hello": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(500),
    "no version": b"GET /\r\n\r\n",
    "http/9": b"GET / HTTP/9.9\r\nHost: y\r\n\r\n",
    "http/2": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "no host": b"GET /v1/version HTTP/1.1\r\n\r\n",
    "two hosts": b"GET /v1/version HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
    "a bad header": b"GET /v1/version HTTP/1.1\r\nHost: y\r\nbad header\r\n\r\n",
    "a zero byte": b"GET /v1/\x00 HTTP/1.1\r\nHost: y\r\n\r\n",
    "raw utf-8": "GET /v1/é HTTP/1.1\r\nHost: y\r\n\r\n".encode(),
    "a negative length": HEAD + b"Content-Length: -1\r\n\r\n{}",
    "a length in words": HEAD + b"Content-Length: ten\r\n\r\n{}",
    "two lengths": HEAD + b"Content-Length: 2\r\nContent-Length: 3\r\n\r\n{}",
    "a bad chunk": HEAD + b"Transfer-Encoding: chunked\r\n\r\nZZ\r\n{}\r\n0\r\n\r\n",
    "an unknown coding": HEAD + b"Transfer-Encoding: gzip\r\n\r\n{}",
    "an endless head": b"GET /v1/version HTTP/1.1\r\n" + b"X: " + b"a" * (2 << 20),
    "an endless path": b"GET /" + b"a" * (2 << 20),
    "a websocket without a key": (
        b"GET /v1/events HTTP/1.1\r\nHost: y\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n"
    ),
    "a websocket of 1999": (
        b"GET /v1/events HTTP/1.1\r\nHost: y\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        b"Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nSec-WebSocket-Version: 1\r\n\r\n"
    ),
    "a websocket of 5000 headers": (
        b"GET /v1/events HTTP/1.1\r\nHost: y\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        + b"X: y\r\n" * 5000 + b"\r\n"
    ),
}  # fmt: skip


@pytest.mark.parametrize("data", REQUESTS.values(), ids=REQUESTS)
def test_requests_that_are_none_get_an_error_or_nothing(data: bytes) -> None:
    async def check(api: Served) -> None:
        received = await api.raw(data)
        if received:
            assert received.startswith(b"HTTP/1.1 4")
        assert (await api.call("GET", "/v1/version")).status == 200

    against(check)


@pytest.mark.parametrize(
    "target",
    [
        "/v1/instances/%ff", "/v1/instances/%00", "/v1/instances/..", "/v1/instances/%2e%2e%2fx", "/v1/instances/a%2fb",
        "//v1//instances", "/v1/instances/" + "a" * 5000, "/v1/instances?" + "label=a%3Db&" * 5000, "/v1/instances?%",
        "/v1/instances?label", "/v1/instances?label=%ff%3D%00", "/v1/instances?=", "/v1/instances/web/logs?tail_bytes=٣",
        "/v1/instances/web/logs?tail_bytes=" + "9" * 10_000, "/v1/instances/web/stat?path=%00", "http://x/v1/none", "*",
    ],
)  # fmt: skip
def test_targets_that_name_nothing(target: str) -> None:
    async def check(api: Served) -> None:
        answer = parse(await api.raw(f"GET {target} HTTP/1.1\r\nHost: y\r\n\r\n".encode()))
        assert answer.status in (400, 404) and answer.error["code"] in ("invalid", "not_found")
        assert len(answer.body) < 2000
        assert answer.body.decode().isprintable()  # nothing in it that would steer a terminal

    against(check)


def test_ten_thousand_headers() -> None:
    async def check(api: Served) -> None:
        head = b"GET /v1/version HTTP/1.1\r\nHost: y\r\nConnection: close\r\n"
        for count, fine in ((10_000, True), (200_000, False)):
            received = await api.raw(head + b"X-%d: y\r\n" % count * count + b"\r\n", end=False)
            assert received.startswith(b"HTTP/1.1 200" if fine else b"HTTP/1.1 400")

    against(check)


def test_a_body_with_two_lengths_is_refused_with_all_that_follows() -> None:
    async def check(api: Served) -> None:
        smuggled = b"POST /v1/instances/web/kill HTTP/1.1\r\nHost: y\r\n\r\n"
        data = b"POST /v1/instances/web/pause HTTP/1.1\r\nHost: y\r\n"
        data += b"Content-Length: %d\r\nTransfer-Encoding: chunked\r\n\r\n" % (5 + len(smuggled))
        received = await api.raw(data + b"0\r\n\r\n" + smuggled)
        assert received.startswith(b"HTTP/1.1 400") and received.count(b"HTTP/1.1") == 1
        assert not api.engine.kept
        assert (await api.call("GET", "/v1/version")).status == 200

    against(check)


def test_a_slow_body_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(table, "BODY_TIMEOUT_S", 0.05)

    async def check(api: Served) -> None:
        answer = parse(await api.raw(HEAD + b'Content-Length: 20\r\n\r\n{"im', end=False))
        assert answer.status == 408 and answer.error["code"] == "invalid"

    against(check)


def test_a_hundred_half_requests_stop_nobody() -> None:
    async def check(api: Served) -> None:
        with contextlib.ExitStack() as stack:
            for number in range(100):
                client = stack.enter_context(socket.socket(socket.AF_UNIX))
                client.connect(str(api.path))
                client.send(post(b"{}" * 50)[: 10 + number])
            assert (await api.call("GET", "/v1/version")).status == 200

    against(check)


def frames(opcode: int, payload: bytes, *, final: bool = True, masked: bool = True) -> bytes:
    size = len(payload)
    head = bytes([(0x80 if final else 0) | opcode])
    bit = 0x80 if masked else 0
    head += bytes([bit | size]) if size < 126 else bytes([bit | 127]) + size.to_bytes(8, "big")
    return head + (bytes(4) if masked else b"") + payload


def hostile_frames() -> Iterator[tuple[str, bytes]]:
    yield "unmasked", frames(2, b"\x00hi", masked=False)
    yield "an unknown opcode", frames(3, b"x")
    yield "reserved bits", b"\xf2\x80" + bytes(4)
    yield "invalid utf-8", frames(1, b"\xff\xff")
    yield "a fragmented ping", frames(9, b"x", final=False)
    yield "a long ping", frames(9, bytes(200))
    yield "a lone continuation", frames(0, b"x")
    yield "2^63 bytes", b"\x82\xff\x80" + bytes(7) + bytes(4)
    yield "2 MiB", frames(2, b"\x00" + bytes(2 << 20))
    yield (
        "endless fragments",
        frames(2, b"\x00" + bytes(70_000), final=False) + frames(0, bytes(70_000), final=False) * 30,
    )
    yield "a strange close", frames(8, b"\x00\x01")
    yield "a close of one byte", frames(8, b"\x03")
    yield "noise", bytes(range(256))
    yield "half a frame", b"\x82\xfe\x10\x00"


@pytest.mark.parametrize(
    "data", [data for _, data in hostile_frames()], ids=[name for name, _ in hostile_frames()]
)
def test_frames_that_are_none_end_the_socket(data: bytes) -> None:
    async def check(api: Served) -> None:
        upgrade = (
            b"GET /v1/instances/web/exec?command=sleep HTTP/1.1\r\nHost: y\r\nUpgrade: websocket\r\n"
            b"Connection: Upgrade\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nSec-WebSocket-Version: 13\r\n"
            b"Sec-WebSocket-Protocol: v5.channel.k8s.io\r\n\r\n"
        )
        reader, writer = await asyncio.open_unix_connection(str(api.path))
        writer.write(upgrade)
        assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 101")
        with contextlib.suppress(ConnectionError):
            writer.write(data)
            writer.write_eof()
            await reader.read()
        writer.close()
        await api.engine.agents["web"].sessions[-1].closed.wait()
        assert (await api.call("GET", "/v1/version")).status == 200

    against(check)


def test_a_double_of_the_engine_is_really_reached() -> None:
    """The walk above proves nothing if a good request does not get through."""

    async def check(api: Served) -> None:
        assert isinstance(api.engine, DoubleEngine)
        assert parse(await api.raw(post(b'{"image":"tiny","name":"good"}'), end=False)).status == 200
        assert "good" in api.engine.records

    against(check)
