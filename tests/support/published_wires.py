"""The model providers' APIs as they publish them: what each sends, and what it refuses. From examples in documentation,
not recordings of calls."""

# ruff: noqa: E501 - wires as they were recorded

import json
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from tests.support.wires import DONE, event

Json = dict[str, Any]


@dataclass(frozen=True)
class Published:
    """`refused` says why a request's body is refused, None where it is taken; the frames are answers. None: it does not
    send that."""

    text: Sequence[bytes]
    calls: Sequence[bytes]
    refused: Callable[[Json], str | None]
    reasoning: Sequence[bytes] | None = None
    pictures: bool = True
    key_header: str = "authorization"
    error: Callable[[str], Any] = lambda message: {"error": {"message": message, "type": "invalid_request_error"}}


def chunks(head: Json, *choices: Json, usage: Json | None = None, done: bool = True) -> list[bytes]:
    made = [event({**head, "choices": [{"index": 0, **choice}]}) for choice in choices]
    made += [event({**head, "choices": [], "usage": usage})] if usage else []
    return [*made, DONE] if done else made


def said(delta: Json, finish: str | None = None, **more: Any) -> Json:
    return {"delta": delta, "finish_reason": finish, **more}


def call(number: int, name: str, arguments: str, id_: str, *, indexed: bool = True, **more: Any) -> Json:
    head = {"index": number} if indexed else {}
    return {**head, "id": id_, "type": "function", "function": {"name": name, "arguments": arguments}, **more}


def piece(number: int, arguments: str) -> Json:
    return {"index": number, "function": {"arguments": arguments}}


USAGE = {"prompt_tokens": 9, "completion_tokens": 4, "total_tokens": 13}
HEAD = {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1, "model": "m"}
A, B = '{"q":"a"}', '{"q":"b"}'


# --- what each refuses ----------------------------------------------------------------------------------------------
def asked(body: Json) -> list[Json]:
    return [made for message in body["messages"] for made in message.get("tool_calls") or ()]


def images(body: Json) -> list[str]:
    parts = [
        part for message in body["messages"] if isinstance(message["content"], list) for part in message["content"]
    ]
    return [part["image_url"]["url"] for part in parts if part["type"] == "image_url"]


def wrong_roles(body: Json) -> str | None:
    """Chat templates of open models: turns alternate, and results follow calls."""
    roles = [message["role"] for message in body["messages"] if message["role"] != "system"]
    for before, role in zip(["assistant", *roles], roles, strict=False):
        if role == before and role != "tool":
            return "Conversation roles must alternate user/assistant/user/assistant/..."
        if before == "tool" and role == "user":
            return "Unexpected role 'user' after role 'tool'"
    return None


def not_strict(schema: Json) -> bool:
    inner = schema.get("properties", {})
    return schema.get("additionalProperties") is not False or set(schema.get("required", ())) != set(inner)


def openai_refuses(body: Json) -> str | None:
    if "max_tokens" in body:
        return (
            "Unsupported parameter: 'max_tokens' is not supported with this model. Use 'max_completion_tokens' instead."
        )
    form = body.get("response_format", {}).get("json_schema")
    if form and form["strict"] and not_strict(form["schema"]):
        return "Invalid schema for response_format 'output': 'additionalProperties' is required to be supplied and to be false."
    for tool in body.get("tools", ()):
        if "properties" not in tool["function"]["parameters"] or len(tool["function"]["description"]) > 1024:
            return f"Invalid schema for function '{tool['function']['name']}'"
    if any(
        not re.fullmatch(r"[a-zA-Z0-9_-]{1,64}", made["function"]["name"]) or len(made["id"]) > 40
        for made in asked(body)
    ):
        return "Invalid 'messages[1].tool_calls[0]': string does not match pattern."
    return "unsupported image" if any(not url.startswith("data:image/png") for url in images(body)) else None


def gemini_refuses(body: Json) -> str | None:
    for message_ in body["messages"]:
        if (made := message_.get("tool_calls")) and "thought_signature" not in str(made[0].get("extra_content")):
            return "Function call is missing a thought_signature in functionCall parts. This is required for tools to work correctly."
        if message_["role"] == "tool" and not message_.get("name"):
            return "GenerateContentRequest.contents[2].parts[0].function_response.name: Name cannot be empty."
    for tool in body.get("tools", ()):
        parameters = tool["function"].get("parameters", {"properties": {"q": {}}})
        if not parameters["properties"]:
            return "tools[0].function_declarations[0].parameters.properties: should be non-empty for OBJECT type"
        if {"$schema", "additionalProperties", "$defs"} & parameters.keys():
            return "Invalid JSON payload received. Unknown name \"additionalProperties\" at 'tools[0]'"
    return None


