"""The server against its own OpenAPI document: every operation is called as the document says, and as it forbids."""

import json
import re
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest
from tests.apiserver import Answer, Served, against

from yurt.model.instance import Phase
from yurt.model.network import NetworkSpec

DOCUMENT: Any = json.loads((Path(__file__).resolve().parents[2] / "docs" / "openapi.json").read_text())
SCHEMAS: Any = DOCUMENT["components"]["schemas"]
OPERATIONS = {
    item["operationId"]: (path, method.upper(), item)
    for path, methods in DOCUMENT["paths"].items()
    for method, item in methods.items()
}
WEBSOCKETS = {name for name, (_, _, item) in OPERATIONS.items() if "101" in item["responses"]}
PLAIN = sorted(set(OPERATIONS) - WEBSOCKETS)
# what an operation needs beyond what its schema can say
BODIES: dict[str, object] = {
    "create_instance": {"image": "tiny", "name": "new", "labels": {"a": "b"}, "kind": "container"},
    "rename_instance": {"name": "other"},
    "build_image": {"recipe": "tiny"},
    "create_profile": {"name": "other", "settings": {"cpus": 2, "env": {"A": "b"}}},
    "set_profile": {"settings": {"policy": {"restart": "always"}}, "unset": ["cpus"]},
    "set_instance": {"settings": {"cpus": "2"}},
    "create_network": {"name": "new"},
    "attach_nic": {"instance": "web"},
    "detach_nic": {"instance": "web"},
    "create_volume": {"name": "new"},
    "attach_volume": {"instance": "web", "path": "/srv"},
    "resize_volume": {"size_bytes": 2 << 30},
}
QUERIES = {
    "wait_instance": {"for": "running"},
    "get_archive": {"path": "/etc/hostname"},
    "put_archive": {"path": "/srv"},
    "get_stat": {"path": "/etc/hostname"},
    "exec_in_instance": {"command": "both"},
    "connect_to_port": {"port": "80"},
    "import_volume": {"format": "qcow2"},
}
MAKES_ITS_NAME = {"import_image", "import_volume"}
NAMES = {"name": "web", "reference": "tiny", "id": "000000000000"}
NOBODY = {"name": "nobody", "reference": "none", "id": "ffffffffffff"}


def target(name: str, names: dict[str, str], query: dict[str, str] | None = None) -> str:
    path, _, _ = OPERATIONS[name]
    pairs = {**QUERIES.get(name, {}), **(query or {})}
    return re.sub(r"\{(\w+)\}", lambda found: names[found[1]], path) + (
        f"?{urlencode(pairs)}" if pairs else ""
    )


async def call(
    api: Served,
    name: str,
    *,
    names: dict[str, str] = NAMES,
    extra: object = None,
    query: dict[str, str] | None = None,
) -> Answer:
    _, method, _ = OPERATIONS[name]
    body = BODIES.get(name)
    if extra is not None:
        body = {**(body if isinstance(body, dict) else {}), "surprise": extra}
    return await api.call(method, target(name, names, query), body)


async def prepare(api: Served, name: str) -> None:
    """Put what the operation works on there: an operation, or an instance in the right phase."""
    api.engine.hold = name == "cancel_operation"
    await api.engine.kill("web")
    if name == "start_instance":
        api.engine.add("web", Phase.STOPPED)
    if name == "import_image":
        api.engine.pictures.clear()
    api.engine.networks.kept.pop("web", None)
    await api.engine.networks.create(NetworkSpec(name="web"), dry_run=False)
    if name != "import_volume":
        api.engine.set_volume("web")


