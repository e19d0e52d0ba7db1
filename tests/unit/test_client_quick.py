"""The quick JSON reader agrees with the slow one, in values and in errors."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from yurt.client.quick import dumps, loads

values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4),
    max_leaves=20,
)


@given(values, st.text(alphabet=" \t\r\n", max_size=3), st.booleans())
def test_what_json_writes_is_read_the_same(value: object, space: str, ascii_only: bool) -> None:
    try:
        data = (space + json.dumps(value, ensure_ascii=ascii_only) + space).encode()
    except UnicodeEncodeError:  # a lone surrogate, which only the ASCII form can carry
        return
    assert loads(data) == json.loads(data) == value
    assert json.loads(dumps(value)) == value


@given(
    st.binary(max_size=60)
    | st.text(alphabet='[]{}",:0123456789.eE-+truefalsnIiy \\u', max_size=40).map(str.encode)
)
def test_anything_is_read_or_refused_the_same(data: bytes) -> None:
    try:
        wanted = json.loads(data)
    except ValueError:
        with pytest.raises(ValueError):
            loads(data)
    else:
        assert repr(loads(data)) == repr(wanted)


def test_deep_nesting_is_an_error_and_no_crash() -> None:
    with pytest.raises(RecursionError):
        loads(b"[" * 200_000)
