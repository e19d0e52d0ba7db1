"""The Python SDK against the real API server with an engine in memory."""

import os
import warnings
from collections.abc import Iterator

import pytest
from tests.clihost import CliHost, cli_host

import yurt
from yurt.client.sdk import make_spec
from yurt.errors import Exists, Invalid, NotFound, Timeout, ToolFailed, WrongState
from yurt.model.instance import Kind, Phase
from yurt.model.operation import OperationStatus


@pytest.fixture
def host() -> Iterator[CliHost]:
    with cli_host() as made:
        yield made


@pytest.fixture
def y(host: CliHost) -> Iterator[yurt.Client]:
    with yurt.connect(host.api.path) as made:
        yield made


def verbs(host: CliHost) -> list[str]:
    return [each.verb for each in host.engine.kept.values()]


def test_a_block_runs_and_deletes(host: CliHost, y: yurt.Client) -> None:
    with y.run("tiny", name="fresh", kind="container", memory="256M", labels={"a": "b"}) as vm:
        record = vm.record
        assert (record.phase, record.spec.kind) == (Phase.RUNNING, Kind.CONTAINER)
        assert record.spec.memory_bytes == 256 << 20
        assert [each.name for each in y.instances({"a": "b"})] == ["fresh"]
    assert verbs(host) == ["create", "delete"]


def test_a_block_that_fails_deletes_and_keeps_its_error(host: CliHost, y: yurt.Client) -> None:
    with pytest.raises(ZeroDivisionError), y.run("tiny", name="fresh"):
        raise ZeroDivisionError
    assert verbs(host) == ["create", "delete"]


def test_a_failure_to_delete_does_not_hide_the_first_error(host: CliHost, y: yurt.Client) -> None:
    with (
        warnings.catch_warnings(record=True) as heard,
        pytest.raises(ZeroDivisionError),
        y.run("tiny", name="fresh") as vm,
    ):
        warnings.simplefilter("always")
        vm.name = "not a name"
        raise ZeroDivisionError
    assert any("left behind" in str(each.message) for each in heard)


def test_exec_gives_code_and_streams(y: yurt.Client) -> None:
    vm = y.instance("web")
    assert vm.exec(["both"]) == yurt.ExecResult(0, b"out\n", b"err\n")
    assert vm.exec(["exit", "9"]).exit_code == 9
    data = os.urandom(3_000_000)
    assert vm.exec(["echo"], input=data).stdout == data
    assert vm.exec(["echo"], input="é").text == "é"
    with pytest.raises(ToolFailed, match="status 9"):
        vm.exec(["exit", "9"], check=True)
    with pytest.raises(NotFound):
        vm.exec(["missing"])


def test_exec_gives_up_and_hangs_up(host: CliHost, y: yurt.Client) -> None:
    with pytest.raises(Timeout):
        y.instance("web").exec(["sleep"], timeout_s=0.05)
    host.call(host.engine.agents["web"].sessions[0].closed.wait())


def test_a_program_is_talked_with_while_it_runs(host: CliHost, y: yurt.Client) -> None:
    with y.instance("web").popen(["echo"], tty=True, rows=30, columns=100, env={"A": "b"}) as process:
        process.write(b"hello")
        assert next(process.output()) == (1, b"hello")
        process.close_stdin()
        assert process.wait() == 0
    request = host.engine.agents["web"].sessions[0].request
    assert (request.tty, request.rows, request.columns, request.env) == (True, 30, 100, {"A": "b"})
    with y.instance("web").popen(["sleep"]) as process:
        process.signal("TERM")
        assert process.wait() == 143


def test_the_console_is_read_and_written(host: CliHost, y: yurt.Client) -> None:
    with y.instance("web").console() as console:
        assert console.read() == b"login: "
        assert (console.read(timeout_s=0.01), console.ended) == (b"", False)
        console.write(b"abc")
        assert console.read() == b"ABC"
        console.write(b"quit")
        assert (console.read(), console.ended) == (b"", True)
    host.call(host.engine.consoles[0].closed.wait())


def test_verbs_return_when_they_are_done(host: CliHost, y: yurt.Client) -> None:
    vm = y.instance("web")
    vm.stop(timeout_s=5, force=True)
    vm.kill()
    vm.pause()
    vm.resume()
    vm.restart()
    vm.rename("other")
    assert vm.name == "other"
    assert verbs(host) == ["stop", "kill", "pause", "resume", "restart", "rename"]
    assert next(iter(host.engine.kept.values())).arguments == {"timeout_s": 5.0, "force": True}


def test_errors_are_classes(y: yurt.Client) -> None:
    with pytest.raises(NotFound):
        y.instance("nope")
    with pytest.raises(Exists):
        y.create("tiny", name="web")
    with pytest.raises(WrongState):
        y.instance("web").start()
    with pytest.raises(Invalid):
        y.run("tiny", memory="much")
    with pytest.raises(Invalid):
        y.run("tiny", cpus=0)
    y.create("tiny", name="kept").delete()
    with pytest.raises(Timeout):
        y.instance("web").wait("exit", timeout_s=0.05)


def test_progress_is_heard_until_the_end(host: CliHost, y: yurt.Client) -> None:
    heard: list[OperationStatus] = []

    def progress(operation: object) -> None:
        heard.append(operation.status)  # type: ignore[attr-defined]
        if len(heard) == 1:
            host.do(lambda: end(host))

    host.engine.hold = True
    y.images.build("tiny", progress=progress)
    assert heard == [OperationStatus.RUNNING, OperationStatus.DONE]


def end(host: CliHost) -> None:
    """Let the held operation end, with the event that the engine would send."""
    from msgspec.structs import replace

    host.engine.release()
    operation = next(iter(host.engine.kept.values()))
    host.engine.publish("operation.done", "tiny")
    data: dict[str, object] = {"operation": operation.id, "status": "done"}
    host.engine.happened[-1] = replace(host.engine.happened[-1], data=data)


def test_events_follow(host: CliHost, y: yurt.Client) -> None:
    host.do(lambda: host.engine.publish("instance.started", "web"))
    events = y.events(since=host.engine.first)
    assert next(events).type == "instance.started"
    host.do(lambda: host.engine.publish("instance.stopped", "web"))
    assert next(events).target == "web"
    events.close()  # type: ignore[attr-defined]  # it is a generator


def test_the_rest_is_there(host: CliHost, y: yurt.Client) -> None:
    assert y.images.get("tiny").reference == "tiny:latest"
    assert [each.reference for each in y.images.list()] == ["tiny:latest"]
    assert y.instance("web").usage().pids == 5
    assert y.version()["version"] == yurt.__version__
    assert y.host()
    assert y.doctor()[0].name
    y.instance("web").stop()
    assert y.operation(y.operations()[0].id).verb == "stop"
    assert b"".join(y.instance("web").logs())


def test_a_spec_holds_only_what_was_given() -> None:
    assert make_spec("tiny", (), {"memory": None, "cpus": None}) == {"image": "tiny"}
    made = make_spec("tiny", ("a", "b"), {"memory": "1G", "disk": 5 << 30, "env": {}})
    assert made == {"image": "tiny", "command": ["a", "b"], "memory_bytes": 1 << 30, "disk_bytes": 5 << 30}
