"""What goes out: histories, schemas and pictures, made valid after a provider's demands."""

# ruff: noqa: E501 - one case a line reads best as a table

import base64
import struct
from typing import Any

import jsonschema_rs
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stoa.gateway import (
    Capabilities,
    ImagePart,
    ModelError,
    ModelMessage,
    ModelRequest,
    ProviderData,
    TextPart,
    ToolCallPart,
    ToolResultPart,
    ToolSpec,
)
from stoa.gateway.providers.anthropic import AnthropicModel
from stoa.gateway.providers.concessions import Concessions, conceded
from stoa.gateway.providers.demands import ANTHROPIC, COMPATIBLE, GEMINI, demands_of
from stoa.gateway.providers.history import INTERRUPTED, NO_OUTPUT, prepared, safe_name
from stoa.gateway.providers.openai import OpenAIModel, azure_base
from stoa.gateway.providers.pictures import look
from stoa.gateway.providers.schemas import Unusable, strict, tool_parameters
from stoa.gateway.providers.streaming import endpoint
from stoa.gateway.providers.transport import Transport

PNG = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
)
OBJECT = {"type": "object", "properties": {"q": {"type": "string"}}}
LOOK = ToolSpec("look", "Looks.", OBJECT)
SOURCE = "openai example.com"
NOTHING_GIVEN = Concessions()


def user(text: str) -> ModelMessage:
    return ModelMessage("user", (TextPart(text),))


def said(text: str) -> ModelMessage:
    return ModelMessage("assistant", (TextPart(text),))


def called(*ids: str, name: str = "look", provider: ProviderData | None = None, text: str = "") -> ModelMessage:
    parts = [TextPart(text)] if text else []
    return ModelMessage("assistant", (*parts, *(ToolCallPart(one, name, '{"q":"a"}') for one in ids)), provider)


def results(*ids: str, name: str = "look", text: str = "found") -> ModelMessage:
    return ModelMessage("tool", tuple(ToolResultPart(one, name, text) for one in ids))


def body(
    request: ModelRequest,
    granted: Concessions = NOTHING_GIVEN,
    url: str = "http://example.com/v1",
    model: Any = OpenAIModel,
) -> dict[str, Any]:
    made = model(Transport(), url, None, "m", Capabilities(images=True, tools=True))
    return dict(made.body(request, prepared(request, made._demands, granted, made._source), granted))


def roles(sent: dict[str, Any]) -> list[str]:
    return [message["role"] for message in sent["messages"]]


# --- order ----------------------------------------------------------------------------------------------------------
def test_questions_without_answers_are_one_message() -> None:
    sent = body(ModelRequest([user("hi"), said("Fine."), user("fail"), user("again")]))
    assert [message["content"] for message in sent["messages"]] == ["hi", "Fine.", "fail\n\nagain"]


def test_a_user_does_not_follow_a_tool() -> None:
    history = [user("go"), called("1"), results("1"), user("again")]
    sent = body(ModelRequest(history, tools=[LOOK]))
    assert roles(sent) == ["user", "assistant", "tool", "assistant", "user"]
    assert sent["messages"][3]["content"] == INTERRUPTED
    anthropic = body(ModelRequest(history, tools=[LOOK]), model=AnthropicModel)
    assert roles(anthropic) == ["user", "assistant", "user"]
    assert [part["type"] for part in anthropic["messages"][2]["content"]] == ["tool_result", "text"]


def test_blank_text_is_left_out() -> None:
    history = [user("go"), called("1", text="\n\n"), results("1", text=" "), said("  "), user("x")]
    for model in (OpenAIModel, AnthropicModel):
        sent = body(ModelRequest(history, tools=[LOOK]), model=model)
        assert '"\\n\\n"' not in str(sent)
    assert body(ModelRequest(history, tools=[LOOK]))["messages"][2]["content"] == NO_OUTPUT


MESSAGES = st.lists(
    st.sampled_from([user("a"), user(" "), said("b"), said(""), called("1"), called("1", "2"), called(), results("1"), results("2", "9"), results()]),
    max_size=9,
)  # fmt: skip


