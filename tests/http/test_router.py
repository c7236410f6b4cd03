"""The AI gateway as OpenAI's own client sees it, unmodified: against a scripted provider of either wire."""

import asyncio
import base64
import json
import struct
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from datetime import date
from pathlib import Path
from typing import Any
from uuid import uuid4

import asyncpg
import httpx
import openai
import pytest
from pydantic import SecretStr

from stoa.access.rules import digest, new_secret
from stoa.gateway import Capabilities
from stoa.settings import ModelFacts, Price, Provider, Router, RouterTarget
from tests.conftest import FIRST_KEY, Running, serving
from tests.support.bills import key_of, usage
from tests.support.databases import Databases
from tests.support.doubles import ScriptedModel, answer
from tests.support.scripted_model import PIECES, ScriptedServer

TEXT = "".join(PIECES)
HELLO: Any = [{"role": "user", "content": "Hello"}]
OPENAI, ANTHROPIC = "main/scripted", "claude/scripted"
READ = {"source": "https://example.com/pricing", "as_of": date(2026, 11, 1)}
PRICES = (
    Price(model="main/*", prompt=1, completion=2),
    Price(model="claude/*", prompt=3, completion=4, cached=0.3, **READ),
)
FACTS = (ModelFacts(model="claude/*", context_tokens=12_345, output_tokens=678, images=False, **READ),)


@pytest.fixture(scope="module")
async def provider() -> AsyncIterator[ScriptedServer]:
    async with ScriptedServer() as made:
        yield made


@pytest.fixture(scope="module")
async def second() -> AsyncIterator[ScriptedServer]:
    async with ScriptedServer() as made:
        yield made


@asynccontextmanager
async def routing(dsn: str, room: Path, provider: ScriptedServer, second: ScriptedServer) -> AsyncGenerator[Running]:
    """A server with three providers, and two routes over them."""
    secret = SecretStr("sk-of-the-operator")
    providers = (
        Provider(name="main", type="openai", base_url=provider.url, api_key=secret),
        Provider(name="claude", type="anthropic", base_url=provider.url, api_key=secret),
        Provider(name="spare", type="openai", base_url=second.url, api_key=secret),
    )
    routes = (
        Router(slug="safe", targets=(RouterTarget(model=OPENAI), RouterTarget(model="spare/scripted", order=1))),
        Router(slug="mixed", targets=(RouterTarget(model=OPENAI), RouterTarget(model=ANTHROPIC, order=1))),
    )
    model = ScriptedModel([answer("Built in.")], Capabilities(images=False, tools=False))
    async with serving(dsn, room, model, providers=providers, router=routes, prices=PRICES, models=FACTS) as server:
        yield server


@pytest.fixture(scope="module")
async def shared(
    cluster: Databases, room: Path, provider: ScriptedServer, second: ScriptedServer
) -> AsyncIterator[Running]:
    name = f"router_{uuid4().hex}"
    async with routing(await cluster.copy(name), room / name, provider, second) as server:
        yield server


@pytest.fixture
async def router(shared: Running, provider: ScriptedServer, second: ScriptedServer) -> AsyncIterator[Running]:
    """The module's server, whose providers answer again, with an empty bill."""
    database = await asyncpg.connect(shared.dsn)
    await database.execute("TRUNCATE model_calls")
    await database.close()
    for one in (provider, second):
        one.forget()
    yield shared
    for one in (provider, second):
        one.forget()
    for slug in (OPENAI, ANTHROPIC, "spare/scripted"):  # Closes the circuits of those that failed.
        body = {"model": slug, "messages": HELLO, "stream": True}
        assert (await shared.client.post("/router/v1/chat/completions", json=body)).status_code == 200


@pytest.fixture
async def alone(dsn: str, tmp_path: Path, provider: ScriptedServer, second: ScriptedServer) -> AsyncIterator[Running]:
    """A server of the test's own."""
    for one in (provider, second):
        one.forget()
    async with routing(dsn, tmp_path, provider, second) as server:
        yield server


def client_of(server: Running, key: str = FIRST_KEY, **options: Any) -> openai.AsyncOpenAI:
    return openai.AsyncOpenAI(base_url=f"{server.url}/router/v1", api_key=key, **{"max_retries": 0, **options})


@pytest.fixture
async def client(router: Running) -> AsyncIterator[openai.AsyncOpenAI]:
    async with client_of(router) as made:
        yield made


def scripted(**script: Any) -> Any:
    return [{"role": "user", "content": f"Hello [[script {json.dumps(script)}]]"}]


async def lines(server: Running) -> list[dict[str, Any]]:
    """Of the bill."""
    database = await asyncpg.connect(server.dsn)
    rows = await database.fetch("SELECT * FROM model_calls ORDER BY id")
    await database.close()
    return [dict(row) for row in rows]


