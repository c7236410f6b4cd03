"""Anthropic's wire, as it and its look-alikes send it."""

# ruff: noqa: E501 - one recorded wire a line reads best as a table

from typing import Any

import pytest

from stoa.gateway import ModelMessage, ProviderData, TextPart, ToolCallPart, Usage
from stoa.gateway.providers.anthropic import _content
from tests.support.wires import event, hear


def sent(type_: str, **data: Any) -> bytes:
    return f"event: {type_}\n".encode() + event({"type": type_, **data})


def start(block: Any, index: Any = 0) -> bytes:
    return sent("content_block_start", index=index, content_block=block)


def delta(value: Any, index: Any = 0) -> bytes:
    return sent("content_block_delta", index=index, delta=value)


BEGIN = sent("message_start", message={"id": "m", "usage": {"input_tokens": 50, "cache_read_input_tokens": 7}})
STOP = sent("message_stop")
SAID = start({"type": "text", "text": ""}) + delta({"type": "text_delta", "text": "Hello there."})
USE = {"type": "tool_use", "id": "t", "name": "look", "input": {}}


def end(reason: Any = "end_turn", usage: Any = None) -> bytes:
    return sent("message_delta", delta={"stop_reason": reason}, usage={"output_tokens": 3} if usage is None else usage)


TEXTS = {
    "as it should be": [BEGIN, SAID, end(), STOP],
    "text in the block's start": [BEGIN, start({"type": "text", "text": "Hello"}), delta({"type": "text_delta", "text": " there."}), end(), STOP],
    "no block start": [BEGIN, delta({"type": "text_delta", "text": "Hello there."}), end(), STOP],
    "delta: null": [BEGIN, SAID, sent("message_delta", delta=None, usage={"output_tokens": 3}), end(), STOP],
    "an event without a type": [BEGIN, event({"foo": 1}), SAID, end(), STOP],
    "unknown blocks and deltas": [BEGIN, start({"type": "citation"}, 5), delta({"type": "citations_delta"}, 5), delta(None), SAID, end(), STOP],
    "events without types": [event({"message": {"usage": {"input_tokens": 5}}}), event({"index": 0, "content_block": {"type": "text", "text": "Hello"}}), event({"index": 0, "delta": {"type": "text_delta", "text": " there."}}), event({"delta": {"stop_reason": "end_turn"}, "usage": {}}), STOP],
    "a delta without a type": [BEGIN, start({"type": "text", "text": ""}), delta({"text": "Hello there."}), end(), STOP],
    "a whole answer without a type": [b'{"content":[{"type":"text","text":"Hello there."}],"stop_reason":"end_turn"}'],
    "no end of its own": [BEGIN, SAID, end()],
    "no reason": [BEGIN, SAID, STOP],
    "something behind the end": [BEGIN, SAID, end(), STOP + event({"error": {"message": "late"}})],
    "a whole answer": [b'{"type":"message","content":[{"type":"text","text":"Hello there."}],"stop_reason":"end_turn","usage":{"output_tokens":3}}'],
}  # fmt: skip # a table


@pytest.mark.parametrize("name", TEXTS)
async def test_text(name: str) -> None:
    heard = await hear("anthropic", TEXTS[name])
    assert (heard.error, heard.text, heard.finish) == (None, "Hello there.", "stop")


INPUTS = {
    "in pieces": [start(USE), delta({"type": "input_json_delta", "partial_json": '{"q"'}), delta({"type": "input_json_delta", "partial_json": ':"a"}'})],
    "in the block's start": [start(USE | {"input": {"q": "a"}})],
    "in both": [start(USE | {"input": {"x": 1}}), delta({"type": "input_json_delta", "partial_json": '{"q":"a"}'})],
    "as text in the start": [start(USE | {"input": '{"q":"a"}'})],
    "as an object": [start(USE), delta({"type": "input_json_delta", "partial_json": {"q": "a"}})],
    "no index": [start(USE, None), delta({"type": "input_json_delta", "partial_json": '{"q":"a"}'}, None)],
}  # fmt: skip # a table


@pytest.mark.parametrize("name", INPUTS)
@pytest.mark.parametrize("reason", ["tool_use", "end_turn"])
async def test_tool_calls(name: str, reason: str) -> None:
    heard = await hear("anthropic", [BEGIN, *INPUTS[name], end(reason), STOP])
    assert (heard.error, heard.calls, heard.finish) == (None, [("look", {"q": "a"})], "tool_calls")


@pytest.mark.parametrize(
    ("reason", "finish"), [("max_tokens", "length"), ("model_context_window_exceeded", "length"), ("refusal", "refusal"), ("stop_sequence", "stop")]
)  # fmt: skip
async def test_reasons(reason: str, finish: str) -> None:
    assert (await hear("anthropic", [BEGIN, SAID, end(reason), STOP])).finish == finish


async def test_an_unknown_reason_is_no_good_end() -> None:
    heard = await hear("anthropic", [BEGIN, SAID, end("banana"), STOP])
    assert (heard.text, heard.error.code if heard.error else None) == ("Hello there.", "model_error")


async def test_the_call_that_is_said_to_have_been_made_must_come() -> None:
    heard = await hear("anthropic", [BEGIN, end("tool_use"), STOP])
    assert heard.error is not None
    assert (heard.error.code, heard.error.retryable) == ("model_error", True)