@given(MESSAGES, st.booleans())
def test_every_history_is_valid(history: list[ModelMessage], text: bool) -> None:
    """Roles take turns, calls have their results and no result is without its call, ids are used once, whatever the
    history was."""
    request = ModelRequest([*history, user("last")])
    made = prepared(request, COMPATIBLE, Concessions(calls_as_text=text), SOURCE)
    assert made.messages[0].role == made.messages[-1].role == "user"
    seen: set[str] = set()
    for before, message in zip(made.messages, made.messages[1:], strict=False):
        assert before.role != message.role
        assert not (before.role == "tool" and message.role == "user")
        asked = [part.id for part in before.parts if isinstance(part, ToolCallPart)]
        given_ = [part.id for part in message.parts if isinstance(part, ToolResultPart)]
        assert sorted(asked) == sorted(given_)
        assert not seen & set(asked)
        assert len(set(asked)) == len(asked)
        seen |= set(asked)
    assert bool(made.tools) == bool(seen)


@given(MESSAGES, st.integers(0, 3))
def test_the_beginning_that_needs_nothing_changes_nothing(history: list[ModelMessage], turns: int) -> None:
    """The fast path over plain turns against every step over every message."""
    plain = [message for turn in range(turns) for message in (user(f"q{turn}"), said(f"a{turn}"))]
    request = ModelRequest([*plain, *history, user("last")])
    made = prepared(request, COMPATIBLE, NOTHING_GIVEN, SOURCE)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("stoa.gateway.providers.history._valid", lambda messages: 0)
        assert made == prepared(request, COMPATIBLE, NOTHING_GIVEN, SOURCE)


# --- ids, names, what providers want back ---------------------------------------------------------------------------
def test_a_provider_gets_its_own_ids_and_signatures_back() -> None:
    data = ProviderData(
        SOURCE,
        {
            "calls": [{"id": "D681PevKs", "extra_content": {"google": {"thought_signature": "s"}}}],
            "reasoning_content": "hm",
        },
    )
    history = [user("go"), called("ours", provider=data), results("ours")]
    sent = body(ModelRequest(history, tools=[LOOK]))
    assistant, tool = sent["messages"][1:]
    assert assistant["tool_calls"][0]["id"] == tool["tool_call_id"] == "D681PevKs"
    assert assistant["tool_calls"][0]["extra_content"] == {"google": {"thought_signature": "s"}}
    assert assistant["reasoning_content"] == "hm"
    other = body(ModelRequest(history, tools=[LOOK]), url="http://other.com/v1")["messages"][1]
    assert "reasoning_content" not in other
    assert other["tool_calls"][0].keys() == {"id", "type", "function"}
    assert len(other["tool_calls"][0]["id"]) == 9
    assert other["tool_calls"][0]["id"].isalnum()


def test_an_id_that_a_provider_gives_twice_is_used_once() -> None:
    data = ProviderData(SOURCE, {"calls": [{"id": "t"}]})
    history = [user("go"), called("a", provider=data), results("a"), called("b", provider=data), results("b")]
    sent = body(ModelRequest(history, tools=[LOOK]))
    ids = [message["tool_calls"][0]["id"] for message in sent["messages"] if "tool_calls" in message]
    assert ids[0] == "t"
    assert len(set(ids)) == 2


def test_thoughts_are_given_back_with_their_signatures() -> None:
    block = {"type": "thinking", "thinking": "hm", "signature": "s"}
    data = ProviderData("anthropic example.com", {"calls": [{"id": "t.1"}], "thinking": [block]})
    sent = body(
        ModelRequest([user("go"), called("a", provider=data), results("a")], tools=[LOOK]), model=AnthropicModel
    )
    assert sent["messages"][1]["content"][0] == block
    assert sent["messages"][1]["content"][1]["id"] == sent["messages"][2]["content"][0]["tool_use_id"] == "t_1"


@pytest.mark.parametrize("name", ["functions.look", "", "a b", "ü" * 80, "x" * 100])
def test_names_are_safe(name: str) -> None:
    assert safe_name(name)
    assert len(safe_name(name)) <= 64
    sent = body(ModelRequest([user("go"), called("1", name=name), results("1", name=name)], tools=[LOOK]))
    assert sent["messages"][1]["tool_calls"][0]["function"]["name"] == safe_name(name)


def test_an_unsafe_name_of_a_tool_leads_back_to_the_tool() -> None:
    tools = [ToolSpec("server__a.b", "x", OBJECT), ToolSpec("server__a_b", "x", OBJECT)]
    made = prepared(ModelRequest([user("go")], tools=tools), COMPATIBLE, Concessions(), SOURCE)
    assert made.names == {"server__a_b": "server__a.b", "server__a_b_2": "server__a_b"}