def groq_refuses(body: Json) -> str | None:
    for message in body["messages"]:
        if extra := message.keys() - {"role", "content", "tool_calls", "tool_call_id", "name"}:
            return f"property '{extra.pop()}' is unsupported"
    return None


def mistral_refuses(body: Json) -> str | None:
    if "stream_options" in body:
        return "Extra inputs are not permitted: stream_options"
    if any(not re.fullmatch(r"[a-zA-Z0-9]{9}", made["id"]) for made in asked(body)):
        return "Tool call id was x but must be a-z, A-Z, 0-9, with a length of 9."
    return wrong_roles(body)


def deepseek_refuses(body: Json) -> str | None:
    if body.get("response_format", {}).get("type") == "json_schema":
        return "This response_format type is unavailable now"
    if any(message.get("tool_calls") and "reasoning_content" not in message for message in body["messages"]):
        return "Missing `reasoning_content` field in the assistant message at message index 1."
    return None


def openrouter_refuses(body: Json) -> str | None:
    for message in body["messages"]:
        for detail in message.get("reasoning_details", ()):
            if detail.get("type") == "reasoning.text" and (detail["text"], detail["signature"]) != (
                "I should look.",
                "sig",
            ):
                return "messages.1.content.0: Invalid `signature` in `thinking` block"
    return None


def local_refuses(body: Json) -> str | None:
    if any(not url.startswith(("data:image/png", "data:image/jpeg")) for url in images(body)):
        return "Failed to load image or audio file"
    return wrong_roles(body)