async def state(server: ScriptedServer, name: str, *wanted: str) -> dict[str, Any]:
    async with asyncio.timeout(10):
        while server.log.get(name, {}).get("state") not in wanted:
            await asyncio.sleep(0.01)
    return server.log[name]


async def line_count(server: Running, count: int) -> list[dict[str, Any]]:
    async with asyncio.timeout(10):
        while len(found := await lines(server)) < count:
            await asyncio.sleep(0.01)
    return found


# --- chat -----------------------------------------------------------------------------------------------------------
WHOLE = {
    "id": "chatcmpl-1",
    "object": "chat.completion",
    "created": 1,
    "model": "the-real-name",
    "choices": [{"index": 0, "message": {"role": "assistant", "content": "Hi."}, "finish_reason": "stop", "odd": 1}],
    "usage": {"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 15},
    "x_unknown": {"deep": [1, None]},
}


async def test_an_answer_that_is_not_streamed(
    router: Running, provider: ScriptedServer, client: openai.AsyncOpenAI
) -> None:
    provider.script = lambda _: {"raw": [json.dumps(WHOLE).encode()], "content_type": "application/json"}
    extra = {"no_such_field": {"deep": [1]}, "temperature": 0.25, "user": "nobody-else"}
    raw = await client.chat.completions.with_raw_response.create(model=OPENAI, messages=HELLO, extra_body=extra)
    assert raw.http_response.json() == WHOLE  # Byte for byte: nothing is added, taken or renamed.
    assert raw.parse().choices[0].message.content == "Hi."
    assert provider.bodies[-1] == {"model": "scripted", "messages": HELLO, **extra}
    assert provider.headers[-1]["authorization"] == "Bearer sk-of-the-operator"
    assert raw.headers["x-stoa-cost-usd"] == "0.000020000"
    assert (raw.headers["x-stoa-model"], raw.headers["x-request-id"] != "") == (OPENAI, True)
    (line,) = await lines(router)
    assert (line["kind"], line["model"], line["prompt_tokens"], line["completion_tokens"]) == (
        "gateway",
        OPENAI,
        10,
        5,
    )
    assert (line["run_id"], line["conversation_id"], line["estimated"]) == (None, None, False)
    (summed,) = await usage(router, "kind=gateway&group_by=model&user_id=nobody-else")
    assert (summed["calls"], summed["cost_usd"]) == (1, 0.00002)


@pytest.mark.parametrize("slug", [OPENAI, ANTHROPIC])
async def test_a_stream(router: Running, provider: ScriptedServer, client: openai.AsyncOpenAI, slug: str) -> None:
    stream = await client.chat.completions.create(model=slug, messages=HELLO, stream=True, user="ada")
    chunks = [chunk async for chunk in stream]
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks) == TEXT
    assert chunks[-1].choices[0].finish_reason == "stop"
    assert all(chunk.usage is None for chunk in chunks)
    if slug == OPENAI:
        assert provider.bodies[-1]["stream_options"] == {"include_usage": True}
    (line,) = await lines(router)  # The end of a stream waits for its line.
    assert (line["model"], line["estimated"], line["user_id"]) == (slug, False, "ada")
    assert line["completion_tokens"] > 0
    assert line["cost_usd"] > 0


@pytest.mark.parametrize("slug", [OPENAI, ANTHROPIC, "stoa-extractive"])
async def test_usage_of_a_stream_is_sent_to_who_asks(client: openai.AsyncOpenAI, slug: str) -> None:
    options: Any = {"include_usage": True}
    stream = await client.chat.completions.create(model=slug, messages=HELLO, stream=True, stream_options=options)
    chunks = [chunk async for chunk in stream]
    assert chunks[-1].choices == []
    assert chunks[-1].usage is not None
    assert chunks[-1].usage.prompt_tokens >= 0
    assert sum(chunk.usage is not None for chunk in chunks) == 1


async def raw_stream(server: Running, messages: Any, **fields: Any) -> bytes:
    body = {"model": OPENAI, "messages": messages, "stream": True, **fields}
    return (await server.client.post("/router/v1/chat/completions", json=body)).content


def event(delta: dict[str, Any], **more: Any) -> bytes:
    choice = {"index": 0, "delta": delta, "finish_reason": None}
    return b"data: " + json.dumps({"id": "c", "choices": [choice], "odd": [1], **more}).encode() + b"\n\n"