@pytest.mark.parametrize("model", [OpenAIModel, AnthropicModel])
def test_tools_are_offered_where_the_history_has_calls(model: Any) -> None:
    sent = body(ModelRequest([user("go"), called("1"), results("1"), said("Done."), user("and?")]), model=model)
    assert "look" in str(sent["tools"])
    assert sent["tool_choice"] in ("none", {"type": "none"})


# --- schemas --------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("demands", [COMPATIBLE, ANTHROPIC, GEMINI])
@pytest.mark.parametrize(
    "schema",
    [
        {},
        {"type": "object"},
        {"type": ["object", "null"], "properties": {"a": {"type": "string"}}},
        {"type": "object", "properties": {"ids": {"type": "array"}, "more": {"type": ["array", "null"]}}},
        {"type": "object", "properties": {"a": {"type": "string"}}, "anyOf": [{"required": ["a"]}]},
        {"oneOf": [{"properties": {"a": {"type": "string"}}, "required": ["a"]}, {"properties": {"b": {}}, "required": ["b"]}]},
        {"allOf": [{"properties": {"a": {"type": "array"}}, "required": ["a"]}]},
        {"$ref": "#/$defs/A", "$defs": {"A": {"type": "object", "properties": {"a": {"$ref": "#/$defs/B"}}}, "B": {"enum": [1, 2]}}},
        {"properties": {"a": {"$ref": "#/properties/a"}}},
        {"properties": {"a": True, "b": {"const": 1}, "c": {"oneOf": [{"type": "string"}, {"type": "null"}]}}, "additionalProperties": False},
        {"properties": "none", "required": "a", "anyOf": "x", "type": 3},
    ],
)  # fmt: skip
def test_schemas_of_tools_are_prepared(schema: dict[str, Any], demands: Any) -> None:
    made = tool_parameters(schema, demands)
    assert made["type"] == "object"
    assert isinstance(made["properties"], dict)
    assert not {"anyOf", "oneOf", "allOf", "$ref"} & made.keys()
    for value in made["properties"].values():
        assert not (value.get("type") == "array" and "items" not in value)
        if demands.plain_schemas:
            assert isinstance(value.get("type", "string"), str)
            assert "$ref" not in value


@pytest.mark.parametrize("demands", [COMPATIBLE, ANTHROPIC, GEMINI])
def test_slips_in_schemas_are_mended(demands: Any) -> None:
    schema = {
        "type": "object",
        "properties": {
            "a": {"type": "str", "required": True, "description": None, "enum": []},
            "b": {"type": "object", "properties": []},
            "c": {"type": ["STRING", "any"], "minLength": "3", "exclusiveMinimum": True},
            "d": {"type": "list", "items": [{"type": "int"}, {"type": "string"}]},
            "e": {"anyOf": [], "additionalProperties": None, "items": None},
            "required": ["a"],
        },
        "required": ["a", 7, "a"],
        "description": 5,
    }
    made = tool_parameters(schema, demands)
    assert made["required"] == ["a"]
    properties = made["properties"]
    assert properties["a"] == {"type": "string"}
    assert properties["b"]["type"] == "object"
    assert not isinstance(properties["b"].get("properties"), list)
    assert "minLength" not in properties["c"]
    assert properties["d"]["items"]["anyOf"] == [{"type": "integer"}, {"type": "string"}]
    assert jsonschema_rs.meta.is_valid({"$schema": "https://json-schema.org/draft/2020-12/schema", **made})


@given(st.recursive(st.none() | st.booleans() | st.integers() | st.sampled_from(["string", "x", "#/$defs/a"]), lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["type", "properties", "items", "required", "anyOf", "enum", "$ref", "$defs", "a", "description", "minimum", "additionalProperties"]), inner, max_size=4), max_leaves=15))  # fmt: skip
def test_any_json_as_a_schema(value: Any) -> None:
    for demands in (COMPATIBLE, ANTHROPIC, GEMINI):
        try:
            made = tool_parameters({"type": "object", "properties": {"v": value}, "x": value}, demands)
        except Unusable:
            continue
        unknown = {name: one for name, one in made.items() if name not in ("x", "$defs")}
        assert jsonschema_rs.meta.is_valid({"$schema": "https://json-schema.org/draft/2020-12/schema", **unknown})