@pytest.mark.parametrize("first", [{"input_tokens": 50, "output_tokens": 0}, {"input_tokens": 0}, {}])
async def test_a_zero_replaces_no_count(first: Any) -> None:
    begin = sent("message_start", message={"usage": first})
    last = {"input_tokens": 0 if first.get("input_tokens") else 50, "output_tokens": 3}
    assert (await hear("anthropic", [begin, SAID, end(usage=last), STOP])).of(Usage) == [Usage(50, 3)]


async def test_calls_of_one_index_are_told_apart() -> None:
    second = delta({"type": "input_json_delta", "partial_json": '{"q":"b"}'})
    heard = await hear(
        "anthropic", [BEGIN, *INPUTS["in pieces"], start(USE | {"id": "u"}), second, end("tool_use"), STOP]
    )
    assert heard.calls == [("look", {"q": "a"}), ("look", {"q": "b"})]


async def test_usage_is_of_both_halves() -> None:
    assert (await hear("anthropic", [BEGIN, SAID, end(), STOP])).of(Usage) == [Usage(57, 3, 7)]


@pytest.mark.parametrize(
    ("kind", "code", "retryable"),
    [
        ("overloaded_error", "model_overloaded", True),
        ("rate_limit_error", "model_rate_limited", True),
        ("api_error", "model_error", True),
        ("invalid_request_error", "model_refused_request", False),
        ("authentication_error", "model_unauthorized", False),
    ],
)
async def test_errors(kind: str, code: str, retryable: bool) -> None:
    heard = await hear("anthropic", [BEGIN + SAID + sent("error", error={"type": kind, "message": "Sorry"})])
    assert heard.error is not None
    assert (heard.error.code, heard.error.retryable, heard.text) == (code, retryable, "Hello there.")
    assert "Sorry" in heard.error.message


async def test_signed_thoughts_are_kept_for_the_next_step() -> None:
    frames = [
        BEGIN,
        start({"type": "thinking", "thinking": "", "signature": ""}),
        delta({"type": "thinking_delta", "thinking": "I look."}),
        delta({"type": "signature_delta", "signature": "si"}),
        delta({"type": "signature_delta", "signature": "g"}),
        start({"type": "redacted_thinking", "data": "xyz"}, 1),
        start({"type": "thinking", "thinking": "unsigned"}, 2),
        start(USE, 3),
        end("tool_use"),
        STOP,
    ]
    heard = await hear("anthropic", frames)
    (data,) = heard.of(ProviderData)
    assert data.data["thinking"] == [
        {"type": "thinking", "thinking": "I look.", "signature": "sig"},
        {"type": "redacted_thinking", "data": "xyz"},
    ]
    assert (data.data["calls"], heard.reasoning) == ([{"id": "t"}], "I look.unsigned")


async def test_thoughts_between_text_and_calls_keep_their_places() -> None:
    def thought(text: str, index: int) -> bytes:
        return start({"type": "thinking", "thinking": text, "signature": "s"}, index)

    frames = [
        BEGIN,
        thought("A", 0),
        start({"type": "text", "text": "I look."}, 1),
        thought("B", 2),
        start(USE, 3),
        thought("C", 4),
        start(USE | {"id": "u"}, 5),
        end("tool_use"),
        STOP,
    ]
    (data,) = (await hear("anthropic", frames)).of(ProviderData)
    calls = (ToolCallPart("1", "look", "{}"), ToolCallPart("2", "look", "{}"))
    for parts, kinds in (
        ((TextPart("I look."), *calls), "thinking A, text, thinking B, tool_use, thinking C, tool_use"),
        (calls, "thinking A, thinking B, tool_use, thinking C, tool_use"),
    ):
        content = _content(ModelMessage("assistant", parts, data))
        assert ", ".join(f"{one['type']} {one.get('thinking', '')}".strip() for one in content) == kinds


async def test_thoughts_of_a_look_alike_that_signs_none_are_kept_too() -> None:
    frames = [BEGIN, start({"type": "thinking", "thinking": "I look."}), start(USE, 1), end("tool_use"), STOP]
    (data,) = (await hear("anthropic", frames)).of(ProviderData)
    assert data.data["thinking"] == [{"type": "thinking", "thinking": "I look.", "signature": ""}]


async def test_input_of_a_block_that_is_no_call_is_passed_over() -> None:
    frames = [
        BEGIN,
        start({"type": "server_tool_use", "id": "s", "name": "web_search", "input": {}}),
        delta({"type": "input_json_delta", "partial_json": '{"query": 1}'}),
        start({"type": "text", "text": "Fine."}, 1),
        end("end_turn"),
        STOP,
    ]
    heard = await hear("anthropic", frames)
    assert (heard.error, heard.calls, heard.text) == (None, [], "Fine.")


async def test_an_event_named_error() -> None:
    said = b'event: error\ndata: {"type":"error","error":{"type":"overloaded_error","message":"Overloaded"}}\n\n'
    heard = await hear("anthropic", [BEGIN, said])
    assert heard.error is not None
    assert (heard.error.code, heard.error.message.endswith("Overloaded")) == ("model_overloaded", True)
