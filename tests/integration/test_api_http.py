"""The API over a real Unix socket: requests, refusals, waiting, streams of bytes."""

import asyncio
import json
import os
import socket
import stat
from pathlib import Path

import pytest
from tests.apiserver import Served, against, parse, served
from tests.doubles import DoubleEngine

from yurt import __version__
from yurt.api.server import bind_socket
from yurt.errors import Exhausted, Invalid
from yurt.model.instance import Phase


def test_version() -> None:
    async def check(api: Served) -> None:
        answer = await api.call("GET", "/v1/version")
        assert answer.status == 200
        assert answer.headers["content-type"] == "application/json"
        assert answer.json == {"version": __version__, "api": "v1"}

    against(check)


def test_an_instance_is_shown_without_its_inner_fields() -> None:
    async def check(api: Served) -> None:
        one = (await api.call("GET", "/v1/instances/web")).json
        assert one["name"] == "web" and one["phase"] == "running" and one["spec"]["cpus"] == 1
        assert not {"slot", "base", "version"} & set(one)
        assert (await api.call("GET", "/v1/instances")).json == [one]

    against(check)


def test_labels_select() -> None:
    async def check(api: Served) -> None:
        for name, labels in (("a", {"team": "x", "env": "y z"}), ("b", {"team": "x"})):
            made = await api.call("POST", "/v1/instances", {"image": "tiny", "name": name, "labels": labels})
            assert made.status == 200
        found = await api.call("GET", "/v1/instances?label=team%3Dx")
        assert [each["name"] for each in found.json] == ["a", "b"]
        found = await api.call("GET", "/v1/instances?label=team%3Dx&label=env%3Dy+z")
        assert [each["name"] for each in found.json] == ["a"]
        assert (await api.call("GET", "/v1/instances?label=%20")).error["code"] == "invalid"

    against(check)


def test_an_operation_that_runs_on_is_202_and_an_ended_one_200() -> None:
    async def check(api: Served) -> None:
        api.engine.hold = True
        running = await api.call("POST", "/v1/instances/web/kill")
        assert running.status == 202 and running.json["status"] == "running"
        still = await api.call("POST", "/v1/instances/web/kill?wait_s=0.01")
        assert still.status == 202
        waiting = asyncio.create_task(api.call("POST", "/v1/instances/web/kill?wait_s=30"))
        await api.engine.until_begun(3)
        api.engine.release()
        ended = await waiting
        assert ended.status == 200 and ended.json["status"] == "done"
        assert (await api.call("GET", f"/v1/operations/{running.json['id']}/wait")).json["status"] == "done"

    against(check)


def test_stop_takes_an_empty_body_for_its_defaults() -> None:
    async def check(api: Served) -> None:
        default = await api.call("POST", "/v1/instances/web/stop")
        assert default.json["arguments"] == {"timeout_s": 30.0, "force": False}
        own = await api.call("POST", "/v1/instances/web/stop", {"timeout_s": 1, "force": True})
        assert own.json["arguments"] == {"timeout_s": 1.0, "force": True}

    against(check)


@pytest.mark.parametrize(
    ("method", "target", "body", "status", "code"),
    [
        ("GET", "/v1/instances/nobody", None, 404, "not_found"),
        ("GET", "/v1/instances/UPPER", None, 400, "invalid"),
        ("GET", "/v1/nothing", None, 404, "not_found"),
        ("GET", "/v1/instances/", None, 404, "not_found"),
        ("GET", "/", None, 404, "not_found"),
        ("GET", "/v1/instances/web/exec", None, 426, "invalid"),
        ("GET", "/v1/operations/xyz", None, 404, "not_found"),
        ("GET", "/v1/images/tiny:9", None, 404, "not_found"),
        ("POST", "/v1/instances", None, 400, "invalid"),
        ("POST", "/v1/instances", {"image": "tiny", "name": "web"}, 409, "exists"),
        ("POST", "/v1/instances", {"image": "tiny", "colour": "red"}, 400, "invalid"),
        ("POST", "/v1/instances", {"image": "tiny", "cpus": 0}, 400, "invalid"),
        ("POST", "/v1/instances", {"image": "tiny", "cpus": 2**70}, 400, "invalid"),
        ("POST", "/v1/instances", {"image": "tiny", "kind": "zone"}, 400, "invalid"),
        ("POST", "/v1/instances?start=maybe", {"image": "tiny"}, 400, "invalid"),
        ("POST", "/v1/instances/web/start", None, 409, "wrong_state"),
        ("POST", "/v1/instances/web/stop", {"timeout_s": -1}, 400, "invalid"),
        ("POST", "/v1/instances/web/kill", {"force": True}, 400, "invalid"),
        ("GET", "/v1/instances/web/wait?for=exit&timeout_s=0.01", None, 504, "timeout"),
        ("GET", "/v1/instances/web/wait?for=tea", None, 400, "invalid"),
        ("GET", "/v1/instances/web/wait?for=exit&timeout_s=nan", None, 400, "invalid"),
        ("GET", "/v1/instances/web/wait?timeout_s=1", None, 400, "invalid"),
        ("GET", "/v1/instances/web/wait?for=exit&for=exit", None, 400, "invalid"),
        ("GET", "/v1/instances/web/logs?tail_bytes=1e30", None, 400, "invalid"),
        ("GET", "/v1/instances/web/stat?path=relative", None, 400, "invalid"),
        ("GET", "/v1/instances/web/stat?path=/none", None, 404, "not_found"),
        ("GET", "/v1/instances?&", None, 400, "invalid"),
    ],
)
def test_refusals(method: str, target: str, body: object, status: int, code: str) -> None:
    async def check(api: Served) -> None:
        answer = await api.call(method, target, body)
        assert (answer.status, answer.error["code"]) == (status, code)
        assert answer.error["message"]

    against(check)


