"""How arguments are written into a request."""

from typing import Any

import pytest

from stoa.kernel.errors import BadRequest
from stoa.tools import rules

URL = "https://example.com/users/{id}/orders"


@pytest.mark.parametrize(
    "value",
    [
        ".",
        "..",
        "",
        " ",
        None,
        "a/../..",
        "..\\x",
        "%2e%2e",
        "..;x",
        "..\t",
        "\n..",
        "\u2025",
        "\uff0e\uff0e/x",
        "..\x00",
    ],
)
def test_an_argument_never_leaves_its_segment(value: Any) -> None:
    assert rules.path_problem(URL, {"id": value}) is not None


@pytest.mark.parametrize("value", ["a", "a..b", "...", "a/b", "5", 5, "\u00e9", ["..", ".."]])
def test_other_values_stay_in_it_encoded(value: Any) -> None:
    assert rules.path_problem(URL, {"id": value}) is None


def test_null_is_nothing_and_a_header_is_one_line() -> None:
    places = {"h": {"in": "header", "name": "X-H"}}
    assert rules.placed({"h": None}, places, "header") == ([], {})
    assert rules.placed({"h": "a\r\nb\x01"}, places, "header") == ([("X-H", "a  b ")], {})
    assert rules.plain({"a": True}) == '{"a":true}'


def test_the_arguments_are_an_object() -> None:
    config: dict[str, Any] = {"url": "https://example.com", "parameters": {"type": "array"}}
    with pytest.raises(BadRequest) as refused:
        rules.check_http(config, frozenset())
    assert "config.parameters" in (refused.value.details or {})
    rules.check_http({**config, "parameters": {"type": ["object", "null"]}}, frozenset())
