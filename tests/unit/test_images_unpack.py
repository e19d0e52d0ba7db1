"""Unpacking layers: what comes out, and that nothing hostile gets out."""

import contextlib
import io
import os
import stat
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from yurt.beneath import DIRECTORY
from yurt.errors import Invalid
from yurt.images.outside.extract import Quotas, safe_parts, unpack_stream

Entry = tuple[str, Callable[[tarfile.TarInfo], None], bytes]


def plain(member: tarfile.TarInfo) -> None:
    member.mode = 0o640


def folder(member: tarfile.TarInfo) -> None:
    member.type, member.mode = tarfile.DIRTYPE, 0o750


def link(target: str, kind: bytes = tarfile.SYMTYPE) -> Callable[[tarfile.TarInfo], None]:
    def change(member: tarfile.TarInfo) -> None:
        member.type, member.linkname = kind, target

    return change


def kind(value: bytes) -> Callable[[tarfile.TarInfo], None]:
    def change(member: tarfile.TarInfo) -> None:
        member.type = value

    return change


def layer(*entries: Entry) -> io.BytesIO:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for name, change, data in entries:
            member = tarfile.TarInfo(name)
            member.uid, member.gid, member.size, member.mtime = (
                os.getuid(),
                os.getgid(),
                len(data),
                1_500_000_000,
            )
            change(member)
            archive.addfile(member, io.BytesIO(data))
    out.seek(0)
    return out


@pytest.fixture
def target(tmp_path: Path) -> Path:
    (tmp_path / "outside").write_text("untouched")
    (tmp_path / "target").mkdir()
    return tmp_path / "target"


def extract(source: io.BytesIO, target: Path) -> None:
    root = os.open(target, DIRECTORY)
    try:
        unpack_stream(source, root, Quotas())
    finally:
        os.close(root)


def assert_nothing_outside(target: Path) -> None:
    assert sorted(path.name for path in target.parent.iterdir()) == ["outside", "target"]
    assert (target.parent / "outside").read_text() == "untouched"


def test_files_links_modes_and_times(target: Path) -> None:
    extract(
        layer(
            ("./", folder, b""),
            ("./a", folder, b""),
            ("./a/file", plain, b"content"),
            ("./a/same", link("./a/file", tarfile.LNKTYPE), b""),
            ("./a/soft", link("/etc/passwd"), b""),
            ("./pipe", kind(tarfile.FIFOTYPE), b""),
            ("deep/er/file", plain, b"2"),
        ),
        target,
    )
    file = target / "a/file"
    assert file.read_bytes() == b"content"
    assert (stat.S_IMODE(file.stat().st_mode), file.stat().st_mtime) == (0o640, 1_500_000_000)
    assert (target / "a/same").stat().st_ino == file.stat().st_ino
    assert (target / "a/soft").readlink() == Path("/etc/passwd")
    assert stat.S_ISFIFO((target / "pipe").stat().st_mode)
    assert (target / "deep/er/file").read_bytes() == b"2"
    for path in (target, target / "a"):
        assert (stat.S_IMODE(path.stat().st_mode), path.stat().st_mtime) == (0o750, 1_500_000_000)


def test_a_directory_that_forbids_writing_is_filled_all_the_same(target: Path) -> None:
    def closed(member: tarfile.TarInfo) -> None:
        member.type, member.mode = tarfile.DIRTYPE, 0o555

    extract(layer(("d", closed, b""), ("d/file", plain, b"x")), target)
    assert (target / "d/file").exists()
    assert stat.S_IMODE((target / "d").stat().st_mode) == 0o555
    (target / "d").chmod(0o755)


@pytest.mark.parametrize(
    "entries",
    [
        [("../outside", plain, b"bad")],
        [("a/../../outside", plain, b"bad")],
        [("up", link(".."), b""), ("up/outside", plain, b"bad")],
        [("abs", link("/"), b""), ("abs/tmp/yurt-was-here", plain, b"bad")],
        [("up", link(".."), b""), ("up/made", folder, b"")],
        [("hard", link("../outside", tarfile.LNKTYPE), b"")],
        [("up", link(".."), b""), ("hard", link("up/outside", tarfile.LNKTYPE), b"")],
        [("dev", kind(tarfile.CHRTYPE), b"")],
        [("dev", kind(tarfile.BLKTYPE), b"")],
        [("d", folder, b""), ("link", link("d", tarfile.LNKTYPE), b"")],
        [("file", plain, b"x"), ("file/inside", plain, b"bad")],
        [("up", link(".."), b""), ("up/.wh.outside", plain, b"")],
        [("..", folder, b"")],
        [("x" * 300, plain, b"")],
    ],
)
def test_what_would_lead_elsewhere_is_refused(target: Path, entries: list[Entry]) -> None:
    with pytest.raises(Invalid):
        extract(layer(*entries), target)
    assert_nothing_outside(target)


