"""WebSockets over a real Unix socket: programs, consoles, events, and clients that do not behave."""

import asyncio
import json
import os
import signal
import socket
from typing import Any

import pytest
from tests.apiserver import Served, against
from tests.doubles import DoubleSession
from websockets.asyncio.client import ClientConnection
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.typing import Subprotocol


async def everything(socket: ClientConnection) -> tuple[dict[int, bytes], dict[str, Any]]:
    """Read to the end: the bytes of each channel, and the status."""
    channels: dict[int, bytes] = {}
    async for message in socket:
        assert isinstance(message, bytes)
        channels[message[0]] = channels.get(message[0], b"") + message[1:]
    return channels, json.loads(channels.pop(3))


def last(api: Served) -> DoubleSession:
    return api.engine.agents["web"].sessions[-1]


def test_output_and_status_come_in_channels() -> None:
    async def check(api: Served) -> None:
        async with api.exec("web", "both") as run:
            assert run.subprotocol == "v5.channel.k8s.io"
            channels, status = await everything(run)
            assert channels == {1: b"out\n", 2: b"err\n"}
            assert status == {"metadata": {}, "status": "Success"}
            assert run.close_code == 1000

    against(check)


def test_an_exit_code_is_passed_on() -> None:
    async def check(api: Served) -> None:
        async with api.exec("web", "exit", "3") as run:
            _, status = await everything(run)
            assert status["status"] == "Failure" and status["reason"] == "NonZeroExitCode"
            assert status["details"]["causes"] == [{"reason": "ExitCode", "message": "3"}]

    against(check)


def test_the_request_arrives_whole() -> None:
    long = "x" * 100_000

    async def check(api: Served) -> None:
        target = (
            "/v1/instances/web/exec?command=both&command=a%20b&command=%FF%26&command="
            f"&command={long}&env=A%3D1%3D2&env=B%3D&workdir=/srv&user=me&tty=true&stdin=1&rows=24&columns=80"
        )
        async with api.socket(target) as run:
            await everything(run)
        request = last(api).request
        assert request.argv == ("both", "a b", "\udcff&", "", long)
        assert request.env == {"A": "1=2", "B": ""}
        assert (request.workdir, request.user) == ("/srv", "me")
        assert (request.tty, request.stdin, request.rows, request.columns) == (True, True, 24, 80)

    against(check)


def test_input_resize_signals_and_the_end_of_input() -> None:
    async def check(api: Served) -> None:
        async with api.exec("web", "echo", stdin="true") as run:
            await run.send(b"\x00hello")
            assert await run.recv() == b"\x01hello"
            await run.send(b"\x00")  # what some clients begin with
            await run.send(b"\x04" + b'{"Width":80,"Height":24}')
            await run.send(b"\x05INT")
            await run.send(b"\x05SIGTERM")
            await run.send(b"\xff\x00")
            _, status = await everything(run)
            assert status["status"] == "Success"
        assert last(api).sizes == [(24, 80)]
        assert last(api).signals == [signal.SIGINT, signal.SIGTERM]

    against(check)


def test_the_older_subprotocol_is_spoken_too_and_others_are_refused() -> None:
    async def check(api: Served) -> None:
        target = "/v1/instances/web/exec?command=both"
        async with api.socket(target, protocol=Subprotocol("v4.channel.k8s.io")) as run:
            assert run.subprotocol == "v4.channel.k8s.io"
            await everything(run)
        for protocol in (None, Subprotocol("chat")):
            with pytest.raises(InvalidStatus) as refused:
                async with api.socket(target, protocol=protocol):
                    pass
            assert refused.value.response.status_code == 400

    against(check)


@pytest.mark.parametrize(
    ("target", "status", "code"),
    [
        ("/v1/instances/nobody/exec?command=both", 404, "not_found"),
        ("/v1/instances/cold/exec?command=both", 409, "wrong_state"),
        ("/v1/instances/web/exec?command=missing", 404, "not_found"),
        ("/v1/instances/web/exec", 400, "invalid"),
        ("/v1/instances/web/exec?command=a%00b", 400, "invalid"),
        ("/v1/instances/web/exec?command=both&env=novalue", 400, "invalid"),
        ("/v1/instances/web/exec?command=both&rows=70000", 400, "invalid"),
        ("/v1/instances/web/exec?command=both&colour=red", 400, "invalid"),
        ("/v1/instances/cold/console", 409, "wrong_state"),
        ("/v1/events?since=-1", 400, "invalid"),
        ("/v1/version", 400, "invalid"),
        ("/v1/none", 404, "not_found"),
    ],
)
def test_what_cannot_begin_is_an_http_error(
    target: str, status: int, code: str, caplog: pytest.LogCaptureFixture
) -> None:
    async def check(api: Served) -> None:
        from yurt.model.instance import Phase

        api.engine.add("cold", Phase.STOPPED)
        with pytest.raises(InvalidStatus) as refused:
            async with api.socket(target):
                pass
        response = refused.value.response
        assert response.status_code == status
        assert response.headers["content-type"] == "application/json"
        assert json.loads(response.body or b"")["error"]["code"] == code

    against(check)
    assert not [each for each in caplog.records if each.levelname in ("WARNING", "ERROR")]


