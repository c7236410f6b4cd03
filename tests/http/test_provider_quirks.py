"""What providers of OpenAI's wire and their look-alikes do in the field, each seen through the gateway: the right text,
the right end and the right bill."""

import base64
import json
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any
from uuid import uuid4

import anthropic
import asyncpg
import openai
import pytest
from pydantic import SecretStr

from stoa.settings import Price, Provider, Router, RouterTarget
from tests.conftest import FIRST_KEY, Running, serving
from tests.support.bills import key_of
from tests.support.databases import Databases
from tests.support.doubles import ScriptedModel
from tests.support.scripted_model import ScriptedServer

OPENAI, ANTHROPIC = "main/scripted", "claude/scripted"
HELLO: Any = [{"role": "user", "content": "Hello"}]
CHAT, MESSAGES, EMBEDDINGS = "/router/v1/chat/completions", "/router/v1/messages", "/router/v1/embeddings"
USAGE = {"prompt_tokens": 7, "completion_tokens": 3, "total_tokens": 10}


@pytest.fixture(scope="module")
async def scripted() -> AsyncIterator[ScriptedServer]:
    async with ScriptedServer() as made:
        yield made


@pytest.fixture(scope="module")
async def server(cluster: Databases, room: Path, scripted: ScriptedServer) -> AsyncIterator[Running]:
    name = f"quirks_{uuid4().hex}"
    secret = SecretStr("sk-of-the-operator")
    # Each of these providers learns what its server refuses: no test meets what another one has taught.
    names = ("main", "options", "limits", "roles", "both")
    providers = (
        *(Provider(name=one, type="openai", base_url=scripted.url, api_key=secret) for one in names),
        Provider(name="claude", type="anthropic", base_url=scripted.url, api_key=secret),
    )
    routes = (Router(slug="mixed", targets=(RouterTarget(model=OPENAI), RouterTarget(model=ANTHROPIC, order=1))),)
    prices = (Price(model="*/*", prompt=1, completion=2),)
    dsn = await cluster.copy(name)
    async with serving(dsn, room / name, ScriptedModel(), providers=providers, router=routes, prices=prices) as made:
        yield made


@pytest.fixture
def provider(scripted: ScriptedServer) -> ScriptedServer:
    scripted.forget()
    return scripted


def event(fields: dict[str, Any]) -> bytes:
    return f"data: {json.dumps(fields)}\n\n".encode()


def chunk(delta: dict[str, Any], finish: str | None = None, *, index: int = 0, **more: Any) -> bytes:
    choice = {"index": index, "delta": delta, "finish_reason": finish}
    return event({"id": "c", "object": "chat.completion.chunk", "choices": [choice], **more})


DONE = b"data: [DONE]\n\n"
ROLE = chunk({"role": "assistant", "content": ""})
COMMENT = b": OPENROUTER PROCESSING\n\n"
UPSTREAM = {"code": 502, "message": "Provider disconnected", "metadata": {"error_type": "provider_unavailable"}}
JUDGED = event({"id": "", "model": "", "choices": [], "prompt_filter_results": [{"prompt_index": 0}]})


def answers(*pieces: bytes) -> Callable[[dict[str, Any]], dict[str, Any]]:
    return lambda _: {"raw": list(pieces)}


def whole(fields: dict[str, Any]) -> Callable[[dict[str, Any]], dict[str, Any]]:
    return lambda _: {"raw": [json.dumps(fields).encode()], "content_type": "application/json"}


def message(content: str | None, **more: Any) -> dict[str, Any]:
    choice = {"index": 0, "message": {"role": "assistant", "content": content}, "finish_reason": "stop", **more}
    return {"id": "c", "object": "chat.completion", "choices": [choice], "usage": USAGE}


async def streamed(server: Running, slug: str = OPENAI, path: str = CHAT, **more: Any) -> list[dict[str, Any]]:
    body = {"model": slug, "messages": HELLO, "stream": True, "max_tokens": 100, **more}
    answered = await server.client.post(path, json=body)
    assert answered.status_code == 200, answered.text
    lines = [line.removeprefix("data: ") for line in answered.text.splitlines() if line.startswith("data: ")]
    return [{"done": True} if line == "[DONE]" else json.loads(line) for line in lines]


