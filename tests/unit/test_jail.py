"""The pure parts of the jail, and what can be seen of it without starting anything foreign."""

import asyncio
import os
import signal
import time
from pathlib import Path

import pytest
from msgspec.structs import replace

from yurt.errors import NotFound, Timeout, ToolFailed
from yurt.host import credentials, landlock, proc
from yurt.host.jail import run_jailed, spawn_jailed
from yurt.host.jailroot import fence_rules, system_libraries
from yurt.host.jailspec import Bind, JailSpec
from yurt.host.rootless import current_ids
from yurt.model.instance import Kind, Privilege
from yurt.model.isolation import isolation

root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root")
SHELL, TOOL_UID = "/bin/sh", current_ids().tool_uid


def shell_jail(**fields: object) -> JailSpec:
    binds, links = system_libraries()
    return replace(JailSpec(uid=TOOL_UID, gid=TOOL_UID, binds=binds, links=links), **fields)


def test_landlock_asks_for_what_each_version_knows() -> None:
    assert [len(landlock.ruleset(version, network=False)) for version in (1, 3, 4, 5, 6)] == [
        8,
        8,
        16,
        16,
        24,
    ]
    assert landlock.handled_files(1) == 0x1FFF
    assert landlock.handled_files(5) == 0xFFFF
    assert landlock.ruleset(4, network=True)[8:] == bytes(8)


def test_the_fence_lets_write_only_what_is_writable() -> None:
    spec = JailSpec(uid=1, gid=1, binds=(Bind("/a", "/a"), Bind("/b", "/c", True)), devices=("null",))
    rules = fence_rules(spec)
    assert set(rules) == {"/", "/c", "/dev/null"}
    assert not rules["/"] & landlock.WRITE_FILE and rules["/c"] & landlock.WRITE_FILE
    assert not rules["/dev/null"] & landlock.EXECUTE


def test_capability_sets_are_two_words_each() -> None:
    assert credentials.capability_sets(0) == bytes(24)
    assert credentials.capability_sets(1 << 33 | 1)[:4] == b"\x01\0\0\0"
    assert credentials.capability_sets(1 << 33 | 1)[12:16] == b"\x02\0\0\0"


@pytest.mark.parametrize(
    ("kind", "accelerator", "privileges", "word"),
    [
        (Kind.VM, "tcg", (), "none (TCG)"),
        (Kind.MICROVM, "kvm", (), "kvm"),
        (Kind.MICROVM, "", (), ""),
        (Kind.CONTAINER, "", (), "namespaces"),
        (Kind.CONTAINER, "", (Privilege.NESTING,), "namespaces, nesting"),
    ],
)
def test_isolation_is_a_word_and_a_line(
    kind: Kind, accelerator: str, privileges: tuple[Privilege, ...], word: str
) -> None:
    found, meaning = isolation(kind, accelerator, privileges)
    assert found == word
    assert bool(meaning) == bool(word) and "\n" not in meaning


@root
def test_a_tool_reads_its_input_and_its_output_is_cut() -> None:
    argv = [SHELL, "-c", "read -r line; echo got $line; echo 0123456789012345678901234567890123456789"]
    done = asyncio.run(run_jailed(argv, shell_jail(), timeout_s=20, stdin=b"words\n", output_bytes=16))
    assert (done.status, done.stdout) == (0, b"got words\n012345")


@root
def test_a_tool_that_fails_says_so_and_one_that_hangs_is_ended() -> None:
    with pytest.raises(ToolFailed) as failed:
        asyncio.run(run_jailed([SHELL, "-c", "echo bad >&2; exit 3"], shell_jail(), timeout_s=20))
    assert failed.value.stderr == "bad"
    with pytest.raises(Timeout):
        asyncio.run(run_jailed([SHELL, "-c", "while :; do :; done"], shell_jail(), timeout_s=0.3))


@root
def test_limits_hold_before_the_tool_runs() -> None:
    jail = shell_jail(limits=(("nofile", 33), ("cpu", 5), ("fsize", 512)))
    done = asyncio.run(run_jailed([SHELL, "-c", "ulimit -n; ulimit -t; ulimit -f"], jail, timeout_s=20))
    assert done.stdout.split() == [b"33", b"5", b"1"]


