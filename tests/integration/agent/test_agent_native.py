"""The real agent as an ordinary process of this host: programs, streams, terminals, reconnection, the main process."""

import asyncio
import contextlib
import os
import secrets
import select
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from yurt.drivers.agent.client import AgentClient, ExecSession
from yurt.drivers.agent.config import BootConfig
from yurt.drivers.agent.streams import AgentGone, CommandNotExecutable, CommandNotFound
from yurt.errors import Exhausted, NotFound, Unsupported
from yurt.model.process import ExecRequest

DEADLINE_S = 60
Agent = Callable[..., None]


async def read_all(session: ExecSession) -> tuple[bytes, bytes]:
    output = {1: b"", 2: b""}
    while (item := await session.read()) is not None:
        output[item[0]] += item[1]
    return output[1], output[2]


async def run(client: AgentClient, *argv: str, **fields: object) -> tuple[int, bytes, bytes]:
    session = await client.exec(ExecRequest(argv=argv, **fields))  # type: ignore[arg-type]
    out, err = await read_all(session)
    code = await session.wait()
    await session.close()
    return code, out, err


async def read_until(session: ExecSession, wanted: bytes) -> bytes:
    seen = b""
    while wanted not in seen:
        item = await session.read()
        assert item is not None, seen
        seen += item[1]
    return seen


def test_streams_and_exit_codes(agent: Agent) -> None:
    async def test(client: AgentClient, rig: Any) -> None:
        assert await run(client, "sh", "-c", "echo out; echo err >&2; exit 3") == (3, b"out\n", b"err\n")
        assert await run(client, "sh", "-c", "kill -TERM $$") == (128 + signal.SIGTERM, b"", b"")
        code, out, _ = await run(
            client, "sh", "-c", "pwd; echo $A $HOME", env={"A": "b c", "HOME": "/x"}, workdir="/usr"
        )
        assert (code, out) == (0, b"/usr\nb c /x\n")
        info = await client.wait_ready()
        assert (info.pid, info.mode, info.has_main) == (rig.process.pid, "socket", False)
        await client.ping()

    agent(test)


def test_a_program_that_is_traced_or_stopped_has_not_ended(agent: Agent) -> None:
    """PTRACE_TRACEME makes the agent a tracer, to whom every signal of the program is reported as a stop."""
    traced = f"""if True:
        import ctypes, os, signal, sys
        ctypes.CDLL(None).ptrace(0, 0, 0, 0)
        signal.signal(signal.SIGUSR1, lambda *_: None)
        for number in (signal.SIGUSR1, signal.SIGCHLD):
            os.kill(os.getpid(), number)
        print("on", flush=True)
        os.execv({sys.executable!r}, [{sys.executable!r}, "-c", "print('after'); raise SystemExit(9)"])
    """

    async def test(client: AgentClient, rig: Any) -> None:
        assert await run(client, sys.executable, "-c", traced) == (9, b"on\nafter\n", b"")
        session = await client.exec(ExecRequest(argv=("sh", "-c", "echo $$; kill -STOP $$; exit 4")))
        pid = int(await read_until(session, b"\n"))
        await run(client, "sh", "-c", f"until grep -q 'State:.T' /proc/{pid}/status; do sleep 0.01; done")
        os.kill(pid, signal.SIGCONT)
        assert await session.wait() == 4
        await session.close()

    agent(test)


def test_input_reaches_the_program_whole_and_ends(agent: Agent) -> None:
    async def test(client: AgentClient, rig: Any) -> None:
        data = secrets.token_bytes(1 << 20)
        session = await client.exec(ExecRequest(argv=("cat",), stdin=True))

        async def feed() -> None:
            await session.write(data)
            await session.close_stdin()

        async with asyncio.TaskGroup() as group:
            group.create_task(feed())
            reading = group.create_task(read_all(session))
        assert reading.result() == (data, b"")
        assert await session.wait() == 0
        # without stdin the program sees the end at once
        assert await run(client, "cat") == (0, b"", b"")
        # a program that does not read is no trouble, neither while it runs nor after
        session = await client.exec(ExecRequest(argv=("true",), stdin=True))
        await session.write(bytes(1 << 20))
        assert await session.wait() == 0
        await session.close()

    agent(test)