def test_a_wrong_method_names_the_right_ones() -> None:
    async def check(api: Served) -> None:
        for target, allowed in (("/v1/images/build", "DELETE, GET, POST"), ("/v1/usage", "GET")):
            answer = await api.call("PATCH", target)
            assert answer.status == 405 and answer.headers["allow"] == allowed
            assert answer.error["code"] == "invalid"

    against(check)


def test_a_fixed_word_does_not_hide_an_image_of_that_name() -> None:
    async def check(api: Served) -> None:
        assert "`build:latest`" in (await api.call("GET", "/v1/images/build")).error["message"]

    against(check)


def test_errors_keep_their_hint_and_a_bug_is_internal(caplog: pytest.LogCaptureFixture) -> None:
    async def check(api: Served) -> None:
        api.engine.fail = Exhausted("no room", hint="make some")
        answer = await api.call("GET", "/v1/instances")
        assert answer.status == 503
        assert answer.error == {"code": "exhausted", "message": "no room", "hint": "make some"}
        api.engine.fail = ZeroDivisionError("oops")
        answer = await api.call("GET", "/v1/instances")
        assert answer.status == 500 and answer.error["code"] == "internal"
        assert any(record.exc_info and record.exc_info[0] is ZeroDivisionError for record in caplog.records)

    against(check)


def test_a_wait_ends_with_its_client() -> None:
    async def check(api: Served) -> None:
        _, writer = await asyncio.open_unix_connection(str(api.path))
        writer.write(b"GET /v1/instances/web/wait?for=exit&timeout_s=3600 HTTP/1.1\r\nHost: y\r\n\r\n")
        await api.engine.until_waiting(1)
        writer.close()
        await api.engine.until_waiting(0)

    against(check)


def test_a_log_is_streamed_and_followed() -> None:
    async def check(api: Served) -> None:
        plain = await api.call("GET", "/v1/instances/web/logs")
        assert plain.headers["content-type"] == "text/plain; charset=utf-8"
        assert plain.body == b"console of web\n"
        reader, writer = await asyncio.open_unix_connection(str(api.path))
        writer.write(
            b"GET /v1/instances/web/logs?source=lifecycle&follow=true HTTP/1.1\r\n"
            b"Host: y\r\nConnection: close\r\n\r\n"
        )
        head = await reader.readuntil(b"lifecycle of web\n")  # comes before the stream ends
        api.engine.release()
        rest = await reader.read()
        assert parse(head + rest).body == b"lifecycle of web\nlater\n"
        writer.close()

    against(check)


def test_archives_go_both_ways() -> None:
    async def check(api: Served) -> None:
        put = await api.call("PUT", "/v1/instances/web/archive?path=/srv", raw=b"t" * 300_000)
        assert (put.status, put.json) == (200, {})
        got = await api.call("GET", "/v1/instances/web/archive?path=/srv")
        assert got.headers["content-type"] == "application/x-tar" and got.body == b"t" * 300_000
        assert (await api.call("GET", "/v1/instances/web/archive?path=/none")).error["code"] == "not_found"
        missing = await api.call("PUT", "/v1/instances/web/archive?path=/nowhere", raw=b"t" * 3_000_000)
        assert missing.error["code"] == "not_found"
        assert (await api.call("GET", "/v1/instances/web/stat?path=/srv")).json["size_bytes"] == 300_000

    against(check)


def test_an_archive_that_fails_in_the_middle_does_not_look_whole(caplog: pytest.LogCaptureFixture) -> None:
    async def check(api: Served) -> None:
        with pytest.raises(EOFError):
            await api.call("GET", "/v1/instances/web/archive?path=/broken")
        assert (await api.call("GET", "/v1/version")).status == 200

    against(check)
    assert "cut off" in caplog.text


def test_a_slow_reader_of_an_archive_holds_its_guest_back() -> None:
    async def check(api: Served) -> None:
        agent = api.engine.agents["web"]
        _, writer = await asyncio.open_unix_connection(str(api.path), limit=1024)
        writer.write(b"GET /v1/instances/web/archive?path=/dev/zero HTTP/1.1\r\nHost: y\r\n\r\n")
        before = -1
        while agent.taken != before or agent.taken == 0:  # until it stands still over many other requests
            before = agent.taken
            for _ in range(20):
                await api.call("GET", "/v1/version")
        assert agent.taken < 4 << 20
        writer.close()

    against(check)