def said(events: list[dict[str, Any]], index: int = 0) -> str:
    choices = [choice for one in events for choice in one.get("choices", ()) if choice["index"] == index]
    return "".join(choice["delta"].get("content") or "" for choice in choices)


async def last_line(server: Running) -> dict[str, Any]:
    database = await asyncpg.connect(server.dsn)
    row = await database.fetchrow("SELECT * FROM model_calls ORDER BY id DESC LIMIT 1")
    await database.close()
    assert row is not None
    return dict(row)


def asked(provider: ScriptedServer) -> list[str]:
    return [path.rpartition("/")[2] for path in provider.paths]


# --- ends and errors ------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("beside", [{"error": UPSTREAM}, {}], ids=["beside its choice", "only a reason"])
async def test_a_choice_whose_reason_is_an_error_is_one(
    server: Running, provider: ScriptedServer, beside: dict[str, Any]
) -> None:
    """OpenRouter ends a stream so when a provider behind it fails."""
    provider.script = answers(chunk({"content": "Half"}), chunk({"content": " more"}, "error", **beside), DONE)
    events = await streamed(server)
    assert said(events) == "Half more"
    assert list(events[-1]) == ["error"]
    assert ("Provider disconnected" in events[-1]["error"]["message"]) is bool(beside)
    assert not any(choice["finish_reason"] for one in events for choice in one.get("choices", ()))
    told = await streamed(server, path=MESSAGES)
    assert told[-1]["type"] == "error"


async def test_the_clients_raise_for_it(server: Running, provider: ScriptedServer) -> None:
    provider.script = answers(chunk({"content": "Half"}), chunk({"content": ""}, "error", error=UPSTREAM), DONE)
    async with openai.AsyncOpenAI(base_url=f"{server.url}/router/v1", api_key=FIRST_KEY, max_retries=0) as client:
        stream = await client.chat.completions.create(model=OPENAI, messages=HELLO, stream=True)
        with pytest.raises(openai.APIError, match="Provider disconnected"):
            async for _ in stream:
                pass


@pytest.mark.parametrize("before", [COMMENT, JUDGED, COMMENT + JUDGED], ids=["comment", "judged", "both"])
async def test_what_says_nothing_is_no_beginning(server: Running, provider: ScriptedServer, before: bytes) -> None:
    """Comments that keep a connection open, and Azure's judgement of the prompt, come before a failure too."""
    first = [before, event({"error": UPSTREAM})]
    provider.script = lambda _: {} if provider.paths[-1].endswith("/messages") else {"raw": first}
    events = await streamed(server, "mixed")
    assert not any("error" in one for one in events)
    assert asked(provider) == ["completions", "messages"]


async def test_what_comes_before_an_answer_is_passed_on(server: Running, provider: ScriptedServer) -> None:
    provider.script = answers(COMMENT, JUDGED, ROLE, chunk({"content": "Yes."}), chunk({}, "stop"), DONE)
    events = await streamed(server)
    assert events[0]["prompt_filter_results"] == [{"prompt_index": 0}]
    assert said(events) == "Yes."
    assert events[-1] == {"done": True}


async def test_a_whole_answer_that_is_an_error_is_asked_of_another(server: Running, provider: ScriptedServer) -> None:
    broken = message("", finish_reason="error", error=UPSTREAM)
    provider.script = lambda body: {} if provider.paths[-1].endswith("/messages") else whole(broken)(body)
    answered = await server.client.post(CHAT, json={"model": "mixed", "messages": HELLO})
    assert answered.status_code == 200
    assert asked(provider) == ["completions", "messages"]
    alone = await server.client.post(CHAT, json={"model": OPENAI, "messages": HELLO})
    assert alone.status_code == 502
    assert "Provider disconnected" in alone.json()["error"]["message"]


async def test_an_empty_reason_is_none(server: Running, provider: ScriptedServer) -> None:
    """Ollama's chunks; a connection that closes after one of them has lost the rest."""
    provider.script = answers(chunk({"content": "Half"}, ""))
    events = await streamed(server)
    assert "broke off" in events[-1]["error"]["message"]


