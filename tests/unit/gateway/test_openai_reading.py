"""OpenAI's wire as real servers send it. Each case is of a public report; the class is what it is named after."""

# ruff: noqa: E501 - one recorded wire a line reads best as a table

from typing import Any

import pytest

from stoa.gateway import ProviderData, ReasoningDelta, TextDelta, Usage
from tests.support.wires import DONE, chunk, event, hear

A, B = {"q": "a"}, {"q": "b"}
SAID = chunk({"content": "Hello there."})
STOP = chunk({}, "stop")


def call(arguments: Any = '{"q":"a"}', name: Any = "look", **more: Any) -> dict[str, Any]:
    function = {key: value for key, value in (("name", name), ("arguments", arguments)) if value is not None}
    return {"type": "function", "function": function, **more}


def calls(*entries: Any) -> bytes:
    return chunk({"tool_calls": list(entries)})


TOOL_CALLS = {
    "one, in pieces": ([calls(call("", index=0, id="1")), calls(call('{"q"', None, index=0)), calls(call(':"a"}', None, index=0))], [A]),
    "one index for all": ([calls(call(index=0, id="1")), calls(call('{"q":"b"}', index=0, id="2"))], [A, B]),
    "one index in one list": ([calls(call(index=0, id="1"), call('{"q":"b"}', index=0, id="2"))], [A, B]),
    "no index": ([calls(call(id="1")), calls(call('{"q":"b"}', id="2"))], [A, B]),
    "null index": ([calls(call(id="1", index=None)), calls(call('{"q":"b"}', id="2", index=None))], [A, B]),
    "index as text": ([calls(call("", id="1", index="0")), calls(call('{"q":"a"}', None, index="0"))], [A]),
    "mixed index": ([calls(call(id="1", index=0)), calls(call('{"q":"b"}', id="2"))], [A, B]),
    "no index and no id": ([calls(call()), calls(call('{"q":"b"}'))], [A, B]),
    "no index and no id, in one list": ([calls(call(), call('{"q":"b"}'))], [A, B]),
    "no index, in pieces": ([calls(call('{"q"', id="1")), calls(call(':"a"}', None)), calls(call('{"q":"b"}', id="2"))], [A, B]),
    "empty ids": ([calls(call(id="", index=0)), calls(call('{"q":"b"}', id="", index=1))], [A, B]),
    "one id for all": ([calls(call(id="x", index=0)), calls(call('{"q":"b"}', id="x", index=0))], [A, B]),
    "a new id for each piece": ([calls(call('{"q"', id="1", index=0)), calls(call(':"a"}', None, id="2", index=0))], [A]),
    "a new index for each piece": ([calls(call('{"q"', id="1", index=0)), calls(call(':"a"}', None, index=1))], [A]),
    "a new id, named later": ([calls(call(id="1", index=0)), calls(call(None, None, id="2", index=0)), calls(call('{"q":"b"}', index=0))], [A, B]),
    "the name after the arguments": ([calls(call('{"q"', None, id="1", index=0)), calls(call(':"a"}', index=0))], [A]),
    "the name in pieces": ([calls(call("", "lo", id="1", index=0)), calls(call("", "ok", index=0)), calls(call('{"q":"a"}', None, index=0))], [A]),
    "the name with each piece": ([calls(call('{"q"', id="1", index=0)), calls(call(':"a"}', id="1", index=0))], [A]),
    "the whole call once more": ([calls(call(id="1", index=0)), calls(call(id="1", index=0))], [A]),
    "an object": ([calls(call(A, id="1", index=0))], [A]),
    "an object in a string in a string": ([calls(call('"{\\"q\\":\\"a\\"}"', id="1", index=0))], [A]),
    "two objects in one string": ([calls(call('{"q":"a"}{"q":"b"}', id="1", index=0))], [A, B]),
    "a placeholder before the arguments": ([calls(call("{}", id="1", index=0)), calls(call('{"q":"a"}', None, index=0))], [A]),
    "a string with braces": ([calls(call('{"q":"}{\\"', id="1", index=0)), calls(call('"}', None, index=0))], [{"q": '}{"'}]),
    "no arguments": ([calls(call(None, id="1", index=0))], [""]),
    "null arguments": ([calls({"index": 0, "id": "1", "function": {"name": "look", "arguments": None}})], [""]),
    "empty arguments": ([calls(call("{}", id="1", index=0))], [{}]),
    "no list": ([chunk({"tool_calls": call(index=0, id="1")})], [A]),
    "no function": ([calls({"index": 0, "id": "1", "name": "look", "arguments": '{"q":"a"}'})], [A]),
    "legacy": ([chunk({"function_call": {"name": "look", "arguments": ""}}), chunk({"function_call": {"arguments": '{"q":"a"}'}})], [A]),
    "ids that tell calls of one index apart": ([calls(call("", index=0, id="1"), call("", index=0, id="2")), calls(call('{"q":"a"}', None, index=0, id="1")), calls(call('{"q":"b"}', None, index=0, id="2"))], [A, B]),
    "pieces of two calls by turns": ([calls(call("", index=0, id="1"), call("", index=1, id="2")), calls(call('{"q"', None, index=0), call('{"q"', None, index=1)), calls(call(':"a"}', None, index=0), call(':"b"}', None, index=1))], [A, B]),
    "all calls once more": ([calls(call(index=0, id="1")), calls(call('{"q":"b"}', index=1, id="2")), calls(call(index=0, id="1"), call('{"q":"b"}', index=1, id="2"))], [A, B]),
    "an object per delta": ([calls(call({}, index=0, id="1")), calls(call(A, None, index=0))], [A]),
    "a brace too many": ([calls(call('{"q":"a"}}', index=0, id="1"))], [A]),
    "a template's mark behind it": ([calls(call('{"q":"a"}', index=0, id="1")), calls(call("</tool_call>", None, index=0))], [A]),
    "two objects and a comma": ([calls(call('{"q":"a"}, {"q":"b"}', index=0, id="1"))], [A, B]),
    "a block of code": ([calls(call('```json\n{"q":"a"}\n```', index=0, id="1"))], [A]),
    "null as text": ([calls(call("null", index=0, id="1"))], [{}]),
    "a namespace": ([calls(call(name="functions.look", id="1", index=0))], [A]),
    "a control token": ([calls(call(name="look<|channel|>json", id="1", index=0))], [A]),
    "a whole message": ([event({"choices": [{"message": {"content": None, "tool_calls": [call(id="1")]}}]})], [A]),
}  # fmt: skip # a table