async def test_chunks_are_relayed_as_they_are(router: Running, provider: ScriptedServer) -> None:
    """However the bytes are cut: comments, unknown fields, both line ends; the usage chunk alone is taken out."""
    counted = b'data: {"choices": [], "usage": {"prompt_tokens": 3, "completion_tokens": 4}}\n\n'
    kept = [
        b": a comment\n\n",
        event({"content": "\u00e4\ud83d\ude00"}),
        event({"content": "b"}).replace(b"\n", b"\r\n"),
    ]
    sent = b"".join([*kept, counted, event({}, usage=None), b"data: [DONE]\n\n"])
    expected = b"".join([*kept, event({}, usage=None), b"data: [DONE]\n\n"])
    for size in (1, 7, 64, len(sent)):
        pieces = [sent[start : start + size] for start in range(0, len(sent), size)]
        provider.script = lambda _, pieces=pieces: {"raw": pieces}
        assert await raw_stream(router, HELLO) == expected
        line = (await lines(router))[-1]
        assert (line["prompt_tokens"], line["completion_tokens"], line["estimated"]) == (3, 4, False)
    provider.script = lambda _: {"raw": [sent]}
    assert await raw_stream(router, HELLO, stream_options={"include_usage": True}) == sent


@pytest.mark.parametrize("slug", [OPENAI, ANTHROPIC])
@pytest.mark.parametrize("streamed", [True, False])
async def test_tools(provider: ScriptedServer, client: openai.AsyncOpenAI, slug: str, *, streamed: bool) -> None:
    if slug == OPENAI and not streamed:
        pytest.skip("the scripted server streams; bytes of an answer are relayed as they are")
    function = {
        "name": "look",
        "description": "d",
        "parameters": {"type": "object", "properties": {"q": {"type": "string"}}},
    }
    call = {"tool": {"name": "look", "arguments": '{"q": "pelican"}'}}
    options: Any = {"model": slug, "messages": scripted(**call), "tools": [{"type": "function", "function": function}]}
    if streamed:
        async with client.chat.completions.stream(**options) as stream:
            found = await stream.get_final_completion()
    else:
        found = await client.chat.completions.create(**options)
    (made,) = found.choices[0].message.tool_calls or ()
    assert found.choices[0].finish_reason == "tool_calls"
    assert (made.type, made.function.name) == ("function", "look")
    assert json.loads(made.function.arguments) == {"q": "pelican"}
    # What the tool found goes back.
    called = {"name": made.function.name, "arguments": made.function.arguments}
    history: Any = [
        *options["messages"],
        {"role": "assistant", "tool_calls": [{"id": made.id, "type": "function", "function": called}]},
        {"role": "tool", "tool_call_id": made.id, "content": "At the lake."},
        {"role": "user", "content": '[[script {"id": "after"}]]'},
    ]
    stream_of = await client.chat.completions.create(model=slug, messages=history, tools=options["tools"], stream=True)
    assert "".join([chunk.choices[0].delta.content or "" async for chunk in stream_of if chunk.choices]) == TEXT
    if slug == ANTHROPIC:
        sent = provider.bodies[-1]["messages"]
        assert sent[1]["content"][0]["input"] == {"q": "pelican"}
        assert sent[2]["content"][0]["content"] == "At the lake."
        assert sent[1]["content"][0]["id"] == sent[2]["content"][0]["tool_use_id"]


async def test_a_translated_request_says_what_was_asked(provider: ScriptedServer, client: openai.AsyncOpenAI) -> None:
    picture = base64.b64encode(PNG).decode()
    raw = await client.chat.completions.with_raw_response.create(
        model=ANTHROPIC,
        messages=[
            {"role": "system", "content": "Be brief."},
            {
                "role": "user",
                "content": [
                    {"type": "text", "text": "What is this?"},
                    {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{picture}"}},
                ],
            },
        ],
        max_tokens=100,
        temperature=1.7,
        stop=["END"],
        seed=7,
        user="ada",
        response_format={
            "type": "json_schema",
            "json_schema": {"name": "x", "schema": {"type": "object", "properties": {"a": {"type": "string"}}}},
        },
    )
    sent = provider.bodies[-1]
    assert sent["system"].startswith("Be brief.")
    assert '"a"' in sent["system"]
    assert (sent["max_tokens"], sent["temperature"], sent["stop_sequences"]) == (100, 1.0, ["END"])
    assert sent["metadata"] == {"user_id": "ada"}
    assert [part["type"] for part in sent["messages"][0]["content"]] == ["text", "image"]
    assert raw.headers["x-stoa-ignored"] == "seed"
    found = raw.parse()
    assert found.choices[0].message.content == TEXT
    assert found.model == ANTHROPIC
    assert found.usage is not None
    assert found.usage.total_tokens == found.usage.prompt_tokens + found.usage.completion_tokens > 0


PNG = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNkYPhfDwAChwGA60e6kgAAAABJRU5ErkJggg=="
)


