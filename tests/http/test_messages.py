"""Anthropic's messages (`POST /v1/messages`) as a second front of the gateway, as Anthropic's own client sees them,
unmodified: in front of Anthropic's wire, of OpenAI's, and of the built-in model."""

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import anthropic
import asyncpg
import pytest
from pydantic import SecretStr

from stoa.gateway import Capabilities
from stoa.settings import Price, Provider
from tests.conftest import FIRST_KEY, Running, serving
from tests.support.databases import Databases
from tests.support.doubles import ScriptedModel, answer
from tests.support.scripted_model import PIECES, ScriptedServer

TEXT = "".join(PIECES)
OPENAI, ANTHROPIC = "main/scripted", "claude/scripted"
HELLO: Any = [{"role": "user", "content": "Hello"}]
WEATHER: Any = {"name": "weather", "description": "d", "input_schema": {"type": "object", "properties": {}}}
DOT = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="


@pytest.fixture(scope="module")
async def provider() -> AsyncIterator[ScriptedServer]:
    async with ScriptedServer() as made:
        yield made


@pytest.fixture(scope="module")
async def shared(cluster: Databases, room: Path, provider: ScriptedServer) -> AsyncIterator[Running]:
    name = f"messages_{uuid4().hex}"
    secret = SecretStr("sk-of-the-operator")
    providers = (
        Provider(name="main", type="openai", base_url=provider.url, api_key=secret),
        Provider(name="claude", type="anthropic", base_url=provider.url, api_key=secret),
    )
    prices = (Price(model="*/scripted", prompt=1, completion=2),)
    model = ScriptedModel([answer("Built in.")], Capabilities(images=False, tools=False))
    async with serving(await cluster.copy(name), room / name, model, providers=providers, prices=prices) as made:
        yield made


@pytest.fixture
async def server(shared: Running, provider: ScriptedServer) -> Running:
    """The module's server, with an empty bill."""
    provider.forget()
    database = await asyncpg.connect(shared.dsn)
    await database.execute("TRUNCATE model_calls")
    await database.close()
    return shared


@pytest.fixture
async def client(server: Running) -> AsyncIterator[anthropic.AsyncAnthropic]:
    async with anthropic.AsyncAnthropic(base_url=f"{server.url}/router", api_key=FIRST_KEY, max_retries=0) as made:
        yield made


def scripted(**script: Any) -> Any:
    return [{"role": "user", "content": f"Hello [[script {json.dumps(script)}]]"}]


async def bill(server: Running) -> list[dict[str, Any]]:
    database = await asyncpg.connect(server.dsn)
    rows = await database.fetch("SELECT * FROM model_calls ORDER BY id")
    await database.close()
    return [dict(row) for row in rows]


@pytest.mark.parametrize("slug", [OPENAI, ANTHROPIC])
async def test_a_stream(server: Running, provider: ScriptedServer, client: anthropic.AsyncAnthropic, slug: str) -> None:
    kinds: list[str] = []
    async with client.messages.stream(
        model=slug, max_tokens=100, messages=scripted(reasoning=["Hm."]), system="Be brief."
    ) as stream:
        async for event in stream:
            kinds.append(event.type)
        message = await stream.get_final_message()
    assert [block.text for block in message.content if block.type == "text"] == [TEXT]
    assert [block.thinking for block in message.content if block.type == "thinking"] == ["Hm."]
    assert (message.stop_reason, message.role) == ("end_turn", "assistant")
    assert message.usage.output_tokens > 0
    assert kinds[0] == "message_start"
    assert kinds[-1] == "message_stop"
    (line,) = await bill(server)
    assert (line["model"], line["estimated"]) == (slug, False)
    assert line["completion_tokens"] == message.usage.output_tokens
    sent = provider.bodies[-1]
    assert "Be brief." in json.dumps(sent)
    if slug == ANTHROPIC:  # As it was sent, but for the name of the model.
        assert sent["max_tokens"] == 100
        assert sent["system"] == "Be brief."


@pytest.mark.parametrize("slug", [OPENAI, "stoa-extractive"])
async def test_a_whole_message(server: Running, client: anthropic.AsyncAnthropic, slug: str) -> None:
    message = await client.messages.create(model=slug, max_tokens=100, messages=HELLO)
    (block,) = message.content
    assert block.type == "text"
    assert block.text == (TEXT if slug == OPENAI else "Built in.")
    assert (message.model, message.stop_reason) == (slug, "end_turn")
    assert len(await bill(server)) == 1


