"""Reading DNS messages, hostile ones included."""

import contextlib
import random
import struct

import pytest

from yurt.errors import Invalid
from yurt.model.network import Action, Direction, FirewallRule
from yurt.network.dnswire import parse, read_name, refusal
from yurt.network.firewall import PortBinding
from yurt.network.names import allowed


def name(text: str) -> bytes:
    return b"".join(bytes([len(label)]) + label.encode() for label in text.split(".")) + b"\0"


def query(text: str, kind: int = 1) -> bytes:
    return struct.pack("!HHHHHH", 7, 0x0100, 1, 0, 0, 0) + name(text) + struct.pack("!HH", kind, 1)


def reply(text: str, *answers: tuple[int, int, bytes]) -> bytes:
    head = struct.pack("!HHHHHH", 7, 0x8180, 1, len(answers), 0, 0) + name(text) + struct.pack("!HH", 1, 1)
    return head + b"".join(
        b"\xc0\x0c" + struct.pack("!HHIH", kind, 1, ttl, len(data)) + data for kind, ttl, data in answers
    )


def test_questions_and_answers_are_read() -> None:
    asked = parse(query("WWW.Example.org", 28))
    assert (asked.name, asked.kind, asked.response, asked.addresses) == ("www.example.org", 28, False, ())
    told = parse(
        reply("a.b", (5, 9, name("c.d")), (1, 60, b"\1\2\3\4"), (28, 5, bytes(15) + b"\1"), (16, 1, b"text"))
    )
    assert told.response
    assert told.addresses == (("1.2.3.4", 60), ("::1", 5))


def test_a_refusal_repeats_the_question() -> None:
    told = refusal(query("example.org"), 5)
    assert told[:2] == b"\0\7"
    assert told[3] & 15 == 5
    assert parse(told).name == "example.org"


@pytest.mark.parametrize(
    "message",
    [
        b"",
        bytes(11),
        struct.pack("!HHHHHH", 7, 0, 2, 0, 0, 0) + name("a.b") * 2,
        struct.pack("!HHHHHH", 7, 0, 1, 0, 0, 0) + b"\xc0\x0c" + bytes(4),
        struct.pack("!HHHHHH", 7, 0, 1, 0, 0, 0) + b"\x3fabc",
        struct.pack("!HHHHHH", 7, 0, 1, 0, 0, 0) + b"\x80a" + bytes(5),
        struct.pack("!HHHHHH", 7, 0x2800, 1, 0, 0, 0) + name("a.b") + bytes(4),
        reply("a.b", (1, 60, b"\1\2\3\4"))[:-1],
        struct.pack("!HHHHHH", 7, 0, 1, 0, 0, 0) + b"\1\xff\0" + bytes(4),
    ],
)
def test_malformed_messages_are_refused(message: bytes) -> None:
    with pytest.raises(Invalid):
        parse(message)


def test_any_bytes_are_read_or_refused() -> None:
    rng = random.Random(5)
    seeds = [query("www.example.org"), reply("a.b", (1, 60, b"\1\2\3\4"), (5, 1, name("x.y")))]
    for _ in range(3000):
        data = bytearray(rng.choice(seeds))
        for _ in range(rng.randrange(6)):
            data[rng.randrange(len(data))] = rng.randrange(256)
        with contextlib.suppress(Invalid):
            parse(bytes(data[: rng.randrange(len(data) + 1)]))


def test_pointers_cannot_lead_in_circles() -> None:
    with pytest.raises(Invalid):
        read_name(b"\xc0\2\xc0\0", 0)
    assert read_name(b"\1a\0\1b\xc0\0", 3) == ("b.a", 7)


def test_which_names_a_guest_may_ask_for() -> None:
    def out(peer: str) -> FirewallRule:
        return FirewallRule(direction=Direction.OUT, action=Action.ALLOW, peer=peer)

    port = PortBinding(
        interface="p",
        bridge="b",
        instance_id="i",
        mac="52:54:00:00:00:02",
        rules=(out("example.org"), out("*.example.net"), out("10.0.0.0/8")),
    )
    assert allowed(port, "yurt", "example.org") == (True, True)
    assert allowed(port, "yurt", "www.example.org") == (False, False)
    assert allowed(port, "yurt", "a.b.example.net") == (True, True)
    assert allowed(port, "yurt", "web1.yurt") == (True, False)
    assert allowed(port, "yurt", "webyurt") == (False, False)
