"""What callers of the gateway ask in one wire's words, as the other wire takes it: how the field's gateways break."""

# ruff: noqa: E501 - one case a line reads best as a table

from typing import Any

import pytest

from stoa.gateway import Capabilities, Usage
from stoa.gateway.prices import Price
from stoa.gateway.providers.anthropic import AnthropicModel
from stoa.gateway.providers.anthropic_reading import usage_of as anthropic_usage
from stoa.gateway.providers.concessions import Concessions
from stoa.gateway.providers.history import NO_RESULT, prepared
from stoa.gateway.providers.openai import OpenAIModel
from stoa.gateway.providers.transport import Transport
from stoa.gateway.router import messages_request, rules
from stoa.gateway.router.chat_request import asked
from stoa.gateway.router.sampling import generation_of
from stoa.kernel.errors import BadRequest

HI: Any = [{"role": "user", "content": "Hi"}]
WEATHER = {"type": "function", "function": {"name": "weather", "parameters": {"type": "object", "properties": {}}}}
OTHER = {"type": "function", "function": {"name": "other", "parameters": None}}
DATA = "data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
ADDRESS = "https://pictures.example/dot.png"
CACHE = {"type": "ephemeral"}
SIGNED = {"type": "thinking", "thinking": "Hm.", "signature": "s"}


def model(kind: Any = AnthropicModel, name: str = "claude-sonnet-4-5") -> Any:
    return kind(Transport(), "https://provider.example/v1", None, name, Capabilities(images=True, tools=True))


def told(name: str = "claude-sonnet-4-5", messages: Any = HI, **fields: Any) -> tuple[dict[str, Any], list[str]]:
    """What Anthropic's wire is sent for a chat completion, and which fields were left out."""
    made = model(name=name)
    found = asked({"model": "m", "messages": messages, **fields}, made)
    granted = Concessions()
    sent = made.body(found.request, prepared(found.request, made._demands, granted, made.source), granted)
    return dict(sent), list(found.ignored)


def call(*ids: str, **more: Any) -> dict[str, Any]:
    calls = [{"id": one, "type": "function", "function": {"name": "weather", "arguments": "{}"}} for one in ids]
    return {"role": "assistant", "content": None, "tool_calls": calls, **more}


def result(call_id: str, content: Any = "sun") -> dict[str, Any]:
    return {"role": "tool", "tool_call_id": call_id, "content": content}


# --- thinking -------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("claude-3-5-sonnet-20241022", (3, 5)),
        ("claude-3-opus-20240229", (3, 0)),
        ("claude-opus-4-20250514", (4, 0)),
        ("claude-sonnet-4-5-20250929", (4, 5)),
        ("claude-opus-4-7", (4, 7)),
        ("anthropic.claude-opus-4-6-v1:0", (4, 6)),
        ("claude-opus-4.8", (4, 8)),
        ("claude-sonnet-5", (5, 0)),
        ("scripted", (0, 0)),
    ],
)
def test_a_models_generation_is_in_its_name(name: str, expected: tuple[int, int]) -> None:
    assert generation_of(name) == expected


@pytest.mark.parametrize(
    ("name", "effort", "expected"),
    [
        ("claude-sonnet-4-5", "low", {"thinking": {"type": "enabled", "budget_tokens": 2_048}}),
        ("claude-sonnet-4-6", "xhigh", {"thinking": {"type": "adaptive"}, "output_config": {"effort": "high"}}),
        (
            "claude-opus-4-7",
            "minimal",
            {"thinking": {"type": "adaptive", "display": "summarized"}, "output_config": {"effort": "low"}},
        ),
        (
            "claude-opus-5",
            "xhigh",
            {"thinking": {"type": "adaptive", "display": "summarized"}, "output_config": {"effort": "xhigh"}},
        ),
        ("claude-opus-4-7", "none", {}),
    ],
)
def test_an_effort_is_what_the_models_generation_takes(name: str, effort: str, expected: dict[str, Any]) -> None:
    sent, ignored = told(name, reasoning_effort=effort)
    assert {key: sent[key] for key in ("thinking", "output_config") if key in sent} == expected
    assert ignored == []