async def test_a_whole_message_of_anthropics_own_wire(
    server: Running, provider: ScriptedServer, client: anthropic.AsyncAnthropic
) -> None:
    whole = {
        "id": "msg_1",
        "type": "message",
        "role": "assistant",
        "model": "real",
        "content": [{"type": "text", "text": "Hi."}],
        "stop_reason": "end_turn",
        "stop_sequence": None,
        "usage": {"input_tokens": 10, "output_tokens": 5, "cache_read_input_tokens": 2},
        "x_unknown": [1],
    }
    provider.script = lambda _: {"raw": [json.dumps(whole).encode()], "content_type": "application/json"}
    try:
        raw = await client.messages.with_raw_response.create(
            model=ANTHROPIC, max_tokens=9, messages=HELLO, extra_body={"no_such_field": 1}
        )
    finally:
        provider.script = lambda _: {}
    assert json.loads(await raw.text()) == whole
    assert provider.bodies[-1] == {"model": "scripted", "max_tokens": 9, "messages": HELLO, "no_such_field": 1}
    (line,) = await bill(server)
    assert (line["prompt_tokens"], line["completion_tokens"], line["cached_tokens"]) == (12, 5, 2)


@pytest.mark.parametrize("slug", [OPENAI, ANTHROPIC])
async def test_tools_and_pictures(provider: ScriptedServer, client: anthropic.AsyncAnthropic, slug: str) -> None:
    asked = scripted(tool={"name": "weather", "arguments": '{"city": "Rome"}'}, pieces=["So."])
    async with client.messages.stream(model=slug, max_tokens=100, messages=asked, tools=[WEATHER]) as stream:
        message = await stream.get_final_message()
    assert message.stop_reason == "tool_use"
    (use,) = [block for block in message.content if block.type == "tool_use"]
    assert (use.name, use.input) == ("weather", {"city": "Rome"})
    history: Any = [
        {"role": "user", "content": [
            {"type": "text", "text": "What?"},
            {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": DOT}},
        ]},
        {"role": "assistant", "content": [{"type": "tool_use", "id": use.id, "name": "weather", "input": {}},
                                          {"type": "tool_use", "id": "other", "name": "weather", "input": {}}]},
        {"role": "user", "content": [
            {"type": "tool_result", "tool_use_id": use.id, "content": "sun"},
            {"type": "tool_result", "tool_use_id": "other", "content": [{"type": "text", "text": "rain"}]},
        ]},
    ]  # fmt: skip
    choice: Any = {"type": "any"}
    async with client.messages.stream(
        model=slug, max_tokens=9, messages=history, tools=[WEATHER], tool_choice=choice
    ) as stream:
        await stream.until_done()
    sent = provider.bodies[-1]
    if slug == ANTHROPIC:
        assert sent["messages"] == history
        return
    assert [message["role"] for message in sent["messages"]] == ["user", "assistant", "tool", "tool"]
    assert [message["content"] for message in sent["messages"][2:]] == ["sun", "rain"]  # No result is lost.
    assert sent["tool_choice"] == "required"


async def test_errors_are_of_the_right_class(server: Running, client: anthropic.AsyncAnthropic) -> None:
    with pytest.raises(anthropic.BadRequestError) as refused:
        await client.messages.create(model=OPENAI, max_tokens=0, messages=HELLO)
    assert refused.value.body == {
        "type": "error",
        "error": {"type": "invalid_request_error", "message": "max_tokens is required: a whole number of at least 1"},
    }
    with pytest.raises(anthropic.NotFoundError):
        await client.messages.create(model="no/such", max_tokens=9, messages=HELLO)
    async with anthropic.AsyncAnthropic(base_url=f"{server.url}/router", api_key="no", max_retries=0) as other:
        with pytest.raises(anthropic.AuthenticationError):
            await other.messages.create(model=OPENAI, max_tokens=9, messages=HELLO)
    for slug in (OPENAI, ANTHROPIC):
        with pytest.raises(anthropic.RateLimitError):
            await client.messages.create(model=slug, max_tokens=9, messages=scripted(status=429, retry_after=60))
        with pytest.raises(anthropic.InternalServerError):
            await client.messages.create(model=slug, max_tokens=9, messages=scripted(status=401))
        with pytest.raises(anthropic.BadRequestError):
            await client.messages.create(model=slug, max_tokens=9, messages=scripted(status=400))
    with pytest.raises(anthropic.APIStatusError):
        async with client.messages.stream(model=OPENAI, max_tokens=9, messages=scripted(cut=3)) as stream:
            await stream.get_final_message()


async def test_a_key_as_anthropic_or_as_bearer(server: Running) -> None:
    async with anthropic.AsyncAnthropic(
        base_url=f"{server.url}/router", auth_token=FIRST_KEY, api_key=None, max_retries=0
    ) as client:
        made = await client.messages.create(model="stoa-extractive", max_tokens=9, messages=HELLO)
    assert made.content[0].type == "text"
