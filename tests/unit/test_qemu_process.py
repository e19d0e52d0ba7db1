"""How QEMU is started and found again: confinement, sockets, log, records; nothing here starts QEMU."""

import contextlib
import os
import select
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from yurt.drivers.base import Launched, decode_launched, encode_launched, read_launched
from yurt.drivers.qemu import process
from yurt.drivers.qemu.monitor import MachineEvent, parse_event
from yurt.errors import Unavailable
from yurt.host import layout
from yurt.host.confine import confined
from yurt.host.gate import bind_socket, spawn_recorded
from yurt.host.machinelog import LIMIT, MachineLog
from yurt.host.proc import Process
from yurt.host.usage import parse_stat

SOURCE = Path(__file__).resolve().parents[2] / "src"
PLAIN = Launched(
    driver="qemu-micro",
    pid=1,
    process_start=2,
    argv=("qemu", "-x"),
    versions={},
)


def test_root_gives_up_user_groups_and_capabilities() -> None:
    words = confined(["qemu"], 1000, 1001, "setpriv", root=True)
    assert words == [
        *("setpriv", "--no-new-privs", "--inh-caps=-all", "--reuid=1000", "--regid=1001"),
        *("--clear-groups", "--bounding-set=-all", "--", "qemu"),
    ]
    with_kvm = confined(["qemu"], 1000, 1001, "setpriv", root=True, groups=(104,))
    assert "--groups=104" in with_kvm and "--clear-groups" not in with_kvm


def test_without_root_only_the_way_back_is_closed() -> None:
    assert confined(["qemu"], 1, 1, "setpriv", root=False)[:4] == [
        *("setpriv", "--no-new-privs", "--inh-caps=-all", "--"),
    ]


def test_a_socket_is_for_us_alone_and_replaces_a_leftover(tmp_path: Path) -> None:
    path = tmp_path / "s"
    for _ in range(2):
        with bind_socket(path) as listener:
            assert path.stat().st_mode & 0o777 == 0o600
            with socket.socket(socket.AF_UNIX) as client:
                client.connect(str(path))
                listener.accept()[0].close()


def test_a_socket_that_cannot_be_bound_says_where(tmp_path: Path) -> None:
    with pytest.raises(Unavailable, match="cannot listen on"):
        bind_socket(tmp_path / "absent" / "s")


def test_the_log_is_bounded_whatever_is_written() -> None:
    log = MachineLog.make()
    try:
        flood = os.dup(log.descriptor)
        os.write(flood, b"first\n")
        with pytest.raises(PermissionError):
            while True:
                os.write(flood, b"x" * 4096)
        os.close(flood)
        assert log.text().startswith("first\n")
        assert len(log.text()) <= LIMIT
    finally:
        log.close()
    assert log.text() == ""


def test_the_log_is_kept_when_there_is_one(tmp_path: Path) -> None:
    log = MachineLog.make()
    log.save(tmp_path / "machine.log")
    assert not (tmp_path / "machine.log").exists()
    os.write(log.descriptor, b"qemu: \xff said\n")
    log.save(tmp_path / "machine.log")
    log.close()
    assert "said" in (tmp_path / "machine.log").read_text()