def conforms(value: Any, schema: Any, where: str = "$") -> None:
    """Assert that a JSON value has the form a schema gives it. Knows the words our document uses, and no others."""
    known = {
        "$ref", "type", "properties", "required", "additionalProperties", "items", "enum", "anyOf", "minimum", "maximum",
        "pattern", "minLength", "maxLength", "minItems", "maxItems", "minProperties", "maxProperties", "title",
        "description", "default",
    }  # fmt: skip
    assert set(schema) <= known, f"{where}: unknown words {set(schema) - known}"
    if "$ref" in schema:
        return conforms(value, SCHEMAS[schema["$ref"].rsplit("/", 1)[-1]], where)
    if "anyOf" in schema:
        failures = []
        for choice in schema["anyOf"]:
            try:
                return conforms(value, choice, where)
            except AssertionError as error:
                failures.append(str(error))
        raise AssertionError(f"{where}: {failures}")
    if "enum" in schema:
        assert value in schema["enum"], f"{where}: {value!r} is none of {schema['enum']}"
    kinds = {
        "object": dict,
        "array": list,
        "string": str,
        "integer": int,
        "boolean": bool,
        "null": type(None),
    }
    kind = schema.get("type")
    if kind == "number":
        assert isinstance(value, int | float) and not isinstance(value, bool), where
    elif kind is not None:
        assert type(value) is kinds[kind], f"{where}: {value!r} is no {kind}"
    if kind in ("integer", "number"):
        assert schema.get("minimum", value) <= value <= schema.get("maximum", value), where
    if isinstance(value, str):
        assert re.search(schema.get("pattern", ""), value), where
    if isinstance(value, list):
        for number, each in enumerate(value):
            conforms(each, schema.get("items", {}), f"{where}[{number}]")
    if isinstance(value, dict):
        properties, rest = schema.get("properties", {}), schema.get("additionalProperties", {})
        assert set(schema.get("required", [])) <= set(value), (
            f"{where}: lacks {schema.get('required')} of {list(value)}"
        )
        for key, each in value.items():
            assert key in properties or rest is not False, f"{where}: `{key}` is not in the document"
            conforms(each, properties.get(key, rest if isinstance(rest, dict) else {}), f"{where}.{key}")
    return None


def check_answer(name: str, answer: Answer) -> None:
    """Assert that status, content type and body are what the document promises."""
    responses = OPERATIONS[name][2]["responses"]
    documented = responses.get(str(answer.status)) or responses.get(f"{answer.status // 100}XX")
    assert documented, f"{name} answers {answer.status}, which is not documented"
    media = answer.headers.get("content-type", "")
    assert media in documented["content"], f"{name} answers with {media}"
    if media == "application/json":
        conforms(answer.json, documented["content"][media]["schema"])


@pytest.mark.parametrize("name", PLAIN)
def test_a_right_call_gets_the_documented_answer(name: str) -> None:
    async def check(api: Served) -> None:
        await prepare(api, name)
        answer = await call(api, name)
        assert answer.status == 200, answer.body
        check_answer(name, answer)

    against(check)


@pytest.mark.parametrize("name", [name for name in PLAIN if "202" in OPERATIONS[name][2]["responses"]])
def test_an_operation_that_runs_on_gets_202(name: str) -> None:
    async def check(api: Served) -> None:
        await prepare(api, name)
        api.engine.hold = True
        answer = await call(api, name)
        assert answer.status == 202
        check_answer(name, answer)

    against(check)


@pytest.mark.parametrize("name", sorted(OPERATIONS))
def test_an_unknown_query_parameter_is_refused(name: str) -> None:
    async def check(api: Served) -> None:
        await prepare(api, name)
        if name in WEBSOCKETS:
            answer = await upgrade(api, target(name, NAMES, {"surprise": "1"}))
        else:
            answer = await call(api, name, query={"surprise": "1"})
        assert (answer.status, answer.error["code"]) == (400, "invalid")
        assert "surprise" in answer.error["message"]
        check_answer(name, answer)

    against(check)


async def upgrade(api: Served, path: str) -> Answer:
    """Ask for a WebSocket without the means to use one: for answers that are errors."""
    from tests.apiserver import parse

    return parse(
        await api.raw(
            f"GET {path} HTTP/1.1\r\nHost: y\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nSec-WebSocket-Version: 13\r\n"
            "Sec-WebSocket-Protocol: v5.channel.k8s.io\r\n\r\n".encode(),
            end=False,
        )
    )


