"""Copying out of a guest: what a hostile archive cannot do, and what an honest one must."""

import contextlib
import io
import os
import stat
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.fakeserver import FakeServer, Request, answer

from yurt.client.archive import contents_meant, last_part, parent_of, receive, send, unpack
from yurt.errors import Invalid, NotFound, Unavailable, YurtError


def member(name: str, data: bytes | None = None, **more: object) -> tuple[tarfile.TarInfo, bytes | None]:
    info = tarfile.TarInfo(name)
    info.mode, info.mtime = 0o644, 1_600_000_000
    info.size = len(data or b"")
    for key, value in more.items():
        setattr(info, key, value)
    return info, data


def directory(name: str, mode: int = 0o755) -> tuple[tarfile.TarInfo, None]:
    info, _ = member(name, type=tarfile.DIRTYPE, mode=mode)
    return info, None


def link(name: str, target: str) -> tuple[tarfile.TarInfo, None]:
    info, _ = member(name, type=tarfile.SYMTYPE, linkname=target)
    return info, None


def tar(*members: tuple[tarfile.TarInfo, bytes | None]) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for info, data in members:
            archive.addfile(info, None if data is None else io.BytesIO(data))
    return out.getvalue()


def pieces(data: bytes, size: int = 700) -> Iterator[bytes]:
    return (data[i : i + size] for i in range(0, len(data), size))


def unpack_to(path: Path, data: bytes, rename: str = "out") -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        unpack(pieces(data), descriptor, rename, owners=False)
    finally:
        os.close(descriptor)


@pytest.fixture
def inside(tmp_path: Path) -> Path:
    """The place to unpack to, with something precious beside it."""
    (tmp_path / "precious").write_text("precious")
    (tmp_path / "inside").mkdir()
    return tmp_path / "inside"


def untouched(inside: Path) -> bool:
    return (
        sorted(path.name for path in inside.parent.iterdir()) == ["inside", "precious"]
        and (inside.parent / "precious").read_text() == "precious"
    )


def test_a_tree_keeps_names_modes_times_and_links(inside: Path) -> None:
    long = "n" * 200
    data = tar(
        directory("d", 0o750),
        member("d/a", b"one" * 100_000, mode=0o640),
        directory("d/locked", 0o500),
        member("d/locked/b", b""),
        link("d/l", "/etc/passwd"),
        member(f"d/{long}", b"x"),
    )
    unpack_to(inside, data)
    assert (inside / "out/a").read_bytes() == b"one" * 100_000
    assert stat.S_IMODE((inside / "out/a").stat().st_mode) == 0o640
    assert (inside / "out/a").stat().st_mtime == 1_600_000_000
    assert stat.S_IMODE((inside / "out").stat().st_mode) == 0o750
    assert stat.S_IMODE((inside / "out/locked").stat().st_mode) == 0o500
    assert (inside / "out/l").readlink() == Path("/etc/passwd")
    assert (inside / "out" / long).read_bytes() == b"x"
    assert untouched(inside)


def test_contents_go_right_into_the_directory_and_leave_it_as_it_is(inside: Path) -> None:
    inside.chmod(0o711)
    unpack_to(
        inside, tar(directory("d", 0o777), member("d/a", b"1"), directory("d/s"), member("d/s/b", b"2")), ""
    )
    assert (inside / "a").read_bytes() == b"1"
    assert (inside / "s/b").read_bytes() == b"2"
    assert stat.S_IMODE(inside.stat().st_mode) == 0o711


def test_a_file_replaces_a_link_and_does_not_write_through_it(inside: Path) -> None:
    (inside / "out").symlink_to(inside.parent / "precious")
    unpack_to(inside, tar(member("f", b"new")))
    assert (inside / "out").read_bytes() == b"new"
    assert not (inside / "out").is_symlink()
    assert untouched(inside)


def test_set_user_id_stays_behind(inside: Path) -> None:
    unpack_to(inside, tar(directory("d", 0o6777), member("d/sh", b"#!", mode=0o6755)))
    assert stat.S_IMODE((inside / "out/sh").stat().st_mode) == 0o755
    assert stat.S_IMODE((inside / "out").stat().st_mode) == 0o777