@root
def test_a_writable_place_is_writable_and_nothing_else(tmp_path: Path) -> None:
    place = tmp_path / "place"
    place.mkdir()
    os.chown(place, TOOL_UID, TOOL_UID)
    jail = shell_jail(binds=(*system_libraries()[0], Bind(str(place), "/place", True)))
    script = "echo here >/place/made; echo there 2>/dev/null >/made || echo refused"
    done = asyncio.run(run_jailed([SHELL, "-c", script], jail, timeout_s=20))
    assert done.stdout == b"refused\n"
    assert (place / "made").read_text() == "here\n"


@root
def test_what_is_not_there_is_named_and_nothing_is_left(tmp_path: Path) -> None:
    before = len(os.listdir("/proc/self/fd"))  # noqa: PTH208
    jail = shell_jail(binds=(Bind(str(tmp_path / "absent"), "/absent"),))
    with pytest.raises(NotFound, match="absent"):
        asyncio.run(run_jailed([SHELL, "-c", "true"], jail, timeout_s=20))
    assert len(os.listdir("/proc/self/fd")) == before  # noqa: PTH208


@root
def test_a_program_inherits_what_it_is_passed_and_nothing_else() -> None:
    reading, writing = os.pipe()
    leaky = os.dup(reading)
    os.set_inheritable(leaky, True)  # as from a shell that has started the daemon with descriptors open
    try:
        script = [SHELL, "-c", "while :; do :; done"]
        process = spawn_jailed(
            script, shell_jail(), lambda process: None, output=writing, pass_fds=(writing,)
        )
        held = Path(f"/proc/{process.pid}/fd")
        deadline = time.monotonic() + 20
        while b"yurt-gate" in Path(f"/proc/{process.pid}/cmdline").read_bytes():
            assert time.monotonic() < deadline
            time.sleep(0.001)
        assert sorted(int(entry.name) for entry in held.iterdir()) == sorted({0, 1, 2, writing})
        os.kill(process.pid, signal.SIGKILL)
        os.waitpid(process.pid, 0)
        process.close()
    finally:
        for descriptor in (reading, writing, leaky):
            os.close(descriptor)


@root
def test_the_thread_that_walks_in_leaves_the_daemon_as_it_was() -> None:
    def state() -> list[str]:
        kept = ("Uid", "Gid", "CapEff", "CapBnd", "NoNewPrivs", "Seccomp")
        lines = Path("/proc/self/status").read_text().splitlines()
        namespaces = [os.readlink(f"/proc/self/ns/{name}") for name in ("mnt", "net", "pid", "uts")]  # noqa: PTH115
        return [*(line for line in lines if line.split(":")[0] in kept), *namespaces, str(Path.cwd())]

    before = state()
    asyncio.run(run_jailed([SHELL, "-c", "true"], shell_jail(), timeout_s=20))
    assert state() == before


@root
def test_a_pipeline_of_two_tools_and_what_they_say_on_the_way() -> None:
    """Many more bytes than a pipe holds, read by the second tool only once its gate is open; descriptors stay ours."""
    said: list[str] = []
    source = os.memfd_create("source")
    os.write(source, b"x" * (1 << 20))
    os.lseek(source, 0, os.SEEK_SET)
    reading, writing = os.pipe()

    async def both() -> tuple[proc.Finished, proc.Finished]:
        async def first() -> proc.Finished:
            script = "echo one >&2; cat; echo two >&2; printf rest >&2"
            try:
                return await run_jailed(
                    [SHELL, "-c", script],
                    jail,
                    timeout_s=20,
                    input_fd=source,
                    output_fd=writing,
                    on_stderr=said.append,
                )
            finally:
                os.close(writing)

        second = run_jailed([SHELL, "-c", "wc -c"], jail, timeout_s=20, input_fd=reading)
        done = await asyncio.gather(first(), second)
        return done[0], done[1]

    tools = tuple(Bind(str(Path(name).resolve()), name) for name in ("/usr/bin/cat", "/usr/bin/wc"))
    jail = shell_jail(binds=(*system_libraries()[0], *tools))
    try:
        left, right = asyncio.run(both())
        assert int(right.stdout) == 1 << 20
        assert (left.stdout, left.stderr, said) == (b"", b"one\ntwo\nrest", ["one", "two"])
    finally:
        os.close(reading)
        os.close(source)
