"""Every error class: its code, status and exit are unique in meaning, documented, and survive the wire."""

import importlib
import pkgutil
import re
from pathlib import Path

import pytest

import yurt
from yurt import errors
from yurt.errors import (
    CODES,
    Exists,
    Invalid,
    NotFound,
    ToolFailed,
    WrongState,
    YurtError,
    from_document,
    to_document,
)

ROOT = Path(__file__).resolve().parents[2]
TABLE = {
    "invalid": (400, 2),
    "not_found": (404, 3),
    "exists": (409, 4),
    "wrong_state": (409, 5),
    "busy": (409, 6),
    "exhausted": (503, 7),
    "denied": (403, 8),
    "unsupported": (422, 9),
    "timeout": (504, 10),
    "unavailable": (503, 11),
    "tool_failed": (500, 12),
    "guest_failed": (500, 12),
    "internal": (500, 1),
}


def all_classes() -> list[type[YurtError]]:
    """Every error class of the whole package, wherever it is defined."""
    for module in pkgutil.walk_packages(yurt.__path__, "yurt."):
        if not module.name.endswith("__main__"):
            importlib.import_module(module.name)
    found: list[type[YurtError]] = []
    waiting: list[type[YurtError]] = [YurtError]
    while waiting:
        cls = waiting.pop()
        waiting.extend(cls.__subclasses__())
        if cls is not YurtError and cls.__module__.startswith("yurt."):
            found.append(cls)
    return sorted(set(found), key=lambda cls: cls.__qualname__)


def test_every_class_has_a_known_code_status_and_exit() -> None:
    for cls in all_classes():
        assert cls.code in TABLE, f"{cls.__name__} has the unknown code {cls.code}"
        assert (cls.http, cls.exit) == TABLE[cls.code], cls.__name__
    assert set(CODES) == set(TABLE)


def test_every_code_is_documented_as_it_is() -> None:
    text = (ROOT / "docs" / "errors.md").read_text()
    rows = re.findall(r"^\| `(\w+)` \| (\d+) \| (\d+) \| (.+?) \|", text, re.MULTILINE)
    assert {code: (int(http), int(status)) for code, http, status, _ in rows} == TABLE
    for cls in all_classes():
        assert f"`{cls.__name__}`" in text, f"docs/errors.md does not name {cls.__name__}"


@pytest.mark.parametrize("code", sorted(TABLE))
def test_an_error_survives_the_wire(code: str) -> None:
    error = (
        CODES[code]("it broke", hint="mend it")
        if code not in ("tool_failed", "guest_failed")
        else CODES[code]("it broke")
    )
    back = from_document(to_document(error))
    assert type(back) is CODES[code]
    assert (back.message, back.hint, back.http, back.exit) == ("it broke", error.hint, error.http, error.exit)


def test_an_unknown_or_hostile_document_becomes_internal() -> None:
    assert type(from_document({})) is errors.Internal
    assert type(from_document({"code": "made-up", "message": "{name}"})) is errors.Internal
    assert from_document({"code": "not_found", "message": "{name} {kind}"}).message == "{name} {kind}"


def test_docstrings_are_the_messages() -> None:
    assert str(NotFound(kind="instance", name="a")) == "no instance named `a`"
    assert str(Exists(kind="image", name="a")) == "image `a` exists already"
    assert str(WrongState(kind="instance", name="a", actual="running", wanted="stopped")) == (
        "instance `a` is running, needs to be stopped"
    )
    assert str(Invalid("`{` is wrong")) == "`{` is wrong"


def test_tool_failed_keeps_the_last_lines() -> None:
    error = ToolFailed(
        argv=("/usr/bin/x", "-y"), status="status 3", stderr="\n".join(f"line {n}" for n in range(50))
    )
    assert error.message == "`x` failed with status 3: line 49"
    assert error.stderr.splitlines() == [f"line {n}" for n in range(30, 50)]