@pytest.mark.parametrize("name", TOOL_CALLS)
@pytest.mark.parametrize("finish", ["tool_calls", "stop", "function_call", None])
async def test_tool_calls(name: str, finish: str | None) -> None:
    frames, expected = TOOL_CALLS[name]
    heard = await hear("openai", [*frames, *([chunk({}, finish)] if finish else []), DONE])
    assert (heard.error, heard.calls, heard.finish) == (None, [("look", one) for one in expected], "tool_calls")


async def test_other_tools_are_other_calls() -> None:
    frames = [
        calls(call("", "ping", id="1", index=0)),
        calls(call('{"q":"a"}', "look", index=0)),
        chunk({}, "tool_calls"),
        DONE,
    ]
    assert (await hear("openai", frames)).calls == [("ping", ""), ("look", A)]


TEXTS = {
    "parts": [chunk({"content": [{"type": "text", "text": "Hello there."}]}), STOP, DONE],
    "parts in one read": [chunk({"content": [{"type": "text", "text": "Hello there."}]}) + STOP + DONE],
    "a part": [chunk({"content": {"type": "text", "text": {"value": "Hello there."}}}), STOP, DONE],
    "error: null": [chunk({"content": "Hello there."}, error=None), chunk({}, "stop", error=None), DONE],
    "an empty error": [chunk({"content": "Hello there."}, error={}), STOP, DONE],
    "no finish_reason": [SAID, DONE],
    "null as text": [chunk({"content": "Hello "}, "null"), chunk({"content": "there."}, "None"), STOP, DONE],
    "carriage returns alone": [(SAID + STOP + DONE).replace(b"\n", b"\r")],
    "an event of two lines": [b'data: {"choices":[{"index":0,\ndata: "delta":{"content":"Hello there."}}]}\n\n', STOP, DONE],
    "an end mark without its blank line": [SAID, STOP, b"data: [DONE]\n"],
    "an end mark without its line end": [SAID + STOP + b"data: [DONE]"],
    "an end mark in another spelling": [SAID, b"data: [done]\n\n"],
    "an empty finish_reason": [chunk({"content": "Hello there."}, ""), STOP, DONE],
    "blanks behind [DONE]": [SAID, STOP, b"data: [DONE] \n\n"],
    "an empty data line": [SAID, STOP, b"data: \n\n", DONE],
    "null events": [event(None), SAID, STOP, DONE],
    "a byte order mark": [b"\xef\xbb\xbf" + SAID, STOP, DONE],
    "a byte order mark apart": [b"\xef", b"\xbb\xbf", SAID, STOP, DONE],
    "NaN": [event(b'{"choices":[{"index":0,"delta":{"content":"Hello there."},"logprobs":NaN,"finish_reason":"stop"}]}'), DONE],
    "a whole message": [event({"choices": [{"index": 0, "message": {"content": "Hello there."}, "finish_reason": "stop"}]}), DONE],
    "text, as completions have it": [event({"choices": [{"index": 0, "text": "Hello there.", "finish_reason": "stop"}]}), DONE],
    "the message at the end once more": [SAID, event({"choices": [{"message": {"content": "Hello there."}, "finish_reason": "stop"}]}), DONE],
    "another choice": [event({"choices": [{"index": 0, "delta": {"content": "Hello there."}}, {"index": 1, "delta": {"content": "No"}}]}), STOP, DONE],
    "a choice that is none": [event({"choices": [None, "x", {"index": 0, "delta": {"content": "Hello there."}}]}), STOP, DONE],
    "events of Azure's filter": [event({"choices": [], "prompt_filter_results": [{"x": 1}]}), SAID, STOP, event({"choices": [{"index": 0, "content_filter_offsets": {}}]}), DONE],
    "unknown events": [event({"foo": 1}), SAID, STOP, DONE],
    "carriage returns": [(SAID + STOP + DONE).replace(b"\n", b"\r\n")],
    "comments": [b": OPENROUTER PROCESSING\n\n", SAID, b": x\n\n", STOP, DONE],
    "stop with each chunk": [chunk({"content": "Hello "}, "stop"), chunk({"content": "there."}, "stop"), DONE],
    "cut after its end": [SAID, STOP],
    "no blank lines between events": [(SAID + STOP + DONE).replace(b"\n\n", b"\n")],
    "no blank lines, cut anywhere": [(SAID + STOP + DONE).replace(b"\n\n", b"\n")[at : at + 7] for at in range(0, 400, 7)],
    "[DONE] as JSON": [SAID, STOP, event("[DONE]")],
    "[DONE] as JSON, alone": [SAID, event("[DONE]")],
    "comments as data": [event(b": keep-alive"), SAID, event(b"ping"), STOP, DONE],
    "named events": [b"event: message\n" + SAID, b"event: completion.chunk\n" + STOP, b"event: done\n" + DONE],
    "an error that says nothing": [event({"x_groq": {"error": None}, "choices": [{"delta": {"content": "Hello there."}}]}), STOP, DONE],
    "a whole answer": [b'{"choices":[{"index":0,"message":{"content":"Hello there."},"finish_reason":"stop"}]}'],
    "lines of JSON": [b'{"choices":[{"delta":{"content":"Hello "}}]}\n{"choices":[{"delta":{"content":"there."},"finish_reason":"stop"}]}\n'],
}  # fmt: skip # a table


