"""JSON schemas of strangers: what they say of a value, and that none can hold up the process."""

from time import process_time
from typing import Any

import pytest

from stoa.kernel.schema_checker import SchemaChecker
from stoa.kernel.schemas import schema_problem, value_problem


@pytest.mark.parametrize(
    ("value", "schema", "problem"),
    [
        (
            {"items": [{"price": 1}, {"price": "x"}]},
            {"properties": {"items": {"items": {"properties": {"price": {"type": "number"}}}}}},
            '$.items[1].price "x" is not of type "number"',
        ),
        ({"b": 1}, {"required": ["a"]}, '$ "a" is a required property'),
        (
            {"a": {"k": "s"}},
            {"properties": {"a": {"oneOf": [{"type": "integer"}, {"properties": {"k": {"type": "number"}}}]}}},
            '$.a.k "s" is not of type "number"',
        ),
        ({"a": 1}, {"$ref": "#"}, None),
        ("2026-99-99", {"type": "string", "format": "date"}, None),
    ],
)
def test_values(value: Any, schema: dict[str, Any], problem: str | None) -> None:
    assert value_problem(value, schema) == problem


async def test_answers_in_a_fence_and_answers_that_are_no_json() -> None:
    output_problem = SchemaChecker().output_problem
    assert await output_problem('```json\n{"a": 1}\n```', {"required": ["a"]}) is None
    assert (await output_problem("Sure!", {}) or "").startswith("$ is no JSON (")


@pytest.mark.parametrize(
    ("schema", "place"),
    [
        ({"type": "strin"}, "$.type"),
        ({"properties": {"a": {"type": 5}}}, "$.properties.a.type"),
        ({"pattern": "("}, "$.pattern"),
        ({"properties": {"a": {"$ref": "#/$defs/none"}}}, "/$defs/none"),
        ({"$ref": "http://127.0.0.1:9/schema"}, "http://127.0.0.1:9/schema"),
        ({"$ref": "file:///etc/passwd"}, "file:///etc/passwd"),
        ({"pattern": "(((a{1000}){1000}){1000})"}, "$.pattern"),
    ],
)
def test_schemas_that_cannot_be_used_are_named_by_their_place(schema: dict[str, Any], place: str) -> None:
    problem = schema_problem(schema)
    assert problem is not None
    assert place in problem
    assert value_problem("x", schema) is not None


def test_a_schema_nested_without_end() -> None:
    schema: dict[str, Any] = {}
    for _ in range(2_000):
        schema = {"items": schema}
    assert schema_problem(schema) == "is no usable JSON schema: Recursion limit reached"


@pytest.mark.parametrize("pattern", [r"^(a+)+$", r"^(?=a)(a+)+(?!c)$", r"^(a|aa)+\1$", r"^(\w+\s?)*$"])
def test_no_expression_takes_long(pattern: str) -> None:
    began = process_time()
    assert value_problem("a" * 5_000 + "!", {"pattern": pattern}) is not None
    assert process_time() - began < 2, "backtracking without a bound takes longer than the universe is old"
