"""Reading what `yurt forward` is told."""

import pytest

from yurt.cli.forward import parse
from yurt.errors import Invalid


@pytest.mark.parametrize(
    ("word", "meaning"),
    [
        ("80", ("127.0.0.1", 80, "", 80)),
        ("8080:80", ("127.0.0.1", 8080, "", 80)),
        ("0:80", ("127.0.0.1", 0, "", 80)),
        ("192.0.2.1:8080:80", ("192.0.2.1", 8080, "", 80)),
        ("[::1]:8080:80", ("::1", 8080, "", 80)),
        ("8080:10.0.0.1:80", ("127.0.0.1", 8080, "10.0.0.1", 80)),
        ("8080:[fd00::1]:80", ("127.0.0.1", 8080, "fd00::1", 80)),
        ("[::]:8080:[fd00::1]:80", ("::", 8080, "fd00::1", 80)),
    ],
)
def test_forwards(word: str, meaning: tuple[str, int, str, int]) -> None:
    assert parse(word) == meaning


@pytest.mark.parametrize(
    "word",
    [
        "",
        ":",
        "a:b",
        "8080:",
        ":80",
        "::1:8080:80",
        "[::1:80:80",
        "[::1]80:80",
        "1:2:3:4:5",
        "70000:80",
        "-1:80",
    ],
)
def test_what_is_no_forward(word: str) -> None:
    with pytest.raises(Invalid):
        parse(word)
