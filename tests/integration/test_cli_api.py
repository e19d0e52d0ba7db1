"""The real command line as a process, against the real API server with an engine in memory."""

import json
import os
import pty
import select
import signal
import subprocess
import sys
import termios
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.clihost import MAIN, CliHost, cli_host

from yurt.model.instance import Phase

FORBIDDEN = (
    "argparse asyncio dataclasses enum http inspect json logging msgspec pathlib re selectors shutil site socket ssl "
    "subprocess tarfile threading typing urllib.parse difflib tempfile signal"
).split()


@pytest.fixture
def host() -> Iterator[CliHost]:
    with cli_host() as made:
        yield made


def test_ls_shows_and_quotes(host: CliHost) -> None:
    done = host.run("ls")
    assert done.returncode == 0, done.stderr
    assert done.stdout.decode().splitlines()[1].split()[:3] == ["web", "microvm", "running"]
    assert host.run("ls", "-q").stdout == b"web\n"
    assert json.loads(host.run("ls", "--json").stdout)[0]["name"] == "web"
    assert json.loads(host.run("ls", "-l", "no=such", "--json").stdout) == []


def test_ls_loads_next_to_nothing(host: CliHost) -> None:
    done = subprocess.run(
        host.argv("ls", flags=("-X", "importtime")),
        env=host.environ,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0
    assert "web" in done.stdout
    loaded = {
        line.rpartition("|")[2].strip()
        for line in done.stderr.splitlines()
        if line.startswith("import time:")
    }
    assert "yurt.cli.ls" in loaded
    assert not loaded & set(FORBIDDEN)
    assert {name for name in loaded if name.startswith("yurt.model")} == set()
    modules = {name for name in loaded if name.startswith("yurt.cli.")}
    assert modules == {
        f"yurt.cli.{name}"
        for name in (
            *("main", "arguments", "commands", "ls", "local", "output"),
            *("networkcommands", "nics", "profilecommands", "trafficcommands", "volumecommands"),
        )
    }


def test_every_command_has_its_help_and_its_module(host: CliHost) -> None:
    from yurt.cli.commands import COMMANDS

    for command in COMMANDS:
        module = __import__(f"yurt.cli.{command.module}", fromlist=["main"])
        assert callable(module.main)
    for words in (["--help"], ["run", "--help"], ["image", "ls", "-h"], ["help", "image"], []):
        done = host.run(*words)
        assert (done.returncode, done.stderr) == (0, b""), words
        assert b"usage:" in done.stdout


@pytest.mark.parametrize(
    ("words", "code", "hint"),
    [
        (["lss"], 2, b"did you mean `yurt ls`?"),
        (["image"], 2, b"`yurt image ls`"),
        (["image", "bild"], 2, b""),
        (["quux-frobnicate"], 2, b"see `yurt --help`"),
        (["info", "nope"], 3, b""),
        (["start", "web"], 5, b""),
        (["exec", "web"], 2, b"`yurt shell web`"),
        (["stop"], 2, b"`yurt stop NAME...`"),
        (["cp", "a", "b"], 2, b"yurt cp"),
        (["cp", "a:/x", "b:/y"], 2, b"copy to this host first"),
        (["cp", "/no/such/file", "web:/root"], 3, b""),
        (["cp", "web:relative", "."], 2, b"yurt cp"),
        (["completion", "tcsh"], 2, b"`fish`"),
        (["run", "tiny", "--name", "web"], 4, b""),
        (["run", "tiny", "--name", "Not A Name"], 2, b""),
        (["operation", "ffffffffffff"], 3, b""),
    ],
)
def test_errors_are_two_lines_and_a_status(host: CliHost, words: list[str], code: int, hint: bytes) -> None:
    done = host.run(*words)
    assert done.returncode == code, done.stderr
    assert done.stdout == b""
    lines = done.stderr.splitlines()
    assert lines[0].startswith(b"error: ")
    assert len(lines) <= 2
    assert hint in done.stderr
    assert b"Traceback" not in done.stderr


def test_debug_shows_where_an_error_comes_from(host: CliHost) -> None:
    assert b"Traceback" in host.run("info", "nope", "--debug").stderr
    assert b"Traceback" in host.run("info", "nope", YURT_DEBUG="1").stderr


def test_exec_passes_streams_and_codes(host: CliHost) -> None:
    done = host.run("exec", "web", "both")
    assert (done.returncode, done.stdout, done.stderr) == (0, b"out\n", b"err\n")
    assert host.run("exec", "web", "exit", "7").returncode == 7
    data = os.urandom(3_000_000)
    assert host.run("exec", "web", "echo", stdin=data).stdout == data
    assert host.run("exec", "-n", "web", "echo", stdin=b"unread").stdout == b""
    failed = host.run("exec", "web", "missing")
    assert failed.returncode == 3
    assert b"no program" in failed.stderr
    lost = host.run("exec", "web", "die")
    assert lost.returncode == 11
    assert b"hint: start it again" in lost.stderr


def test_exec_asks_for_what_was_written(host: CliHost) -> None:
    host.run("exec", "-e", "A=b c", "-w", "/srv", "-u", "me", "web", "--", "exit", "0", "-x", "ä", "")
    request = host.engine.agents["web"].sessions[-1].request
    assert request.argv == ("exit", "0", "-x", "ä", "")
    assert (request.env, request.workdir, request.user, request.tty) == ({"A": "b c"}, "/srv", "me", False)


@pytest.mark.parametrize(("sent", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_signals_reach_the_program(host: CliHost, sent: int, code: int) -> None:
    child = subprocess.Popen(
        host.argv("exec", "web", "sleep"), env=host.environ, stdin=subprocess.PIPE, stderr=subprocess.PIPE
    )
    try:
        wait_for_session(host)
        # it has begun, so the client either relays signals already or dies of this one: then the code tells
        wait_for_handler(child.pid, sent)
        child.send_signal(sent)
        assert child.wait(60) == code
    finally:
        child.kill()
        child.communicate()
    assert host.engine.agents["web"].sessions[0].signals == [sent]


def wait_for_session(host: CliHost) -> None:
    """Return when the program has been started; the double has no event for it."""
    while not host.engine.agents["web"].sessions:
        time.sleep(0.01)


def wait_for_handler(pid: int, number: int) -> None:
    """Return when a process catches a signal: the kernel has no event for that."""
    while True:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
        caught = int(next(line for line in lines if line.startswith("SigCgt:")).split()[1], 16)
        # Python itself catches SIGINT from its start: the second signal of the relay tells that its handlers are in
        if caught >> (signal.SIGTERM - 1) & 1 and caught >> (number - 1) & 1:
            return
        time.sleep(0.01)


def test_a_closed_pipe_is_quiet(host: CliHost) -> None:
    for words in (["exec", "web", "flood"], ["help"]):
        reading, writing = os.pipe()
        child = subprocess.Popen(host.argv(*words), env=host.environ, stdout=writing, stderr=subprocess.PIPE)
        os.close(writing)
        if words[0] == "exec":
            assert os.read(reading, 10)
        os.close(reading)
        _, said = child.communicate(timeout=60)
        assert said == b"", words
        assert child.returncode == 141, words


def on_terminal(
    host: CliHost, *words: str, steps: list[tuple[bytes, bytes]]
) -> tuple[int, bytes, list[object]]:
    """Run a command on a terminal of its own: wait for a text, type an answer. Also returns the terminal's modes after."""
    master, slave = pty.openpty()
    termios.tcsetwinsize(slave, (30, 100))
    before = termios.tcgetattr(slave)
    child = subprocess.Popen(
        host.argv(*words), env=host.environ, stdin=slave, stdout=slave, stderr=slave, start_new_session=True
    )
    seen = b""
    try:
        for wanted, typed in [*steps, (b"", b"")]:
            while wanted not in seen:
                assert select.select([master], [], [], 60)[0], seen
                seen += os.read(master, 65536)
            seen_before, seen = seen, seen.partition(wanted)[2] if wanted else seen
            if typed:
                os.write(master, typed)
        code = child.wait(60)
        while select.select([master], [], [], 0)[0]:
            seen_before += os.read(master, 65536)
        after = termios.tcgetattr(slave)
    finally:
        child.kill()
        child.wait()
        os.close(master)
        os.close(slave)
    return code, seen_before + seen, [before, after]


def test_a_terminal_is_raw_while_it_lasts_and_as_before_after(host: CliHost) -> None:
    code, before, after = interrupted_on_terminal(host)
    assert code == 143
    assert before == after
    session = host.engine.agents["web"].sessions[0]
    assert session.request.tty
    assert (session.request.rows, session.request.columns) == (30, 100)
    assert session.sizes[0] == (30, 100)
    assert session.sizes[-1] == (40, 120)


def interrupted_on_terminal(host: CliHost) -> tuple[int, object, object]:
    """exec on a terminal: resize the window, then end the client with SIGTERM. Code, and modes before and after."""
    master, slave = pty.openpty()
    termios.tcsetwinsize(slave, (30, 100))
    before = termios.tcgetattr(slave)
    child = subprocess.Popen(
        host.argv("exec", "web", "sleep"),
        env=host.environ, stdin=slave, stdout=slave, stderr=slave, start_new_session=True,
    )  # fmt: skip
    try:
        wait_for_session(host)
        wait_for_handler(child.pid, signal.SIGWINCH)
        session = host.engine.agents["web"].sessions[0]
        while termios.tcgetattr(slave)[3] & termios.ICANON:
            time.sleep(0.01)
        termios.tcsetwinsize(slave, (40, 120))
        child.send_signal(signal.SIGWINCH)
        while (40, 120) not in session.sizes:
            time.sleep(0.01)
        child.send_signal(signal.SIGTERM)
        code = child.wait(60)
        return code, before, termios.tcgetattr(slave)
    finally:
        child.kill()
        child.wait()
        os.close(master)
        os.close(slave)


def test_the_console_says_how_to_leave_and_lets_go(host: CliHost) -> None:
    code, seen, (before, after) = on_terminal(
        host,
        "console",
        "web",
        steps=[(b"ctrl-] leaves", b""), (b"login: ", b"abc"), (b"ABC", b"\x1d"), (b"runs on", b"")],
    )
    assert code == 0, seen
    assert before == after
    assert host.engine.consoles[0].sizes == [(30, 100)]


def test_a_console_that_ends_is_said(host: CliHost) -> None:
    code, _, _ = on_terminal(
        host, "console", "web", steps=[(b"login: ", b"quit"), (b"the console has ended", b"")]
    )
    assert code == 0


def test_logs_are_harmless_on_a_terminal_and_exact_in_a_pipe(host: CliHost) -> None:
    raw = host.run("logs", "web").stdout
    assert raw
    code, _, _ = on_terminal(host, "logs", "web", steps=[(raw.split()[0][:4], b"")])
    assert code == 0


def test_verbs_act_on_many_and_report_each(host: CliHost) -> None:
    host.do(lambda: host.engine.add("two", Phase.RUNNING))
    done = host.run("stop", "web", "nope", "two", "--timeout", "5s")
    assert done.returncode == 3
    assert done.stdout == b"web\ntwo\n"
    assert b"nope" in done.stderr
    begun = [(each.verb, each.target, each.arguments) for each in host.engine.kept.values()]
    assert begun == [(("stop"), name, {"timeout_s": 5.0, "force": False}) for name in ("web", "two")]


def test_run_detached_prints_the_name(host: CliHost) -> None:
    done = host.run("run", "-d", "tiny", "--name", "fresh", "-l", "a=b")
    assert (done.returncode, done.stdout, done.stderr) == (0, b"fresh\n", b"")
    assert host.engine.records["fresh"].spec.labels == {"a": "b"}
    assert host.run("run", "tiny", "--name", "nobody-there").stdout == b"nobody-there\n"
    assert host.run("create", "tiny", "--name", "made").stdout == b"made\n"
    assert host.engine.records["made"].phase is Phase.STOPPED


def test_run_passes_the_exit_code_on_and_cleans_up(host: CliHost) -> None:
    done = host.run("run", "--rm", "--init", "tiny", "--name", "fresh", "--", "exit", "9")
    assert done.returncode == 9, done.stderr
    assert [each.verb for each in host.engine.kept.values()] == ["create", "delete"]


def test_listings_have_json(host: CliHost) -> None:
    host.run("stop", "web")
    for words in (
        ["operation", "ls"],
        ["image", "ls"],
        ["host", "info"],
        ["doctor"],
        ["version"],
        ["info", "web"],
        ["top"],
    ):
        done = host.run(*words, "--json")
        assert done.returncode == 0, (words, done.stderr)
        assert json.loads(done.stdout), words
        table = host.run(*words)
        assert table.returncode == 0, (words, table.stderr)
        assert table.stdout, words


def test_a_long_operation_tells_its_steps_and_its_end(host: CliHost) -> None:
    host.engine.hold = True
    child = subprocess.Popen(
        host.argv("stop", "web"), env=host.environ, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    try:
        host.call(host.engine.until_subscribed(1))
        host.do(lambda: end_operation(host))
        out, said = child.communicate(timeout=60)
    finally:
        child.kill()
        child.wait()
    assert (child.returncode, out) == (0, b"web\n"), said


def end_operation(host: CliHost) -> None:
    """Let the held operation end, with the event that the engine would send."""
    from msgspec.structs import replace

    host.engine.release()
    operation = next(iter(host.engine.kept.values()))
    event = host.engine.publish("operation.done", "web")
    data: dict[str, object] = {"operation": operation.id, "status": "done"}
    host.engine.happened[-1] = replace(event, data=data)


@pytest.mark.parametrize(
    ("words", "said"), [(["stop", "web"], b"detached"), (["run", "-d", "tiny"], b"cancelled, undone")]
)
def test_ctrl_c_says_what_it_did(host: CliHost, words: list[str], said: bytes) -> None:
    host.engine.hold = True
    child = subprocess.Popen(
        host.argv(*words), env=host.environ, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    try:
        host.call(host.engine.until_subscribed(1))
        child.send_signal(signal.SIGINT)
        _, heard = child.communicate(timeout=60)
    finally:
        child.kill()
        child.wait()
    assert child.returncode == 130, heard
    assert said in heard
    status = next(iter(host.engine.kept.values())).status.value
    assert status == ("running" if said == b"detached" else "cancelled")
    host.do(host.engine.release)


def test_nobody_there_is_said() -> None:
    env = {**os.environ, "YURT_SOCKET": "/nonexistent/yurt.sock"}
    for words, code in ((["ls"], 11), (["version"], 0), (["completion", "bash"], 0)):
        done = subprocess.run(
            [sys.executable, "-I", "-S", MAIN, *words], env=env, capture_output=True, timeout=60
        )
        assert done.returncode == code, (words, done.stderr)
