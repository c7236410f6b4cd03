"""Whatever JSON stands in a field of a dialect's request, the request is read or refused: it never ends as a bug."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import Any, Final

import pytest

from stoa.dialects.a2a import asked as a2a
from stoa.dialects.a2a.errors import Refused
from stoa.dialects.agui import reading as agui
from stoa.dialects.responses.inputs import Asked, read_input
from stoa.dialects.ui_messages import reading as ui_messages
from stoa.kernel.errors import AppError
from tests.support.json_places import places, put

ODD: Final[Sequence[Any]] = (
    *(None, True, 0, -1, 1.5, 10**18, "", "x"),
    *([], [[]], [1.5], [{}], {}, {"type": 1}, {"a": [None]}),
)
"""NUL, longer numbers and deep nesting are refused before a dialect reads the body (stoa.kernel.json_values)."""

CALL = {"type": "tool-add", "state": "output-available", "toolCallId": "c1", "toolName": "add", "input": {"a": 1}}
UI_MESSAGES = {
    "id": "chat",
    "trigger": "submit-message",
    "messages": [
        {
            "id": "m1",
            "role": "user",
            "parts": [
                {"type": "text", "text": "Hi"},
                {"type": "file", "mediaType": "image/png", "url": "data:image/png;base64,AAAA", "filename": "a.png"},
            ],
        },
        {
            "id": "m2",
            "role": "assistant",
            "parts": [{**CALL, "output": 2}, {**CALL, "state": "output-error", "errorText": "no"}],
        },
        {"id": "m3", "role": "user", "parts": [{"type": "text", "text": "And?"}]},
    ],
    "tools": [{"name": "add", "description": "Adds.", "parameters": {"type": "object"}}],
}
AGUI = {
    "threadId": "t",
    "runId": "r",
    "messages": [
        {
            "id": "m1",
            "role": "user",
            "content": [{"type": "text", "text": "Hi"}, {"type": "binary", "mimeType": "image/png", "data": "AAAA"}],
        },
        {
            "id": "m2",
            "role": "assistant",
            "content": "",
            "toolCalls": [{"id": "c1", "type": "function", "function": {"name": "f", "arguments": "{}"}}],
        },
        {"id": "m3", "role": "tool", "toolCallId": "c1", "content": "2"},
    ],
    "tools": [{"name": "f", "description": "F.", "parameters": {"type": "object"}}],
    "context": [{"description": "The page", "value": "home"}],
}
A2A = {
    "message": {
        "messageId": "m1",
        "contextId": "c1",
        "role": "user",
        "parts": [
            {"kind": "text", "text": "Hi"},
            {"kind": "file", "file": {"bytes": "AAAA", "mimeType": "text/plain", "name": "a"}},
        ],
    },
    "configuration": {"blocking": True, "historyLength": 1},
}


def _items(given: Any) -> None:
    read_input(given, Asked("m", [], {}, {}), "messages")


def _ui_messages(fields: Any) -> None:
    turn = ui_messages.turn_of("agent", fields)
    _items([*turn.history, *turn.tail])


def _agui(fields: Any) -> None:
    turn, _ = agui.turn_of("agent", fields)
    _items([*turn.history, *turn.tail])


def _a2a(fields: Any) -> None:
    a2a.message_of(fields)
    a2a.history_of(fields)
    a2a.listing_of(fields)


READERS: Final[Mapping[str, tuple[Callable[[Any], None], Mapping[str, Any]]]] = {
    "ui_messages": (_ui_messages, UI_MESSAGES),
    "agui": (_agui, AGUI),
    "a2a": (_a2a, A2A),
}


@pytest.mark.parametrize("dialect", READERS)
def test_the_sample_is_read(dialect: str) -> None:
    read, sample = READERS[dialect]
    read(sample)


@pytest.mark.parametrize("dialect", READERS)
def test_any_value_in_any_field_is_read_or_refused(dialect: str) -> None:
    read, sample = READERS[dialect]
    for path in places(sample)[1:]:
        for odd in ODD:
            with suppress(AppError, Refused):
                read(put(sample, path, odd))