def test_a_slow_guest_holds_its_writer_back() -> None:
    async def check(api: Served) -> None:
        agent = api.engine.agents["web"]
        agent.may_take.clear()
        sender = socket.socket(socket.AF_UNIX)
        sender.setblocking(False)
        sender.connect(str(api.path))
        head = b"PUT /v1/instances/web/archive?path=/srv HTTP/1.1\r\nHost: y\r\nContent-Length: 1000000000\r\n\r\n"
        sender.send(head)
        sent, refused = 0, 0
        while refused < 50:
            try:
                sent += sender.send(bytes(65536))
                refused = 0
            except BlockingIOError:
                refused += 1
                await api.call("GET", "/v1/version")
        assert sent < 4 << 20
        agent.may_take.set()
        sender.close()  # much too early: the guest must not take it for the end
        await agent.aborted.wait()
        assert "/srv" not in agent.files

    against(check)


def test_the_socket_is_ours_alone_and_replaces_a_stale_one(tmp_path: Path) -> None:
    path = tmp_path / "s"
    old = os.umask(0)
    try:
        with bind_socket(path) as first:
            assert stat.S_IMODE(path.stat().st_mode) == 0o600
            inode = path.stat().st_ino
            with bind_socket(path) as second:
                assert path.stat().st_ino != inode
                with socket.socket(socket.AF_UNIX) as client:
                    client.connect(str(path))
                    second.accept()[0].close()
                    with pytest.raises(BlockingIOError):
                        first.accept()
    finally:
        os.umask(old)
    assert [each.name for each in tmp_path.iterdir()] == ["s"]


def test_a_path_too_long_for_a_socket_is_said_so(tmp_path: Path) -> None:
    with pytest.raises(Invalid, match="too long"):
        bind_socket(tmp_path / ("x" * 100))


def test_stopping_removes_the_socket_but_not_that_of_a_successor() -> None:
    async def check() -> None:
        engine = DoubleEngine()
        async with served(engine) as api:
            with bind_socket(api.path):
                await api.server.stop()
                assert api.path.exists()
        async with served(engine) as api:
            await api.server.stop()
            assert not api.path.exists()
            await api.server.stop()

    asyncio.run(check())


def test_stopping_answers_what_runs_and_cuts_off_what_does_not_end() -> None:
    async def check(api: Served) -> None:
        waiting = asyncio.create_task(
            api.raw(b"GET /v1/instances/web/wait?for=exit HTTP/1.1\r\nHost: y\r\n\r\n", end=False)
        )
        await api.engine.until_waiting(1)
        stopping = asyncio.create_task(api.server.stop(grace_s=30))
        await asyncio.sleep(0)
        api.engine.release()
        await stopping
        assert parse(await waiting).status == 200

    against(check)

    async def stuck(api: Served) -> None:
        waiting = asyncio.create_task(
            api.raw(b"GET /v1/instances/web/wait?for=exit HTTP/1.1\r\nHost: y\r\n\r\n", end=False)
        )
        await api.engine.until_waiting(1)
        await api.server.stop(grace_s=0)
        assert b"200" not in (await waiting)[:12]
        await api.engine.until_waiting(0)

    against(stuck)


@pytest.mark.root
def test_another_user_is_refused() -> None:
    async def check(api: Served) -> None:
        api.path.chmod(0o666)
        api.path.parent.chmod(0o755)
        answer = parse(await api.raw(b"GET /v1/version HTTP/1.1\r\nHost: y\r\n\r\n", end=False, uid=65534))
        assert answer.status == 403 and answer.error["code"] == "denied"
        assert (await api.call("GET", "/v1/version")).status == 200

    against(check)


def test_the_log_says_who_did_what(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", "yurt.api")

    async def check(api: Served) -> None:
        await api.call("POST", "/v1/instances/web/kill")
        await api.call("GET", "/v1/instances/web")

    against(check)
    assert f"kill_instance web by uid:{os.geteuid()} (process {os.getpid()})" in caplog.text
    assert "get_instance" not in caplog.text


def test_an_idle_server_has_no_timer() -> None:
    async def check(api: Served) -> None:
        await api.call("GET", "/v1/version")
        loop = asyncio.get_running_loop()
        mine = {id(handle) for handle in loop._scheduled if "timeout" in repr(handle).lower()}  # type: ignore[attr-defined]
        pending = [h for h in loop._scheduled if not h.cancelled() and id(h) not in mine]  # type: ignore[attr-defined]
        assert pending == []

    against(check)


def test_pipelined_requests_are_answered_in_order() -> None:
    async def check(api: Served) -> None:
        one = b"GET /v1/instances/web HTTP/1.1\r\nHost: y\r\n\r\n"
        two = b"GET /v1/nothing HTTP/1.1\r\nHost: y\r\nConnection: close\r\n\r\n"
        received = await api.raw(one + two, end=False)
        first, second = received.split(b"HTTP/1.1 ")[1:]
        assert first.startswith(b"200") and second.startswith(b"404")
        assert json.loads(first.partition(b"\r\n\r\n")[2])["phase"] == Phase.RUNNING

    against(check)