@pytest.mark.parametrize("name", TEXTS)
@pytest.mark.parametrize("content_type", ["Text/Event-Stream; charset=utf-8", "application/json", "nothing"])
async def test_text(name: str, content_type: str) -> None:
    heard = await hear("openai", TEXTS[name], content_type)
    assert (heard.error, heard.text, heard.finish) == (None, "Hello there.", "stop")


async def test_a_character_that_was_cut_in_two() -> None:
    first, second = (
        b'{"choices":[{"delta":{"content":"Hi \\ud83d"}}]}',
        b'{"choices":[{"delta":{"content":"\\ude00!"}}]}',
    )
    assert (await hear("openai", [event(first), event(second), STOP, DONE])).text == "Hi 😀!"
    assert (await hear("openai", [event(first) + event(second) + STOP + DONE])).text == "Hi 😀!"
    assert (await hear("openai", [event(first), SAID, STOP, DONE])).text == "Hi \ufffdHello there."
    assert (await hear("openai", [event(first), STOP, DONE])).text == "Hi \ufffd"


async def test_a_character_of_arguments_that_was_cut_in_two() -> None:
    def piece(arguments: bytes, head: bytes = b"") -> bytes:
        delta = b'{"tool_calls":[{"index":0,%b"function":{"name":"look","arguments":"%b"}}]}' % (head, arguments)
        return event(b'{"choices":[{"index":0,"delta":%b}]}' % delta)

    first, second = piece(b'{\\"q\\":\\"\\ud83d', b'"id":"1",'), piece(b'\\ude00\\"}')
    assert (await hear("openai", [first, second, STOP, DONE])).calls == [("look", {"q": "😀"})]
    heard = await hear("openai", [first, STOP, DONE])
    assert heard.calls == [("look", '{"q":"\ufffd')]