@pytest.mark.parametrize(
    ("argv", "error", "words"),
    [
        (("no-such-program",), CommandNotFound, "no program"),
        (("/no/such/program",), CommandNotFound, "no program"),
        (("/etc/passwd",), CommandNotExecutable, "denied"),
        (("/usr",), CommandNotExecutable, "cannot run"),
    ],
)
def test_what_cannot_run_says_why(
    agent: Agent, argv: tuple[str, ...], error: type[Exception], words: str
) -> None:
    async def test(client: AgentClient, rig: Any) -> None:
        with pytest.raises(error, match=words):
            await client.exec(ExecRequest(argv=argv))
        assert await run(client, "true") == (0, b"", b"")

    agent(test)


def test_missing_interpreter_user_and_directory(agent: Agent, place: Path) -> None:
    script = place / "script"
    script.write_text("#!/no/such/interpreter\n")
    script.chmod(0o755)
    plain = place / "plain"
    plain.write_text("echo plain $1\n")
    plain.chmod(0o755)

    async def test(client: AgentClient, rig: Any) -> None:
        with pytest.raises(CommandNotExecutable, match="interpreter"):
            await client.exec(ExecRequest(argv=(str(script),)))
        with pytest.raises(NotFound, match="no user"):
            await client.exec(ExecRequest(argv=("true",), user="no-such-user"))
        with pytest.raises(NotFound, match="working directory"):
            await client.exec(ExecRequest(argv=("true",), workdir="/no/such/directory"))
        assert await run(client, str(plain), "words") == (0, b"plain words\n", b"")
        # PATH is that of the request
        assert await run(client, "plain", env={"PATH": f"/no/where:{place}"}) == (0, b"plain\n", b"")

    agent(test)


@pytest.mark.root
def test_users_and_groups(agent: Agent) -> None:
    async def test(client: AgentClient, rig: Any) -> None:
        async def who(user: str) -> bytes:
            return (await run(client, "sh", "-c", "echo $(id -u) $(id -g) $(id -G)", user=user))[1]

        assert await who("nobody") == b"65534 65534 65534\n"
        assert await who("1234:5678") == b"1234 5678 5678\n"
        assert await who("nobody:daemon") == b"65534 1 1\n"
        assert await who("1234") == b"1234 0 0\n"

    agent(test)


def test_terminal_size_signals_and_end(agent: Agent) -> None:
    async def test(client: AgentClient, rig: Any) -> None:
        program = "echo go; while read line; do stty size; echo got $line; done"
        session = await client.exec(
            ExecRequest(argv=("sh", "-c", program), tty=True, stdin=True, rows=30, columns=99)
        )
        await read_until(session, b"go")
        await session.write(b"hello\n")
        assert b"30 99" in await read_until(session, b"got hello")
        await session.resize(50, 120)
        await session.write(b"again\n")
        assert b"50 120" in await read_until(session, b"got again")
        await session.write(b"\x03")  # ctrl-C goes through the terminal
        await read_all(session)
        assert await session.wait() == 128 + signal.SIGINT
        # ctrl-D for a program that reads a terminal
        session = await client.exec(ExecRequest(argv=("cat",), tty=True, stdin=True))
        await session.write(b"line\n")
        await read_until(session, b"line\r\nline")
        await session.close_stdin()
        await read_all(session)
        assert await session.wait() == 0

    agent(test)


def test_signals_reach_the_whole_group(agent: Agent) -> None:
    async def test(client: AgentClient, rig: Any) -> None:
        inner = 'trap "echo inner; exit" USR1; echo ready; while :; do sleep 0.01; done'
        script = f"trap 'echo outer' USR1; sh -c '{inner}'; exit 5"
        session = await client.exec(ExecRequest(argv=("sh", "-c", script)))
        await read_until(session, b"ready")
        await session.signal(signal.SIGUSR1)
        out, _ = await read_all(session)
        assert sorted(out.split()) == [b"inner", b"outer"]
        assert await session.wait() == 5

    agent(test)