def test_schemas_of_gemini_are_plain() -> None:
    schema = {
        "type": "object",
        "properties": {
            "a": {"anyOf": [{"type": "integer"}, {"type": "null"}], "description": "A."},
            "b": {"anyOf": [{"type": "string"}, {"type": "integer"}, {"type": "null"}]},
            "c": {"type": "string", "enum": ["", "x"]},
            "d": {"type": "object", "properties": {"e": {"type": "string"}}, "required": ["e", "gone"]},
        },
    }
    made = tool_parameters(schema, GEMINI)["properties"]
    assert made["a"] == {"type": "integer", "description": "A.", "nullable": True}
    assert [one["type"] for one in made["b"]["anyOf"]] == ["string", "integer"]
    assert (made["c"]["enum"], made["d"]["required"]) == (["x"], ["e"])


SUBSET = {
    "a reference in allOf": ({"allOf": [{"$ref": "#/$defs/A"}], "description": "d"}, {"type": "object", "properties": {"z": {"type": "integer"}}, "required": ["z"], "description": "d"}),
    "a reference with a description": ({"$ref": "#/$defs/A", "description": "d"}, {"type": "object", "properties": {"z": {"type": "integer"}}, "required": ["z"], "description": "d"}),
    "several types": ({"type": ["array", "string"], "items": {"type": "integer"}}, {"anyOf": [{"type": "array", "items": {"type": "integer"}}, {"type": "string"}]}),
    "nothing beside a union": ({"description": "d", "title": "T", "anyOf": [{"type": "string"}, {"type": "integer"}]}, {"anyOf": [{"description": "d", "type": "string"}, {"description": "d", "type": "integer"}]}),
    "no empty properties": ({"type": "object", "properties": {}}, {"type": "object"}),
    "required without properties": ({"type": "object", "required": ["x"]}, {"type": "object"}),
    "numbers to choose from": ({"enum": [1, 2]}, {"type": "integer", "description": "One of: 1, 2."}),
    "null to choose": ({"type": ["string", "null"], "enum": ["a", None]}, {"type": "string", "nullable": True, "enum": ["a"]}),
    "a number that is fixed": ({"const": 3}, {"type": "integer", "description": "One of: 3."}),
    "itself": ({"$ref": "#/properties/v"}, {"type": "object"}),
}  # fmt: skip # a table


@pytest.mark.parametrize("name", SUBSET)
def test_gemini_reads_the_same_schema(name: str) -> None:
    given_, expected = SUBSET[name]
    a = {"type": "object", "properties": {"z": {"type": "integer"}}, "required": ["z"]}
    assert tool_parameters({"properties": {"v": given_}, "$defs": {"A": a}}, GEMINI)["properties"]["v"] == expected


def test_what_stands_beside_a_union_at_the_top_is_kept() -> None:
    schema = {"properties": {"a": {"type": "string"}}, "required": ["a"], "anyOf": [{"required": ["a"]}]}
    for demands in (COMPATIBLE, GEMINI):
        made = tool_parameters(schema, demands)
        assert (made["properties"], made["required"]) == ({"a": {"type": "string"}}, ["a"])


def test_sets_of_arguments_are_told_in_words() -> None:
    schema = {"type": "object", "properties": {"a": {}, "b": {}}, "anyOf": [{"required": ["a"]}, {"required": ["b"]}]}
    assert "a; or b" in tool_parameters(schema, COMPATIBLE)["description"]


def test_only_a_tool_that_cannot_be_offered_is_skipped_and_reported() -> None:
    deep: dict[str, Any] = {}
    for _ in range(60):
        deep = {"type": "object", "properties": {"a": deep}}
    odata = {"properties": {"$filter": {}, "b": {}}}
    tools = [
        LOOK,
        ToolSpec("deep", "x", deep),
        ToolSpec("odata", "x", odata),
        ToolSpec("must", "x", {**odata, "required": ["$filter"]}),
    ]
    made = prepared(ModelRequest([user("go")], tools=tools), ANTHROPIC, Concessions(), SOURCE)
    assert [tool.name for tool in made.tools] == ["look", "odata"]
    assert list(made.tools[1].parameters["properties"]) == ["b"]
    assert [notice.split(" is ")[0] for notice in made.notices] == ["The tool deep", "The tool must"]
    with pytest.raises(Unusable):
        tool_parameters({"properties": {"a": {"default": 2**70}}}, COMPATIBLE)


