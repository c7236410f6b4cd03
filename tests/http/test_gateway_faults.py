"""How gateways break in the field, tried on ours: streams that end too soon, errors inside them, what a provider says
of when to come again, prompts of an odd form, and clients that bring headers of their own."""

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import anthropic
import asyncpg
import httpx
import openai
import pytest
from pydantic import SecretStr

from stoa.settings import Price, Provider, Router, RouterTarget
from tests.conftest import FIRST_KEY, Running, serving
from tests.support.bills import key_of
from tests.support.databases import Databases
from tests.support.doubles import ScriptedModel
from tests.support.scripted_model import PIECES, ScriptedServer

OPENAI, ANTHROPIC = "main/scripted", "claude/scripted"
HELLO: Any = [{"role": "user", "content": "Hello"}]
CHAT, MESSAGES = "/router/v1/chat/completions", "/router/v1/messages"


@pytest.fixture(scope="module")
async def scripted() -> AsyncIterator[ScriptedServer]:
    async with ScriptedServer() as made:
        yield made


@pytest.fixture(scope="module")
async def server(cluster: Databases, room: Path, scripted: ScriptedServer) -> AsyncIterator[Running]:
    name = f"faults_{uuid4().hex}"
    secret = SecretStr("sk-of-the-operator")
    providers = (
        Provider(name="main", type="openai", base_url=scripted.url, api_key=secret),
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
    name = f"event: {fields['type']}\n" if "type" in fields else ""
    return f"{name}data: {json.dumps(fields)}\n\n".encode()


def chunk(delta: dict[str, Any], finish: str | None = None) -> bytes:
    return event({"id": "c", "choices": [{"index": 0, "delta": delta, "finish_reason": finish}]})


START = event({"type": "message_start", "message": {"id": "m", "content": [], "usage": {"input_tokens": 5}}})
BLOCK = event({"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}})
HALF = event({"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "Half"}})
END = event({"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": {"output_tokens": 3}})
BEGUN: dict[str, list[bytes]] = {OPENAI: [chunk({"content": "Half"})], ANTHROPIC: [START, BLOCK, HALF]}
FINISHED = {OPENAI: [chunk({}, "stop")], ANTHROPIC: [END]}
BROKEN: dict[str, Any] = {
    OPENAI: event({"error": {"message": "it broke", "type": "server_error"}}),
    ANTHROPIC: event({"type": "error", "error": {"type": "api_error", "message": "it broke"}}),
}


async def streamed(server: Running, path: str, slug: str) -> list[dict[str, Any]]:
    body = {"model": slug, "messages": HELLO, "stream": True, "max_tokens": 100}
    answered = await server.client.post(path, json=body)
    assert answered.status_code == 200, answered.text
    lines = [line.removeprefix("data: ") for line in answered.text.splitlines() if line.startswith("data: ")]
    return [{"done": True} if line == "[DONE]" else json.loads(line) for line in lines]


async def last_line(server: Running) -> dict[str, Any]:
    database = await asyncpg.connect(server.dsn)
    row = await database.fetchrow("SELECT * FROM model_calls ORDER BY id DESC LIMIT 1")
    await database.close()
    assert row is not None
    return dict(row)


# --- streams that end too soon --------------------------------------------------------------------------------------
@pytest.mark.parametrize("path", [CHAT, MESSAGES])
@pytest.mark.parametrize("slug", [OPENAI, ANTHROPIC])
async def test_a_stream_that_ends_without_an_end_is_an_error(
    server: Running, provider: ScriptedServer, path: str, slug: str
) -> None:
    """Its connection is closed in good order, so nothing but the missing end says that half an answer is missing."""
    provider.script = lambda _: {"raw": BEGUN[slug]}
    events = await streamed(server, path, slug)
    assert "Half" in json.dumps(events)
    assert "broke off" in events[-1]["error"]["message"]
    assert not any("done" in one or one.get("type") in ("message_delta", "message_stop") for one in events)
    line = await last_line(server)
    assert (line["model"], line["estimated"], line["completion_tokens"]) == (slug, True, 1)


@pytest.mark.parametrize("slug", [OPENAI, ANTHROPIC])
async def test_an_end_mark_may_be_missing_where_the_reason_has_come(
    server: Running, provider: ScriptedServer, slug: str
) -> None:
    provider.script = lambda _: {"raw": [*BEGUN[slug], *FINISHED[slug]]}
    events = await streamed(server, CHAT if slug == OPENAI else MESSAGES, slug)
    assert not any("error" in one for one in events)
    assert events[-1] == ({"done": True} if slug == OPENAI else {"type": "message_stop"})


@pytest.mark.parametrize("path", [CHAT, MESSAGES])
@pytest.mark.parametrize("slug", [OPENAI, ANTHROPIC])
@pytest.mark.parametrize("together", [True, False])
async def test_an_error_inside_a_stream_is_told_once_in_the_callers_words(
    server: Running, provider: ScriptedServer, path: str, slug: str, *, together: bool
) -> None:
    pieces = [*BEGUN[slug], BROKEN[slug]]
    provider.script = lambda _: {"raw": [b"".join(pieces)] if together else pieces}
    events = await streamed(server, path, slug)
    assert "Half" in json.dumps(events)
    errors = [one for one in events if "error" in one]
    assert len(errors) == 1
    assert events[-1] == errors[0]
    assert "it broke" in errors[0]["error"]["message"]
    assert errors[0].get("type") == ("error" if path == MESSAGES else None)


async def test_an_error_before_the_first_token_falls_back_to_the_next_target(
    server: Running, provider: ScriptedServer
) -> None:
    """A chunk that names the role alone says nothing yet."""

    def script(body: dict[str, Any]) -> dict[str, Any]:
        first = "max_tokens" in body and "system" not in body and not provider.paths[-1].endswith("/messages")
        return {"raw": [chunk({"role": "assistant", "content": ""}) + BROKEN[OPENAI]]} if first else {}

    provider.script = script
    events = await streamed(server, CHAT, "mixed")
    assert not any("error" in one for one in events)
    assert [path.rpartition("/")[2] for path in provider.paths] == ["completions", "messages"]


async def test_the_clients_raise_for_half_an_answer(server: Running, provider: ScriptedServer) -> None:
    provider.script = lambda _: {"raw": BEGUN[OPENAI]}
    async with openai.AsyncOpenAI(base_url=f"{server.url}/router/v1", api_key=FIRST_KEY, max_retries=0) as client:
        stream = await client.chat.completions.create(model=OPENAI, messages=HELLO, stream=True)
        with pytest.raises(openai.APIError, match="broke off"):
            async for _ in stream:
                pass
    provider.script = lambda _: {"raw": BEGUN[ANTHROPIC]}
    async with anthropic.AsyncAnthropic(base_url=f"{server.url}/router", api_key=FIRST_KEY, max_retries=0) as other:
        with pytest.raises(anthropic.APIError, match="broke off"):
            async for _ in await other.messages.create(model=ANTHROPIC, max_tokens=10, messages=HELLO, stream=True):
                pass


# --- refusals -------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("path", [CHAT, MESSAGES])
@pytest.mark.parametrize(("status", "seconds", "expected"), [(429, "7.2", (429, "8")), (503, "9", (502, "9"))])
async def test_when_to_come_again_is_passed_on(
    server: Running, provider: ScriptedServer, path: str, status: int, seconds: str, expected: tuple[int, str]
) -> None:
    provider.script = lambda _: {"status": status, "retry_after": seconds}
    answered = await server.client.post(path, json={"model": OPENAI, "messages": HELLO, "max_tokens": 5})
    assert (answered.status_code, answered.headers["retry-after"]) == expected
    if path == MESSAGES:
        kind = answered.json()["error"]["type"]
        assert kind == ("rate_limit_error" if status == 429 else "overloaded_error")


@pytest.mark.parametrize("slug", [OPENAI, ANTHROPIC])
async def test_a_prompt_that_is_too_long_is_the_callers_fault(
    server: Running, provider: ScriptedServer, slug: str
) -> None:
    provider.script = lambda _: {
        "status": 400,
        "message": "prompt is too long: 215000 tokens > 200000 maximum. This model's maximum context length is 8192.",
    }
    answered = await server.client.post(CHAT, json={"model": slug, "messages": HELLO})
    assert (answered.status_code, answered.json()["error"]["code"]) == (400, "context_length_exceeded")


# --- Anthropic's clients --------------------------------------------------------------------------------------------
async def test_anthropic_betas_are_sent_to_anthropic_providers_only(server: Running, provider: ScriptedServer) -> None:
    for slug in (ANTHROPIC, OPENAI):
        await server.client.post(
            f"{MESSAGES}?beta=true",
            json={"model": slug, "messages": HELLO, "max_tokens": 5, "stream": True},
            headers={"anthropic-beta": "context-1m-2025-08-07,interleaved-thinking-2025-05-14"},
        )
    assert [sent.get("anthropic-beta") for sent in provider.headers] == [
        "context-1m-2025-08-07,interleaved-thinking-2025-05-14",
        None,
    ]


async def test_tokens_are_counted(server: Running, provider: ScriptedServer) -> None:
    provider.script = lambda _: {"raw": [b'{"input_tokens": 14}'], "content_type": "application/json"}
    async with anthropic.AsyncAnthropic(base_url=f"{server.url}/router", api_key=FIRST_KEY, max_retries=0) as client:
        counted = await client.messages.count_tokens(model=ANTHROPIC, messages=HELLO, system="Be brief.")
        assert counted.input_tokens == 14
        assert provider.bodies[-1] == {"model": "scripted", "messages": HELLO, "system": "Be brief."}
        estimated = await client.messages.count_tokens(model=OPENAI, messages=HELLO, system="Be brief.")
        assert 1 < estimated.input_tokens < 10
        with pytest.raises(anthropic.NotFoundError):
            await client.messages.count_tokens(model="no/such", messages=HELLO)
    body = {"model": OPENAI, "messages": HELLO}
    refused = await server.client.post(
        "/router/v1/messages/count_tokens", json=body, headers={"Authorization": "Bearer no"}
    )
    assert (refused.status_code, refused.json()["error"]["type"]) == (401, "authentication_error")


# --- embeddings -----------------------------------------------------------------------------------------------------
async def test_prompts_that_are_tokens_are_counted_as_such(server: Running, provider: ScriptedServer) -> None:
    """A key with a limit would otherwise be let through with whatever it sends."""
    body = {"model": "main/text-embedding-x", "input": [[7] * 1_000] * 200}
    _, client = await key_of(server, spending_limit={"usd": 0.1, "period": "total"})
    async with client:
        refused = await client.post("/router/v1/embeddings", json=body)
        assert (refused.status_code, refused.json()["error"]["code"]) == (429, "spending_limit_reached")
    assert provider.bodies == []
    answer = {"object": "list", "data": [{"embedding": [1.0], "index": 0}], "usage": {"prompt_tokens": 200_000}}
    provider.script = lambda _: {"raw": [json.dumps(answer).encode()], "content_type": "application/json"}
    assert (await server.client.post("/router/v1/embeddings", json=body)).status_code == 200  # Over 150,000 values.


# --- streams that can be resumed, as a key asks ---------------------------------------------------------------------
async def test_a_keys_streams_can_be_resumed(server: Running, provider: ScriptedServer) -> None:
    key_id, client = await key_of(server, resumable_streams=True)
    body = {"model": OPENAI, "messages": HELLO, "stream": True}
    async with client:

        async def numbered(**more: Any) -> bool:
            answered = await client.post(CHAT, **{"json": body, **more})
            assert answered.status_code == 200, answered.text
            assert ("stoa-run-id" in answered.headers) == answered.text.startswith("id: 1\n")
            return "stoa-run-id" in answered.headers

        assert await numbered()
        assert await numbered(headers={"Idempotency-Key": uuid4().hex})
        assert not await numbered(headers={"Stoa-Resumable": "false"})
        assert not await numbered(json={"model": "stoa-extractive", "messages": HELLO})
        assert not await numbered(json={**body, "n": 2})  # What cannot be resumed is a plain stream.
        whole = await client.post(CHAT, json=body)
        identity = json.loads(whole.text.splitlines()[1].removeprefix("data: "))["id"]
        again = await client.get(f"{CHAT}/{identity}", headers={"Last-Event-ID": "1"})
        assert whole.text.endswith(again.text)
        assert again.text.startswith("id: 2\n")
        assert (await client.post(CHAT, content=b"{", headers={"Content-Type": "application/json"})).status_code == 422
        changed = await server.call("PATCH", f"/v1/access-keys/{key_id}", json={"resumable_streams": None})
        assert changed["data"]["resumable_streams"] is False
        assert not await numbered()
    assert not (await plain(server)).headers.get("stoa-run-id")


RESUMABLE = {"Stoa-Resumable": "true"}


async def resumable(server: Running, **more: Any) -> httpx.Response:
    body = {"model": "mixed", "messages": HELLO, "stream": True, **more}
    answered = await server.client.post(CHAT, json=body, headers=RESUMABLE)
    assert answered.status_code == 200, answered.text
    return answered


def events_of(text: str) -> list[dict[str, Any]]:
    lines = [line.removeprefix("data: ") for line in text.splitlines() if line.startswith("data: {")]
    return [json.loads(line) for line in lines]


def said(events: list[dict[str, Any]]) -> str:
    choices = [choice for one in events for choice in one.get("choices", ())]
    return "".join(choice["delta"].get("content") or "" for choice in choices)


async def test_a_resumable_stream_falls_back_before_its_first_word(server: Running, provider: ScriptedServer) -> None:
    """As a plain call does; each provider is told in its own words how to answer."""
    provider.script = lambda _: {} if provider.paths[-1].endswith("/messages") else {"status": 503}
    answered = await resumable(server, temperature=1.5, stop=["END"])
    assert said(events_of(answered.text)) == "".join(PIECES)
    assert [path.rpartition("/")[2] for path in provider.paths] == ["completions", "messages"]
    first, second = provider.bodies
    assert (first["temperature"], first["stop"]) == (1.5, ["END"])
    assert (second["temperature"], second["stop_sequences"]) == (1.0, ["END"])
    line = await last_line(server)
    run_id = answered.headers["stoa-run-id"]
    assert (line["model"], str(line["run_id"]), line["estimated"]) == (ANTHROPIC, run_id, False)
    assert float(line["cost_usd"]) == (line["prompt_tokens"] + 2 * line["completion_tokens"]) / 1e6


async def test_a_resumable_stream_asks_nobody_else_after_its_first_word(
    server: Running, provider: ScriptedServer
) -> None:
    provider.script = lambda _: {"raw": BEGUN[OPENAI]}
    answered = await resumable(server)
    events = events_of(answered.text)
    assert said(events) == "Half"
    assert "broke off" in events[-1]["error"]["message"]
    assert [path.rpartition("/")[2] for path in provider.paths] == ["completions"]
    again = await server.client.get(f"{CHAT}/{events[0]['id']}")
    assert again.text == answered.text
    line = await last_line(server)
    assert (line["model"], line["estimated"], line["completion_tokens"]) == (OPENAI, True, 1)


@pytest.mark.parametrize(("status", "asked"), [(400, 1), (401, 2)])
async def test_a_resumable_stream_that_nobody_answers_ends_in_a_refusal(
    server: Running, provider: ScriptedServer, status: int, asked: int
) -> None:
    """What is wrong with the request is asked of nobody else; what is wrong with an account is."""
    provider.script = lambda _: {"status": status, "message": "no such thing"}
    events = events_of((await resumable(server)).text)
    assert "no such thing" in events[-1]["error"]["message"]
    assert len(provider.paths) == asked


async def test_a_canceled_resumable_stream_is_on_the_bill_of_who_answered(
    server: Running, provider: ScriptedServer
) -> None:
    def script(_: dict[str, Any]) -> dict[str, Any]:
        messages = provider.paths[-1].endswith("/messages")
        return {"raw": [START, BLOCK, HALF, 30.0]} if messages else {"status": 503}

    provider.script = script
    body = {"model": "mixed", "messages": HELLO, "stream": True}
    async with server.client.stream("POST", CHAT, json=body, headers=RESUMABLE) as answered:
        run_id = answered.headers["stoa-run-id"]
        text = ""
        async for piece in answered.aiter_text():
            if "Half" in piece and "Half" not in text:
                await server.call("POST", f"/v1/runs/{run_id}/cancel")
            text += piece
    assert events_of(text)[-1]["error"]["code"] == "canceled"
    line = await last_line(server)
    assert (line["model"], str(line["run_id"]), line["estimated"]) == (ANTHROPIC, run_id, True)


async def plain(server: Running) -> httpx.Response:
    return await server.client.post(CHAT, json={"model": OPENAI, "messages": HELLO, "stream": True})