async def test_thoughts_are_reasoning_content(client: openai.AsyncOpenAI) -> None:
    stream = await client.chat.completions.create(
        model=ANTHROPIC, messages=scripted(reasoning=["Let me ", "see."]), stream=True
    )
    thoughts = [getattr(chunk.choices[0].delta, "reasoning_content", None) or "" async for chunk in stream]
    assert "".join(thoughts) == "Let me see."


async def test_the_built_in_model(router: Running, client: openai.AsyncOpenAI) -> None:
    found = await client.chat.completions.create(model="stoa-extractive", messages=HELLO)
    assert found.choices[0].message.content == "Built in."
    assert (await lines(router))[0]["cost_usd"] == 0


# --- models and embeddings ------------------------------------------------------------------------------------------
async def test_models(client: openai.AsyncOpenAI) -> None:
    slugs = [model.id async for model in client.models.list()]
    assert {"safe", "mixed", OPENAI, ANTHROPIC, "stoa-extractive", "stoa-embeddings"} <= set(slugs)
    assert (await client.models.retrieve(OPENAI)).owned_by == "main"
    assert (await client.models.retrieve("safe")).id == "safe"
    with pytest.raises(openai.NotFoundError):
        await client.models.retrieve("none/such")


async def test_embeddings_of_the_local_embedder(router: Running, client: openai.AsyncOpenAI) -> None:
    packed = await client.embeddings.create(model="stoa-embeddings", input=["a lake", "a pelican"])
    plain = await client.embeddings.create(
        model="stoa-embeddings", input=["a lake", "a pelican"], encoding_format="float"
    )
    assert [len(one.embedding) for one in packed.data] == [384, 384]
    for one, other in zip(packed.data, plain.data, strict=True):
        assert one.embedding == pytest.approx(other.embedding, abs=1e-6)
    body = {"model": "stoa-embeddings", "input": "a lake", "encoding_format": "base64"}
    raw = (await router.client.post("/router/v1/embeddings", json=body)).json()["data"][0]["embedding"]
    assert len(struct.unpack("<384f", base64.b64decode(raw))) == 384
    assert [line["model"] for line in await lines(router)] == ["stoa-embeddings"] * 3
    for bad in ({"input": [[1, 2]]}, {"input": []}, {"input": "x", "dimensions": 3}, {"encoding_format": "int8"}):
        with pytest.raises(openai.UnprocessableEntityError):
            await client.post("/embeddings", cast_to=object, body={**body, **bad})


async def test_embeddings_of_a_provider(router: Running, provider: ScriptedServer, client: openai.AsyncOpenAI) -> None:
    given = {
        "object": "list",
        "data": [{"object": "embedding", "index": 0, "embedding": [0.5, 0.25]}],
        "model": "m",
        "usage": {"prompt_tokens": 2, "total_tokens": 2},
    }
    provider.script = lambda _: {"raw": [json.dumps(given).encode()], "content_type": "application/json"}
    found = await client.embeddings.create(model="main/embed-x", input="hi", encoding_format="float", dimensions=2)
    assert found.data[0].embedding == [0.5, 0.25]
    assert (provider.paths[-1], provider.bodies[-1]["model"]) == ("/v1/embeddings", "embed-x")
    assert [(line["model"], line["prompt_tokens"]) for line in await lines(router)] == [("main/embed-x", 2)]
    for slug in ("claude/embed-x", "none/embed-x", "embed-x"):
        with pytest.raises(openai.NotFoundError):
            await client.embeddings.create(model=slug, input="hi")


# --- refusals -------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("streamed", [True, False])
@pytest.mark.parametrize("slug", [OPENAI, ANTHROPIC])
@pytest.mark.parametrize(
    ("status", "raised", "code"),
    [
        (400, openai.BadRequestError, "model_refused_request"),
        (401, openai.InternalServerError, "model_unauthorized"),
        (404, openai.NotFoundError, "model_not_found"),
        (429, openai.RateLimitError, "model_rate_limited"),
        (500, openai.InternalServerError, "model_overloaded"),
        (529, openai.InternalServerError, "model_overloaded"),
    ],
)
async def test_what_a_provider_refuses(
    router: Running,
    client: openai.AsyncOpenAI,
    status: int,
    raised: type[openai.APIStatusError],
    code: str,
    slug: str,
    *,
    streamed: bool,
) -> None:
    messages = scripted(status=status, retry_after=30, message="no such luck")
    with pytest.raises(raised) as refused:
        await client.chat.completions.create(model=slug, messages=messages, stream=streamed)
    assert refused.value.code == code
    assert "sk-of-the-operator" not in str(refused.value)
    if status == 429:
        assert refused.value.response.headers["retry-after"] == "30"
    assert await lines(router) == []  # Nobody is billed for what was not answered.


