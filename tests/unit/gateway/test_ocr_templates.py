"""Templates of `/v1/ocr/extract`: a description becomes a schema, a schema stays as it is, anything else is refused."""

from typing import Any

import pytest

from stoa.gateway.ocr.templates import DEPTH_MAX, FIELDS_MAX, schema_of
from stoa.gateway.ocr.wire import ExtractOptions, llm_of, options_of, template_of
from stoa.kernel.errors import BadRequest
from stoa.kernel.schemas import schema_problem, value_problem

RECEIPT = {
    "store_name": "string",
    "total_amount": "number",
    "paid": "boolean",
    "due": "the date until which it must be paid",
    "items": [{"name": "string", "quantity": "integer"}],
    "address": {"city": "string"},
}


def test_a_description_becomes_a_schema() -> None:
    schema = schema_of(RECEIPT)
    assert schema_problem(schema) is None
    full = {
        "store_name": "Corner",
        "total_amount": 4.5,
        "paid": True,
        "due": None,
        "items": [{"name": "Milk", "quantity": 2}],
        "address": {"city": None},
    }
    assert value_problem(full, schema) is None
    for change in ({"total_amount": "4.5"}, {"items": [{"name": "Milk"}]}, {"more": 1}, {"address": {}}):
        assert value_problem({**full, **change}, schema) is not None, change
    assert schema["properties"]["due"]["description"] == RECEIPT["due"]


@pytest.mark.parametrize(
    "schema",
    [
        {"type": "object", "properties": {"a": {"type": "string"}}, "required": ["a"]},
        {"properties": {"a": {"type": "string"}}},
        {"$schema": "https://json-schema.org/draft/2020-12/schema", "$defs": {}, "additionalProperties": True},
    ],
)
def test_a_schema_stays_as_it_is(schema: dict[str, Any]) -> None:
    assert schema_of(schema) == {"type": "object", **schema}


def test_a_field_named_type_is_a_field() -> None:
    schema = schema_of({"type": "string", "properties": "string"})
    assert set(schema["properties"]) == {"type", "properties"}


def test_examples_stand_for_their_types() -> None:
    schema = schema_of({"a": 1, "b": 1.5, "c": True, "d": None, "e": [], "f": ""})
    assert value_problem({"a": 2, "b": 2.5, "c": False, "d": "x", "e": ["y"], "f": None}, schema) is None


def deep(levels: int) -> Any:
    return {"a": deep(levels - 1)} if levels else "string"


@pytest.mark.parametrize(
    "template", [[], "string", 7, None, {}, {"a": ["string", "number"]}, deep(DEPTH_MAX + 2),
                 {str(number): "string" for number in range(FIELDS_MAX + 1)},
                 {"type": "array", "properties": {}}]
)  # fmt: skip # a table
def test_what_is_no_template_is_refused(template: Any) -> None:
    with pytest.raises(BadRequest) as refused:
        schema_of(template)
    assert list(refused.value.details or ()) == ["options.template"]


@pytest.mark.parametrize("text", ["", "{", "[1", '{"a": NaN}', "\ud800"])
def test_a_template_is_a_string_that_holds_json(text: str) -> None:
    with pytest.raises(BadRequest) as refused:
        template_of(text)
    assert next(iter(refused.value.details or ())).startswith("options.template")


@pytest.mark.parametrize(
    ("given", "slugs"),
    [
        ("fast", ["fast"]),
        ({"model": "openai/gpt-4o"}, ["openai/gpt-4o"]),
        ({"type": "dynamiq.nodes.llms.OpenAI", "model": "gpt-4o"}, ["openai/gpt-4o", "gpt-4o"]),
        ({"provider": "anthropic", "model": "c"}, ["anthropic/c", "c"]),
        ({"type": "somebody.else.Model", "model": "m", "connection": {"name": "mine"}}, ["mine/m", "m"]),
        ({"connection": "mine", "type": "openai", "model": "m"}, ["mine/m", "openai/m", "m"]),
    ],
)
def test_models_are_named_as_callers_know_them(given: Any, slugs: list[str]) -> None:
    assert list(llm_of(given, "options.llm").slugs) == slugs


def test_a_connection_may_be_named_by_its_id() -> None:
    found = llm_of({"model": "m", "connection": {"id": "01890a5d-ac96-774b-bcce-b302099a8057"}}, "options.llm")
    assert str(found.connection) == "01890a5d-ac96-774b-bcce-b302099a8057"
    assert llm_of({"model": "m", "max_tokens": 5, "temperature": 0}, "x").settings == {"temperature": 0}


@pytest.mark.parametrize("given", ["", " ", {}, {"model": 7}, {"model": ""}, {"model": "m", "max_tokens": "many"}])
def test_what_names_no_model_is_refused(given: Any) -> None:
    with pytest.raises(BadRequest):
        llm_of(given, "options.llm")


def test_each_bad_option_is_named() -> None:
    with pytest.raises(BadRequest) as refused:
        options_of('{"ocr_llm": 7, "template": {"a": "string"}, "strem": true}', ExtractOptions)
    assert set(refused.value.details or ()) == {
        "options.ocr_llm",
        "options.structured_output_llm",
        "options.template",
        "options.strem",
    }
