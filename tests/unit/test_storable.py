"""Whatever a stranger says, something of it can be stored."""

import math

import orjson
import pytest

from stoa.kernel.storable import as_storable, as_storable_value, is_storable


@pytest.mark.parametrize(
    ("said", "kept"),
    [
        ("plain", "plain"),
        ("grün 🙂", "grün 🙂"),
        ("a\0b", "a\ufffdb"),
        ("é\0", "é\ufffd"),
        ("\ud83d\ude42", "🙂"),
        ("x\ud83d", "x\ufffd"),
        ("\ude42\ud83d", "\ufffd\ufffd"),
        ("", ""),
    ],
)
def test_texts(said: str, kept: str) -> None:
    assert as_storable(said) == kept
    kept.encode()


def deep(levels: int) -> object:
    value: object = 1
    for _ in range(levels):
        value = [value]
    return value


@pytest.mark.parametrize(
    "value",
    [
        "\ud800",
        2**70,
        -(2**70),
        10**10_000,
        math.nan,
        math.inf,
        {1: {None: "\0"}},
        deep(900),
        b"bytes",
        object(),
        {"a": {1, 2}},
        {10**10_000: 1},
    ],
    ids=lambda value: type(value).__name__,
)
def test_any_value_becomes_json(value: object) -> None:
    written = orjson.dumps({"data": as_storable_value(value)})
    assert b"\\u0000" not in written


def test_json_stays_unchanged() -> None:
    value = {"a": [1, 2.5, None, True, "ü", {"b": []}], "n": 2**63 - 1}
    assert as_storable_value(value) == value
    assert is_storable(value)
    assert not is_storable({"a": deep(300)})
    assert not is_storable([math.inf])
