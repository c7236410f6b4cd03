"""A request for a resumable chat completion is read, or refused by the name of its field, whatever stands in it."""

from contextlib import suppress

import pytest

from stoa.dialects.completions.reading import read
from stoa.kernel.errors import BadRequest

CALL = {"id": "1", "function": {"name": "f", "arguments": "{}"}}
FIELDS = {
    "model": "m",
    "stream": True,
    "messages": [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": None, "tool_calls": [CALL]}],
    "tools": [{"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}],
    "response_format": {"type": "json_schema", "json_schema": {"schema": {"type": "object"}}},
    "stream_options": {"include_usage": True},
    "max_tokens": 5,
    "user": "ada",
}
WRONG = [
    1e308,
    7,
    "text",
    True,
    [],
    [1],
    [None],
    {},
    {"a": 1},
    [[]],
    [{}],
    [{"function": 3}],
    [{"function": {"name": 3}}],
]


def test_a_complete_request_is_read() -> None:
    asked = read(FIELDS)
    assert (asked.user, asked.wanted["output_tokens_max"]) == ("ada", 5)


@pytest.mark.parametrize("field", FIELDS)
@pytest.mark.parametrize("value", WRONG, ids=repr)
def test_a_field_of_another_type(field: str, value: object) -> None:
    with suppress(BadRequest):
        read({**FIELDS, field: value})


@pytest.mark.parametrize("field", ["role", "content", "tool_calls", "tool_call_id"])
@pytest.mark.parametrize("role", ["user", "assistant", "tool"])
@pytest.mark.parametrize("value", WRONG, ids=repr)
def test_a_field_of_a_message_of_another_type(role: str, field: str, value: object) -> None:
    with suppress(BadRequest):
        read({**FIELDS, "messages": [{"role": role, "content": "Hi", field: value}]})


def test_tools_that_are_none_are_refused() -> None:
    with pytest.raises(BadRequest, match="tools"):
        read({**FIELDS, "tools": 1e308})
