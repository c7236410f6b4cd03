"""Every case of clients/cases/streams.yaml, with the JavaScript client: one process of Node for all."""

import json
from collections.abc import Callable
from typing import Any

import pytest

from tests.support.client_cases import Told, cases, check, told
from tests.support.javascript import node
from tests.support.scripted_stoa import ScriptedStoa

Results = Callable[[str], list[tuple[Told, dict[str, Any]]]]


@pytest.fixture(scope="module")
def results(scripted: ScriptedStoa) -> Results:
    """What the client came to, by the case's name."""
    plays = {case["name"]: list(told(scripted, case)) for case in cases()}
    flat = [one for several in plays.values() for one in several]
    said = node("run_cases.mjs", [one.as_json() for one in flat])
    by_url = dict(zip((one.url for one in flat), map(json.loads, said), strict=True))
    return lambda name: [(one, by_url[one.url]) for one in plays[name]]


@pytest.mark.parametrize("name", [case["name"] for case in cases()])
def test_case(results: Results, name: str) -> None:
    for one, result in results(name):
        check(one, result)