async def test_several_answers_end_with_the_last(server: Running, provider: ScriptedServer) -> None:
    first, second = chunk({"content": "A"}), chunk({"content": "B"}, index=1)
    provider.script = answers(first, second, chunk({}, "stop"))
    events = await streamed(server, n=2)
    assert (said(events), said(events, 1)) == ("A", "B")
    assert "broke off" in events[-1]["error"]["message"]
    provider.script = answers(first, second, chunk({}, "stop"), chunk({}, "stop", index=1))
    assert (await streamed(server, n=2))[-1] == {"done": True}
    line = await last_line(server)
    assert (line["estimated"], line["completion_tokens"]) == (True, 1)  # Two characters.


# --- usage ----------------------------------------------------------------------------------------------------------
async def test_usage_in_every_chunk_is_counted_once(server: Running, provider: ScriptedServer) -> None:
    """vLLM's continuous_usage_stats: the last one holds."""
    pieces = [chunk({"content": "x"}, usage={"prompt_tokens": 7, "completion_tokens": n}) for n in (1, 2)]
    provider.script = answers(*pieces, chunk({}, "stop", usage=USAGE), DONE)
    events = await streamed(server)
    assert [one.get("usage", {}).get("completion_tokens") for one in events] == [1, 2, 3, None]
    line = await last_line(server)
    assert (line["prompt_tokens"], line["completion_tokens"], line["estimated"]) == (7, 3, False)


async def test_a_thought_under_two_names_is_counted_once(server: Running, provider: ScriptedServer) -> None:
    """vLLM and OpenRouter send `reasoning` beside `reasoning_content`."""
    thought = "The user greets me and wants an answer. "
    both = {"reasoning": thought, "reasoning_content": thought}
    provider.script = answers(*[chunk(both)] * 10, chunk({"content": "Hi."}), chunk({}, "stop"), DONE)
    events = await streamed(server)
    assert events[0]["choices"][0]["delta"] == both
    assert (await last_line(server))["completion_tokens"] == (10 * len(thought) + 3 + 3) // 4
    told = await streamed(server, path=MESSAGES)
    thinking = [one["delta"]["thinking"] for one in told if one.get("delta", {}).get("type") == "thinking_delta"]
    assert "".join(thinking) == thought * 10


# --- names that one server takes and another does not ----------------------------------------------------------------
REFUSALS: dict[str, tuple[str, dict[str, Any], str, Callable[[dict[str, Any]], bool]]] = {
    "usage of streams": (
        "options/scripted",
        {},
        "Extra inputs are not permitted: stream_options",
        lambda body: "stream_options" in body,
    ),
    "max_tokens": (
        "limits/scripted",
        {"max_tokens": 50},
        "Unsupported parameter: 'max_tokens' is not supported with this model. Use 'max_completion_tokens' instead.",
        lambda body: "max_tokens" in body,
    ),
    "max_completion_tokens": (
        "both/scripted",
        {"max_tokens": None, "max_completion_tokens": 50},
        "max_completion_tokens: Extra inputs are not permitted",
        lambda body: "max_completion_tokens" in body,
    ),
    "developer": (
        "roles/scripted",
        {"messages": [{"role": "developer", "content": "Be brief."}, *HELLO]},
        "Unexpected role 'developer'; supported roles: system, user, assistant, tool",
        lambda body: body["messages"][0]["role"] == "developer",
    ),
}


@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize("case", REFUSALS)
async def test_a_name_that_a_server_does_not_take_is_given_up(
    server: Running, provider: ScriptedServer, case: str, *, stream: bool
) -> None:
    slug, fields, words, refused = REFUSALS[case]

    def script(body: dict[str, Any]) -> dict[str, Any]:
        if refused(body):
            return {"status": 400, "message": words}
        return {} if body.get("stream") else whole(message("Hi."))(body)

    provider.script = script
    body = {"model": slug, "messages": HELLO, "stream": stream, **fields}
    for _ in range(2):
        assert (await server.client.post(CHAT, json=body)).status_code == 200
    assert len(provider.bodies) <= 3, "a later request is sent at once as its provider takes it"
    sent = provider.bodies[-1]
    assert not refused(sent)
    if "tokens" in case:
        assert {sent.get("max_tokens"), sent.get("max_completion_tokens")} == {50, None}
    if case == "developer":
        assert sent["messages"][0] == {"role": "system", "content": "Be brief."}