ROUTES = [
    ("POST", "/router/v1/chat/completions"),
    ("POST", "/router/v1/embeddings"),
    ("GET", "/router/v1/models"),
    ("GET", "/router/v1/models/ID"),
]


@pytest.mark.parametrize(("method", "path"), ROUTES)
async def test_credentials_and_foreign_models(shared_server: Running, method: str, path: str) -> None:
    body = {"model": "none/such", "messages": HELLO, "input": "x"} if method == "POST" else None
    for token, status in (("", 401), ("Bearer stoa_acc_" + "x" * 64, 401), ("Bearer stoa_pat_" + "x" * 64, 401)):
        refused = await shared_server.client.request(method, path, json=body, headers={"Authorization": token})
        assert (refused.status_code, refused.json()["error"]["type"]) == (status, "authentication_error")
    if method == "POST" or path.endswith("ID"):
        missing = await shared_server.client.request(method, path, json=body)
        assert (missing.status_code, missing.json()["error"]["code"]) == (404, "not_found")
    if method == "POST":
        kind = {"Content-Type": "text/plain"}
        assert (await shared_server.client.post(path, content=b"x", headers=kind)).status_code == 415
        assert (await shared_server.client.post(path, content=b"[" * 100_000)).status_code == 422


async def test_a_model_of_another_organization_s_connection_is_not_there(
    router: Running, provider: ScriptedServer
) -> None:
    database = await asyncpg.connect(router.dsn)
    org_id, stranger, connection = uuid4(), new_secret(), uuid4()
    await database.execute("INSERT INTO orgs (id, name) VALUES ($1, 'Strangers')", org_id)
    project = uuid4()
    await database.execute("INSERT INTO projects (org_id, id, name) VALUES ($1, $2, 'Theirs')", org_id, project)
    await database.execute(
        "INSERT INTO access_keys (org_id, id, name, hash, preview) VALUES ($1, $2, 's', $3, '')",
        org_id,
        uuid4(),
        digest(stranger),
    )
    await database.execute(
        "INSERT INTO connections (org_id, project_id, id, name, type, base_url) VALUES ($1, $2, $3, 'theirs', 'vllm', $4)",  # noqa: E501
        org_id,
        project,
        connection,
        provider.url,
    )
    await database.execute(
        "INSERT INTO models (id, org_id, project_id, connection_id, slug, name, provider, wire_name, abilities)"
        " VALUES ($1, $2, $3, $4, 'theirs/secret', 's', 'theirs', 'secret', $5)",
        uuid4(),
        org_id,
        project,
        connection,
        json.dumps({"images": False, "tools": False}),
    )
    await database.close()
    listed = (await router.call("GET", "/router/v1/models"))["data"]
    assert "theirs/secret" not in [one["id"] for one in listed]
    for path, body in (
        ("/router/v1/chat/completions", {"model": "theirs/secret", "messages": HELLO}),
        ("/router/v1/embeddings", {"model": "theirs/secret", "input": "x"}),
    ):
        assert (await router.client.post(path, json=body)).status_code == 404
    assert (await router.client.get("/router/v1/models/theirs/secret")).status_code == 404
    assert provider.bodies == []
    theirs = {"Authorization": f"Bearer {stranger}"}
    listed = (await router.client.get("/router/v1/models", headers=theirs)).json()["data"]
    assert "theirs/secret" in [one["id"] for one in listed]


async def test_what_the_router_refuses(router: Running, client: openai.AsyncOpenAI) -> None:
    async with client_of(router, "stoa_acc_" + "x" * 64) as stranger:
        with pytest.raises(openai.AuthenticationError) as nobody:
            await stranger.chat.completions.create(model=OPENAI, messages=HELLO)
    assert nobody.value.code == "unauthorized"
    _, limited = await key_of(router, permissions=["runs:read"])
    key = limited.headers["authorization"].split()[1]
    async with client_of(router, key) as reader:
        with pytest.raises(openai.PermissionDeniedError):
            await reader.chat.completions.create(model=OPENAI, messages=HELLO)
    await limited.aclose()
    with pytest.raises(openai.NotFoundError) as missing:
        await client.chat.completions.create(model="none/such", messages=HELLO)
    assert missing.value.code == "not_found"
    with pytest.raises(openai.NotFoundError):
        await client.get("/no/such/route", cast_to=object)


