"""Tools and servers as the field has them: what is odd costs itself alone, and what is stored goes only where it was
meant."""

import json
from collections.abc import AsyncIterator, Callable, Mapping
from pathlib import Path
from typing import Any
from uuid import uuid4

import asyncpg
import pytest

from stoa.gateway import Capabilities
from tests.conftest import Running
from tests.support.databases import Databases
from tests.support.doubles import ScriptedModel, answer, calling
from tests.support.knowledge import base_of
from tests.support.raw_mcp import RawMcp, error, tool
from tests.support.running import shared
from tests.support.scripted_model import ScriptedServer
from tests.support.services import Service


@pytest.fixture(scope="module")
async def one_server(cluster: Databases, room: Path) -> AsyncIterator[Running]:
    model = ScriptedModel([answer("Done.")], Capabilities(images=False, tools=True, context_tokens=8_000))
    async with shared(cluster, room, model, allow_private_addresses=True) as running:
        yield running


@pytest.fixture
def server(one_server: Running) -> Running:
    """Each test names its tools anew, and looks at nothing else."""
    one_server.model.begin_anew()
    return one_server


async def make(server: Running, config: Mapping[str, Any], type_: str = "http", **fields: Any) -> dict[str, Any]:
    body = {"name": f"t{uuid4().hex[:8]}", "type": type_, "description": "x", "config": config, **fields}
    return dict((await server.call("POST", "/v1/tools", 201, json=body))["data"])


async def try_out(server: Running, made: Mapping[str, Any], arguments: Any = None, **fields: Any) -> dict[str, Any]:
    body = {"arguments": arguments or {}, **fields}
    return dict((await server.call("POST", f"/v1/tools/{made['id']}/test", json=body))["data"])


# --- HTTP tools -----------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("value", ["..", "a/../.."])
async def test_an_argument_never_leaves_its_segment(server: Running, value: str) -> None:
    async with Service.running() as service:
        parameters = {"type": "object", "properties": {"id": {"type": "string"}}, "required": ["id"]}
        made = await make(server, {"url": f"{service.url}/v1/users/{{id}}/orders", "parameters": parameters})
        given = await try_out(server, made, {"id": value})
        assert given["error"]["code"] == "tool_bad_arguments"
        assert service.asked == []
        assert (
            json.loads((await try_out(server, made, {"id": "a/b..c"}))["result"])["path"] == "/v1/users/a%2Fb..c/orders"
        )


async def test_arguments_are_checked_before_and_after_a_person_is_asked(server: Running) -> None:
    async with Service.running() as service:
        parameters = {
            "type": "object",
            "properties": {"to": {"type": "string"}, "n": {"type": "number"}},
            "required": ["to"],
        }
        config = {"method": "POST", "url": f"{service.url}/pay", "parameters": parameters}
        made = await make(server, config, approval=True, editable_params=["n"])
        bad, good = calling((made["name"], '{"n": "lots"}')), calling((made["name"], '{"to": "ada", "n": 1}'))
        server.model.scripts = [bad, good, answer("Paid.")]
        run = await server.ask(await server.conversation(agent={"tools": [made["name"]]}))
        [request] = run["input_requests"]
        assert request["params"] == {"to": "ada", "n": 1}, "nobody was asked about the first call, which does not fit"

        def body(**params: Any) -> dict[str, Any]:
            return {"type": "approval", "data": {"request_id": request["id"], "approved": True, "params": params}}

        path = f"/v1/runs/{run['id']}/input"
        refused = await server.call("POST", path, 400, json=body(n="lots"))
        assert list(refused["error"]["details"]) == ["data.params.n"]
        assert service.asked == []
        await server.call("POST", path, json=body(n=2))
        await server.status(run["id"], "completed")
        assert json.loads(service.asked[0][2]) == {"to": "ada", "n": 2}


async def test_arguments_nested_too_deeply_cost_the_call(server: Running) -> None:
    made = await make(server, {"url": "http://127.0.0.1:9/x", "parameters": {"type": "object"}})
    server.model.scripts = [calling((made["name"], '{"a":' + "[" * 400 + "]" * 400 + "}")), answer("I went on.")]
    run = await server.ask(await server.conversation(agent={"tools": [made["name"]]}))
    assert (run["status"], run["output"]) == ("completed", "I went on.")