def test_a_program_runs_only_after_it_is_recorded(tmp_path: Path) -> None:
    out = os.open(tmp_path / "out", os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
    seen: list[int] = []

    def record(process: Process) -> None:
        assert not (tmp_path / "ran").exists()
        seen.append(process.pid)

    try:
        started = spawn_recorded(["/bin/sh", "-c", f'echo $$ > "{tmp_path}/ran"'], record, output=out)
        os.waitpid(started.pid, 0)
        assert (tmp_path / "ran").read_text().strip() == str(started.pid) == str(seen[0])
        started.close()
    finally:
        os.close(out)


def test_a_program_whose_record_fails_never_runs(tmp_path: Path) -> None:
    held: list[Process] = []

    def record(process: Process) -> None:
        held.append(process)
        raise Unavailable("no room for the record")

    out = os.open(os.devnull, os.O_WRONLY | os.O_CLOEXEC)
    try:
        with pytest.raises(Unavailable, match="no room"):
            spawn_recorded(["/bin/sh", "-c", f': > "{tmp_path}/ran"'], record, output=out)
        assert os.waitpid(held[0].pid, 0)[1] != 0
    finally:
        os.close(out)
        held[0].close()
    assert not (tmp_path / "ran").exists()


def test_an_absent_or_broken_record_is_none(tmp_path: Path) -> None:
    assert read_launched(tmp_path) is None
    (tmp_path / layout.LAUNCHED).write_bytes(b"{")
    assert read_launched(tmp_path) is None
    (tmp_path / layout.LAUNCHED).write_bytes(encode_launched(PLAIN))
    assert read_launched(tmp_path) == PLAIN == decode_launched(encode_launched(PLAIN))


@pytest.mark.parametrize(
    ("text", "hint"),
    [
        ("Could not access KVM kernel module: Permission denied", "open /dev/kvm"),
        ("qemu: failed to initialize kvm: No such file", "--accel tcg"),
        ("qemu: cannot set up guest memory 'ram0': Cannot allocate memory", "--memory"),
        ('qemu: Failed to get "write" lock', "in use"),
        ("something new", "yurt doctor"),
    ],
)
def test_a_start_that_fails_says_what_to_do(text: str, hint: str) -> None:
    error = process.start_failure(PLAIN, 1, text)
    assert hint in error.hint
    assert error.message == f"`qemu` failed with status 1: {text}"
    assert error.argv == ("qemu", "-x")


def test_events_are_read_with_unknown_fields_left_out() -> None:
    reset = {"event": "RESET", "data": {"guest": True, "reason": "guest-reset", "new": 1}, "timestamp": {}}
    assert parse_event(reset) == MachineEvent(name="RESET", reason="guest-reset", guest=True)
    assert parse_event({"event": "STOP"}) == MachineEvent(name="STOP")


def test_usage_is_read_past_a_name_that_looks_like_fields() -> None:
    ticks, page = os.sysconf("SC_CLK_TCK"), os.sysconf("SC_PAGE_SIZE")
    fields = ["S", *["0"] * 10, str(3 * ticks), str(ticks), *["0"] * 8, "7", "0"]
    assert parse_stat(f"12 (a) b) 1 2 {' '.join(fields)}".replace(" 1 2 ", " ")) == (4.0, 7 * page)


def test_a_program_never_runs_when_the_daemon_dies_at_the_gate(tmp_path: Path) -> None:
    daemon = (
        "import os, sys; from yurt.host.gate import spawn_recorded\n"
        "out = os.open(os.devnull, os.O_WRONLY)\n"
        "words = ['/bin/sh', '-c', ': > \"$0\"', sys.argv[1]]\n"
        "spawn_recorded(words, lambda process: (print(process.pid, flush=True), os._exit(7)), output=out)\n"
    )
    ended = subprocess.run(
        [sys.executable, "-c", daemon, str(tmp_path / "ran")],
        env={**os.environ, "PYTHONPATH": str(SOURCE)},
        stdout=subprocess.PIPE,
        timeout=60,
        check=False,
    )
    assert ended.returncode == 7
    with contextlib.suppress(ProcessLookupError):
        waiting = os.pidfd_open(int(ended.stdout))
        assert select.select([waiting], [], [], 30)[0], "the program still waits at the gate"
        os.close(waiting)
    assert not (tmp_path / "ran").exists()


def test_a_program_that_cannot_join_its_group_does_not_run(tmp_path: Path) -> None:
    out = os.open(tmp_path / "out", os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
    words = ["/bin/sh", "-c", f': > "{tmp_path}/ran"']
    try:
        started = spawn_recorded(words, lambda _: None, output=out, join=[tmp_path / "absent" / "tasks"])
        assert os.waitstatus_to_exitcode(os.waitpid(started.pid, 0)[1]) == 125
        started.close()
    finally:
        os.close(out)
    assert "absent" in (tmp_path / "out").read_text()
    assert not (tmp_path / "ran").exists()