async def test_what_the_caller_asked_for_is_not_given_up(server: Running, provider: ScriptedServer) -> None:
    words = "max_tokens is too large: 100000. This model supports at most 16384 completion tokens."
    provider.script = lambda _: {"status": 400, "message": words}
    answered = await server.client.post(CHAT, json={"model": OPENAI, "messages": HELLO, "max_tokens": 100_000})
    assert (answered.status_code, len(provider.bodies)) == (400, 1)
    assert "at most 16384" in answered.json()["error"]["message"]


# --- calls of tools -------------------------------------------------------------------------------------------------
async def test_calls_without_an_index_are_told_apart(server: Running, provider: ScriptedServer) -> None:
    """Gemini's endpoint of OpenAI's wire sends whole calls, without a number."""
    calls = [
        {"id": f"call_{city}", "type": "function", "function": {"name": "weather", "arguments": f'{{"city":"{city}"}}'}}
        for city in ("Rome", "Oslo")
    ]
    provider.script = answers(chunk({"role": "assistant", "tool_calls": calls}), chunk({}, "stop"), DONE)
    async with anthropic.AsyncAnthropic(base_url=f"{server.url}/router", api_key=FIRST_KEY, max_retries=0) as client:
        tool: Any = {"name": "weather", "input_schema": {"type": "object", "properties": {"city": {"type": "string"}}}}
        made: Any = client.messages.stream(model=OPENAI, max_tokens=50, messages=HELLO, tools=[tool])
        async with made as stream:
            answer = await stream.get_final_message()
    assert [block.input for block in answer.content if block.type == "tool_use"] == [{"city": "Rome"}, {"city": "Oslo"}]
    assert answer.stop_reason == "tool_use"


@pytest.mark.parametrize("stream", [True, False])
async def test_a_call_without_arguments_has_an_empty_object(
    server: Running, provider: ScriptedServer, *, stream: bool
) -> None:
    """Anthropic's stream holds no piece of them then; OpenAI's clients parse what they get."""
    kinds: list[dict[str, Any]] = [
        {"type": "message_start", "message": {"id": "m", "content": [], "usage": {"input_tokens": 5}}},
        {"type": "content_block_start", "index": 0, "content_block": {"type": "tool_use", "id": "t", "name": "now"}},
        {"type": "content_block_stop", "index": 0},
        {"type": "message_delta", "delta": {"stop_reason": "tool_use"}, "usage": {"output_tokens": 3}},
        {"type": "message_stop"},
    ]
    provider.script = answers(*map(event, kinds))
    tools = [{"type": "function", "function": {"name": "now", "parameters": {"type": "object", "properties": {}}}}]
    body = {"model": ANTHROPIC, "messages": HELLO, "tools": tools, "parallel_tool_calls": False, "stream": stream}
    answered = await server.client.post(CHAT, json=body)
    assert answered.status_code == 200, answered.text
    if stream:
        chunks = [json.loads(line[6:]) for line in answered.text.splitlines() if line.startswith("data: {")]
        deltas = [call for one in chunks for choice in one["choices"] for call in choice["delta"].get("tool_calls", ())]
        assert "".join(call["function"]["arguments"] for call in deltas) == "{}"
    else:
        assert answered.json()["choices"][0]["message"]["tool_calls"][0]["function"]["arguments"] == "{}"
    assert provider.bodies[-1]["tool_choice"] == {"type": "auto", "disable_parallel_tool_use": True}


# --- pictures, sound, probabilities ----------------------------------------------------------------------------------
PIXEL = base64.b64encode(
    bytes.fromhex(
        "89504e470d0a1a0a0000000d49484452000000010000000108060000001f15c4890000000d49444154789c6360606060000000050001"
        "a5f645400000000049454e44ae426082"
    )
).decode()