@pytest.mark.root
def test_owners_are_kept_for_root(inside: Path) -> None:
    descriptor = os.open(inside, os.O_RDONLY)
    unpack(
        pieces(tar(directory("d"), member("d/a", b"x", uid=1234, gid=5678))), descriptor, "out", owners=True
    )
    os.close(descriptor)
    assert ((inside / "out/a").stat().st_uid, (inside / "out/a").stat().st_gid) == (1234, 5678)


@pytest.mark.parametrize(
    "members",
    [
        [member("../precious", b"x")],
        [directory("d"), member("d/../../precious", b"x")],
        [member("/precious", b"x")],
        [directory("d"), member("e", b"more than asked for")],
        [directory("d"), link("d/l", ".."), member("d/l/precious", b"x")],
        [directory("d"), link("d/l", "/tmp"), directory("d/l"), member("d/l/x", b"x")],
        [link("d", ".."), member("d/precious", b"x")],
        [directory("d"), member("d/c", type=tarfile.CHRTYPE, devmajor=1, devminor=5)],
        [directory("d"), member("d/p", type=tarfile.FIFOTYPE)],
        [directory("d"), member("d/h", type=tarfile.LNKTYPE, linkname="../precious")],
        [member("d", b"file"), member("d/x", b"below a file")],
    ],
)
def test_no_member_leads_outside(inside: Path, members: list[tuple[tarfile.TarInfo, bytes | None]]) -> None:
    with pytest.raises((Invalid, Unavailable)):
        unpack_to(inside, tar(*members))
    assert untouched(inside)
    leaked = Path("/tmp/x")
    assert not leaked.exists()


def test_a_link_that_was_there_before_is_not_followed(inside: Path) -> None:
    (inside / "out").mkdir()
    (inside / "out/s").symlink_to(inside.parent)
    with pytest.raises(Invalid):
        unpack_to(inside, tar(directory("d"), directory("d/s"), member("d/s/precious", b"x")))
    assert untouched(inside)


def test_a_directory_does_not_give_way_to_a_file(inside: Path) -> None:
    (inside / "out").mkdir()
    with pytest.raises(Invalid):
        unpack_to(inside, tar(member("f", b"x")))
    assert (inside / "out").is_dir()


@pytest.mark.parametrize("cut", [100, 512, 600, 1100])
def test_a_cut_archive_is_an_error(inside: Path, cut: int) -> None:
    with pytest.raises(YurtError):
        unpack_to(inside, tar(member("f", b"x" * 3000))[:cut])


@settings(max_examples=80, deadline=None)
@given(st.binary(max_size=2000), st.integers(0, 3000))
def test_any_bytes_stay_inside(tmp_path_factory: pytest.TempPathFactory, noise: bytes, place: int) -> None:
    inside = tmp_path_factory.mktemp("fuzz") / "inside"
    inside.mkdir()
    good = tar(directory("d"), member("d/a", b"x" * 600), link("d/l", ".."))
    data = good[:place] + noise + good[place + len(noise) :]
    with contextlib.suppress(YurtError, OSError):
        unpack_to(inside, data)
    assert [path.name for path in inside.parent.iterdir()] == ["inside"]


def guest(files: dict[str, str]) -> tuple[list[bytes], object]:
    """A handler for a guest with these paths (path -> kind) that keeps what is unpacked in it."""
    import socket as sockets

    taken: list[bytes] = []

    def handle(request: Request, sock: sockets.socket) -> None:
        from urllib.parse import parse_qs, urlsplit

        path = parse_qs(urlsplit(request.target).query).get("path", [""])[0]
        if request.method == "PUT":
            taken.append(request.body)
            sock.sendall(answer(b"{}"))
        elif "/stat?" in request.target:
            kind = files.get(path)
            body = (
                b'{"kind":"%s"}' % kind.encode()
                if kind
                else b'{"error":{"code":"not_found","message":"no","hint":""}}'
            )
            sock.sendall(answer(body, "200 OK" if kind else "404 Not Found"))
        else:
            sock.sendall(answer(b"{}"))

    return taken, handle