@pytest.mark.parametrize(
    "name",
    [n for n in PLAIN if "application/json" in OPERATIONS[n][2].get("requestBody", {}).get("content", {})],
)
def test_an_unknown_field_is_refused(name: str) -> None:
    async def check(api: Served) -> None:
        await prepare(api, name)
        before = list(api.engine.kept)
        answer = await call(api, name, extra=1)
        assert (answer.status, answer.error["code"]) == (400, "invalid")
        assert "surprise" in answer.error["message"]
        check_answer(name, answer)
        assert list(api.engine.kept) == before

    against(check)


@pytest.mark.parametrize(
    "name", [n for n in sorted(OPERATIONS) if "{" in OPERATIONS[n][0] and n not in MAKES_ITS_NAME]
)
def test_an_unknown_name_is_not_found(name: str) -> None:
    async def check(api: Served) -> None:
        if name in WEBSOCKETS:
            answer = await upgrade(api, target(name, NOBODY))
        else:
            answer = await call(api, name, names=NOBODY)
        assert (answer.status, answer.error["code"]) == (404, "not_found")
        check_answer(name, answer)

    against(check)


@pytest.mark.parametrize("path", sorted(DOCUMENT["paths"]))
def test_a_wrong_method_is_refused_with_the_right_ones(path: str) -> None:
    async def check(api: Served) -> None:
        real = re.sub(r"\{(\w+)\}", lambda found: NAMES[found[1]], path)
        for method in ("GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "BREW"):
            if method.lower() in DOCUMENT["paths"][path]:
                continue
            answer = await api.call(method, real)
            if answer.status != 405:  # a word of ours that is an image's name as well
                assert path.startswith("/v1/images/") and answer.error["code"] == "not_found"
                continue
            allowed = answer.headers["allow"].split(", ")
            assert {each.upper() for each in DOCUMENT["paths"][path]} <= set(allowed)
            assert answer.error["code"] == "invalid"

    against(check)


@pytest.mark.parametrize("name", [n for n in sorted(OPERATIONS) if OPERATIONS[n][2].get("parameters")])
def test_values_outside_the_documented_bounds_are_refused(name: str) -> None:
    wrong: list[tuple[str, str]] = []
    for parameter in OPERATIONS[name][2]["parameters"]:
        schema = parameter["schema"]
        schema = SCHEMAS[schema["$ref"].rsplit("/", 1)[-1]] if "$ref" in schema else schema
        schema = schema["anyOf"][0] if "anyOf" in schema else schema
        if parameter["in"] == "path":
            continue
        if schema.get("type") in ("integer", "number"):
            wrong += [
                (parameter["name"], str(schema["maximum"] + 1)),
                (parameter["name"], str(schema["minimum"] - 1)),
            ]
            wrong += [(parameter["name"], "x"), (parameter["name"], ""), (parameter["name"], "NaN")]
        elif schema.get("type") == "boolean":
            wrong += [(parameter["name"], "2"), (parameter["name"], "")]
        elif "enum" in schema:
            wrong += [(parameter["name"], "x")]
        elif "maxLength" in schema:
            wrong += [(parameter["name"], "/" + "a" * schema["maxLength"])]

    async def check(api: Served) -> None:
        for key, value in wrong:
            await prepare(api, name)
            if name in WEBSOCKETS:
                answer = await upgrade(api, target(name, NAMES, {key: value}))
            else:
                answer = await call(api, name, query={key: value})
            assert (answer.status, answer.error["code"]) == (400, "invalid"), (key, value)

    against(check)


def test_events_are_as_documented() -> None:
    async def check(api: Served) -> None:
        api.engine.publish("instance.running", "web")
        async with api.socket("/v1/events?since=100", protocol=None) as follow:
            conforms(json.loads(await follow.recv()), {"$ref": "#/components/schemas/Event"})

    against(check)


def test_the_checker_sees_what_does_not_conform() -> None:
    good = {"error": {"code": "a", "message": "b", "hint": ""}}
    conforms(good, SCHEMAS["ErrorReply"])
    bad: object
    for bad in ({}, {"error": {}}, {**good, "more": 1}, {"error": {**good["error"], "code": 1}}):
        with pytest.raises(AssertionError):
            conforms(bad, SCHEMAS["ErrorReply"])
