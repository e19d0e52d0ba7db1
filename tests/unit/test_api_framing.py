"""The parts of the API that need no socket: framing, queries, bodies, routes."""

import json
import signal
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from yurt.api import framing, table
from yurt.api.face import EngineFace
from yurt.api.routes import ENDPOINTS
from yurt.api.routes.streams import ExecQuery
from yurt.api.views import InstanceView
from yurt.engine.engine import Engine
from yurt.errors import Invalid, NotFound, Unavailable, YurtError
from yurt.model.instance import Instance, InstanceSpec

EXEC = next(each for each in ENDPOINTS if each.query is ExecQuery)
ROUTES = table.Routes(list(ENDPOINTS))


def the_real_engine_fits(engine: Engine) -> EngineFace:
    """For mypy: the API is tested against a double, so the real one must have the same face."""
    return engine


def test_statuses() -> None:
    assert framing.exit_status(0) == b'\x03{"metadata":{},"status":"Success"}'
    failed = json.loads(framing.exit_status(137)[1:])
    assert failed["details"] == {"causes": [{"reason": "ExitCode", "message": "137"}]}
    lost = json.loads(framing.failure_status(Unavailable("gone", hint="again"))[1:])
    assert lost["status"] == "Failure" and lost["error"]["code"] == "unavailable" and "details" not in lost


@pytest.mark.parametrize(
    "number", [signal.SIGINT, signal.SIGTERM, signal.SIGWINCH, signal.SIGKILL, signal.SIGRTMIN]
)
def test_signals_by_name(number: signal.Signals) -> None:
    assert framing.parse_signal(number.name.encode()) == number
    assert framing.parse_signal(number.name.removeprefix("SIG").encode()) == number


@given(st.binary(max_size=40))
def test_any_bytes_as_signal_or_size_are_taken_or_refused(data: bytes) -> None:
    for parse in (framing.parse_signal, framing.parse_size):
        try:
            parse(data)
        except Invalid as error:
            assert error.message.isprintable()


@given(
    st.lists(
        st.binary(min_size=1, max_size=30).filter(lambda word: b"\0" not in word), min_size=1, max_size=5
    )
)
def test_any_words_travel_through_a_query(words: list[bytes]) -> None:
    raw = "&".join("command=" + "".join(f"%{byte:02x}" for byte in word) for word in words)
    query = table.decode_query(EXEC, raw.encode())
    assert isinstance(query, ExecQuery)
    assert [word.encode(errors="surrogateescape") for word in query.command] == words


@given(st.binary(max_size=200))
def test_any_query_is_decoded_or_refused(raw: bytes) -> None:
    for endpoint in ENDPOINTS:
        try:
            assert isinstance(table.decode_query(endpoint, raw), endpoint.query)
        except Invalid as error:
            assert error.message.isprintable() and len(error.message) < 600


@given(st.binary(max_size=200))
def test_any_body_is_decoded_or_refused(raw: bytes) -> None:
    for kind in {each.body for each in ENDPOINTS if each.body is not None}:
        try:
            assert isinstance(table.decode_body(kind, raw), kind)
        except Invalid as error:
            assert error.message.isprintable() and len(error.message) < 600


@given(st.recursive(st.none() | st.booleans() | st.integers() | st.floats() | st.text(), lambda inner: (
    st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(InstanceSpec.__struct_fields__), inner, max_size=4)
)))  # fmt: skip
def test_any_json_is_a_spec_or_refused(value: Any) -> None:
    try:
        raw = msgspec.json.encode(value)
    except UnicodeEncodeError:
        return
    try:
        spec = table.decode_body(InstanceSpec, raw)
    except Invalid:
        return
    assert msgspec.json.decode(msgspec.json.encode(spec), type=InstanceSpec) == spec


@given(st.text(max_size=60))
def test_any_path_leads_somewhere_or_nowhere(path: str) -> None:
    for text in (path, f"/v1/instances/{path}", f"/v1/images/{path}", f"/v1/operations/{path}/wait"):
        try:
            endpoint, values = ROUTES.find("GET", text)
        except (NotFound, Invalid) as error:
            assert error.message.isprintable()
            continue
        assert set(values) == set(endpoint.parameters)


def test_parameters_reach_the_handler_in_their_form() -> None:
    endpoint, values = ROUTES.find("DELETE", "/v1/images/tiny")
    assert endpoint.name == "delete_image" and values == {"reference": "tiny:latest"}
    endpoint, values = ROUTES.find("POST", "/v1/images/build")
    assert endpoint.name == "build_image" and values == {}


@given(st.text(max_size=300))
def test_a_close_reason_fits_its_frame(text: str) -> None:
    assert len(framing.close_reason(text).encode()) <= 123


def test_the_view_of_an_instance_is_a_part_of_its_record() -> None:
    worked_out = {"isolation", "isolation_meaning"}
    assert set(InstanceView.__struct_fields__) - worked_out < set(Instance.__struct_fields__)


def test_a_refusal_by_http_is_still_one_of_our_errors() -> None:
    error = table.Refused(405, "no", headers={"Allow": "GET"})
    assert isinstance(error, YurtError) and (error.code, error.http, error.exit) == (
        "invalid",
        405,
        Invalid.exit,
    )
    assert Invalid.http == 400