def test_an_absolute_name_lands_inside(target: Path) -> None:
    extract(layer(("/etc/file", plain, b"x")), target)
    assert (target / "etc/file").read_bytes() == b"x"
    assert_nothing_outside(target)


def test_a_link_is_replaced_and_never_written_through(target: Path) -> None:
    extract(layer(("f", link("../outside"), b""), ("f", plain, b"new")), target)
    assert (target / "f").read_bytes() == b"new"
    assert not (target / "f").is_symlink()
    assert_nothing_outside(target)


def test_changing_a_links_owner_does_not_reach_its_target(target: Path) -> None:
    before = (target.parent / "outside").stat()
    extract(layer(("f", link("../outside"), b"")), target)
    after = (target.parent / "outside").stat()
    assert (before.st_mode, before.st_mtime, before.st_ctime) == (
        after.st_mode,
        after.st_mtime,
        after.st_ctime,
    )


@pytest.mark.parametrize("cut", [1, 511, 513, 1024, 1500])
def test_an_archive_that_is_cut_off_is_refused(target: Path, cut: int) -> None:
    data = layer(("file", plain, b"x" * 1000), ("other", plain, b"y" * 1000)).getvalue()
    with pytest.raises(Invalid):
        extract(io.BytesIO(data[:cut]), target)


def test_upper_layers_take_away_what_lower_ones_brought(target: Path) -> None:
    extract(
        layer(("a/1", plain, b""), ("a/2", plain, b""), ("b/old", plain, b""), ("b/s/x", plain, b"")), target
    )
    extract(
        layer(
            ("a/.wh.1", plain, b""),
            ("b/new", plain, b""),
            ("b/.wh..wh..opq", plain, b""),
            ("b/t", plain, b""),
        ),
        target,
    )
    left = sorted(str(path.relative_to(target)) for path in target.rglob("*"))
    assert left == ["a", "a/2", "b", "b/new", "b/t"]


@pytest.mark.root
def test_capabilities_stay_and_the_overlays_own_marks_do_not(target: Path) -> None:
    capability = bytes.fromhex("0100000200200000000000000000000000000000")

    def marked(member: tarfile.TarInfo) -> None:
        member.pax_headers = {
            "SCHILY.xattr.security.capability": capability.decode("utf-8", "surrogateescape"),
            "SCHILY.xattr.trusted.overlay.redirect": "/elsewhere",
            "SCHILY.xattr.user.mine": "yes",
        }

    extract(layer(("ping", marked, b"x")), target)
    assert os.getxattr(target / "ping", "security.capability") == capability
    assert sorted(os.listxattr(target / "ping")) == ["security.capability", "user.mine"]


@pytest.mark.root
def test_owners_and_setuid_survive(target: Path) -> None:
    def owned(member: tarfile.TarInfo) -> None:
        member.uid, member.gid, member.mode = 12, 34, 0o4755

    extract(layer(("su", owned, b"x")), target)
    found = (target / "su").stat()
    assert (found.st_uid, found.st_gid, stat.S_IMODE(found.st_mode)) == (12, 34, 0o4755)


@given(st.text(st.characters(blacklist_categories=["Cs"]), max_size=40))
def test_names_never_lead_up(name: str) -> None:
    try:
        parts = safe_parts(name)
    except Invalid:
        return
    assert not {"..", ".", ""} & set(parts)
    assert all("/" not in part and "\0" not in part for part in parts)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60, deadline=None)
@given(data=st.data())
def test_damaged_archives_end_in_an_error_or_a_tree_inside(target: Path, data: st.DataObject) -> None:
    raw = bytearray(layer(("a/file", plain, b"x" * 600), ("a/l", link("file"), b"")).getvalue()[:4096])
    for _ in range(data.draw(st.integers(1, 12))):
        raw[data.draw(st.integers(0, len(raw) - 1))] = data.draw(st.integers(0, 255))
    work = target / "work"
    work.mkdir(exist_ok=True)
    with contextlib.suppress(Invalid, PermissionError):  # without root, a changed owner cannot be set
        extract(io.BytesIO(bytes(raw)), work)
    assert_nothing_outside(target)