def test_a_long_description_goes_on_in_the_instructions() -> None:
    made = prepared(
        ModelRequest([user("go")], "Be brief.", [ToolSpec("long", "word " * 400, OBJECT)]),
        COMPATIBLE,
        Concessions(),
        SOURCE,
    )
    assert len(made.tools[0].description) <= 1024
    assert made.instructions is not None
    assert (made.tools[0].description + made.instructions).count("word") == 400


def test_structured_output_is_strict_where_it_says_the_same() -> None:
    plain = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
    assert strict(plain) == {**plain, "additionalProperties": False}
    beside = {**plain, "properties": {"city": {"$ref": "#/$defs/A", "description": "d"}}, "$defs": {"A": plain}}
    assert strict(beside)["properties"]["city"] == {**plain, "description": "d", "additionalProperties": False}  # type: ignore[index]
    nested = {"type": "object", "properties": {"a": {"type": "array", "items": plain}}, "required": ["a"]}
    assert strict(nested)["properties"]["a"]["items"]["additionalProperties"] is False  # type: ignore[index]
    for loose in (
        {**plain, "required": []},
        {**plain, "additionalProperties": True},
        {"type": "array", "items": plain},
        {**plain, "properties": {"city": {}}},
        {**plain, "properties": {"city": {"type": "array"}}},
        {"anyOf": [plain]},
        {**plain, "properties": {"city": {"type": "string", "default": "x"}}},
        {**plain, "properties": {"city": {"type": "string", "format": "uri"}}},
        {**plain, "properties": {"city": {"type": "string", "minLength": 1}}},
    ):
        assert strict(loose) is None
    sent = body(ModelRequest([user("go")], output_schema={**plain, "required": []}))
    assert sent["response_format"]["json_schema"]["strict"] is False
    for request in (ModelRequest([user("go")], output_schema={"type": "array", "items": {}}),):
        assert "response_format" not in body(request)
        assert "schema" in body(request)["messages"][0]["content"]
    deepseek = body(ModelRequest([user("go")], output_schema=plain), url="https://api.deepseek.com")
    assert deepseek["response_format"] == {"type": "json_object"}


# --- pictures -------------------------------------------------------------------------------------------------------
def png(width: int, height: int, size: int = 0) -> bytes:
    return PNG[:16] + struct.pack(">II", width, height) + PNG[24:] + b"\0" * size


JPEG = b"\xff\xd8\xff\xe0\x00\x04ab\xff\xc0\x00\x11\x08\x00\x10\x00\x20" + b"\0" * 20
WEBP = b"RIFF\0\0\0\0WEBPVP8X\x0a\0\0\0\0\0\0\0\x0f\0\0\x1f\0\0"


def test_pictures_are_what_their_bytes_say() -> None:
    found = [look(data) for data in (PNG, JPEG, b"GIF89a\x10\0\x20\0", WEBP)]
    assert [(one.mime_type, one.width, one.height) for one in found if one] == [
        ("image/png", 1, 1),
        ("image/jpeg", 32, 16),
        ("image/gif", 16, 32),
        ("image/webp", 16, 32),
    ]
    assert [look(data) for data in (b"<svg/>", b"<html>", b"", PNG[:12], b"BM", b"%PDF")] == [None] * 6


@given(st.binary(max_size=64), st.sampled_from([b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"RIFF0000WEBP", b"GIF89a"]))
def test_no_bytes_are_too_odd(data: bytes, head: bytes) -> None:
    look(head + data)


@pytest.mark.parametrize(
    ("data", "shown"),
    [(PNG, True), (b"<svg/>", False), (png(1, 1, 4 * 2**20), False), (png(9_000, 10), False), (JPEG, True)],
    ids=["png", "svg", "4.2 MB", "9,000 pixels", "jpeg"],
)
def test_pictures_at_anthropic(data: bytes, shown: bool) -> None:
    message = ModelMessage("user", (TextPart("What is it?"), ImagePart("a.jpg", "image/jpeg", data)))
    request = ModelRequest([message])
    part = body(request, model=AnthropicModel)["messages"][0]["content"][1]
    if shown:
        assert part["source"]["media_type"] == ("image/png" if data is PNG else "image/jpeg")
    else:
        assert part["text"].startswith("[The picture a.jpg is not shown: ")
        assert len(prepared(request, ANTHROPIC, Concessions(), SOURCE).notices) == 1