@pytest.mark.parametrize("kind", ["image/png", "image/PNG", "image/jpg"])
async def test_a_picture_as_data_is_sent_as_what_it_is(server: Running, provider: ScriptedServer, kind: str) -> None:
    """Anthropic refuses a type that is not the picture's, and one that has no such name."""
    picture = {"type": "image_url", "image_url": {"url": f"data:{kind};base64,{PIXEL}", "detail": "low"}}
    asking = [{"role": "user", "content": [{"type": "text", "text": "What is it?"}, picture]}]
    answered = await server.client.post(CHAT, json={"model": ANTHROPIC, "messages": asking, "logprobs": True})
    assert answered.status_code == 200, answered.text
    source = provider.bodies[-1]["messages"][0]["content"][1]["source"]
    assert source == {"type": "base64", "media_type": "image/png", "data": PIXEL}
    assert answered.headers["x-stoa-ignored"] == "logprobs"


async def test_sound_is_not_counted_as_text(server: Running, provider: ScriptedServer) -> None:
    """A limited key would otherwise be refused for a minute of speech."""
    provider.script = whole({**message(None), "choices": [{"index": 0, "message": {"audio": {"data": "AAAA"}}}]})
    sound = {"type": "input_audio", "input_audio": {"data": "A" * 500_000, "format": "wav"}}
    body = {"model": OPENAI, "messages": [{"role": "user", "content": [sound]}], "modalities": ["text", "audio"]}
    _, client = await key_of(server, spending_limit={"usd": 0.1, "period": "total"})
    async with client:
        answered = await client.post(CHAT, json={**body, "max_tokens": 10})
    assert answered.status_code == 200, answered.text
    assert answered.json()["choices"][0]["message"]["audio"] == {"data": "AAAA"}
    assert provider.bodies[-1]["modalities"] == ["text", "audio"]


async def test_probabilities_and_refusals_are_passed_on(server: Running, provider: ScriptedServer) -> None:
    logprobs = {"content": [{"token": "No", "logprob": -0.1, "bytes": [78, 111], "top_logprobs": []}], "refusal": None}
    choice = {"index": 0, "delta": {"content": None, "refusal": "No."}, "logprobs": logprobs, "finish_reason": None}
    provider.script = answers(event({"id": "c", "choices": [choice]}), chunk({}, "stop"), DONE)
    events = await streamed(server, logprobs=True, top_logprobs=0)
    assert events[0]["choices"] == [choice]
    assert (provider.bodies[-1]["logprobs"], provider.bodies[-1]["top_logprobs"]) == (True, 0)
    told = await streamed(server, path=MESSAGES)
    assert [one["delta"]["stop_reason"] for one in told if one.get("type") == "message_delta"] == ["refusal"]


# --- embeddings -----------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("vector", [[0.5, 0.25], base64.b64encode(b"\0\0\0?\0\0\x80>").decode()])
async def test_vectors_come_as_their_provider_gives_them(
    server: Running, provider: ScriptedServer, vector: object
) -> None:
    """The client asks for Base64; not every server knows it. Gemini's counts nothing."""
    provider.script = whole({"object": "list", "data": [{"object": "embedding", "index": 0, "embedding": vector}]})
    async with openai.AsyncOpenAI(base_url=f"{server.url}/router/v1", api_key=FIRST_KEY, max_retries=0) as client:
        made = await client.embeddings.create(model="main/text-embedding-x", input="Hello you", dimensions=2)
    assert made.data[0].embedding == [0.5, 0.25]
    assert (provider.bodies[-1]["encoding_format"], provider.bodies[-1]["dimensions"]) == ("base64", 2)
    line = await last_line(server)
    assert (line["prompt_tokens"], line["completion_tokens"], line["estimated"]) == (3, 0, True)


# --- Bedrock's way of Anthropic's wire --------------------------------------------------------------------------------
async def test_figures_in_the_end_mark_are_passed_on(server: Running, provider: ScriptedServer) -> None:
    kinds: list[dict[str, Any]] = [
        {"type": "message_start", "message": {"id": "m", "content": [], "usage": {"input_tokens": 5}}},
        {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}},
        {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "Hi."}},
        {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": {"output_tokens": 3}},
        {"type": "message_stop", "amazon-bedrock-invocationMetrics": {"inputTokenCount": 5, "outputTokenCount": 3}},
    ]
    provider.script = answers(*map(event, kinds))
    assert await streamed(server, ANTHROPIC, MESSAGES) == kinds
    line = await last_line(server)
    assert (line["prompt_tokens"], line["completion_tokens"], line["estimated"]) == (5, 3, False)