def test_a_guest_that_dies_says_so_in_the_status() -> None:
    async def check(api: Served) -> None:
        async with api.exec("web", "die") as run:
            _, status = await everything(run)
        assert status["status"] == "Failure" and "details" not in status
        assert status["error"] == {
            "code": "unavailable",
            "message": "the guest is gone",
            "hint": "start it again",
        }

    against(check)


@pytest.mark.parametrize(
    "message", ["text", b"", b"\x09", b"\x04{}", b"\x04\xff", b'\x04{"Width":1,"Height":-1}', b"\x05KILLALL",
                b"\x05_DFL", b"\x01out", b"\x04" + "é".encode() * 300, b"\xff\x01", b"\xff"],
)  # fmt: skip
def test_broken_framing_ends_the_program_and_the_socket(message: str | bytes) -> None:
    async def check(api: Served) -> None:
        async with api.exec("web", "sleep") as run:
            await run.send(message)
            with pytest.raises(ConnectionClosed) as closed:
                await run.recv()
            assert (
                closed.value.rcvd is not None and closed.value.rcvd.code == 1008 and closed.value.rcvd.reason
            )
            await last(api).closed.wait()

    against(check)


def test_hanging_up_ends_the_program() -> None:
    async def check(api: Served) -> None:
        async with api.exec("web", "sleep") as run:
            pass
        await last(api).closed.wait()
        async with api.exec("web", "sleep") as run:
            run.transport.abort()
            await last(api).closed.wait()

    against(check)


def test_hanging_up_is_seen_while_the_program_takes_no_input() -> None:
    async def check(api: Served) -> None:
        async with api.exec("web", "sleep", stdin="true") as run:
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.2):  # until both sides' buffers are full
                    while True:
                        await run.send(b"\x00" + bytes(65536))
            assert not last(api).closed.is_set()
            run.transport.abort()
            await last(api).closed.wait()

    against(check)


def test_a_slow_client_holds_the_program_back_and_nobody_else() -> None:
    async def check(api: Served) -> None:
        client = await upgraded(api, "/v1/instances/web/exec?command=flood")
        await stands_still(api, lambda: last(api).produced)
        assert last(api).produced < 4 << 20
        client.close()
        await last(api).closed.wait()

    against(check)


async def upgraded(api: Served, target: str) -> socket.socket:
    """A WebSocket whose client has sent its request and then never reads."""
    client = socket.socket(socket.AF_UNIX)
    client.setblocking(False)
    client.connect(str(api.path))
    client.send(
        f"GET {target} HTTP/1.1\r\nHost: y\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nSec-WebSocket-Version: 13\r\n"
        "Sec-WebSocket-Protocol: v5.channel.k8s.io\r\n\r\n".encode()
    )
    while not api.server._state.tasks:
        await api.call("GET", "/v1/version")
    return client


async def stands_still(api: Served, count: Any) -> None:
    """Return when a number that was rising has not moved over many other requests."""
    before = -1
    for _ in range(1000):
        for _ in range(20):
            assert (await api.call("GET", "/v1/version")).status == 200
        try:
            now = count()
        except IndexError:
            continue
        if now == before and now:
            return
        before = now
    pytest.fail(f"still rising at {before}")


def test_attach_reaches_the_main_process() -> None:
    async def check(api: Served) -> None:
        async with api.socket("/v1/instances/web/attach") as run:
            await run.send(b"\x00hi")
            assert await run.recv() == b"\x01hi"
            await run.send(b"\xff\x00")
            await everything(run)

    against(check)