@pytest.mark.parametrize(
    ("body", "field"),
    [
        (b"{", "body"),
        (b"[]", "body"),
        (b"", "body"),
        (b'{"messages": [{"role": "user", "content": "x"}]}', "model"),
        (b'{"model": 7, "messages": [{"role": "user"}]}', "model"),
        (b'{"model": "main/scripted"}', "messages"),
        (b'{"model": "main/scripted", "messages": []}', "messages"),
        (b'{"model": "main/scripted", "messages": ["x"]}', "messages[0]"),
        (b'{"model": "main/scripted", "messages": [{}]}', "messages[0].role"),
        (b'{"model": "main/scripted", "messages": [{"role": "user"}], "stream": "yes"}', "stream"),
        (b'{"model": "claude/scripted", "messages": [{"role": "user", "content": 7}]}', "messages[0].content"),
        (b'{"model": "claude/scripted", "messages": [{"role": "alien", "content": ""}]}', "messages[0].role"),
        (b'{"model": "claude/scripted", "messages": [{"role": "user", "content": "x"}], "n": 2}', "n"),
        (
            (
                b'{"model": "claude/scripted", "messages": [{"role": "user", "content":'
                b' [{"type": "image_url", "image_url": {"url": "file:///x.png"}}]}]}'
            ),
            "messages[0].content[0].image_url.url",
        ),
    ],
)
async def test_what_cannot_be_parsed(router: Running, body: bytes, field: str) -> None:
    headers = {"Content-Type": "application/json"}
    for host in ({}, {"Host": "router.localhost"}):
        path = "/v1/chat/completions" if host else "/router/v1/chat/completions"
        answered = await router.client.post(path, content=body, headers={**headers, **host})
        error = answered.json()["error"]
        assert (answered.status_code, error["code"], error["message"]) == (422, "bad_request", "Failed to parse data")
        assert list(error["details"]) == [field]
        assert (error["type"], error["param"]) == ("invalid_request_error", field)


