"""Reading nft's complaints and the kernel's messages."""

import struct

from yurt.errors import ToolFailed
from yurt.host.nft import DELETED_TABLE, failed_at, message_types


def test_a_complaint_names_its_place() -> None:
    stderr = "/dev/stdin:2:13-18: Error: syntax error, unexpected string\nadd element x\n            ^^^^^^\n"
    error = failed_at(ToolFailed(argv=("nft",), status="status 1", stderr=stderr), "one\ntwo words\n", stderr)
    assert (error.line, error.text) == (2, "two words")
    assert error.code == "tool_failed"
    assert "line 2, `two words`: syntax error, unexpected string" in error.message


def test_a_complaint_without_a_place_keeps_its_words() -> None:
    stderr = "internal:0:0-0: Error: Could not process rule: Operation not permitted\n"
    error = failed_at(ToolFailed(argv=("nft",), status="status 1", stderr=stderr), "one\n", stderr)
    assert error.line == 0
    assert "Operation not permitted" in error.message


def test_messages_of_the_kernel_are_told_apart() -> None:
    def message(kind: int, body: bytes) -> bytes:
        return struct.pack("=IHHII", 16 + len(body), kind, 0, 0, 0) + body + bytes(-len(body) % 4)

    assert message_types(message(DELETED_TABLE, b"abcde") + message(7, b"")) == [DELETED_TABLE, 7]
    assert message_types(b"short") == []
    assert message_types(bytes(32)) == []