REASONING = {
    "beside text, before it": [chunk({"content": "", "reasoning_content": "hm"})],
    "a part of its own type": [chunk({"content": [{"type": "reasoning_content", "reasoning_content": "hm"}]})],
    "a part that is marked": [chunk({"content": [{"type": "text", "thought": True, "text": "hm"}]})],
    "reasoning_content": [chunk({"reasoning_content": "hm"})],
    "reasoning": [chunk({"reasoning": "hm", "content": ""})],
    "both": [chunk({"reasoning": "hm", "reasoning_content": "hm"})],
    "thinking": [chunk({"thinking": "hm"})],
    "an object": [chunk({"reasoning": {"content": "hm"}})],
    "thinking parts": [chunk({"content": [{"type": "thinking", "thinking": [{"type": "text", "text": "hm"}]}]})],
    "details": [chunk({"reasoning_details": [{"type": "reasoning.text", "text": "hm", "index": 0}]})],
    "details beside text": [
        chunk({"reasoning": "hm", "reasoning_details": [{"type": "reasoning.text", "text": "hm"}]})
    ],
}


@pytest.mark.parametrize("name", REASONING)
async def test_reasoning(name: str) -> None:
    heard = await hear("openai", [*REASONING[name], SAID, STOP, DONE])
    assert (heard.error, heard.reasoning, heard.text) == (None, "hm", "Hello there.")


async def test_reasoning_comes_before_the_text_beside_it() -> None:
    message = {"content": "Hello there.", "reasoning_content": "hm"}
    for frames in ([chunk(message), STOP, DONE], [event({"choices": [{"message": message, "finish_reason": "stop"}]})]):
        assert (await hear("openai", frames)).deltas[:2] == [ReasoningDelta("hm"), TextDelta("Hello there.")]


@pytest.mark.parametrize(
    ("given", "finish"),
    [("length", "length"), ("MAX_TOKENS", "length"), ("content_filter", "content_filter"), ("SAFETY", "content_filter"), ("eos", "stop")],
)  # fmt: skip
async def test_reasons(given: str, finish: str) -> None:
    assert (await hear("openai", [SAID, chunk({}, given), DONE])).finish == finish


async def test_a_reason_in_another_spelling() -> None:
    frames = [SAID, event({"choices": [{"delta": {}, "finish_reason": None, "finishReason": "MAX_TOKENS"}]}), DONE]
    assert (await hear("openai", frames)).finish == "length"