async def test_a_field_is_named_as_it_was_sent(server: Running) -> None:
    for type_, config, named in (
        ("mcp", {"url": 5}, "config.url"),
        ("http", {"url": 5}, "config.url"),
        ("python", {}, "config.entry_point"),
    ):
        body = {"name": "x", "type": type_, "description": "x", "config": config}
        refused = await server.call("POST", "/v1/tools", 400, json=body)
        assert list(refused["error"]["details"]) == [named]


# --- MCP ------------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    "unknown",
    [
        lambda _: (404, error(None, -32001, "Session not found")),
        lambda number: (404, error(number, -32600, "Session not found")),
        lambda _: (404, b""),
        lambda _: (400, error(None, -32000, "Bad Request: No valid session ID provided")),
        lambda _: (400, b"no such session"),
        lambda _: (401, b'{"detail": "who are you?"}'),
        lambda _: (422, b"<html>"),
        lambda number: (400, error(number, -32000, "Unknown session")),
        lambda _: (410, b""),
        lambda _: (200, error(None, -32001, "Session not found")),
    ],
)
async def test_a_server_that_was_restarted_costs_a_new_session(
    server: Running, unknown: Callable[[Any], tuple[int, bytes]]
) -> None:
    async with RawMcp.running() as raw:
        raw.unknown = unknown
        made = await make(server, {"url": raw.url}, "mcp")
        assert (await try_out(server, made, tool="hi"))["result"] == "hello"
        raw.sessions.clear()
        assert (await try_out(server, made, tool="hi"))["result"] == "hello"
        assert (raw.calls, len(raw.sessions)) == (2, 1)


async def test_a_refusal_of_the_call_itself_is_not_repeated(server: Running) -> None:
    async with RawMcp.running() as raw:
        made = await make(server, {"url": raw.url}, "mcp")
        raw.refusal = lambda number: (400, error(number, -32602, "Unknown argument"))
        given = await try_out(server, made, tool="hi")
        assert "Unknown argument" in given["error"]["message"]
        assert raw.calls == 1
        raw.refusal = lambda _: (500, b"Traceback: sqlalchemy.orm.session")
        given = await try_out(server, made, tool="hi")
        assert "answered 500" in given["error"]["message"], given
        assert raw.calls == 2


@pytest.mark.parametrize(
    ("bad", "offered"),
    [
        ({"name": "bad"}, True),
        (tool("bad", outputSchema={"$id": "x"}), True),
        (tool("bad", annotations="none", description=5, title=None), True),
        ({"name": "bad", "inputSchema": "none"}, False),
        ({"name": "bad", "inputSchema": {"type": "string"}}, False),
        ({"inputSchema": {"type": "object"}}, False),
        (None, False),
        (tool("bad", inputSchema={"type": "object", "default": [[[[]]] * 3]}), True),
    ],
)
async def test_one_bad_tool_costs_itself(server: Running, bad: Any, offered: bool) -> None:
    async with RawMcp.running([bad, tool("good")]) as raw:
        made = await make(server, {"url": raw.url}, "mcp")
        assert [one["tool"] for one in made["offers"]] == (["bad", "good"] if offered else ["good"])
        assert offered or "Left out" in made["problem"]


@pytest.mark.parametrize(
    ("result", "text"),
    [
        ({"structuredContent": {"a": 1}}, '{"a":1}'),
        ({"content": [{"type": "video", "url": "x"}, {"type": "text", "text": "here"}]}, "[video: not shown]\nhere"),
        ({"content": [{"type": "text", "text": None}, {"type": "text", "text": "here"}]}, "here"),
        ({"content": "just text"}, "just text"),
        ({"content": {"type": "text", "text": "no list"}}, "no list"),
        ({"content": [{"text": "no type"}, None, "bare"]}, "no type\nbare"),
        ({"content": [{"type": "image", "data": 5}]}, "[image, of unknown type, 0 bytes: not shown]"),
        (
            {"content": [{"type": "resource", "resource": {"uri": "x:y"}}]},
            "[resource x:y, of unknown type, 0 bytes: not shown]",
        ),
        ({"content": None, "isError": None, "toolResult": [1]}, "[1]"),
    ],
)
async def test_results_are_read_leniently(server: Running, result: Mapping[str, Any], text: str) -> None:
    async with RawMcp.running(result=result) as raw:
        assert (await try_out(server, await make(server, {"url": raw.url}, "mcp"), tool="hi"))["result"] == text


