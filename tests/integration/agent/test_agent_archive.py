"""Files and trees in and out of a guest, by the real agent, with archives that try to get out of their place."""

import asyncio
import io
import os
import tarfile
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

from yurt.drivers.agent.client import AgentClient
from yurt.errors import Denied, Invalid, NotFound, ToolFailed, Unsupported

Agent = Callable[..., None]


async def in_parts(data: bytes, size: int = 70_000) -> AsyncIterator[bytes]:
    for at in range(0, len(data), size):
        yield data[at : at + size]


async def collect(parts: AsyncIterator[bytes]) -> bytes:
    return b"".join([part async for part in parts])


def tar_of(*members: tuple[str, bytes, dict[str, Any], bytes]) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as archive:
        for name, type, fields, content in members:
            info = tarfile.TarInfo(name)
            info.type, info.size, info.mode = type, len(content), 0o755 if type == tarfile.DIRTYPE else 0o644
            info.uid, info.gid = os.geteuid(), os.getegid()
            for key, value in fields.items():
                setattr(info, key, value)
            archive.addfile(info, io.BytesIO(content))
    return out.getvalue()


def tree_of(root: Path) -> dict[str, tuple[object, ...]]:
    found: dict[str, tuple[object, ...]] = {}
    for path in sorted(root.rglob("*")):
        st = path.lstat()
        content: object = (
            path.readlink() if path.is_symlink() else path.read_bytes() if path.is_file() else None
        )
        mtime = 0 if path.is_symlink() else st.st_mtime
        found[str(path.relative_to(root))] = (st.st_mode, st.st_uid, st.st_gid, mtime, content)
    return found


def make_tree(root: Path) -> None:
    (root / "deep" / ("d" * 120) / ("e" * 120)).mkdir(parents=True)
    (root / "deep" / ("d" * 120) / ("e" * 120) / "file").write_bytes(b"deep")
    (root / "empty").mkdir()
    (root / "big").write_bytes(os.urandom(3_000_001))
    (root / "odd name \udcff\n").write_bytes(b"x")
    (root / "program").write_bytes(b"#!/bin/sh\n")
    (root / "program").chmod(0o4750)
    (root / "out").symlink_to("/etc/passwd")
    (root / "dangling").symlink_to("../nowhere")
    os.mkfifo(root / "pipe")
    for at, path in enumerate(root.rglob("*")):
        if not path.is_symlink():
            os.utime(path, (at, 1_600_000_000 + at))
    if os.geteuid() == 0:
        os.chown(root / "big", 1234, 5678)
    (root / "locked").mkdir()
    (root / "locked" / "file").write_bytes(b"in a read-only directory")
    (root / "locked").chmod(0o500)


def test_a_tree_there_and_back_again(agent: Agent, place: Path) -> None:
    source, target = place / "source", place / "target"
    source.mkdir()
    target.mkdir()
    make_tree(source)

    async def test(client: AgentClient, rig: Any) -> None:
        data = await collect(client.get_archive(str(source)))
        with tarfile.open(fileobj=io.BytesIO(data)) as archive:
            assert all(name == "source" or name.startswith("source/") for name in archive.getnames())
        await client.put_archive(str(target), in_parts(data))
        expected = tree_of(source)
        del expected["pipe"]  # pipes and devices stay where they are
        assert tree_of(target / "source") == expected
        # unpacking over what is there replaces it, and follows nothing
        await client.put_archive(str(target), in_parts(data))
        assert tree_of(target / "source") == expected

    agent(test)


def test_single_files_links_and_the_root(agent: Agent, place: Path) -> None:
    (place / "file").write_text("content")
    (place / "link").symlink_to("file")

    async def test(client: AgentClient, rig: Any) -> None:
        async def first(path: Path | str, follow: bool = False) -> tarfile.TarInfo:
            data = await collect(client.get_archive(str(path), follow=follow))
            with tarfile.open(fileobj=io.BytesIO(data)) as archive:
                return archive.getmembers()[0]

        member = await first(place / "file")
        assert (member.name, member.size, member.isreg()) == ("file", 7, True)
        member = await first(place / "link")
        assert (member.name, member.linkname, member.issym()) == ("link", "file", True)
        member = await first(place / "link", follow=True)
        assert (member.name, member.size, member.isreg()) == ("link", 7, True)
        assert (await first(f"{place}/")).name == place.name
        with pytest.raises(NotFound):
            await first(place / "nothing")
        with pytest.raises(Unsupported):
            await first("/dev/null")

    agent(test)


def test_the_root_directory_has_members_without_a_prefix(agent: Agent) -> None:
    async def test(client: AgentClient, rig: Any) -> None:
        stream = client.get_archive("/")
        data = b""
        async for part in stream:
            data += part
            if len(data) > 50_000:
                break
        await stream.aclose()  # type: ignore[attr-defined]
        with tarfile.open(fileobj=io.BytesIO(data), ignore_zeros=True) as archive:
            names = [archive.next() for _ in range(2)]
        assert names[0] is not None
        assert names[1] is not None
        assert names[0].name == "."
        assert not names[1].name.startswith(("/", "."))

    agent(test)