def test_many_at_once_and_the_limit(agent: Agent) -> None:
    async def test(client: AgentClient, rig: Any) -> None:
        async def one(number: int) -> None:
            assert await run(client, "sh", "-c", f"seq {number * 1000}; exit {number}") == (
                number,
                b"".join(b"%d\n" % n for n in range(1, number * 1000 + 1)),
                b"",
            )

        async with asyncio.TaskGroup() as group:
            for number in range(20):
                group.create_task(one(number))
        sessions = [await client.exec(ExecRequest(argv=("sleep", "1000"))) for _ in range(64)]
        with pytest.raises(Exhausted):
            await client.exec(ExecRequest(argv=("true",)))
        for session in sessions:
            await session.close()
        assert await run(client, "true") == (0, b"", b"")

    agent(test)


def test_one_stuck_stream_does_not_hold_up_the_others(agent: Agent) -> None:
    async def test(client: AgentClient, rig: Any) -> None:
        stuck = [
            await client.exec(ExecRequest(argv=("cat", "/dev/zero"))) for _ in range(5)
        ]  # nobody reads these
        deaf = await client.exec(ExecRequest(argv=("sleep", "1000"), stdin=True))
        writing = asyncio.create_task(deaf.write(bytes(1 << 20)))  # and this one reads nothing
        code, out, _ = await run(client, "head", "-c", "20000000", "/dev/zero")
        assert (code, len(out)) == (0, 20_000_000)
        assert not writing.done()
        writing.cancel()
        item = await stuck[0].read()
        assert item is not None
        assert item[0] == 1
        for session in (*stuck, deaf):
            await session.close()

    agent(test)


def test_a_program_left_behind_does_not_hold_the_stream_open(agent: Agent) -> None:
    async def test(client: AgentClient, rig: Any) -> None:
        code, out, _ = await run(client, "sh", "-c", "setsid sleep 1000 & echo $!")
        assert code == 0
        os.kill(int(out), signal.SIGKILL)

    agent(test)