# --- secrets --------------------------------------------------------------------------------------------------------
async def actions(server: Running, subject: str) -> list[str]:
    connection = await asyncpg.connect(server.dsn)
    try:
        rows = await connection.fetch("SELECT action FROM audit WHERE subject_id = $1 AND key_id IS NOT NULL", subject)
    finally:
        await connection.close()
    return [row["action"] for row in rows]


@pytest.mark.parametrize("type_", ["http", "mcp"])
async def test_a_tools_secret_is_bound_to_its_origin(server: Running, type_: str) -> None:
    headers = {"Authorization": "Bearer {{secret.token}}"}
    config = {"url": "https://api.example.invalid/a", "headers": headers}
    made = await make(server, config, type_, secrets={"token": "s3cret-token"})
    path = f"/v1/tools/{made['id']}"
    for url in (
        "https://evil.example.invalid/a",
        "http://api.example.invalid/a",
        "https://api.example.invalid:8443/a",
        "https://api.example.invalid.evil.invalid/a",
    ):
        refused = await server.call("PATCH", path, 400, json={"config": {**config, "url": url}})
        assert list(refused["error"]["details"]) == ["secrets"]
        whole = {"name": made["name"], "type": type_, "description": "x", "config": {**config, "url": url}}
        await server.call("PUT", path, 400, json=whole)
    await server.call("PATCH", path, json={"config": {**config, "url": "https://API.example.invalid:443/other"}})
    assert "tool.move" not in await actions(server, made["id"])
    moved = {"config": {**config, "url": "https://other.example.invalid/"}, "secrets": {"token": "another"}}
    await server.call("PATCH", path, json=moved)
    assert "tool.move" in await actions(server, made["id"])


async def test_a_connections_key_is_bound_to_its_origin(server: Running) -> None:
    async with ScriptedServer() as mine, ScriptedServer() as theirs:
        body = {"name": "mine", "type": "openai", "config": {"base_url": f"{mine.url}/v1", "api_key": "sk-mine"}}
        made = (await server.call("POST", "/v1/connections", 201, json=body))["data"]
        path, elsewhere = f"/v1/connections/{made['id']}", f"{theirs.url}/v1"
        refused = await server.call("PUT", path, 400, json={"config": {"base_url": elsewhere}})
        assert list(refused["error"]["details"]) == ["config.api_key"]
        assert theirs.paths == [], "not even a list of models was asked for"
        assert (await server.call("GET", path))["data"]["base_url"] == f"{mine.url}/v1"
        await server.call("PUT", path, json={"config": {"base_url": f"{mine.url}/v1/"}})
        await server.call("PUT", path, json={"config": {"base_url": elsewhere, "api_key": "sk-other"}})
        assert all("sk-mine" not in headers.get("authorization", "") for headers in theirs.headers)
        assert (await actions(server, made["id"])).count("connection.move") == 1


@pytest.mark.parametrize(
    ("provider", "config", "elsewhere", "secrets"),
    [
        (
            "website",
            {"url": "https://a.example.invalid/"},
            {"url": "https://b.example.invalid/"},
            {"authorization": "Bearer x"},
        ),
        ("git", {"url": "https://a.example.invalid/r"}, {"url": "http://a.example.invalid/r"}, {"token": "x"}),
        (
            "s3",
            {"bucket": "docs"},
            {"bucket": "docs", "endpoint": "https://evil.example.invalid"},
            {"access_key_id": "a", "secret_access_key": "b"},
        ),
    ],
)
async def test_a_sources_secrets_are_bound_to_their_origin(
    server: Running, provider: str, config: dict[str, Any], elsewhere: dict[str, Any], secrets: dict[str, str]
) -> None:
    base = await base_of(server)
    body = {"name": "s", "provider": provider, "config": config, "secrets": secrets}
    made = (await server.call("POST", f"/v1/knowledgebases/{base['id']}/sources", 201, json=body))["data"]
    path, kept = f"/v1/knowledgebase-sources/{made['id']}", {"name": "s", "provider": provider}
    refused = await server.call("PUT", path, 400, json={**kept, "config": elsewhere})
    assert list(refused["error"]["details"]) == ["secrets"]
    await server.call("PUT", path, json={**kept, "config": {**config, "exclude": ["*.tmp"]}})
    await server.call("PUT", path, json={**kept, "config": elsewhere, "secrets": secrets})
    assert (await actions(server, made["id"])).count("knowledge_source.move") == 1