def test_stat(agent: Agent, place: Path) -> None:
    (place / "file").write_text("content")
    (place / "file").chmod(0o640)
    os.utime(place / "file", (0, 1_600_000_000.5))
    (place / "link").symlink_to("file")

    async def test(client: AgentClient, rig: Any) -> None:
        found = await client.stat(f"{place}/file")
        assert (found.kind, found.size_bytes, found.mode, found.modified_at) == (
            "file",
            7,
            0o640,
            1_600_000_000.5,
        )
        found = await client.stat(f"{place}/link")
        assert (found.kind, found.target) == ("symlink", "file")
        assert (await client.stat(f"{place}/link", follow=True)).kind == "file"
        assert (await client.stat(str(place))).kind == "directory"
        assert (await client.stat("/dev/null")).kind == "other"
        with pytest.raises(NotFound):
            await client.stat(f"{place}/nothing")

    agent(test)


@pytest.mark.parametrize("link", ["../outside", "/outside-by-root", "absolute"])
def test_an_archive_cannot_write_through_a_link_that_leads_out(agent: Agent, place: Path, link: str) -> None:
    inside, outside = place / "inside", place / "outside"
    inside.mkdir()
    outside.mkdir()
    target = str(outside) if link == "absolute" else link
    attack = tar_of(
        ("trap", tarfile.SYMTYPE, {"linkname": target}, b""),
        ("trap/file", tarfile.REGTYPE, {}, b"got out"),
    )
    directory = tar_of(
        ("trap", tarfile.SYMTYPE, {"linkname": target}, b""), ("trap", tarfile.DIRTYPE, {"mode": 0o777}, b"")
    )
    hard = tar_of(
        ("trap", tarfile.SYMTYPE, {"linkname": target}, b""),
        ("hard", tarfile.LNKTYPE, {"linkname": "trap/secret"}, b""),
    )
    (outside / "secret").write_text("secret")
    mode = outside.stat().st_mode

    async def test(client: AgentClient, rig: Any) -> None:
        for archive in (attack, directory, hard):
            with pytest.raises((Denied, ToolFailed)):
                await client.put_archive(str(inside), in_parts(archive))
        assert [path.name for path in outside.iterdir()] == ["secret"]
        assert outside.stat().st_mode == mode
        assert not (inside / "hard").exists()

    agent(test)


def test_a_link_in_the_place_of_a_file_is_replaced_and_not_followed(agent: Agent, place: Path) -> None:
    victim = place / "victim"
    victim.write_text("untouched")
    inside = place / "inside"
    inside.mkdir()
    (inside / "file").symlink_to(victim)
    data = tar_of(
        ("file", tarfile.REGTYPE, {}, b"new"), ("again", tarfile.LNKTYPE, {"linkname": "file"}, b"")
    )

    async def test(client: AgentClient, rig: Any) -> None:
        await client.put_archive(str(inside), in_parts(data))
        assert victim.read_text() == "untouched"
        assert not (inside / "file").is_symlink()
        assert (inside / "file").read_text() == "new"
        assert (inside / "again").stat().st_ino == (inside / "file").stat().st_ino

    agent(test)


def test_a_link_that_stays_inside_is_followed(agent: Agent, place: Path) -> None:
    inside = place / "inside"
    (inside / "usr" / "lib").mkdir(parents=True)
    (inside / "lib").symlink_to("usr/lib")
    data = tar_of(("lib/file", tarfile.REGTYPE, {}, b"merged"))

    async def test(client: AgentClient, rig: Any) -> None:
        await client.put_archive(str(inside), in_parts(data))
        assert (inside / "usr" / "lib" / "file").read_text() == "merged"

    agent(test)


def test_bad_archives_and_places_are_refused_and_the_agent_lives_on(agent: Agent, place: Path) -> None:
    async def test(client: AgentClient, rig: Any) -> None:
        good = tar_of(("file", tarfile.REGTYPE, {}, b"x" * 100_000))
        with pytest.raises(Invalid):
            await client.put_archive(str(place), in_parts(tar_of(("../x", tarfile.REGTYPE, {}, b""))))
        with pytest.raises(Invalid):
            await client.put_archive(str(place), in_parts(tar_of(("dev", tarfile.CHRTYPE, {}, b""))))
        with pytest.raises(Invalid):
            await client.put_archive(str(place), in_parts(good[:50_000]))
        with pytest.raises(NotFound):
            await client.put_archive(f"{place}/nowhere", in_parts(good))
        with pytest.raises(ToolFailed):
            await client.put_archive(str(place), in_parts(tar_of(("no/parent", tarfile.REGTYPE, {}, b""))))
        await client.put_archive(str(place), in_parts(good))
        assert (place / "file").read_bytes() == b"x" * 100_000

    agent(test)


def test_a_place_that_takes_no_files_is_reported(agent: Agent) -> None:
    async def test(client: AgentClient, rig: Any) -> None:
        data = tar_of(("file", tarfile.REGTYPE, {}, b"x" * 10_000))
        with pytest.raises((ToolFailed, Denied)):
            await client.put_archive("/proc", in_parts(data))

    agent(test)


def test_transfers_run_side_by_side(agent: Agent, place: Path) -> None:
    async def test(client: AgentClient, rig: Any) -> None:
        async def one(number: int) -> None:
            target = place / str(number)
            target.mkdir()
            content = os.urandom(500_000)
            await client.put_archive(str(target), in_parts(tar_of(("file", tarfile.REGTYPE, {}, content))))
            data = await collect(client.get_archive(f"{target}/file"))
            with tarfile.open(fileobj=io.BytesIO(data)) as archive:
                inner = archive.extractfile("file")
                assert inner is not None
                assert inner.read() == content

        async with asyncio.TaskGroup() as group:
            for number in range(8):
                group.create_task(one(number))

    agent(test)