def test_the_newest_pictures_are_kept() -> None:
    message = ModelMessage("user", tuple(ImagePart(f"{n}.png", "image/png", png(1, 1, 3 * 2**20)) for n in range(10)))
    made = prepared(ModelRequest([message]), ANTHROPIC, Concessions(), SOURCE)
    kept = [part.name for part in made.messages[0].parts if isinstance(part, ImagePart)]
    assert kept == ["4.png", "5.png", "6.png", "7.png", "8.png", "9.png"]


# --- concessions ----------------------------------------------------------------------------------------------------
HISTORY = [user("go"), called("1"), results("1"), user("and?")]
PICTURED = [ModelMessage("user", (TextPart("see"), ImagePart("a", "image/png", PNG))), said("x"), user("y")]


@pytest.mark.parametrize(
    ("words", "request_", "field", "value"),
    [
        ("Unknown field: stream_options", ModelRequest([user("a")]), "stream_options", False),
        ("Unsupported parameter: 'max_tokens'. Use 'max_completion_tokens' instead.", ModelRequest([user("a")], output_tokens_max=5), "limit_name", "max_completion_tokens"),
        ("max_tokens: 32000 > 8192, which is the maximum allowed number of output tokens", ModelRequest([user("a")]), "output_tokens_max", 8192),
        ("input length and `max_tokens` exceed context limit: 190000 + 32000 > 200000", ModelRequest([user("a")]), "output_tokens_max", 10_000),
        ("max_tokens is too large: 9. This model supports at most 4096 completion tokens", ModelRequest([user("a")]), "output_tokens_max", 4096),
        ("This response_format type is unavailable now", ModelRequest([user("a")], output_schema=OBJECT), "output_schema", False),
        ("Developer instruction is not enabled for models/gemma", ModelRequest([user("a")], "Be brief."), "system_role", False),
        ("Missing `reasoning_content` field in the assistant message", ModelRequest(HISTORY), "thoughts_always", True),
        ("Function call is missing a thought_signature in functionCall parts", ModelRequest(HISTORY), "placeholder_signatures", True),
        ("messages.1.content.0: Invalid `signature` in `thinking` block", ModelRequest(HISTORY), "opaque", False),
        ("registry.ollama.ai/library/gemma:2b does not support tools", ModelRequest([user("a")], tools=[LOOK]), "tools", False),
        ('"auto" tool choice requires --enable-auto-tool-choice and --tool-call-parser to be set', ModelRequest([user("a")], tools=[LOOK]), "tools", False),
        ("No endpoints found that support tool use.", ModelRequest([user("a")], tools=[LOOK]), "tools", False),
        ("Function calling is not enabled for models/gemma-3", ModelRequest([user("a")], tools=[LOOK]), "tools", False),
        ("Function calling with a response mime type: 'application/json' is unsupported", ModelRequest([user("a")], tools=[LOOK], output_schema=OBJECT), "output_schema", False),
        ("invalid message content type: <nil>", ModelRequest(HISTORY), "empty_content", True),
        ("messages[1]: 'content' field must be a string or an array of objects", ModelRequest(HISTORY), "empty_content", True),
        ("function_response.name: Name cannot be empty", ModelRequest(HISTORY), "named_results", True),
        ("'max_tokens' is too large: 8192. This model's maximum context length is 4096 tokens and your request has 100 input tokens (8192 > 4096 - 100)", ModelRequest([user("a")]), "output_tokens_max", 3_996),
        ("This model's maximum context length is 8192 tokens. However, you requested 8292 tokens (292 in the messages, 8000 in the completion): lower max_tokens", ModelRequest([user("a")]), "output_tokens_max", 7_900),
        ("Could not process image", ModelRequest(PICTURED), "pictures", False),
        ("Invalid schema for function 'look': bad", ModelRequest([user("a")], tools=[LOOK]), "tools_left_out", frozenset({"look"})),
        ("tools.0.custom.input_schema: bad", ModelRequest([user("a")], tools=[LOOK]), "tools_left_out", frozenset({"look"})),
        ("Invalid schema for response_format 'output': 'uri' is not a valid format.", ModelRequest([user("a")], output_schema=OBJECT), "strict_schema", False),
        ("bad luck", ModelRequest(HISTORY), "calls_as_text", True),
        ("bad luck", ModelRequest([user("a"), said("b"), user("c")]), "last_message_only", True),
    ],
)  # fmt: skip
def test_what_is_refused_is_left_out(words: str, request_: ModelRequest, field: str, value: Any) -> None:
    error = ModelError("model_refused_request", words, retryable=False, status=400)
    made = conceded(Concessions(), error, request_, limit_name="max_tokens")
    assert made is not None
    assert getattr(made.granted, field) == value
    again = conceded(made.granted, error, request_, limit_name="max_tokens")
    assert again is None or again.granted != made.granted


