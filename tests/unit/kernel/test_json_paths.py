"""JSONPath from strangers over data from strangers: what is refused, and what following a path may cost."""

import time
from typing import Any

import pytest

from stoa.kernel.json_paths import PathError, compiled


@pytest.mark.parametrize(
    "path",
    [
        "$" + "[0,0]" * 100,
        "$..*..*..*..*",
        "$.a[?@.b == 1]",
        "$.a[?match(@.b, '(a+)+$')]",
        "$.a | $.b",
        "$" + ".a" * 400,
        "$" + "[" * 500,
        "$." + "x" * 2_000,
        "$.~keys",
        "$[" + ",".join("0" * 100) + "]",
        "$.a\0b[",
    ],
)
def test_hostile_paths_are_refused(path: str) -> None:
    with pytest.raises(PathError):
        compiled(path)


def test_a_path_visits_each_value_a_bounded_number_of_times() -> None:
    wide = {str(index): {"x": [index] * 20} for index in range(20_000)}
    began = time.process_time()
    with pytest.raises(PathError, match="more than 10000"):
        compiled("$..x[*]").all(wide)
    assert compiled("$..nothing").all(wide) == []
    assert time.process_time() - began < 5
    assert not compiled("$..nothing").cheap
    deep: Any = 1
    for _ in range(300):
        deep = {"a": deep}
    with pytest.raises(PathError, match="cannot be followed"):
        compiled("$..b").all(deep)