@pytest.mark.parametrize(
    ("source", "remote", "put_at", "names"),
    [
        ("d", "/there", "/there", ["d", "d/a", "d/s", "d/s/b"]),
        ("d/", "/there/", "/there/", ["d", "d/a", "d/s", "d/s/b"]),
        ("d", "/there/new", "/there", ["new", "new/a", "new/s", "new/s/b"]),
        ("d/.", "/there", "/there", ["a", "s", "s/b"]),
        ("d/.", "/new", "/", ["new", "new/a", "new/s", "new/s/b"]),
        ("d/a", "/there", "/there", ["a"]),
        ("d/a", "/x", "/", ["x"]),
    ],
)
def test_where_things_go_in_a_guest(
    tmp_path: Path, source: str, remote: str, put_at: str, names: list[str]
) -> None:
    (tmp_path / "d/s").mkdir(parents=True)
    (tmp_path / "d/a").write_text("a")
    (tmp_path / "d/s/b").write_text("b")
    taken, handle = guest({"/there/.": "directory"})
    with FakeServer(handle) as server:  # type: ignore[arg-type]
        send(server.transport(), "web", f"{tmp_path}/{source}", remote)
        assert f"path={put_at}" in server.requests[-1].target
    with tarfile.open(fileobj=io.BytesIO(taken[0])) as archive:
        assert [info.name for info in archive] == names


def test_a_directory_that_is_not_there_is_an_error_before_anything_is_sent(tmp_path: Path) -> None:
    (tmp_path / "f").write_text("x")
    taken, handle = guest({})
    with FakeServer(handle) as server, pytest.raises(NotFound):  # type: ignore[arg-type]
        send(server.transport(), "web", str(tmp_path / "f"), "/none/")
    assert not taken


def test_pipes_are_left_out_and_named(tmp_path: Path) -> None:
    (tmp_path / "d").mkdir()
    os.mkfifo(tmp_path / "d/pipe")
    (tmp_path / "d/a").write_text("a")
    taken, handle = guest({"/.": "directory"})
    left: list[str] = []
    with FakeServer(handle) as server:  # type: ignore[arg-type]
        send(server.transport(), "web", str(tmp_path / "d"), "/", skipped=left.append)
    assert left == ["d/pipe"]
    with tarfile.open(fileobj=io.BytesIO(taken[0])) as archive:
        assert archive.getnames() == ["d", "d/a"]


@pytest.mark.parametrize(
    ("remote", "local", "made"),
    [
        ("/root/d", "", "d/a"),
        ("/root/d", "new", "new/a"),
        ("/root/d/.", "", "a"),
        ("/root/d/.", "new", "new/a"),
    ],
)
def test_where_things_go_on_the_host(tmp_path: Path, remote: str, local: str, made: str) -> None:
    data = tar(directory("d"), member("d/a", b"x"))
    with FakeServer(lambda _, sock: sock.sendall(answer(data))) as server:
        receive(server.transport(), "web", remote, f"{tmp_path}/{local}" if local else str(tmp_path))
        assert "path=/root/d&" in server.requests[0].target
    assert (tmp_path / made).read_bytes() == b"x"


def test_a_transfer_that_is_cut_off_is_not_taken_for_whole(tmp_path: Path) -> None:
    data = tar(member("f", b"x" * 3000))
    body = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n%x\r\n%b\r\n" % (len(data), data)

    def handle(_: Request, sock: object) -> None:
        sock.sendall(body)  # type: ignore[attr-defined]
        sock.shutdown(1)  # type: ignore[attr-defined]

    with FakeServer(handle) as server, pytest.raises(Unavailable):
        receive(server.transport(), "web", "/f", str(tmp_path))


def test_paths_are_taken_apart() -> None:
    assert [last_part(path) for path in ("/a/b", "/a/b/", "/", "/a/.", ".")] == ["b", "b", "", "", ""]
    assert [parent_of(path) for path in ("/a/b", "/b", "b", "a/b/")] == [
        ("/a", "b"),
        ("/", "b"),
        (".", "b"),
        ("a", "b"),
    ]
    assert contents_meant("d/.")
    assert not contents_meant("d/..")