def test_a_history_that_the_provider_counts_as_too_long_loses_its_oldest_half() -> None:
    history = [one for turn in range(8) for one in (user(f"q{turn}"), said("word " * 20))]
    request = ModelRequest([*history, user("last"), called("1"), results("1")])
    error = ModelError("context_length_exceeded", "maximum context length is 8 tokens", retryable=False, status=400)
    granted, lengths, notices = NOTHING_GIVEN, [len(request.messages)], set()
    while (made := conceded(granted, error, request, limit_name="max_tokens")) is not None:
        granted = made.granted
        notices.add(made.notice)
        messages = prepared(request, COMPATIBLE, granted, SOURCE).messages
        assert [one.role for one in messages][-3:] == ["user", "assistant", "tool"]
        lengths.append(len(messages))
    assert lengths == [19, 11, 7, 5, 3]
    assert len(notices) == 1
    assert granted.lasting() == NOTHING_GIVEN


def test_one_schema_that_is_refused_is_no_reason_to_send_none_again() -> None:
    words = "Invalid schema for response_format 'output': In context=('properties', 'a'), it is bad."
    error = ModelError("model_refused_request", words, retryable=False, status=400)
    granted, request = NOTHING_GIVEN, ModelRequest([user("a")], output_schema=OBJECT)
    for name in ("strict_schema", "this_schema"):
        made = conceded(granted, error, request, limit_name="max_tokens")
        assert made is not None
        granted = made.granted
        assert getattr(granted, name) is False
    assert "response_format" not in body(request, granted)
    assert granted.lasting() == NOTHING_GIVEN


def test_what_cannot_be_left_out_is_refused() -> None:
    for code, words in (
        ("model_refused_request", "bad luck"),
        ("model_unauthorized", "image"),
        ("model_not_found", "x"),
    ):
        error = ModelError(code, words, retryable=False, status=400)
        assert conceded(Concessions(), error, ModelRequest([user("a")]), limit_name="max_tokens") is None


@given(st.text(max_size=200))
def test_concessions_come_to_an_end(words: str) -> None:
    granted, error = (
        Concessions(),
        ModelError("model_refused_request", f"{words} max_tokens 9 > {len(words)}", retryable=False, status=400),
    )
    request = ModelRequest(HISTORY, "Be brief.", [LOOK], OBJECT, 100)
    for _ in range(40):
        made = conceded(granted, error, request, limit_name="max_tokens")
        if made is None:
            return
        granted = made.granted
    raise AssertionError("there was always something more to give up")


def test_concessions_change_the_request() -> None:
    request = ModelRequest(HISTORY, "Be brief.", [LOOK], OBJECT, 100)
    sent = body(request, Concessions(stream_options=False, limit_name="max_completion_tokens", output_schema=False, system_role=False, output_tokens_max=50, thoughts_always=True))  # fmt: skip
    assert roles(sent)[0] == "user"
    assert sent["messages"][0]["content"].startswith("Be brief.")
    assert (sent["max_completion_tokens"], "response_format" in sent, "stream_options" in sent) == (50, False, False)
    assert sent["messages"][1]["reasoning_content"] == ""
    text = body(request, Concessions(calls_as_text=True))
    assert roles(text) == ["system", "user", "assistant", "user"]
    assert "found" in text["messages"][3]["content"]
    assert roles(body(request, Concessions(last_message_only=True))) == ["system", "user"]
    history = [message for message in body(request)["messages"] if message["role"] in ("assistant", "tool")]
    assert (history[0]["content"], "name" in history[1]) == (None, False)
    other = body(request, Concessions(empty_content=True, named_results=True))["messages"]
    assert [message.get("name") for message in other if message["role"] == "tool"] == ["look"]
    assert next(message["content"] for message in other if message["role"] == "assistant") == ""


