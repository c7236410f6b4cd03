"""Whatever a stranger says, something of it can be stored."""

import math

import orjson
import pytest

from stoa.kernel.storable import fits, storable, storable_value


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
    assert storable(said) == kept
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
    written = orjson.dumps({"data": storable_value(value)})
    assert b"\\u0000" not in written


def test_what_is_json_stays_as_it_is() -> None:
    value = {"a": [1, 2.5, None, True, "ü", {"b": []}], "n": 2**63 - 1}
    assert storable_value(value) == value
    assert fits(value)
    assert not fits({"a": deep(300)})
    assert not fits([math.inf])