def anthropic_refuses(body: Json) -> str | None:
    parts = [part for message in body["messages"] for part in message["content"]]
    if [message["role"] for message in body["messages"]][::2].count("user") != -(-len(body["messages"]) // 2):
        return 'messages: roles must alternate between "user" and "assistant"'
    if any(part["type"] == "text" and not part["text"].strip() for part in parts):
        return "messages: text content blocks must contain non-whitespace text"
    if any(part["type"] in ("tool_use", "tool_result") for part in parts) and not body.get("tools"):
        return "Requests which include `tool_use` or `tool_result` blocks must define tools"
    for message in body["messages"]:
        kinds = [part["type"] for part in message["content"]]
        if "thinking" in kinds and (kinds[0] != "thinking" or message["content"][0]["signature"] != "sig"):
            return "messages.1.content.0: Invalid `signature` in `thinking` block"
    if body["max_tokens"] > 64_000:
        return f"max_tokens: {body['max_tokens']} > 64000, which is the maximum allowed number of output tokens for m"
    return None


# --- Anthropic ------------------------------------------------------------------------------------------------------
def sent(type_: str, **data: Any) -> bytes:
    return f"event: {type_}\ndata: {json.dumps({'type': type_, **data})}\n\n".encode()


def block(number: int, begin: Json, *deltas: Json) -> list[bytes]:
    made = [sent("content_block_start", index=number, content_block=begin)]
    return [
        *made,
        *(sent("content_block_delta", index=number, delta=one) for one in deltas),
        sent("content_block_stop", index=number),
    ]


def message(*blocks: list[bytes], stop: str = "end_turn") -> list[bytes]:
    begin = sent(
        "message_start",
        message={
            "id": "msg_1",
            "type": "message",
            "role": "assistant",
            "content": [],
            "usage": {"input_tokens": 9, "output_tokens": 1},
        },
    )
    end = [
        sent("message_delta", delta={"stop_reason": stop, "stop_sequence": None}, usage={"output_tokens": 4}),
        sent("message_stop"),
    ]
    return [begin, sent("ping"), *(one for made in blocks for one in made), *end]


TEXT_BLOCK = block(
    1, {"type": "text", "text": ""}, {"type": "text_delta", "text": "Hello "}, {"type": "text_delta", "text": "there."}
)
THINKING_BLOCK = block(
    0,
    {"type": "thinking", "thinking": "", "signature": ""},
    {"type": "thinking_delta", "thinking": "I should look."},
    {"type": "signature_delta", "signature": "sig"},
)
USE_BLOCKS = [
    one
    for number, half in ((1, "a"), (2, "b"))
    for one in block(
        number,
        {"type": "tool_use", "id": f"toolu_{number}", "name": "look", "input": {}},
        {"type": "input_json_delta", "partial_json": ""},
        {"type": "input_json_delta", "partial_json": '{"q":'},
        {"type": "input_json_delta", "partial_json": f'"{half}"}}'},
    )
]

# --- OpenAI's wire and its look-alikes ------------------------------------------------------------------------------
_OPENAI = {**HEAD, "service_tier": "default", "system_fingerprint": "fp_1", "obfuscation": "a8s", "usage": None}
_FILTER = {"hate": {"filtered": False, "severity": "safe"}}
_OPENAI_CALLS = (
    said({"role": "assistant", "content": None, "tool_calls": [call(0, "look", "", "call_a")], "refusal": None}),
    said({"tool_calls": [piece(0, '{"q"')]}),
    said({"tool_calls": [piece(0, ':"a"}')]}),
    said({"tool_calls": [call(1, "look", "", "call_b")]}),
    said({"tool_calls": [piece(1, B)]}),
    said({}, "tool_calls"),
)
_GEMINI_CALL = {"role": "assistant", "content": None}
_SIGNED = {"extra_content": {"google": {"thought_signature": "sig"}}}

PUBLISHED = {
    "openai": Published(
        chunks(_OPENAI, said({"role": "assistant", "content": "", "refusal": None}), said({"content": "Hello "}), said({"content": "there."}), said({}, "stop"), usage=USAGE),
        chunks(_OPENAI, *_OPENAI_CALLS, usage=USAGE),
        openai_refuses,
    ),
    "azure": Published(
        [
            event({"id": "", "object": "", "model": "", "choices": [], "prompt_filter_results": [{"prompt_index": 0, "content_filter_results": _FILTER}]}),
            *chunks(_OPENAI, said({"content": "Hello there."}, content_filter_results=_FILTER), {"finish_reason": None, "content_filter_offsets": {"check_offset": 1}}, said({}, "stop"), usage=USAGE),
        ],
        chunks(_OPENAI, *_OPENAI_CALLS, usage=USAGE),
        openai_refuses,
        key_header="api-key",
    ),
    "gemini": Published(
        [*chunks(HEAD, said({"role": "assistant", "content": "Hello there."}, "stop", usage=None), usage=None)[:-1], event({**HEAD, "choices": [], "usage": USAGE}), DONE],
        chunks(
            HEAD,
            said({**_GEMINI_CALL, "tool_calls": [call(0, "look", A, "function-call-1", indexed=False, **_SIGNED)]}),
            said({**_GEMINI_CALL, "tool_calls": [call(0, "look", B, "function-call-2", indexed=False)]}, "stop"),
            usage=USAGE,
        ),
        gemini_refuses,
        error=lambda message: [{"error": {"code": 400, "message": message, "status": "INVALID_ARGUMENT"}}],
    ),
    "openrouter": Published(
        [b": OPENROUTER PROCESSING\n\n", *chunks({**HEAD, "provider": "X"}, said({"role": "assistant", "content": "Hello there."}, native_finish_reason=None), said({"content": ""}, "stop", native_finish_reason="STOP"), usage={**USAGE, "cost": 0.1})],
        chunks(
            HEAD,
            said({"content": "", "reasoning": "I should ", "reasoning_details": [{"type": "reasoning.text", "text": "I should ", "index": 0, "format": "anthropic-claude-v1"}]}),
            said({"content": "", "reasoning": "look.", "reasoning_details": [{"type": "reasoning.text", "text": "look.", "signature": "sig", "index": 0}]}),
            said({"content": None, "tool_calls": [call(0, "look", A, "toolu_1")]}),
            said({"content": None, "tool_calls": [call(1, "look", B, "toolu_2")]}),
            said({"content": ""}, "tool_calls", native_finish_reason="tool_use"),
            usage=USAGE,
        ),
        openrouter_refuses,
        reasoning=chunks(HEAD, said({"content": "", "reasoning": "I should look.", "reasoning_details": [{"type": "reasoning.summary", "summary": "I should look.", "index": 0}]}), said({"content": "Hello there."}), said({}, "stop"), usage=USAGE),
    ),
    "groq": Published(
        [*chunks({**HEAD, "x_groq": {"id": "req_1"}}, said({"role": "assistant", "content": "Hello there."}), done=False), event({**HEAD, "choices": [{"index": 0, **said({}, "stop")}], "x_groq": {"id": "req_1", "usage": {**USAGE, "queue_time": 0.1}}}), DONE],
        chunks(HEAD, said({"role": "assistant", "content": None, "tool_calls": [call(0, "look", A, "fk1"), call(1, "look", B, "fk2")]}), said({}, "tool_calls"), usage=USAGE),
        groq_refuses,
        reasoning=chunks(HEAD, said({"reasoning": "I should look.", "channel": "analysis"}), said({"content": "Hello there."}), said({}, "stop"), usage=USAGE),
    ),
    "mistral": Published(
        [*chunks(HEAD, said({"role": "assistant", "content": ""}), said({"content": "Hello "}), done=False), event({**HEAD, "choices": [{"index": 0, **said({"content": "there."}, "stop")}], "usage": USAGE}), DONE],
        [event({**HEAD, "choices": [{"index": 0, **said({"role": None, "content": "", "tool_calls": [call(0, "look", A, "D681PevKs"), call(1, "look", B, "Ek4vPqXaB")]}, "tool_calls")}], "usage": USAGE}), DONE],
        mistral_refuses,
        reasoning=chunks(
            HEAD,
            said({"content": [{"type": "thinking", "thinking": [{"type": "text", "text": "I should look."}]}]}),
            said({"content": [{"type": "text", "text": "Hello there."}]}),
            said({"content": ""}, "stop"),
            usage=USAGE,
        ),
        error=lambda message: {"object": "error", "message": message, "type": "invalid_request_error", "param": None, "code": None},
    ),
    "deepseek": Published(
        [b": keep-alive\n\n", *chunks(HEAD, said({"role": "assistant", "content": "Hello there.", "reasoning_content": None}), done=False), event({**HEAD, "choices": [{"index": 0, **said({"content": ""}, "stop")}], "usage": {**USAGE, "prompt_cache_hit_tokens": 3}}), DONE],
        chunks(
            HEAD,
            said({"role": "assistant", "content": None, "reasoning_content": "I should "}),
            said({"content": None, "reasoning_content": "look."}),
            said({"tool_calls": [call(0, "look", "", "call_00_a")]}),
            said({"tool_calls": [piece(0, A)]}),
            said({"tool_calls": [call(1, "look", "", "call_01_b")]}),
            said({"tool_calls": [piece(1, B)]}),
            said({"content": "", "reasoning_content": None}, "tool_calls"),
            usage=USAGE,
        ),
        deepseek_refuses,
        reasoning=chunks(HEAD, said({"content": None, "reasoning_content": "I should look."}), said({"content": "Hello there.", "reasoning_content": None}), said({"content": ""}, "stop"), usage=USAGE),
        pictures=False,
    ),
    "ollama": Published(
        chunks(HEAD, said({"role": "assistant", "content": "Hello "}), said({"role": "assistant", "content": "there."}), said({"role": "assistant", "content": ""}, "stop"), usage=USAGE),
        chunks(HEAD, said({"role": "assistant", "content": "", "tool_calls": [call(0, "look", A, "call_1")]}), said({"role": "assistant", "content": "", "tool_calls": [call(0, "look", B, "call_2")]}), said({"role": "assistant", "content": ""}, "stop"), usage=USAGE),
        local_refuses,
        reasoning=chunks(HEAD, said({"role": "assistant", "content": "", "reasoning": "I should look."}), said({"role": "assistant", "content": "Hello there."}), said({"content": ""}, "stop"), usage=USAGE),
    ),
    "llamacpp": Published(
        chunks(HEAD, said({"role": "assistant", "content": None}), said({"content": "Hello there."}), {**said({}, "stop"), "timings": {"prompt_n": 1}}, usage=USAGE),
        chunks(
            HEAD,
            said({"role": "assistant", "content": None}),
            said({"tool_calls": [call(0, "look", "{", "a1B2c3D4")]}),
            said({"tool_calls": [piece(0, '"q":"a"}')]}),
            said({"tool_calls": [call(1, "look", "{", "e5F6g7H8")]}),
            said({"tool_calls": [piece(1, '"q":"b"}')]}),
            said({}, "tool_calls"),
            usage=USAGE,
        ),
        local_refuses,
        reasoning=chunks(HEAD, said({"reasoning_content": "I should look."}), said({"content": "Hello there."}), said({}, "stop"), usage=USAGE),
        error=lambda message: {"error": {"code": 400, "message": message, "type": "invalid_request_error"}},
    ),
    "vllm": Published(
        chunks(HEAD, said({"role": "assistant", "content": ""}, logprobs=None), said({"content": "Hello there."}, stop_reason=None), said({"content": ""}, "stop", stop_reason=None), usage=USAGE),
        chunks(
            HEAD,
            said({"tool_calls": [{"id": "chatcmpl-tool-1", "type": "function", "index": 0, "function": {"name": "look"}}]}),
            said({"tool_calls": [piece(0, A)]}),
            said({"tool_calls": [{"id": "chatcmpl-tool-2", "type": "function", "index": 1, "function": {"name": "look"}}]}),
            said({"tool_calls": [piece(1, B)]}),
            said({"content": ""}, "tool_calls", stop_reason=None),
            usage=USAGE,
        ),
        wrong_roles,
        reasoning=chunks(HEAD, said({"reasoning": "I should look."}), said({"content": "Hello there."}), said({"content": ""}, "stop"), usage=USAGE),
        error=lambda message: {"object": "error", "message": message, "type": "BadRequestError", "param": None, "code": 400},
    ),
    "anthropic": Published(
        message(TEXT_BLOCK),
        message(THINKING_BLOCK, USE_BLOCKS, stop="tool_use"),
        anthropic_refuses,
        reasoning=message(THINKING_BLOCK, TEXT_BLOCK),
        key_header="x-api-key",
        error=lambda message: {"type": "error", "error": {"type": "invalid_request_error", "message": message}},
    ),
}  # fmt: skip # a table
