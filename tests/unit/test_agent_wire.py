"""The host's parser of what a guest sends: whole frames in any portions, and any bytes at all."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from yurt.drivers.agent import wire
from yurt.drivers.agent.wire import Frame, FrameType, GuestMisbehaved, Parser, StreamKind

NONCE = bytes(range(16))


def from_agent(type: int, stream: int, payload: bytes) -> bytes:
    head = wire.HEADER.pack(wire.MAGIC, type, 0, len(payload), stream)
    return head + payload + bytes([wire.END_MARK])


def hello(nonce: bytes = NONCE, protocol: int = 1) -> bytes:
    body = protocol.to_bytes(2, "little") + b"\1\3" + (77).to_bytes(4, "little") + bytes(4) + b"0.1.0"
    return from_agent(FrameType.HELLO, 0, nonce + body)


UP = from_agent(FrameType.UP, 0, wire.UP_MARK)
frames = st.lists(
    st.tuples(
        st.sampled_from([FrameType.DATA, FrameType.CREDIT, FrameType.EXIT, FrameType.ERROR]),
        st.integers(0, 2**32 - 1),
        st.binary(max_size=300),
    ),
    max_size=8,
)


def feed_in_parts(parser: Parser, data: bytes, cuts: list[int]) -> list[Frame]:
    edges = sorted({0, len(data), *(cut % (len(data) + 1) for cut in cuts)})
    return [frame for a, b in pairwise(edges) for frame in parser.feed(data[a:b])]


@given(frames, st.binary(max_size=200), st.lists(st.integers(0, 5000), max_size=10))
def test_frames_survive_any_portions_and_any_garbage_before_the_hello(
    sent: list[tuple[FrameType, int, bytes]], garbage: bytes, cuts: list[int]
) -> None:
    data = garbage + hello() + b"".join(from_agent(*frame) + b"\0" for frame in sent)
    got = feed_in_parts(Parser(NONCE), data, cuts)
    assert got[0].type is FrameType.HELLO
    assert [tuple(frame) for frame in got[1:]] == sent


@given(st.binary(max_size=2000), st.booleans())
def test_any_bytes_give_frames_or_a_typed_error_and_keep_little(data: bytes, synced: bool) -> None:
    parser = Parser(NONCE)
    if synced:
        list(parser.feed(hello()))
    try:
        list(parser.feed(data))
    except GuestMisbehaved:
        return
    assert len(parser._kept) <= wire.MAX_TO_HOST + wire.HEADER_SIZE + 1


def test_garbage_before_the_hello_is_not_kept() -> None:
    parser = Parser(NONCE)
    for _ in range(100):
        assert list(parser.feed(b"\x59" * 10000)) == []
    assert len(parser._kept) <= 64


def test_a_hello_for_somebody_else_is_no_hello() -> None:
    parser = Parser(NONCE)
    assert list(parser.feed(hello(bytes(16)))) == []
    assert not parser.synced
    assert [frame.type for frame in parser.feed(hello())] == [FrameType.HELLO]


def test_the_nonce_alone_is_no_hello() -> None:
    parser = Parser(NONCE)
    assert list(parser.feed(b"x" * 20 + NONCE + b"y" * 40)) == []
    assert not parser.synced


@pytest.mark.parametrize("split", range(1, len(UP)))
def test_up_is_seen_before_the_hello_once(split: int) -> None:
    parser = Parser(NONCE)
    data = bytes(70) + UP
    got = [*parser.feed(data[: 70 + split]), *parser.feed(data[70 + split :])]
    assert [frame.type for frame in got] == [FrameType.UP]
    assert list(parser.feed(b"")) == []
    assert [frame.type for frame in parser.feed(hello())] == [FrameType.HELLO]


@pytest.mark.parametrize(
    ("data", "what"),
    [
        (b"GET / HTTP/1.1\r\n", "no frame"),
        (wire.HEADER.pack(wire.MAGIC, 99, 0, 0, 1), "unknown type"),
        (wire.HEADER.pack(wire.MAGIC, FrameType.OPEN, 0, 0, 1), "unknown type"),
        (wire.HEADER.pack(wire.MAGIC, FrameType.DATA, 0, wire.MAX_TO_HOST + 1, 1), "bytes"),
        (wire.HEADER.pack(wire.MAGIC, FrameType.DATA, 7, 1, 1), "no frame"),
        (from_agent(FrameType.DATA, 1, b"x")[:-1] + b"?", "end mark"),
    ],
)
def test_what_was_not_agreed_is_refused(data: bytes, what: str) -> None:
    parser = Parser(NONCE)
    list(parser.feed(hello()))
    with pytest.raises(GuestMisbehaved, match=what):
        list(parser.feed(data))


def test_payloads_are_checked() -> None:
    for decode in (
        wire.decode_credit,
        wire.decode_opened,
        wire.decode_exit,
        wire.decode_error,
        wire.decode_hello,
    ):
        for payload in (b"", b"x", b"x" * 5000):
            with pytest.raises(GuestMisbehaved):
                decode(payload)


def test_text_from_a_guest_is_made_printable() -> None:
    code, text = wire.decode_error(b"\1\0" + "no \x1b[31mred\nline\u202e".encode())
    assert (code, text) == (1, "no ?[31mred?line?")
    greeting = wire.decode_hello(hello()[wire.HEADER_SIZE : -1])
    assert (greeting.mode, greeting.pid, greeting.has_main, greeting.main_exited) == (
        "microvm",
        77,
        True,
        True,
    )


@given(st.integers(0, 3 * wire.MAX_TO_AGENT))
def test_a_long_request_is_split_and_all_but_the_last_part_say_so(size: int) -> None:
    parts = wire.encode_open(9, StreamKind.EXEC, 1000, b"b" * size)
    body = b""
    for part in parts:
        head, payload = part[: wire.HEADER_SIZE], part[wire.HEADER_SIZE : -1]
        magic, type, zero, length, stream = wire.HEADER.unpack(head)
        assert (magic, type, zero, length, stream) == (wire.MAGIC, FrameType.OPEN, 0, len(payload), 9)
        assert length <= wire.MAX_TO_AGENT
        assert payload[0] == StreamKind.EXEC
        assert payload[1] == (0 if part is parts[-1] else 1)
        body += payload[6:]
    assert body == b"b" * size
