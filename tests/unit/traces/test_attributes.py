"""What instrumentations call the same thing, each as its library writes it."""

from typing import Any

import pytest

from stoa.traces import attributes, otlp

CHAT = [{"role": "user", "parts": [{"type": "text", "content": "hi"}]}]


def span_of(attributes_given: dict[str, Any], events: list[dict[str, Any]] | None = None) -> Any:
    def value(held: Any) -> dict[str, Any]:
        if isinstance(held, bool):
            return {"boolValue": held}
        if isinstance(held, int):
            return {"intValue": str(held)}
        if isinstance(held, float):
            return {"doubleValue": held}
        if isinstance(held, list):
            return {"arrayValue": {"values": [value(one) for one in held]}}
        return {"stringValue": held}

    def listed(given: dict[str, Any]) -> list[dict[str, Any]]:
        return [{"key": name, "value": value(held)} for name, held in given.items()]

    said = [{**event, "attributes": listed(event["attributes"])} for event in events or ()]
    span = {
        "traceId": "5B8EFFF798038103D269B633813FC60C",
        "spanId": "EEE19B7EC3C1B174",
        "parentSpanId": "",
        "startTimeUnixNano": "1772366400000000000",
        "endTimeUnixNano": 1772366401500000000,
        "attributes": listed(attributes_given),
        "events": said,
    }
    (found,) = otlp.read_json({"resourceSpans": [{"scopeSpans": [{"spans": [span]}]}]}).spans
    return found


@pytest.mark.parametrize(
    ("given", "model", "tokens", "session", "user"),
    [
        (  # Conventions up to 1.36
            {"gen_ai.system": "openai", "gen_ai.request.model": "gpt-4o", "gen_ai.usage.prompt_tokens": 3,
             "gen_ai.usage.completion_tokens": 2, "session.id": "s", "enduser.id": "u"},
            "gpt-4o", (3, 2), "s", "u",
        ),
        (  # 1.37 to 1.41, and v0.1.0
            {"gen_ai.operation.name": "chat", "gen_ai.provider.name": "openai", "gen_ai.request.model": "gpt-4o",
             "gen_ai.response.model": "gpt-4o-2024-08-06", "gen_ai.usage.input_tokens": 3,
             "gen_ai.usage.output_tokens": 2, "gen_ai.usage.cache_read.input_tokens": 1,
             "gen_ai.conversation.id": "s", "user.id": "u"},
            "gpt-4o-2024-08-06", (3, 2), "s", "u",
        ),
        (  # OpenInference
            {"openinference.span.kind": "LLM", "llm.model_name": "m", "llm.token_count.prompt": 3,
             "llm.token_count.completion": 2, "session.id": "s", "user.id": "u"},
            "m", (3, 2), "s", "u",
        ),
        (  # The same, of a provider that does not repeat the model
            {"openinference.span.kind": "LLM", "llm.invocation_parameters": '{"model": "m"}',
             "llm.token_count.prompt": 3, "llm.token_count.completion": 2},
            "m", (3, 2), None, None,
        ),
        (  # OpenLLMetry
            {"llm.request.model": "m", "llm.usage.prompt_tokens": 3, "llm.usage.completion_tokens": 2,
             "traceloop.association.properties.session_id": "s", "traceloop.association.properties.user_id": "u"},
            "m", (3, 2), "s", "u",
        ),
        (  # Vercel's AI SDK
            {"ai.operationId": "ai.generateText.doGenerate", "ai.model.id": "m", "ai.usage.promptTokens": 3,
             "ai.usage.completionTokens": 2, "ai.telemetry.metadata.sessionId": "s",
             "ai.telemetry.metadata.userId": "u"},
            "m", (3, 2), "s", "u",
        ),
        (  # Every attribute a string, as some exporters write it
            {"gen_ai.request.model": "m", "gen_ai.usage.input_tokens": "3", "gen_ai.usage.output_tokens": "2"},
            "m", (3, 2), None, None,
        ),
    ],
)  # fmt: skip
def test_names_of_all_instrumentations_are_read(
    given: dict[str, Any], model: str, tokens: tuple[int, int], session: str | None, user: str | None
) -> None:
    span = span_of(given)
    assert (span.model, span.session_id, span.user_id) == (model, session, user)
    assert (span.prompt_tokens, span.completion_tokens) == tokens
    assert span.parent_id is None
    assert span.body["attributes"] == given


@pytest.mark.parametrize(
    "above",
    [
        {"gen_ai.operation.name": "invoke_agent"},
        {"gen_ai.operation.name": "invoke_workflow"},
        {"gen_ai.operation.name": "agent_step"},
        {"openinference.span.kind": "AGENT"},
        {"openinference.span.kind": "CHAIN"},
        {"traceloop.span.kind": "workflow"},
        {"ai.operationId": "ai.streamText"},
    ],
)
def test_a_step_that_repeats_what_is_below_it_is_not_counted(above: dict[str, str]) -> None:
    used = {"gen_ai.request.model": "m", "gen_ai.usage.input_tokens": 3, "gen_ai.usage.cost": 0.5}
    span = span_of({**above, **used})
    assert (span.prompt_tokens, span.cost_usd) == (None, None)
    assert span.body["attributes"]["gen_ai.usage.input_tokens"] == 3


@pytest.mark.parametrize(
    ("given", "events", "expected"),
    [
        ({"gen_ai.input.messages": "[1]"}, [], "[1]"),
        ({}, [{"name": "gen_ai.content.prompt", "attributes": {"gen_ai.prompt": "hi"}}], "hi"),
        (
            {},
            [{"name": "gen_ai.client.inference.operation.details", "attributes": {"gen_ai.input.messages": "[2]"}}],
            "[2]",
        ),
        (
            {"gen_ai.prompt.1.content": "b", "gen_ai.prompt.0.role": "user", "gen_ai.prompt.0.content": "a"},
            [],
            [{"role": "user", "content": "a"}, {"content": "b"}],
        ),
        ({"llm.input_messages.0.message.content": "a"}, [], [{"content": "a"}]),
        ({"input.value": "v"}, [], "v"),
        ({"ai.prompt.messages": "[3]"}, [], "[3]"),
    ],
)
def test_inputs_of_every_convention(given: dict[str, Any], events: list[dict[str, Any]], expected: Any) -> None:
    span = span_of(given, events)
    found = attributes.said(span.body["attributes"], attributes.IN, span.body["events"])
    assert found == expected


def test_ids_in_base64_are_read() -> None:
    raw = "W47/95gDgQPSabYzgT/GDA==", "7uGbfsPBsXQ="
    span = {"traceId": raw[0], "spanId": raw[1], "startTimeUnixNano": "1", "attributes": [{"key": "no value"}]}
    (found,) = otlp.read_json({"resourceSpans": [{"scopeSpans": [{"spans": [span]}]}]}).spans
    assert (found.trace_id, found.id) == ("5b8efff798038103d269b633813fc60c", "eee19b7ec3c1b174")
    assert (found.ended_at, found.status) == (None, None)
