"""tar in, entries out, and back: what is passed on is safe, whatever came in."""

import io
import tarfile

import pytest
from hypothesis import given
from hypothesis import strategies as st

from yurt.drivers.agent.archive import (
    END,
    Entry,
    EntryReader,
    TarReader,
    TarWriter,
    clean_name,
    encode_entry,
    is_safe,
    parse_pax,
)
from yurt.drivers.agent.wire import GuestMisbehaved
from yurt.errors import Invalid, Unsupported, YurtError


def tar(*members: tarfile.TarInfo, content: bytes = b"", format: int = tarfile.PAX_FORMAT) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=format) as archive:
        for member in members:
            if member.isreg():
                member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return out.getvalue()


def member(name: str, type: bytes = tarfile.REGTYPE, **fields: object) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type = type
    for key, value in fields.items():
        setattr(info, key, value)
    return info


def entries(data: bytes, step: int = 1 << 20) -> list[Entry | bytes]:
    reader, tar_reader = EntryReader(), TarReader()
    stream = (
        b"".join(tar_reader.feed(data[at : at + step]) for at in range(0, len(data), step))
        + tar_reader.close()
    )
    return list(reader.feed(stream))


@pytest.mark.parametrize("format", [tarfile.PAX_FORMAT, tarfile.GNU_FORMAT, tarfile.USTAR_FORMAT])
@pytest.mark.parametrize("step", [1, 100, 512, 100_000])
def test_members_of_every_tar_dialect(format: int, step: int) -> None:
    long_name = (
        "/".join(["directory"] * 9) + "/file" if format == tarfile.USTAR_FORMAT else "d/" * 150 + "file"
    )
    data = tar(
        member("./", tarfile.DIRTYPE, mode=0o755),
        member("./etc/", tarfile.DIRTYPE, mode=0o750, uid=3, gid=4),
        member(long_name, mode=0o4755, uid=1000, gid=100, mtime=1_700_000_000),
        member("etc/link", tarfile.SYMTYPE, linkname="../../outside"),
        member("etc/again", tarfile.LNKTYPE, linkname="./etc/file"),
        content=b"x" * 700,
        format=format,
    )
    got = entries(data, step)
    heads = [item for item in got if isinstance(item, Entry)]
    assert [(e.kind, e.name, e.target) for e in heads] == [
        (b"d", ".", ""),
        (b"d", "etc", ""),
        (b"f", long_name, ""),
        (b"l", "etc/link", "../../outside"),
        (b"h", "etc/again", "etc/file"),
        (b"e", "", ""),
    ]
    assert (heads[2].mode, heads[2].uid, heads[2].gid, heads[2].mtime) == (0o4755, 1000, 100, 1_700_000_000)
    assert b"".join(item for item in got if isinstance(item, bytes)) == b"x" * 700


@pytest.mark.parametrize(
    "name", ["../x", "/etc/passwd", "a/../../x", "a/..", "..", "a//b", "a/./b", "./../x"]
)
def test_names_that_could_escape_are_refused(name: str) -> None:
    assert not is_safe(name)
    with pytest.raises(Invalid):
        clean_name(name)
    with pytest.raises(Invalid):
        entries(tar(member(name)))
    with pytest.raises(Invalid):
        entries(tar(member("link", tarfile.LNKTYPE, linkname=name)))


@pytest.mark.parametrize("type", [tarfile.CHRTYPE, tarfile.BLKTYPE, tarfile.FIFOTYPE])
def test_devices_and_pipes_are_refused(type: bytes) -> None:
    with pytest.raises(Invalid, match="device"):
        entries(tar(member("x", type)))


def test_sparse_and_damaged_and_cut_archives_are_refused() -> None:
    sparse = member("x")
    sparse.pax_headers = {"GNU.sparse.major": "1"}
    with pytest.raises(Unsupported):
        entries(tar(sparse))
    whole = tar(member("x"), content=b"y" * 1000)
    damaged = bytearray(whole)
    damaged[3] ^= 1
    with pytest.raises(Invalid, match="damaged"):
        entries(bytes(damaged))
    for cut in (100, 512, 700, 1400):
        with pytest.raises(Invalid, match="middle"):
            entries(whole[:cut])


@given(st.binary(max_size=2000))
def test_any_bytes_as_tar_or_pax_or_entries(data: bytes) -> None:
    for use in (lambda: entries(data), lambda: parse_pax(data), lambda: TarWriter().feed(data)):
        try:
            use()
        except YurtError:
            continue


def test_what_a_guest_sends_becomes_a_tar_that_others_read() -> None:
    long = "a" * 200 + "/" + "b" * 200
    stream = (
        encode_entry(Entry(b"d", 0o755, 0, 0, 1_700_000_000, 0, 0, "top", ""))
        + encode_entry(Entry(b"f", 0o640, 70_000, 8, 1_700_000_000, 250_000_000, 5, long, ""))
        + b"hello"
        + encode_entry(Entry(b"l", 0o777, 0, 0, 0, 0, 0, "top/l", "/etc"))
        + encode_entry(END)
    )
    writer = TarWriter()
    data = b"".join(writer.feed(stream[at : at + 7]) for at in range(0, len(stream), 7))
    assert writer.ended
    with tarfile.open(fileobj=io.BytesIO(data)) as archive:
        assert archive.getnames() == ["top", long, "top/l"]
        info = archive.getmember(long)
        assert (info.mode, info.uid, info.size, info.mtime) == (0o640, 70_000, 5, 1_700_000_000.25)
        content = archive.extractfile(info)
        assert content is not None
        assert content.read() == b"hello"


@pytest.mark.parametrize(
    "entry",
    [
        Entry(b"f", 0o644, 0, 0, 0, 0, 0, "../../etc/cron.d/x", ""),
        Entry(b"f", 0o644, 0, 0, 0, 0, 0, "/etc/cron.d/x", ""),
        Entry(b"o", 0o644, 0, 0, 0, 0, 0, "device", ""),
        Entry(b"x", 0o644, 0, 0, 0, 0, 0, "what", ""),
        Entry(b"d", 0o644, 0, 0, 0, 0, 99, "directory-with-content", ""),
        Entry(b"f", 0o644, 0, 0, 0, 0, 1 << 63, "huge", ""),
        Entry(b"f", 0o644, 0, 0, 1 << 60, 0, 0, "when", ""),
    ],
)
def test_a_guest_that_lies_about_an_entry(entry: Entry) -> None:
    with pytest.raises(GuestMisbehaved):
        TarWriter().feed(encode_entry(entry))


def test_bytes_after_the_end() -> None:
    with pytest.raises(GuestMisbehaved):
        TarWriter().feed(encode_entry(END) + b"x")