def wait_until_gone(pid: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        descriptor = os.pidfd_open(pid)
        try:
            assert select.select([descriptor], [], [], DEADLINE_S)[0]
        finally:
            os.close(descriptor)


@pytest.mark.parametrize("how", ["session", "connection", "second"])
def test_programs_end_with_what_they_belonged_to(agent: Agent, how: str) -> None:
    async def test(client: AgentClient, rig: Any) -> None:
        session = await client.exec(ExecRequest(argv=("sleep", "1000")))
        if how == "session":
            await session.close()
        else:
            await client.close()
            with pytest.raises(AgentGone):
                await session.wait()
        await asyncio.to_thread(wait_until_gone, session.pid)
        if how == "second":
            again = await AgentClient.connect(rig.socket)
            assert (await again.wait_ready()).pid == rig.process.pid
            assert await run(again, "echo", "again") == (0, b"again\n", b"")
            await again.close()
            assert again.closed.done()

    agent(test)


def test_exit_code_and_output_of_the_main_process_wait_for_a_host(agent: Agent) -> None:
    config = BootConfig(
        mode="container",
        hostname="",
        command=("sh", "-c", "echo one; read x; echo two $x; exit 7"),
        stdin=True,
    )

    async def test(client: AgentClient, rig: Any) -> None:
        session = await client.attach_main()
        assert await session.read() == (1, b"one\n")
        await client.close()  # the daemon goes away, the program does not notice
        client = await AgentClient.connect(rig.socket)
        session = await client.attach_main(keep_exit=True)
        await session.write(b"word\n")
        assert await read_all(session) == (b"two word\n", b"")
        assert await session.wait() == 7
        await client.close()  # nobody has collected the code
        client = await AgentClient.connect(rig.socket)
        assert (await client.wait_ready()).main_exited
        assert await client.wait_main() == 7
        session = await client.attach_main()
        assert await read_all(session) == (b"", b"")
        assert await session.wait() == 7
        assert await asyncio.to_thread(rig.process.wait) == 7
        await client.close()

    agent(test, config)


def test_output_nobody_confirmed_is_sent_again(agent: Agent) -> None:
    config = BootConfig(mode="container", hostname="", command=("sh", "-c", "seq 1000; exec sleep 1000"))

    async def test(client: AgentClient, rig: Any) -> None:
        whole = b"".join(b"%d\n" % n for n in range(1, 1001))
        await client.attach_main()
        await client.ping()  # what was on its way has been received, and not been read
        await client.close()
        client = await AgentClient.connect(rig.socket)
        session = await client.attach_main()
        assert await read_until(session, b"1000\n") == whole
        await client.close()

    agent(test, config)


def test_a_main_process_nobody_listens_to_waits_with_full_pipes(agent: Agent) -> None:
    config = BootConfig(
        mode="container",
        hostname="",
        command=("sh", "-c", "head -c 1000000 /dev/zero; echo done >&2; exit 4"),
    )

    async def test(client: AgentClient, rig: Any) -> None:
        assert not (await client.wait_ready()).main_exited
        session = await client.attach_main()
        out, err = await read_all(session)
        assert (len(out), err) == (1_000_000, b"done\n")
        assert await session.wait() == 4
        assert await asyncio.to_thread(rig.process.wait) == 4

    agent(test, config)


@pytest.mark.parametrize("tty", [False, True])
def test_a_main_process_that_cannot_start(agent: Agent, tty: bool) -> None:
    config = BootConfig(mode="container", hostname="", command=("no-such-program",), tty=tty)

    async def test(client: AgentClient, rig: Any) -> None:
        session = await client.attach_main()
        out, err = await read_all(session)
        assert b"no program `no-such-program`" in out + err
        assert await session.wait() == 127
        assert await asyncio.to_thread(rig.process.wait) == 127

    agent(test, config)


def test_shutdown_asks_then_insists(agent: Agent) -> None:
    config = BootConfig(
        mode="container",
        hostname="",
        command=("sh", "-c", "trap '' TERM; echo up; while :; do sleep 0.05; done"),
    )

    async def test(client: AgentClient, rig: Any) -> None:
        session = await client.attach_main()
        await read_until(session, b"up")
        await client.shutdown("poweroff", grace_s=0.1)
        assert await session.wait() == 128 + signal.SIGKILL
        assert await asyncio.to_thread(rig.process.wait) == 128 + signal.SIGKILL

    agent(test, config)


def test_an_agent_that_is_ended_ends_what_it_started(agent: Agent) -> None:
    config = BootConfig(mode="container", hostname="", command=("sleep", "1000"))

    async def test(client: AgentClient, rig: Any) -> None:
        main = await client.attach_main()
        session = await client.exec(ExecRequest(argv=("sleep", "1000")))
        rig.process.terminate()
        assert await main.wait() == 128 + signal.SIGTERM
        assert await asyncio.to_thread(rig.process.wait) == 128 + signal.SIGTERM
        for pid in (main.pid, session.pid):
            await asyncio.to_thread(wait_until_gone, pid)

    agent(test, config)


def test_no_main_process_and_no_console(agent: Agent) -> None:
    async def test(client: AgentClient, rig: Any) -> None:
        for ask in (client.attach_main, client.console, client.wait_main):
            with pytest.raises(Unsupported):
                await ask()

    agent(test)


def test_long_requests_and_a_large_environment(agent: Agent) -> None:
    async def test(client: AgentClient, rig: Any) -> None:
        word = "x" * 100_000
        code, out, _ = await run(client, "sh", "-c", "echo ${#1} ${#BIG}", "sh", word, env={"BIG": word})
        assert (code, out) == (0, b"100000 100000\n")

    agent(test)
