"""Filters that hold something nobody would apply are refused."""

from typing import Any

import pytest

from stoa.index.filters import compiled
from stoa.kernel.errors import BadRequest


@pytest.mark.parametrize(
    ("given", "place"),
    [
        ({"field": "a", "operator": "==", "value": 1, "user": "ada"}, "filters.user"),
        ({"operator": "AND", "conditions": [{"a": 1}], "team": "hr"}, "filters.team"),
        (
            {"operator": "OR", "conditions": [{"field": "a", "operator": "in", "value": [1], "valeu": [2]}]},
            "filters.conditions[0].valeu",
        ),
    ],
)  # fmt: skip
def test_a_misspelt_condition_is_refused(given: dict[str, Any], place: str) -> None:
    with pytest.raises(BadRequest) as refused:
        compiled(given)
    assert list(refused.value.details or {}) == [place]
