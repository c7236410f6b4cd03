"""Schemas of strangers: what is too much is refused by its shape, what takes too long is killed, and the loop never
waits."""

import asyncio
import os
from collections.abc import AsyncIterator
from time import perf_counter
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as some

from stoa.kernel import schema_costs, schemas
from stoa.kernel.schema_checker import PROCESSES_MAX, SECONDS_MAX, SchemaChecker
from tests.support.hostile_schemas import deep, doubling, recursive_branches

BLOCKED_SECONDS_MAX = 0.25
"""Of a crowded machine; alone it is a hundredth of it."""


@pytest.fixture
async def checker() -> AsyncIterator[SchemaChecker]:
    made = SchemaChecker()
    yield made
    await made.close()


@pytest.mark.parametrize("keyword", ["anyOf", "oneOf", "allOf"])
async def test_a_schema_that_stands_for_billions_is_refused_by_its_shape(checker: SchemaChecker, keyword: str) -> None:
    schema = doubling(40, keyword)
    began = perf_counter()
    assert "references are unfolded" in (await checker.schema_problem(schema) or "")
    assert "references are unfolded" in (await checker.value_problem(5, schema) or "")
    assert perf_counter() - began < BLOCKED_SECONDS_MAX


@pytest.mark.parametrize(
    ("schema", "unfolded"),
    [
        ({}, 1),
        (True, 1),
        ({"properties": {"a": {}, "b": {"items": {}}}}, 4),
        (doubling(5), 62),
        ({"$ref": "#"}, 2),
        ({"items": {"$ref": "#/$defs/none"}}, 3),
        ({"$defs": {"a": {"$anchor": "x", "items": {}}}, "$ref": "#x"}, 3),
    ],
)
def test_what_a_schema_stands_for(schema: Any, unfolded: int) -> None:
    assert schema_costs.cost(schema).unfolded == unfolded


async def test_what_takes_too_long_is_killed_and_the_loop_goes_on(checker: SchemaChecker) -> None:
    gaps: list[float] = []

    async def watch() -> None:
        while True:
            began = perf_counter()
            await asyncio.sleep(0.005)
            gaps.append(perf_counter() - began)

    watching = asyncio.create_task(watch())
    async with asyncio.timeout(60):
        problems = await asyncio.gather(
            *(checker.value_problem(deep(60), recursive_branches()) for _ in range(PROCESSES_MAX))
        )
    watching.cancel()
    assert all("takes too long" in (problem or "") for problem in problems)
    assert max(gaps) < BLOCKED_SECONDS_MAX
    # And the next check finds a process that works.
    assert await checker.value_problem("b", {"pattern": "^a$"}) is not None
    assert await checker.value_problem("a", {"pattern": "^a$"}) is None


async def test_no_process_is_left(checker: SchemaChecker) -> None:
    assert await checker.value_problem("a", {"pattern": "^a$"}) is None
    [process] = checker._idle
    await checker.close()
    with pytest.raises(ProcessLookupError):
        os.kill(process.pid, 0)


async def test_a_caller_that_is_cancelled_takes_its_check_along(checker: SchemaChecker) -> None:
    task = asyncio.create_task(checker.value_problem(deep(60), recursive_branches()))
    await asyncio.wait([task], timeout=min(0.5, SECONDS_MAX / 2))
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    assert checker._idle == []
    assert await checker.value_problem("a", {"pattern": "^a$"}) is None


async def test_many_patterns_and_what_json_cannot_hold(checker: SchemaChecker) -> None:
    schema = {"allOf": [{"pattern": f"^(a|aa)+\\{1}{n}$"} for n in range(200)]}
    assert await checker.value_problem("a" * 2_000 + "!", schema) is not None
    assert await checker.value_problem({"a": 2**70}, {"pattern": "a"}) is not None
    assert await checker.value_problem(deep(3_000), {"pattern": "a"}) is not None


async def test_a_schema_that_is_too_large(checker: SchemaChecker) -> None:
    assert "larger than" in (await checker.schema_problem({"description": "x" * 300_000}) or "")
    nested: dict[str, Any] = {}
    for _ in range(3_000):
        nested = {"items": nested}
    assert "nested" in (await checker.schema_problem(nested) or "")


_SCHEMAS = some.recursive(
    some.sampled_from([{}, {"type": "string"}, {"type": "integer"}, {"enum": [1, "a"]}, {"minLength": 2}]),
    lambda inner: some.one_of(
        some.builds(lambda a, b: {"anyOf": [a, b]}, inner, inner),
        some.builds(lambda a, b: {"properties": {"a": a, "b": b}}, inner, inner),
        some.builds(lambda a: {"items": a}, inner),
        some.builds(lambda a: {"not": a}, inner),
    ),
    max_leaves=8,
)
_VALUES = some.recursive(
    some.sampled_from([1, 2.5, "a", "abc", None, True]),
    lambda inner: some.one_of(some.lists(inner, max_size=3), some.dictionaries(some.sampled_from("ab"), inner)),
    max_leaves=8,
)


@settings(max_examples=150, deadline=None)
@given(schema=_SCHEMAS, value=_VALUES)
def test_the_process_validates_as_in_process_code_does(schema: dict[str, Any], value: Any) -> None:
    here = schemas.value_problem(value, schema)

    async def there() -> Any:
        checker = _shared()
        answer = await checker._ask({"schema": schema, "value": value})
        return answer["problem"]

    assert _loop().run_until_complete(there()) == here


_made: dict[str, Any] = {}


def _loop() -> asyncio.AbstractEventLoop:
    if "loop" not in _made:
        _made["loop"] = asyncio.new_event_loop()
    return _made["loop"]  # type: ignore[no-any-return]


def _shared() -> SchemaChecker:
    if "checker" not in _made:
        _made["checker"] = SchemaChecker()
    return _made["checker"]  # type: ignore[no-any-return]


def test_the_shared_process_ends() -> None:
    if _made:
        _loop().run_until_complete(_shared().close())
        _loop().close()
        _made.clear()