@pytest.mark.parametrize(
    ("messages", "fields", "thinks"),
    [
        (HI, {"max_tokens": 1_000}, False),  # No room for the least budget.
        (HI, {"max_tokens": 1_500}, True),
        (HI, {"tools": [WEATHER], "tool_choice": "required"}, False),  # Who thinks cannot be made to call.
        (HI, {"tools": [WEATHER], "tool_choice": "auto"}, True),
        ([*HI, call("a"), result("a")], {"tools": [WEATHER]}, False),  # The thoughts before the call did not come back.
        ([*HI, call("a", thinking_blocks=[SIGNED]), result("a")], {"tools": [WEATHER]}, True),
        ([*HI, call("a"), result("a"), {"role": "assistant", "content": "Sun."}, *HI], {"tools": [WEATHER]}, True),
    ],
)
def test_thinking_is_left_out_where_the_wire_would_refuse_it(messages: Any, fields: Any, *, thinks: bool) -> None:
    sent, ignored = told(messages=messages, reasoning_effort="high", **fields)
    assert ("thinking" in sent, "reasoning_effort" in ignored) == (thinks, not thinks)
    if thinks:
        assert sent["thinking"]["budget_tokens"] < sent["max_tokens"]


def test_a_generation_that_takes_no_temperature_is_sent_none() -> None:
    sent, ignored = told("claude-opus-4-7", temperature=0.2, top_p=0.9)
    assert (sent.keys() & {"temperature", "top_p"}, ignored) == (set(), ["temperature", "top_p"])
    assert told("claude-sonnet-4-5", temperature=0.2)[0]["temperature"] == 0.2


# --- messages and tools ---------------------------------------------------------------------------------------------
def kinds(sent: dict[str, Any]) -> list[tuple[str, list[str]]]:
    return [(message["role"], [part["type"] for part in message["content"]]) for message in sent["messages"]]


@pytest.mark.parametrize(
    ("messages", "expected"),
    [
        ([{"role": "system", "content": "Be brief."}], []),
        ([{"role": "user", "content": [{"type": "text", "text": ""}, {"type": "text", "text": "Hi"}]}], [("user", ["text"])]),
        ([*HI, {"role": "assistant", "content": ""}, {"role": "user", "content": "You there?"}], [("user", ["text", "text"])]),
        ([*HI, call("a", content=""), result("a")], [("user", ["text"]), ("assistant", ["tool_use"]), ("user", ["tool_result"])]),
        ([*HI, call("a", "b"), result("b"), result("a"), *HI], [("user", ["text"]), ("assistant", ["tool_use", "tool_use"]), ("user", ["tool_result", "tool_result", "text"])]),
        ([*HI, call("a"), result("a"), result("a")], [("user", ["text"]), ("assistant", ["tool_use"]), ("user", ["tool_result"])]),
        ([*HI, call("a"), *HI], [("user", ["text"]), ("assistant", ["tool_use"]), ("user", ["tool_result", "text"])]),
        ([{"role": "developer", "content": "Be brief."}, *HI], [("user", ["text"])]),
        ([{"role": "user", "content": [{"type": "image_url", "image_url": {"url": ADDRESS}}]}], [("user", ["image"])]),
        ([{"role": "user", "content": [{"type": "image_url", "image_url": {"url": DATA}}]}], [("user", ["image"])]),
    ],
)  # fmt: skip # a table
def test_histories_become_valid(messages: Any, expected: Any) -> None:
    sent, _ = told(messages=messages, tools=[WEATHER])
    assert kinds(sent) == expected