def test_a_console_shows_the_past_and_takes_input() -> None:
    async def check(api: Served) -> None:
        async with api.socket("/v1/instances/web/console", protocol=None) as view:
            assert await view.recv() == b"login: "
            await view.send(b"root")
            assert await view.recv() == b"ROOT"
            await view.send('{"resize":{"rows":24,"columns":80}}')
            await view.send(b"quit")
            with pytest.raises(ConnectionClosed) as closed:
                await view.recv()
            assert closed.value.rcvd is not None and closed.value.rcvd.code == 1000
        assert api.engine.consoles[0].sizes == [(24, 80)]
        await api.engine.consoles[0].closed.wait()

    against(check)


@pytest.mark.parametrize(
    "text", ["", "{}", '{"resize":{"rows":-1,"columns":1}}', '{"x":1}', "[" * 100_000, "é" * 300]
)
def test_a_console_refuses_nonsense(text: str) -> None:
    async def check(api: Served) -> None:
        async with api.socket("/v1/instances/web/console", protocol=None) as view:
            await view.recv()
            await view.send(text)
            with pytest.raises(ConnectionClosed) as closed:
                await view.recv()
            assert closed.value.rcvd is not None and closed.value.rcvd.code == 1008
        await api.engine.consoles[0].closed.wait()

    against(check)


def test_events_come_as_they_happen_and_resume() -> None:
    async def check(api: Served) -> None:
        api.engine.publish("instance.running", "before")
        async with api.socket("/v1/events", protocol=None) as follow:
            await api.engine.until_subscribed(1)
            api.engine.publish("instance.stopped", "web")
            event = json.loads(await follow.recv())
            assert (event["type"], event["target"], event["sequence"]) == ("instance.stopped", "web", 101)
        await api.engine.until_subscribed(0)
        api.engine.publish("instance.running", "web")
        async with api.socket(f"/v1/events?since={event['sequence'] + 1}", protocol=None) as follow:
            assert json.loads(await follow.recv())["sequence"] == 102

    against(check)


def test_a_client_whose_events_were_lost_is_told_where_to_go_on() -> None:
    async def check(api: Served) -> None:
        api.engine.history = 10
        for _ in range(50):
            api.engine.publish("instance.running", "web")
        async with api.socket("/v1/events?since=100", protocol=None) as follow:
            with pytest.raises(ConnectionClosed) as closed:
                await follow.recv()
            assert closed.value.rcvd is not None
            assert (closed.value.rcvd.code, closed.value.rcvd.reason) == (
                4000, "events were lost: resume with since=140",
            )  # fmt: skip

    against(check)


def test_a_slow_reader_of_events_costs_no_memory_and_learns_of_its_loss() -> None:
    async def check(api: Served) -> None:
        api.engine.history = 100
        client = await upgraded(api, "/v1/events")
        await api.engine.until_subscribed(1)
        for _ in range(200):
            for _ in range(200):
                api.engine.publish("instance.running", "w" * 60)
            await asyncio.sleep(0)
        buffered = [c.transport.get_write_buffer_size() for c in api.server._state.connections]
        assert max(buffered) < 1 << 20
        loop, received = asyncio.get_running_loop(), b""
        while b"resume with since=" not in received:
            part = await loop.sock_recv(client, 1 << 20)
            assert part
            received = received[-200:] + part
        client.close()

    against(check)


def test_stopping_ends_sockets_and_their_programs() -> None:
    async def check(api: Served) -> None:
        async with api.exec("web", "sleep") as run:
            stuck = await upgraded(api, "/v1/instances/web/exec?command=flood")
            await api.server.stop(grace_s=0.1)
            with pytest.raises(ConnectionClosed) as closed:
                await run.recv()
            assert closed.value.rcvd is not None and closed.value.rcvd.code == 1012
            for session in api.engine.agents["web"].sessions:
                await session.closed.wait()
            stuck.close()

    against(check)


def test_many_programs_at_once_leave_no_descriptor_behind() -> None:
    async def one(api: Served, number: int) -> bytes:
        async with api.exec("web", "echo", stdin="true") as run:
            await run.send(b"\x00%d" % number)
            answer = await run.recv()
            assert isinstance(answer, bytes)
            return answer

    async def check(api: Served) -> None:
        before = len(os.listdir("/proc/self/fd"))  # noqa: PTH208  # a plain count
        answers = await asyncio.gather(*(one(api, number) for number in range(100)))
        assert answers == [b"\x01%d" % number for number in range(100)]
        while api.server._state.tasks:
            await asyncio.wait(set(api.server._state.tasks))
        await asyncio.sleep(0)
        assert len(os.listdir("/proc/self/fd")) <= before + 2  # noqa: PTH208

    against(check)
