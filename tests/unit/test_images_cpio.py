"""Initrd archives: read back by a reader of the test's own, which knows only the format."""

import stat

import pytest
from hypothesis import given
from hypothesis import strategies as st

from yurt.images import cpio
from yurt.images.kernel import build_initrd


def read(data: bytes) -> list[tuple[str, int, bytes, tuple[int, int]]]:
    """Every member of one or more archives behind one another: name, mode, content, device."""
    found, at = [], 0
    while at < len(data):
        if data[at] == 0:  # padding between archives
            at += 4
            continue
        assert data[at : at + 6] == b"070701", f"no header at {at}"
        fields = [int(data[at + 6 + 8 * i : at + 14 + 8 * i], 16) for i in range(13)]
        _, mode, uid, gid, _, mtime, size, _, _, major, minor, name_size, check = fields
        assert (uid, gid, mtime, check) == (0, 0, 0, 0)
        name = data[at + 110 : at + 110 + name_size]
        assert name.endswith(b"\0")
        at = (at + 110 + name_size + 3) & ~3
        content = data[at : at + size]
        assert len(content) == size
        at = (at + size + 3) & ~3
        if name[:-1] != b"TRAILER!!!":
            found.append((name[:-1].decode(), mode, content, (major, minor)))
    return found


def test_members_come_back_as_they_went_in() -> None:
    data = cpio.archive(
        [
            cpio.regular("init", b"#!x", 0o755),
            cpio.regular("a/b/c", b""),
            cpio.symlink("a/link", "b/c"),
            cpio.character_device("a/null", 1, 3, 0o666),
        ]
    )
    assert read(data) == [
        ("init", stat.S_IFREG | 0o755, b"#!x", (0, 0)),
        ("a", stat.S_IFDIR | 0o755, b"", (0, 0)),
        ("a/b", stat.S_IFDIR | 0o755, b"", (0, 0)),
        ("a/b/c", stat.S_IFREG | 0o644, b"", (0, 0)),
        ("a/link", stat.S_IFLNK | 0o777, b"b/c", (0, 0)),
        ("a/null", stat.S_IFCHR | 0o666, b"", (1, 3)),
    ]


def test_the_trailer_ends_it_and_the_length_is_aligned() -> None:
    data = cpio.archive([cpio.regular("x", b"1")])
    assert b"TRAILER!!!\0" in data
    assert len(data) % cpio.ALIGNMENT == 0


@given(st.binary(max_size=2000))
def test_a_config_goes_behind_an_initrd(config: bytes) -> None:
    first = build_initrd(b"agent", [("kernel/net/one.ko", b"11"), ("kernel/two-2.ko", b"2")])
    both = {name: content for name, _, content, _ in read(first + cpio.config_cpio(config))}
    assert both["init"] == b"agent"
    assert both["yurt/modules"] == b"ko/one.ko\nko/two-2.ko\n"
    assert (both["yurt/ko/one.ko"], both["yurt/ko/two-2.ko"]) == (b"11", b"2")
    assert both["yurt/config"] == config


def test_the_config_is_for_root_only() -> None:
    modes = {name: mode for name, mode, _, _ in read(cpio.config_cpio(b"secret"))}
    assert modes["yurt/config"] == stat.S_IFREG | 0o600


@pytest.mark.parametrize("path", ["/abs", "", "a/../b", "..", "a//b", "a/"])
def test_paths_out_of_form_are_refused(path: str) -> None:
    with pytest.raises(ValueError, match="not a path"):
        cpio.archive([cpio.regular(path, b"")])


def test_a_name_given_twice_is_refused() -> None:
    with pytest.raises(ValueError, match="twice"):
        cpio.archive([cpio.regular("a", b"1"), cpio.regular("a", b"2")])
    with pytest.raises(ValueError, match="twice"):
        cpio.archive([cpio.regular("d/x", b""), cpio.directory("d")])
