"""Whatever JSON a provider puts in whatever place of its wire: the outcome is typed deltas or a typed error, and all of
it can be stored.

The suite tries some hundred examples of each; `ANY_JSON=50 python -m pytest tests/unit/gateway/test_any_json.py` tries
fifty times as many, other ones at each run.
"""

import gc
import json
import os
from collections.abc import Iterator
from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stoa.gateway import Finish, Notice, ProviderData, ReasoningDelta, TextDelta, ToolCallDelta, Usage
from stoa.gateway.providers.failures import classified, found
from stoa.gateway.providers.fields import COUNT_MAX
from tests.support.json_places import places, put
from tests.support.wires import DONE, Heard, event, hear

TIMES = int(os.environ.get("ANY_JSON", "1"))
pytestmark = pytest.mark.timeout(60 * TIMES)

WORDS = st.sampled_from(
    [
        "text",
        "thinking",
        "tool_use",
        "error",
        "stop",
        "look",
        "{}",
        '{"q": 1}',
        "c1",
        "",
        " ",
        "\0",
        "\ud83d",
        "\ude00",
        "[DONE]",
        "length",
    ]
)
LEAVES = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=6) | WORDS
KEYS = st.sampled_from(
    [
        "delta", "tool_calls", "finish_reason", "reasoning", "refusal", "detail", "errors", "base_resp", "x_groq",
        "status_code", "metadata", "raw", "content_block", "input", "partial_json", "signature", "stop_reason",
        "content", "text", "type", "name", "id", "index", "function",
        "arguments", "message", "code", "error", "usage", "choices", "thinking",
    ]
)  # fmt: skip
ANYTHING = st.recursive(
    LEAVES,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS | st.text(max_size=3), inner, max_size=4),
    max_leaves=12,
)

OPENAI: list[dict[str, Any]] = [
    {"choices": [{"index": 0, "delta": {"role": "assistant", "content": "Hi"}, "finish_reason": None}]},
    {
        "choices": [
            {
                "index": 0,
                "delta": {
                    "reasoning_content": "hm",
                    "reasoning_details": [{"type": "reasoning.text", "text": "h", "index": 0}],
                },
            }
        ]
    },
    {
        "choices": [
            {
                "index": 0,
                "delta": {
                    "tool_calls": [
                        {"index": 0, "id": "c1", "type": "function", "function": {"name": "look", "arguments": "{"}}
                    ]
                },
            }
        ]
    },
    {
        "choices": [
            {
                "index": 0,
                "delta": {
                    "tool_calls": [{"index": 0, "function": {"arguments": "}"}, "extra_content": {"google": {}}}]
                },
            }
        ]
    },
    {"choices": [{"index": 0, "delta": {"function_call": {"name": "look", "arguments": "{}"}, "refusal": "no"}}]},
    {
        "choices": [
            {
                "index": 0,
                "message": {"content": [{"type": "text", "text": "Hi"}]},
                "finish_reason": "stop",
                "error": None,
            }
        ]
    },
    {
        "choices": [],
        "usage": {"prompt_tokens": 1, "completion_tokens": 2, "prompt_tokens_details": {"cached_tokens": 1}},
        "error": None,
        "x_groq": {},
    },
    {"choices": [{"index": 0, "delta": {}, "finish_reason": "stop", "usage": {}}]},
]
ANTHROPIC: list[dict[str, Any]] = [
    {
        "type": "message_start",
        "message": {"id": "m", "content": [], "usage": {"input_tokens": 5, "cache_read_input_tokens": 1}},
    },
    {"type": "content_block_start", "index": 0, "content_block": {"type": "thinking", "thinking": "", "signature": ""}},
    {"type": "content_block_delta", "index": 0, "delta": {"type": "thinking_delta", "thinking": "hm"}},
    {"type": "content_block_delta", "index": 0, "delta": {"type": "signature_delta", "signature": "s"}},
    {"type": "content_block_start", "index": 1, "content_block": {"type": "text", "text": ""}},
    {"type": "content_block_delta", "index": 1, "delta": {"type": "text_delta", "text": "Hi"}},
    {
        "type": "content_block_start",
        "index": 2,
        "content_block": {"type": "tool_use", "id": "t", "name": "look", "input": {}},
    },
    {"type": "content_block_delta", "index": 2, "delta": {"type": "input_json_delta", "partial_json": "{}"}},
    {"type": "content_block_stop", "index": 2},
    {"type": "message_delta", "delta": {"stop_reason": "tool_use"}, "usage": {"output_tokens": 3}},
    {"type": "message_stop"},
]
SCRIPTS = {"openai": OPENAI, "anthropic": ANTHROPIC}


