"""The arguments of a call, as models write them."""

from typing import Any

import pytest

from stoa.gateway import arguments_in


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("", {}),
        (" \n", {}),
        ('{"a": 1}', {"a": 1}),
        ('{"a": "one\ntwo\tthree"}', {"a": "one\ntwo\tthree"}),
        ("[1]", None),
        ('"{}"', None),
        ("null", None),
        ('{"a": NaN}', None),
        ('{"a": 1e999}', None),
        ('{"a": 1', None),
        ("[" * 3_000, None),
    ],
)
def test_arguments(text: str, found: Any) -> None:
    assert arguments_in(text) == found
