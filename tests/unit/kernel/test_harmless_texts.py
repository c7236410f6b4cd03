"""JSON texts that are taken without a walk: a walk would have found nothing in them."""

import json
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stoa.kernel import json_values
from stoa.kernel.errors import BadRequest

VALUES_MAX = 50
TEXTS = st.text(st.characters(codec=None), max_size=8)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats() | TEXTS,
    lambda inner: st.lists(inner, max_size=6) | st.dictionaries(TEXTS, inner, max_size=6),
    max_leaves=40,
)


def refused(text: bytes) -> bool:
    try:
        json_values.read(text, "body", VALUES_MAX)
    except BadRequest:
        return True
    return False


def walked(text: bytes) -> bool:
    """Whether the way with a walk refuses it."""
    try:
        return json_values.problem(json_values.load(text, "body"), VALUES_MAX) is not None
    except BadRequest:
        return True


@given(JSON)
def test_both_paths_refuse_the_same_values(value: Any) -> None:
    text = json.dumps(value).encode()
    assert refused(text) == walked(text)


@pytest.mark.parametrize(
    "text",
    [
        b'"\\u0000"',
        b'{"a\\u0000": 1}',
        b"[18446744073709551615]",
        b"[NaN]",
        b'["\\ud800"]',
        b"[" * 101 + b"]" * 101,
        orjson.dumps([0] * 60),
        b'{"%b": 1}' % (b"k" * 4_001),
    ],
    ids=lambda text: repr(text[:20]),
)
def test_the_fast_path_refuses_what_the_walk_refuses(text: bytes) -> None:
    assert refused(text)
    assert walked(text)


def test_a_short_body_is_taken_without_a_walk() -> None:
    assert json_values.read(b'{"a": [1, "\xc3\xa4"]}', "body", VALUES_MAX) == {"a": [1, "ä"]}