def test_results_stand_behind_their_calls_whatever_their_order() -> None:
    sent, _ = told(messages=[*HI, call("a", "b", "c"), result("b", "2"), result("a", "1")], tools=[WEATHER])
    uses = [part["id"] for part in sent["messages"][1]["content"]]
    answers = [(part["tool_use_id"], part["content"]) for part in sent["messages"][2]["content"]]
    assert answers == list(zip(uses, ["1", "2", NO_RESULT], strict=True))


def test_a_picture_by_address_is_the_providers_to_fetch() -> None:
    sent, _ = told(messages=[{"role": "user", "content": [{"type": "image_url", "image_url": {"url": ADDRESS}}]}])
    assert sent["messages"][0]["content"] == [{"type": "image", "source": {"type": "url", "url": ADDRESS}}]
    with pytest.raises(BadRequest, match="must be a data URL"):
        told(
            messages=[{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "file:///etc/passwd"}}]}]
        )


@pytest.mark.parametrize(
    ("choice", "names", "expected"),
    [
        ("auto", ["weather", "other"], None),
        ({"type": "function", "function": {"name": "other"}}, ["weather", "other"], {"type": "tool", "name": "other"}),
        (
            {"type": "allowed_tools", "allowed_tools": {"mode": "required", "tools": [OTHER]}},
            ["other"],
            {"type": "any"},
        ),
        ({"type": "allowed_tools", "allowed_tools": {"mode": "auto", "tools": [OTHER]}}, ["other"], None),
    ],
)
def test_tools_and_which_may_be_called(choice: Any, names: list[str], expected: Any) -> None:
    sent, _ = told(tools=[WEATHER, OTHER], tool_choice=choice)
    assert [tool["name"] for tool in sent["tools"]] == names
    assert [tool["input_schema"]["type"] for tool in sent["tools"]] == ["object"] * len(names)
    assert sent.get("tool_choice") == expected


@pytest.mark.parametrize(
    "fields",
    [
        {"messages": [{"role": "user", "content": [{"type": "text", "text": "Hi", "cache_control": CACHE}]}]},
        {"tools": [{**WEATHER, "cache_control": CACHE}]},
        {"cache_control": CACHE},
    ],
)
def test_who_asks_for_the_providers_cache_gets_it(fields: Any) -> None:
    plain, _ = told(messages=[{"role": "system", "content": "Long."}, *HI])
    assert "cache_control" not in str(plain)
    messages = [{"role": "system", "content": "Long."}, *fields.pop("messages", HI)]
    sent, ignored = told(messages=messages, **fields)
    assert sent["system"] == [{"type": "text", "text": "Long.", "cache_control": CACHE}]
    assert sent["messages"][-1]["content"][-1] == {"type": "text", "text": "Hi", "cache_control": CACHE}
    assert (ignored, "cache_control" in sent) == ([], False)


# --- the other way --------------------------------------------------------------------------------------------------
def turned(**fields: Any) -> dict[str, Any]:
    """A request of Anthropic's wire as OpenAI's takes it."""
    fields = {"model": "m", "max_tokens": 100, "messages": HI, **fields}
    messages_request.check(fields)
    made = model(OpenAIModel, "gpt")
    found = asked(messages_request.chat_fields(fields), made)
    granted = Concessions()
    return dict(made.body(found.request, prepared(found.request, made._demands, granted, made.source), granted))


def block_result(content: Any, **more: Any) -> list[dict[str, Any]]:
    use = {"type": "tool_use", "id": "t", "name": "weather", "input": {}}
    answer = {"type": "tool_result", "tool_use_id": "t", "content": content, **more}
    return [*HI, {"role": "assistant", "content": [use]}, {"role": "user", "content": [answer]}]