# --- faults ---------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("slug", [OPENAI, ANTHROPIC, "safe"])
@pytest.mark.parametrize("fault", [{"cut": 3}, {"error": 3}])
async def test_two_answers_are_never_spliced(
    router: Running, provider: ScriptedServer, second: ScriptedServer, client: openai.AsyncOpenAI, fault: Any, slug: str
) -> None:
    """What breaks after the first byte is an error in the stream, and is asked for once."""
    stream = await client.chat.completions.create(
        model=slug, messages=scripted(id="x", delay=0.02, **fault), stream=True
    )
    said = ""
    with pytest.raises(openai.APIError):
        async for chunk in stream:
            said += (chunk.choices[0].delta.content or "") if chunk.choices else ""
    assert said == "".join(PIECES[:3])
    assert (provider.log["x"]["asked"], second.bodies) == (1, [])
    (line,) = await line_count(router, 1)  # A provider's own error is relayed as it is; the client stops at it.
    assert line["estimated"]
    assert line["completion_tokens"] == -(-len(said) // 4)


@pytest.mark.parametrize("slug", [OPENAI, ANTHROPIC, "safe", "mixed"])
async def test_an_answer_that_breaks_off_is_paid_for_and_not_asked_for_again(
    router: Running, provider: ScriptedServer, second: ScriptedServer, slug: str
) -> None:
    """Also where nothing of it has reached the caller: the provider made it, and would make another one."""
    body = {"model": slug, "messages": scripted(id="x", cut=3)}
    answered = await router.client.post("/router/v1/chat/completions", json=body)
    assert (answered.status_code, answered.json()["error"]["code"]) == (502, "model_stream_truncated")
    assert (provider.log["x"]["asked"], second.bodies) == (1, [])
    (line,) = await lines(router)
    assert (line["estimated"], line["model"]) == (True, ANTHROPIC if slug == ANTHROPIC else OPENAI)
    assert line["completion_tokens"] > 0


@pytest.mark.parametrize("streamed", [True, False])
@pytest.mark.parametrize(
    "fault", [{"status": 500}, {"status": 429, "retry_after": 60}, {"reset": True}, {"status": 401}]
)
async def test_the_next_provider_answers_before_the_first_byte(
    router: Running, provider: ScriptedServer, second: ScriptedServer, fault: Any, *, streamed: bool
) -> None:
    whole = {"raw": [json.dumps(WHOLE).encode()], "content_type": "application/json"}
    provider.script = lambda _: fault
    second.script = lambda _: {} if streamed else whole
    body = {"model": "safe", "messages": HELLO, "stream": streamed}
    answered = await router.client.post("/router/v1/chat/completions", json=body)
    assert (answered.status_code, answered.headers["x-stoa-model"]) == (200, "spare/scripted")
    assert (len(provider.bodies), len(second.bodies)) == (1, 1)
    assert [line["model"] for line in await lines(router)] == ["spare/scripted"]


async def test_a_provider_is_asked_again_before_the_first_byte(
    provider: ScriptedServer, client: openai.AsyncOpenAI
) -> None:
    messages = scripted(id="again", status=503, fails=2, retry_after=0)
    stream = await client.chat.completions.create(model=OPENAI, messages=messages, stream=True)
    assert "".join([chunk.choices[0].delta.content or "" async for chunk in stream]) == TEXT
    assert provider.log["again"]["asked"] == 3


async def test_a_provider_that_keeps_failing_opens_its_circuit(
    alone: Running, provider: ScriptedServer, second: ScriptedServer
) -> None:
    router = alone
    provider.script = lambda _: {"status": 500}
    body = {"model": "safe", "messages": HELLO, "stream": True}
    for _ in range(7):
        assert (await router.client.post("/router/v1/chat/completions", json=body)).status_code == 200
    assert (len(provider.bodies), len(second.bodies)) == (5, 7)
    ids = {one["slug"]: one["id"] for one in (await router.call("GET", "/v1/router/models?page_size=50"))["data"]}
    (seen,) = (await router.call("GET", f"/v1/router/models/{ids[OPENAI]}/providers"))["data"]
    assert (seen["id"], seen["state"]) == ("main", "open")
    (other,) = (await router.call("GET", f"/v1/router/models/{ids['spare/scripted']}/providers"))["data"]
    assert other["state"] == "closed"
    refused = await router.client.post("/router/v1/chat/completions", json={**body, "model": OPENAI})
    assert (refused.status_code, refused.json()["error"]["code"]) == (503, "unavailable")
    assert int(refused.headers["retry-after"]) >= 1
    assert 'stoa_gateway_circuits{state="open"} 1' in (await router.client.get("/metrics")).text


@pytest.mark.parametrize("slug", [OPENAI, ANTHROPIC])
@pytest.mark.parametrize("streamed", [True, False])
async def test_a_client_disconnect_cancels_the_call(
    router: Running, provider: ScriptedServer, client: openai.AsyncOpenAI, slug: str, *, streamed: bool
) -> None:
    messages = scripted(id="long", pieces=["word "] * 500, delay=0.05)
    if streamed:
        stream = await client.chat.completions.create(model=slug, messages=messages, stream=True)
        async for chunk in stream:
            if chunk.choices and chunk.choices[0].delta.content:
                break
        await stream.close()
    else:
        asking = asyncio.create_task(client.chat.completions.create(model=slug, messages=messages))
        await state(provider, "long", "running")
        asking.cancel()
    await state(provider, "long", "aborted")
    (line,) = await line_count(router, 1)
    assert line["estimated"]
    assert line["prompt_tokens"] > 0


async def test_a_timeout_of_the_client(router: Running, provider: ScriptedServer, client: openai.AsyncOpenAI) -> None:
    with pytest.raises(openai.APITimeoutError):
        await client.with_options(timeout=0.3).chat.completions.create(
            model=OPENAI, messages=scripted(id="slow", first_delay=30)
        )
    await state(provider, "slow", "aborted")
    assert (await line_count(router, 1))[0]["estimated"]


async def test_the_client_s_own_retries(provider: ScriptedServer, router: Running) -> None:
    messages = scripted(id="flaky", status=429, fails=1, retry_after=6)
    patient = client_of(router, max_retries=1, http_client=Impatient())
    stream = await patient.chat.completions.create(model=OPENAI, messages=messages, stream=True)
    assert "".join([chunk.choices[0].delta.content or "" async for chunk in stream]) == TEXT
    assert provider.log["flaky"]["asked"] == 2
    await patient.close()


class Impatient(openai.DefaultAsyncHttpxClient):
    """Does not wait the seconds that it is told."""

    async def send(self, request: httpx.Request, **options: Any) -> httpx.Response:
        response = await super().send(request, **options)
        if "retry-after" in response.headers:
            assert response.headers["retry-after"] == "6"
            response.headers["retry-after-ms"] = "1"
        return response


# --- money ----------------------------------------------------------------------------------------------------------
async def test_a_limit_holds_whatever_is_asked_at_once(router: Running, provider: ScriptedServer) -> None:
    """Ten calls of half a dollar at once, of a key that may spend two: four are let through."""
    dear = {**WHOLE, "usage": {"prompt_tokens": 0, "completion_tokens": 250_000}}
    provider.script = lambda _: {"raw": [0.2, json.dumps(dear).encode()], "content_type": "application/json"}
    provider.script = lambda _: {"raw": [0.2, json.dumps(dear).encode()], "content_type": "application/json"}
    key_id, client = await key_of(router, spending_limit={"usd": 2.01, "period": "total"})
    body = {"model": OPENAI, "messages": HELLO, "max_tokens": 250_000}
    async with client:
        answers = await asyncio.gather(*(client.post("/router/v1/chat/completions", json=body) for _ in range(10)))
        by_status = [answered.status_code for answered in answers]
        assert sorted(by_status) == [200] * 4 + [429] * 6
        refused = next(answered for answered in answers if answered.status_code == 429)
        assert refused.json()["error"]["code"] == "spending_limit_reached"
        assert refused.json()["error"]["type"] == "insufficient_quota"
        assert refused.headers["x-should-retry"] == "false"
        left = [float(a.headers["x-stoa-budget-remaining-usd"]) for a in answers if a.status_code == 200]
        assert min(left) == pytest.approx(0.01, abs=1e-3)
        cheap = await client.post("/router/v1/chat/completions", json={**body, "max_tokens": 1})
        assert cheap.status_code == 200  # What it needs is there.
    database = await asyncpg.connect(router.dsn)
    assert await database.fetchval("SELECT count(*) FROM key_reservations") == 0
    spent = await database.fetchval("SELECT sum(usd)::float8 FROM key_spending WHERE key_id::text = $1", key_id)
    billed = await database.fetchval("SELECT sum(cost_usd)::float8 FROM model_calls WHERE key_id::text = $1", key_id)
    await database.close()
    assert spent == pytest.approx(billed)


async def test_a_refused_or_failed_call_gives_back_what_it_reserved(router: Running, provider: ScriptedServer) -> None:
    provider.script = lambda _: {"status": 400}
    key_id, client = await key_of(router, spending_limit=1)
    async with client:
        body = {"model": OPENAI, "messages": HELLO, "max_tokens": 400_000}
        for _ in range(3):
            assert (await client.post("/router/v1/chat/completions", json=body)).status_code == 400
        unknown = await client.post("/router/v1/chat/completions", json={**body, "model": "spare/scripted"})
        assert (unknown.status_code, unknown.json()["error"]["code"]) == (403, "price_unknown")
        fallback = await client.post("/router/v1/chat/completions", json={**body, "model": "safe"})
        assert fallback.json()["error"]["code"] == "price_unknown"  # The dearest that may be reached counts.
    database = await asyncpg.connect(router.dsn)
    async with asyncio.timeout(10):
        while await database.fetchval("SELECT count(*) FROM key_reservations"):
            await asyncio.sleep(0.01)
    spent = "SELECT coalesce(sum(usd), 0)::float8 FROM key_spending WHERE key_id::text = $1"
    assert await database.fetchval(spent, key_id) == 0
    await database.close()


async def test_an_idempotency_key_pays_once(router: Running, provider: ScriptedServer) -> None:
    provider.script = lambda _: {"raw": [0.3, json.dumps(WHOLE).encode()], "content_type": "application/json"}
    body = {"model": OPENAI, "messages": HELLO}
    headers = {"Idempotency-Key": "once"}

    async def ask(**more: Any) -> httpx.Response:
        return await router.client.post("/router/v1/chat/completions", json={**body, **more}, headers=headers)

    first = asyncio.create_task(ask())
    async with asyncio.timeout(10):
        while not provider.bodies:
            await asyncio.sleep(0.01)
    assert (await ask()).status_code == 409
    again = await ask()
    assert ((await first).json(), again.status_code in (200, 409)) == (WHOLE, True)
    assert (await ask()).json() == WHOLE
    assert (await ask(seed=1)).status_code == 409
    assert (len(provider.bodies), len(await lines(router))) == (1, 1)
    # An error frees the key.
    headers = {"Idempotency-Key": "twice"}
    provider.script = lambda _: {"status": 400}
    assert (await ask()).status_code == 400
    provider.script = lambda _: {"raw": [json.dumps(WHOLE).encode()], "content_type": "application/json"}
    assert (await ask()).json() == WHOLE


async def test_what_models_can_do_and_cost_is_said_with_its_source(router: Running) -> None:
    models = {one["slug"]: one for one in (await router.call("GET", "/v1/router/models?page_size=100"))["data"]}
    claude, main, spare = models[ANTHROPIC], models[OPENAI], models["spare/scripted"]
    read = {"source": "https://example.com/pricing", "as_of": "2026-11-01"}
    assert (claude["context_tokens"], claude["output_tokens"], claude["capabilities"]) == (12_345, 678, ["tools"])
    assert (claude["source"], claude["as_of"]) == tuple(read.values())
    assert claude["price"] == {"prompt": 3, "completion": 4, "cached": 0.3, **read}
    assert (main.get("source"), main["price"]) == (None, {"prompt": 1, "completion": 2})
    assert "price" not in spare