@pytest.mark.parametrize(
    "given", ["banana", "error", "MALFORMED_FUNCTION_CALL", "insufficient_system_resource", 7, {"a": 1}, True]
)
async def test_an_unknown_reason_is_no_good_end(given: Any) -> None:
    heard = await hear("openai", [SAID, chunk({}, given), DONE])
    assert heard.error is not None
    assert (heard.error.code, heard.error.retryable, heard.text) == ("model_error", True, "Hello there.")


async def test_the_end_mark_ends_the_stream_whatever_follows_on_its_connection() -> None:
    for mark in (b"data: [DONE]", b"data:[DONE]\n", b"data: [DONE] \r\n"):
        assert (await hear("openai", [SAID, STOP, mark, event({"error": {"message": "late"}})])).finish == "stop"


async def test_a_reason_that_is_null_as_text_is_no_end() -> None:
    heard = await hear("openai", [chunk({"content": "Half"}, "null")])
    assert (heard.text, heard.error.code if heard.error else None) == ("Half", "model_stream_truncated")


async def test_the_call_that_is_said_to_have_been_made_must_come() -> None:
    heard = await hear("openai", [chunk({}, "tool_calls"), DONE])
    assert heard.error is not None
    assert (heard.error.code, heard.error.retryable) == ("model_error", True)
    assert (await hear("openai", [SAID, chunk({}, "tool_calls"), DONE])).finish == "stop"


async def test_a_refusal_is_reported() -> None:
    heard = await hear("openai", [chunk({"refusal": "I can't help."}), STOP, DONE])
    assert (heard.text, heard.finish) == ("I can't help.", "refusal")


ERRORS = {
    "an event": ([event({"error": {"message": "too busy", "code": 503}})], "model_overloaded", True),
    "text": ([event({"error": "too busy"})], "model_error", True),
    "a list": ([event([{"error": {"code": 400, "message": "too busy", "status": "INVALID_ARGUMENT"}}])], "model_refused_request", False),
    "in the choice": ([event({"choices": [{"delta": {}, "finish_reason": "error", "error": {"code": 502, "message": "too busy"}}]})], "model_overloaded", True),
    "beside a choice": ([event({"error": {"code": 429, "message": "too busy"}, "choices": [{"delta": {"content": ""}}]})], "model_rate_limited", True),
    "an object of vLLM": ([event({"object": "error", "message": "too busy", "type": "BadRequestError", "code": 400})], "model_refused_request", False),
    "detail": ([event({"detail": "too busy"})], "model_error", True),
    "error_type": ([event({"error_type": "overloaded", "error_message": "too busy"})], "model_overloaded", True),
    "a code beside a message": ([event({"code": 500, "message": "too busy"})], "model_overloaded", True),
    "base_resp": ([event({"base_resp": {"status_code": 1002, "status_msg": "too busy"}})], "model_error", True),
    "a whole answer": ([b'{"error":{"message":"too busy","type":"server_error"}}'], "model_overloaded", True),
    "a whole list": ([b'[{"error":{"message":"too busy","code":400}}]'], "model_refused_request", False),
    "too long": ([event({"error": {"message": "too busy: prompt is too long: 9 tokens > 8", "code": 400}})], "context_length_exceeded", False),
    "an event named error": ([SAID, b'event: error\ndata: {"message": "too busy", "code": 503}\n\n', DONE], "model_overloaded", True),
    "an event named error with an error": ([b'event: error\ndata: {"error": {"message": "too busy", "type": "rate_limit_error"}}\n\n'], "model_rate_limited", True),
    "an event named error with text": ([SAID, b"event: error\ndata: too busy\n\n", DONE], "model_error", True),
    "an event named error, its name last": ([SAID, b'data: {"message": "too busy"}\nevent: error\n\n', DONE], "model_error", True),
    "an error of llama.cpp": ([SAID, b'error: {"code": 500, "message": "too busy", "type": "server_error"}\n\n'], "model_overloaded", True),
    "an error of Ollama, bare in the stream": ([SAID, b'{"error":{"message":"too busy","type":"api_error"}}\n'], "model_error", True),
    "an error of Groq's own": ([SAID, chunk({}, None, x_groq={"error": "too busy"}), DONE], "model_error", True),
    "a call that could not be read": ([b'event: error\ndata: {"error": {"message": "too busy", "type": "invalid_request_error", "code": "tool_use_failed", "failed_generation": "<x>"}}\n\n'], "model_error", True),
    "no JSON": ([b"data: {not json\n\n"], "model_protocol_error", True),
    "a page": ([b"<html>Sign in</html>"], "model_protocol_error", False),
    "plain text": ([b"Service moved"], "model_protocol_error", False),
    "nothing": ([], "model_protocol_error", False),
    "[DONE] alone": ([DONE], "model_error", True),
    "cut": ([SAID], "model_stream_truncated", True),
}  # fmt: skip # a table


