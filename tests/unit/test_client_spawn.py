"""Starting the daemon: the pipe it answers on, two clients at once, and its last words."""

import os
import sys
import threading
from pathlib import Path

import pytest

from yurt.client import spawn
from yurt.client.quick import socket
from yurt.errors import Denied, Exists, Unavailable


def readiness(said: bytes) -> None:
    reading, writing = os.pipe()
    os.write(writing, said)
    os.close(writing)
    try:
        spawn._wait_ready(reading, None)
    finally:
        os.close(reading)


@pytest.mark.parametrize("said", [b"ready", b"ready\n", b""])
def test_ready_and_silence_are_followed_by_a_connect(said: bytes) -> None:
    readiness(said)


def test_the_daemons_own_error_is_raised() -> None:
    with pytest.raises(Exists, match="it is there"):
        readiness(b'{"code":"exists","message":"it is there","hint":"h"}')
    with pytest.raises(Unavailable):
        readiness(b'{"code":')


def test_the_daemon_runs_with_this_interpreter_and_a_short_environment() -> None:
    argv = spawn.daemon_argv("--ready-fd", "3")
    assert argv[0] == sys.executable
    assert argv[-3:] == ["daemon", "--ready-fd", "3"]
    assert Path(argv[-4]).name == "__main__.py"
    found = spawn.daemon_environment(
        {
            "YURT_HOME": "/h",
            "HOME": "/root",
            "LD_PRELOAD": "x",
            "TERM": "xterm",
            "http_proxy": "p",
            "PATH": "/evil",
        }
    )
    assert found["YURT_HOME"] == "/h"
    assert found["http_proxy"] == "p"
    assert not {"LD_PRELOAD", "TERM"} & set(found)
    assert "/evil" not in found["PATH"]


def test_two_clients_at_once_start_one_daemon(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The second waits at the lock and then finds the first one's daemon."""
    monkeypatch.setenv("YURT_HOME", str(tmp_path))
    listening, started = threading.Event(), []

    def connect() -> socket.socket | None:
        return socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) if listening.is_set() else None

    def launch(log: int, notice: object) -> None:
        started.append(log)
        listening.set()

    monkeypatch.setattr(spawn, "_launch", launch)
    found: list[socket.socket] = []
    threads = [
        threading.Thread(target=lambda: found.append(spawn.start_daemon(connect, None))) for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for sock in found:
        sock.close()
    assert len(found) == 8
    assert len(started) == 1


def test_a_daemon_that_ends_is_quoted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A real process is started: an interpreter that has no such module."""
    monkeypatch.setenv("YURT_HOME", str(tmp_path))
    monkeypatch.setattr(
        spawn, "daemon_argv", lambda *_: [sys.executable, "-c", "import sys; sys.exit('I cannot: no room')"]
    )
    with pytest.raises(Unavailable) as caught:
        spawn.start_daemon(lambda: None, None)
    assert "I cannot: no room" in caught.value.hint
    assert f"{tmp_path}/state/yurtd.log" in caught.value.hint
    os.waitpid(-1, 0)


def test_the_daemon_gets_the_pipe_its_own_session_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("YURT_HOME", str(tmp_path))
    script = (
        "import os, sys; os.write(1, ('%d %s %s' % (os.getsid(0) == os.getpid(),"
        " sorted(map(int, os.listdir('/proc/self/fd')))[:5],"
        " os.readlink('/proc/self/fd/0'))).encode()); os.write(3, b'ready')"
    )
    monkeypatch.setattr(spawn, "daemon_argv", lambda *_: [sys.executable, "-c", script])
    extra = os.open("/dev/null", os.O_RDONLY)
    with pytest.raises(Unavailable):  # it says ready and then nobody listens
        spawn.start_daemon(lambda: None, None)
    os.close(extra)
    os.waitpid(-1, 0)
    assert (tmp_path / "state/yurtd.log").read_text().startswith("1 [0, 1, 2, 3")
    assert (tmp_path / "state/yurtd.log").read_text().endswith("/dev/null")


def test_slowness_is_spoken_of_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spawn, "LOUD_AFTER_S", 0.0)
    reading, writing = os.pipe()
    said: list[str] = []

    def answer(text: str) -> None:
        said.append(text)
        os.write(writing, b"ready\n")

    spawn._wait_ready(reading, answer)
    os.close(reading)
    os.close(writing)
    assert said == ["starting yurtd"]


def test_a_home_that_cannot_be_made_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("YURT_HOME", str(tmp_path / "file"))
    with pytest.raises(Denied):
        spawn.start_daemon(lambda: None, None)