PLACES = {
    wire: [(number, path) for number, one in enumerate(script) for path in places(one)]
    for wire, script in SCRIPTS.items()
}


def check(heard: Heard) -> None:
    """All types are ours, all text can be encoded and stored, and a reply that did not fail has an end."""
    for one in heard.deltas:
        match one:
            case TextDelta() | ReasoningDelta() | Notice():
                assert type(one.text) is str
                one.text.encode()
            case ToolCallDelta():
                assert type(one.index) is int
                assert type(one.arguments) is str
                assert one.id is None or type(one.id) is str
                assert one.name is None or type(one.name) is str
                orjson.dumps([one.arguments, one.id, one.name])
            case Usage():
                counts = (one.prompt_tokens, one.completion_tokens, one.cached_tokens, one.reasoning_tokens)
                assert all(type(count) is int and 0 <= count <= COUNT_MAX for count in counts)
            case ProviderData():
                assert b"\\u0000" not in orjson.dumps(one.data)
            case Finish():
                assert one is heard.deltas[-1]
                assert one.reason in ("stop", "length", "tool_calls", "content_filter", "refusal")
            case _:
                raise AssertionError(one)
    if heard.error is None:
        assert isinstance(heard.deltas[-1], Finish)
    else:
        heard.error.message.encode()
    numbers = [one.index for one in heard.deltas if isinstance(one, ToolCallDelta)]
    named = {one.index for one in heard.deltas if isinstance(one, ToolCallDelta) and one.name is not None}
    assert set(numbers) == named, "each call is announced with its name"


@pytest.mark.parametrize("wire", SCRIPTS)
@settings(max_examples=400 * TIMES, deadline=None)
@given(data=st.data())
async def test_anything_in_any_place(wire: str, data: st.DataObject) -> None:
    script: list[Any] = list(SCRIPTS[wire])
    for _ in range(data.draw(st.integers(1, 3))):
        number, path = data.draw(st.sampled_from(PLACES[wire]))
        try:
            script[number] = put(script[number], path, data.draw(ANYTHING))
        except (KeyError, IndexError, TypeError):  # What leads there has been replaced.
            continue
    frames = [event(json.dumps(one).encode()) for one in script]
    together = data.draw(st.booleans())
    check(await hear(wire, [b"".join(frames) + DONE] if together else [*frames, DONE]))


@pytest.mark.parametrize("wire", SCRIPTS)
@settings(max_examples=200 * TIMES, deadline=None)
@given(events=st.lists(ANYTHING, max_size=4), whole=st.booleans())
async def test_anything_at_all(wire: str, events: list[Any], whole: bool) -> None:
    if whole:
        check(await hear(wire, [json.dumps(events[0] if len(events) == 1 else events).encode()], "application/json"))
    check(await hear(wire, [event(json.dumps(one).encode()) for one in events]))


@pytest.mark.parametrize("wire", SCRIPTS)
@settings(max_examples=200 * TIMES, deadline=None)
@given(data=st.binary(max_size=80), at=st.integers(0, 600))
async def test_any_bytes(wire: str, data: bytes, at: int) -> None:
    good = b"".join(event(one) for one in SCRIPTS[wire])
    check(await hear(wire, [good[:at] + data + good[at:]]))
    check(await hear(wire, [data, good]))


@pytest.fixture
def no_collection() -> Iterator[None]:
    """A collection in the middle of a deep recursion would fail to end what other tests have left."""
    gc.collect()
    gc.disable()
    yield
    gc.enable()


@pytest.mark.parametrize("wire", SCRIPTS)
@pytest.mark.parametrize("depth", [100, 300, 2_000])
@pytest.mark.usefixtures("no_collection")
async def test_deep_nesting(wire: str, depth: int) -> None:
    deep = b"[" * depth + b"]" * depth
    for number, one in enumerate(SCRIPTS[wire]):
        for path in places(one):
            marked = json.dumps(put(one, path, "@@")).encode().replace(b'"@@"', deep)
            frames = [event(each) for each in SCRIPTS[wire]]
            frames[number] = event(marked)
            check(await hear(wire, frames))


@settings(max_examples=300 * TIMES, deadline=None)
@given(ANYTHING, st.booleans(), st.none() | st.integers(300, 599))
def test_any_failure(body: Any, refused: bool, status: int | None) -> None:
    failure = found(body, refused=refused)
    if failure is not None:
        error = classified(failure, "It failed.", status=status)
        assert error.code
        assert error.retry_after_seconds is None or error.retry_after_seconds >= 0