def test_pictures_in_a_tools_result_are_shown_by_the_user() -> None:
    source = {"type": "base64", "media_type": "image/png", "data": DATA.partition(",")[2]}
    sent = turned(messages=block_result([{"type": "text", "text": "Look:"}, {"type": "image", "source": source}]))
    roles = [message["role"] for message in sent["messages"]]
    assert roles[:3] == ["user", "assistant", "tool"]
    assert sent["messages"][2]["content"] == "Look:"
    assert roles[-1] == "user"
    assert [part["type"] for part in sent["messages"][-1]["content"]] == ["image_url"]
    alone = turned(messages=block_result([{"type": "image", "source": {"type": "url", "url": ADDRESS}}]))
    assert alone["messages"][2]["content"] == messages_request.SHOWN_BELOW
    assert alone["messages"][-1]["content"] == [{"type": "image_url", "image_url": {"url": ADDRESS}}]


@pytest.mark.parametrize("content", [None, "", []])
def test_an_empty_result_is_a_result(content: Any) -> None:
    assert turned(messages=block_result(content))["messages"][2]["role"] == "tool"


@pytest.mark.parametrize(
    ("fields", "effort"),
    [
        ({}, None),
        ({"thinking": {"type": "disabled"}}, None),
        ({"thinking": {"type": "enabled", "budget_tokens": 8_000}}, "medium"),
        ({"thinking": {"type": "adaptive"}}, "medium"),
        ({"thinking": {"type": "adaptive"}, "output_config": {"effort": "high"}}, "high"),
        ({"thinking": {"type": "adaptive"}, "output_config": {"effort": "max"}}, "xhigh"),
    ],
)
def test_thinking_is_an_effort_to_other_providers(fields: Any, effort: str | None) -> None:
    assert messages_request.chat_fields({"messages": HI, "max_tokens": 9, **fields}).get("reasoning_effort") == effort


@pytest.mark.parametrize("name", ["output_config", "output_format"])
def test_structured_output_reaches_other_providers(name: str) -> None:
    schema = {"type": "object", "properties": {"a": {"type": "string"}}, "required": ["a"]}
    form = {"type": "json_schema", "schema": schema}
    sent = turned(**{name: {"format": form} if name == "output_config" else form})
    assert sent["response_format"]["json_schema"]["schema"]["properties"] == schema["properties"]


def test_what_other_providers_are_not_told_of_is_named() -> None:
    fields = {"model": "m", "messages": HI, "max_tokens": 1, "top_k": 3, "container": "c", "metadata": {}}
    assert messages_request.ignored(fields) == ["container", "top_k"]


# --- money ----------------------------------------------------------------------------------------------------------
def test_what_goes_into_the_providers_cache_has_its_own_price() -> None:
    counts = {
        "input_tokens": 10,
        "cache_read_input_tokens": 100,
        "cache_creation_input_tokens": 1_000,
        "output_tokens": 1,
    }
    usage = anthropic_usage(counts)
    assert usage == Usage(1_110, 1, 100, cache_write_tokens=1_000)
    price = Price("m", prompt=3, completion=15, cached=0.3, cache_write=3.75)
    assert price.of(usage) == pytest.approx((10 * 3 + 100 * 0.3 + 1_000 * 3.75 + 15) / 1e6)
    assert Price("m", prompt=3, completion=15).of(usage) == pytest.approx((1_110 * 3 + 15) / 1e6)
    reserved = rules.dearest_usd(4_000, 0, [price.of])
    assert reserved == pytest.approx(1_000 * 3.75 / 1e6)  # The whole prompt may be written.


@pytest.mark.parametrize(
    ("fields", "tokens"),
    [
        ({"input": [[1, 2, 3], [4]]}, 4),
        ({"input": [1, 2, 3]}, 3),
        ({"input": ["abcd", "efgh"]}, 2),
        ({"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": ADDRESS}}]}]}, 1_500),
        ({"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": DATA}}]}]}, 1_500),
    ],
)
def test_a_prompt_is_estimated_whatever_form_it_has(fields: Any, tokens: int) -> None:
    characters = rules.prompt_characters(fields)
    assert tokens <= -(-characters // 4) <= tokens + 2