def test_deepseek_gets_thoughts_with_every_message_that_it_wants_them_in() -> None:
    sent = body(ModelRequest([user("a"), said("b"), *HISTORY]), Concessions(thoughts_always=True))
    assert all("reasoning_content" in one for one in sent["messages"] if one["role"] == "assistant")


def test_a_model_without_tools_is_asked_without_them() -> None:
    request = ModelRequest(HISTORY, "Be brief.", [LOOK])
    made = prepared(request, COMPATIBLE, Concessions(tools=False), SOURCE)
    assert made.notices == ["This model takes no tools: it is asked without them."]
    sent = body(request, Concessions(tools=False))
    assert "tools" not in sent
    assert "tool_calls" not in str(sent["messages"])
    assert Concessions(tools=False).lasting().tools is False, "the next request begins without them"


@pytest.mark.parametrize(
    ("given", "sent"),
    [("", {}), (" ", {}), ('{"q": 1}', {"q": 1}), ('{"q": ', {"not_json": '{"q": '}), ("[1]", {"not_json": "[1]"}), ("\ud800", {"not_json": "?"})],
)  # fmt: skip
@pytest.mark.parametrize("model", [OpenAIModel, AnthropicModel])
def test_arguments_of_earlier_calls_are_an_object(model: Any, given: str, sent: dict[str, Any]) -> None:
    """Chat templates and providers parse them: what a model wrote that is none would fail every later request."""
    history = [user("go"), ModelMessage("assistant", (ToolCallPart("a", "look", given),)), results("a")]
    made = prepared(ModelRequest(history, tools=[LOOK]), COMPATIBLE, Concessions(), SOURCE)
    [part] = made.messages[1].parts
    assert isinstance(part, ToolCallPart)
    assert orjson.loads(part.arguments) == sent
    body(ModelRequest(history, tools=[LOOK]), model=model)


# --- addresses and limits -------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("base", "expected"),
    [
        ("https://r.openai.azure.com", "https://r.openai.azure.com/openai/v1/chat/completions"),
        ("https://r.openai.azure.com/openai/v1/", "https://r.openai.azure.com/openai/v1/chat/completions"),
        ("https://r.openai.azure.com?api-version=2024-10-21", "https://r.openai.azure.com/openai/deployments/my%20gpt/chat/completions?api-version=2024-10-21"),
        ("https://r.openai.azure.com/openai/deployments/d?api-version=1", "https://r.openai.azure.com/openai/deployments/d/chat/completions?api-version=1"),
        ("https://r.openai.azure.com/openai/deployments/d/chat/completions?api-version=1", "https://r.openai.azure.com/openai/deployments/d/chat/completions?api-version=1"),
        ("https://proxy.example/openai/v1?api-version=preview", "https://proxy.example/openai/v1/chat/completions?api-version=preview"),
    ],
)  # fmt: skip
def test_paths_of_azure(base: str, expected: str) -> None:
    assert endpoint(azure_base(base, "my gpt"), "/chat/completions") == expected


def test_demands_by_host() -> None:
    assert demands_of("https://generativelanguage.googleapis.com/v1beta/openai") is GEMINI
    assert demands_of("https://europe-west1-aiplatform.googleapis.com/v1") is GEMINI
    assert demands_of("http://example.com/api.mistral.ai") is COMPATIBLE


@pytest.mark.parametrize(
    ("name", "wanted", "limit"),
    [("claude-3-haiku-20240307", None, 4_096), ("claude-sonnet-4-5", None, 64_000), ("claude-sonnet-4-5", 100, 100), ("other", None, 32_000)],
)  # fmt: skip
def test_the_longest_reply_is_the_models(name: str, wanted: int | None, limit: int) -> None:
    made = AnthropicModel(
        Transport(), "http://x", None, name, Capabilities(images=True, tools=True, context_tokens=200_000)
    )
    request = ModelRequest([user("a")], output_tokens_max=wanted)
    assert made.body(request, prepared(request, ANTHROPIC, Concessions(), ""), Concessions())["max_tokens"] == limit


def test_the_longest_reply_fits_the_context() -> None:
    made = AnthropicModel(
        Transport(), "http://x", None, "other", Capabilities(images=True, tools=True, context_tokens=10_000)
    )
    request = ModelRequest([user("a" * 20_000)])
    assert (
        4_500
        < made.body(request, prepared(request, ANTHROPIC, Concessions(), ""), Concessions())["max_tokens"]
        <= 5_000
    )
