"""The OpenAPI document: current, closed, bounded, and complete."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from yurt.api import openapi
from yurt.api.routes import ENDPOINTS
from yurt.api.table import Nothing

ROOT = Path(__file__).resolve().parents[2]
DOCUMENT: Any = openapi.document()


def nodes(value: Any) -> Iterator[dict[str, Any]]:
    if isinstance(value, dict):
        yield value
        for each in value.values():
            yield from nodes(each)
    elif isinstance(value, list):
        for each in value:
            yield from nodes(each)


def test_the_committed_document_is_current() -> None:
    assert (ROOT / "docs" / "openapi.json").read_text() == openapi.text(), "run `make openapi`"


def test_every_operation_is_in_it_once() -> None:
    ids = [item["operationId"] for path in DOCUMENT["paths"].values() for item in path.values()]
    assert sorted(ids) == sorted(each.name for each in ENDPOINTS)
    assert len(set(ids)) == len(ids)


def test_every_reference_leads_somewhere_and_nothing_is_left_over() -> None:
    used = {node["$ref"] for node in nodes(DOCUMENT) if "$ref" in node}
    there = {f"#/components/schemas/{name}" for name in DOCUMENT["components"]["schemas"]}
    assert used <= there
    sent_in_streams = {"#/components/schemas/Event", "#/components/schemas/ConsoleControl"}
    assert there - used <= sent_in_streams


def test_every_object_is_closed_and_every_integer_bounded() -> None:
    objects = [
        node for node in nodes(DOCUMENT) if isinstance(node.get("properties"), dict) and "type" in node
    ]
    assert len(objects) > 15
    assert all(node["additionalProperties"] is False for node in objects)
    integers = [node for node in nodes(DOCUMENT) if node.get("type") == "integer"]
    assert len(integers) > 20
    assert all("minimum" in node and "maximum" in node for node in integers)


def test_what_clients_send_is_bounded_by_the_types_and_not_by_the_document_alone() -> None:
    import msgspec

    sent = [kind for each in ENDPOINTS for kind in (each.body, each.query) if kind not in (None, Nothing)]
    assert len(sent) > 10
    for kind in sent:
        (_,), components = msgspec.json.schema_components([kind])
        for node in nodes(components):
            if node.get("type") == "integer":
                assert "minimum" in node and "maximum" in node, f"an integer in {kind} has no bounds"
            if isinstance(node.get("properties"), dict) and node.get("type") == "object":
                assert node.get("additionalProperties") is False, f"{kind} takes unknown fields"


def test_parameters_are_described() -> None:
    for path, item in DOCUMENT["paths"].items():
        for operation in item.values():
            named = {each["name"] for each in operation.get("parameters", []) if each["in"] == "path"}
            assert named == {part[1:-1] for part in path.split("/") if part.startswith("{")}
            assert operation["summary"] and operation["x-permission"] in ("view", "operate")


def test_it_is_plain_json() -> None:
    assert json.loads(openapi.text()) == json.loads(json.dumps(DOCUMENT))