@pytest.mark.parametrize("name", ERRORS)
async def test_errors(name: str) -> None:
    frames, code, retryable = ERRORS[name]
    heard = await hear("openai", frames)
    assert heard.error is not None
    assert (heard.error.code, heard.error.retryable) == (code, retryable)
    if b"too busy" in b"".join(frames):
        assert "too busy" in heard.error.message


async def test_text_before_an_error_in_the_same_read_is_kept() -> None:
    heard = await hear("openai", [SAID + event({"error": {"message": "gone"}})])
    assert (heard.text, heard.error.code if heard.error else None) == ("Hello there.", "model_error")


@pytest.mark.parametrize(
    ("usage", "expected"),
    [
        ({"prompt_tokens": 5, "completion_tokens": 2}, [Usage(5, 2)]),
        ({"prompt_tokens": "5", "completion_tokens": 2.0}, [Usage(5, 2)]),
        ({"prompt_tokens": 0, "completion_tokens": 0}, []),
        ({"prompt_tokens": -1, "completion_tokens": True}, []),
        ({"prompt_tokens": 10**30, "completion_tokens": 1}, [Usage(1_000_000_000, 1)]),
        ({"prompt_tokens": 5, "completion_tokens": 2, "total_tokens": 10, "completion_tokens_details": {"reasoning_tokens": 3}}, [Usage(5, 5, 0, 3)]),
        ({"prompt_tokens": 5, "completion_tokens": 2, "prompt_cache_hit_tokens": 4}, [Usage(5, 2, 4)]),
        ({"prompt_tokens": 5, "completion_tokens": 2, "prompt_tokens_details": [1], "completion_tokens_details": "x"}, [Usage(5, 2)]),
    ],
)  # fmt: skip
async def test_usage(usage: dict[str, Any], expected: list[Usage]) -> None:
    assert (await hear("openai", [SAID, STOP, event({"choices": [], "usage": usage}), DONE])).of(Usage) == expected
    in_choice = event({"choices": [{"index": 0, "delta": {}, "finish_reason": "stop", "usage": usage}]})
    assert (await hear("openai", [SAID, in_choice, DONE])).of(Usage) == expected
    assert (await hear("openai", [SAID, STOP, event({"x_groq": {"usage": usage}}), DONE])).of(Usage) == expected


async def test_what_the_provider_wants_back_is_kept() -> None:
    signed = {"google": {"thought_signature": "sig"}}
    frames = [
        chunk({"reasoning_content": "I should "}),
        chunk(
            {"reasoning_content": "look.", "reasoning_details": [{"type": "reasoning.text", "text": "a", "index": 0}]}
        ),
        chunk({"reasoning_details": [{"type": "reasoning.text", "text": "b", "index": 0, "signature": "s"}]}),
        calls(call(id="D681PevKs", index=0, extra_content=signed, thoughtSignature="raw")),
        chunk({}, "tool_calls"),
        DONE,
    ]
    (data,) = (await hear("openai", frames)).of(ProviderData)
    assert data.source == "test host"
    assert data.data == {
        "calls": [{"id": "D681PevKs", "extra_content": signed, "thoughtSignature": "raw"}],
        "reasoning_content": "I should look.",
        "reasoning_details": [{"type": "reasoning.text", "text": "ab", "index": 0, "signature": "s"}],
    }
