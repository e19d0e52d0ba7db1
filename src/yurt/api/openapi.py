"""Makes the OpenAPI 3.1 document out of the operation table: `python -m yurt.api.openapi > docs/openapi.json`."""

import sys
from typing import Any

import msgspec

from yurt.api.routes import ENDPOINTS
from yurt.api.routes.streams import ConsoleControl
from yurt.api.table import PATH_PARAMETERS, Endpoint, Nothing
from yurt.api.views import ErrorReply
from yurt.model.operation import Event

MAX_INT = 2**62
_REF = "#/components/schemas/{name}"
_EXTRA = (ErrorReply, Event, ConsoleControl)  # sent in streams or as errors
_STATUS_TEXT = {
    101: "The WebSocket is open.",
    200: "Done.",
    202: "Accepted: the operation runs on.",
}


def document() -> dict[str, object]:
    """The whole document, as plain JSON values."""
    types = [
        kind for each in ENDPOINTS for kind in (each.body, each.response, each.query) if kind is not None
    ]
    schemas, components = msgspec.json.schema_components(
        [*types, *_EXTRA], schema_hook=_any_value, ref_template=_REF
    )
    answers = dict(zip(map(repr, types), schemas, strict=False))
    queries = {repr(each.query) for each in ENDPOINTS}
    paths: dict[str, dict[str, object]] = {}
    for endpoint in ENDPOINTS:
        paths.setdefault(endpoint.path, {})[endpoint.method.lower()] = _operation(
            endpoint, answers, components
        )
    unused = {answers[name]["$ref"].rsplit("/", 1)[-1] for name in queries if "$ref" in answers[name]} - {
        Nothing.__name__
    }
    shown = {name: _bounded(schema) for name, schema in sorted(components.items()) if name not in unused}
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "yurt",
            "version": "v1",
            "summary": "Virtual machines, microVMs and containers from one image",
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "servers": [{"url": "/", "description": "The Unix socket yurt.sock in yurt's run directory"}],
        "paths": paths,
        "components": {"schemas": shown},
    }


def _any_value(kind: type) -> dict[str, object]:
    """The schema of what may be any JSON value."""
    if kind is object:
        return {"description": "Any JSON value."}  # not empty: msgspec takes an empty one for a refusal
    raise NotImplementedError(kind)


def _operation(
    endpoint: Endpoint, schemas: dict[str, dict[str, Any]], components: dict[str, Any]
) -> dict[str, object]:
    item: dict[str, object] = {
        "operationId": endpoint.name,
        "summary": endpoint.summary,
        "x-permission": endpoint.permission.value,
    }
    if endpoint.notes:
        item["description"] = endpoint.notes
    if endpoint.subprotocols:
        item["x-websocket-protocols"] = list(endpoint.subprotocols)
    query = components[schemas[repr(endpoint.query)]["$ref"].rsplit("/", 1)[-1]]
    parameters = [_path_parameter(name) for name in endpoint.parameters] + _query_parameters(query)
    if parameters:
        item["parameters"] = parameters
    if endpoint.body is not None:
        schema = schemas[repr(endpoint.body)]
        required = bool(components[schema["$ref"].rsplit("/", 1)[-1]].get("required"))
        item["requestBody"] = {"required": required, "content": {"application/json": {"schema": schema}}}
    elif endpoint.body_media != "application/json":
        item["requestBody"] = {"required": True, "content": {endpoint.body_media: {}}}
    item["responses"] = _responses(endpoint, schemas)
    return item


def _path_parameter(name: str) -> dict[str, object]:
    pattern, _ = PATH_PARAMETERS[name]
    return {"name": name, "in": "path", "required": True, "schema": {"type": "string", "pattern": pattern}}


def _query_parameters(query: dict[str, Any]) -> list[dict[str, object]]:
    required = query.get("required", [])
    return [
        {
            "name": name,
            "in": "query",
            "required": name in required,
            "schema": _bounded(schema),
            **({"style": "form", "explode": True} if schema.get("type") == "array" else {}),
        }
        for name, schema in query.get("properties", {}).items()
    ]


def _responses(endpoint: Endpoint, schemas: dict[str, dict[str, Any]]) -> dict[str, object]:
    responses: dict[str, object] = {}
    for status in endpoint.statuses:
        answer: dict[str, object] = {"description": _STATUS_TEXT[status]}
        if endpoint.response is not None:
            answer["content"] = {"application/json": {"schema": _bounded(schemas[repr(endpoint.response)])}}
        elif endpoint.stream is None:
            answer["content"] = {endpoint.media: {}}
        responses[str(status)] = answer
    failure = {
        "description": "What went wrong, and what to do about it.",
        "content": {"application/json": {"schema": {"$ref": _REF.format(name=ErrorReply.__name__)}}},
    }
    return {**responses, "4XX": failure, "5XX": failure}


def _bounded(schema: Any) -> Any:
    """Close every object and bound every integer that the types leave open (those the daemon itself sends)."""
    if isinstance(schema, list):
        return [_bounded(each) for each in schema]
    if not isinstance(schema, dict):
        return schema
    made = {key: _bounded(value) for key, value in schema.items()}
    if made.get("type") == "integer":
        made.setdefault("minimum", -MAX_INT)
        made.setdefault("maximum", MAX_INT)
    if isinstance(made.get("properties"), dict):
        made.setdefault("additionalProperties", False)
    return made


def text() -> str:
    """The document as it is kept in docs/."""
    return (
        msgspec.json.format(msgspec.json.encode(document(), order="deterministic"), indent=2).decode() + "\n"
    )


if __name__ == "__main__":
    sys.stdout.write(text())
