"""Tools over HTTP: defined, called by an agent over a real socket, and everything that can go wrong on the way."""

import asyncio
import json
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from stoa.gateway import Capabilities
from stoa.outbound import public
from stoa.tools import rules
from tests.conftest import Running, serving
from tests.support.doubles import ScriptedModel, answer, calling, until
from tests.support.services import SECRET, Service


def tool(url: str, **fields: Any) -> dict[str, Any]:
    config = {"url": url, **fields.pop("config", {})}
    return {"name": "service", "type": "http", "description": "Asks the service.", "config": config, **fields}


async def ask(server: Running, arguments: dict[str, Any], **agent: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    """The run, and the one event of its call."""
    server.model.requests.clear()
    server.model.scripts = [calling(("service", json.dumps(arguments))), answer("Done.")]
    run = await server.ask(await server.conversation(agent={"tools": ["service"], **agent}))
    events = await server.events(run["id"])
    (event,) = [one["data"] for one in events if one["type"] in ("agent.tool_call.completed", "agent.tool_call.failed")]
    assert SECRET not in json.dumps(events)
    return run, event


async def test_a_call_over_http(agents: Running, service: Service) -> None:
    schema = {
        "type": "object",
        "properties": {"id": {"type": "string"}, "limit": {"type": "integer"}},
        "required": ["id"],
    }
    config = {
        "method": "GET",
        "headers": {"Authorization": "Bearer {{secret.token}}"},
        "query": {"v": "2"},
        "parameters": schema,
    }
    made = (
        await agents.call(
            "POST", "/v1/tools", 201, json=tool(service.url + "/items/{id}", config=config, secrets={"token": SECRET})
        )
    )["data"]
    assert made["secret_names"] == ["token"]
    _, event = await ask(agents, {"id": "a/b ü", "limit": 3})
    line, headers, _ = service.asked[0]
    assert line == "GET /items/a%2Fb%20%C3%BC?v=2&limit=3"
    assert headers["authorization"] == f"Bearer {SECRET}"
    assert '"you_sent": "Bearer [secret]"' in event["result"]
    assert [spec.parameters for spec in agents.model.requests[0].tools] == [schema]
    # A body, with a key that is the same whenever this call is repeated; the secret stays when it is not sent again.
    changed = tool(service.url + "/items", config={**config, "method": "POST", "parameters": {"type": "object"}})
    assert (await agents.call("PUT", f"/v1/tools/{made['id']}", json=changed))["data"]["secret_names"] == ["token"]
    _, event = await ask(agents, {"name": "x"})
    line, headers, body = service.asked[1]
    assert (line, json.loads(body), headers["idempotency-key"]) == ("POST /items?v=2", {"name": "x"}, event["id"])
    assert headers["authorization"] == f"Bearer {SECRET}"
    database = await asyncpg.connect(agents.dsn)
    try:
        assert SECRET.encode() not in await database.fetchval("SELECT secrets FROM tools")
    finally:
        await database.close()


@pytest.mark.parametrize(
    ("path", "fields", "arguments", "code"),
    [
        ("/status/404", {}, {}, "tool_refused"),
        ("/status/503", {}, {}, "tool_failed"),
        ("/status/302", {}, {}, "tool_refused"),
        ("/hang", {"timeout_seconds": 0.2}, {}, "tool_timeout"),
        ("/cut", {}, {}, "tool_unreachable"),
        ("/x", {"config": {"parameters": {"type": "object", "required": ["id"]}}}, {}, "tool_bad_arguments"),
    ],
    ids=["404", "503", "redirect", "hang", "cut", "arguments"],
)
async def test_what_goes_wrong(
    agents: Running, service: Service, path: str, fields: dict[str, Any], arguments: dict[str, Any], code: str
) -> None:
    await agents.call("POST", "/v1/tools", 201, json=tool(service.url + path, **fields))
    run, event = await ask(agents, arguments)
    assert (run["status"], event["error"]["code"]) == ("completed", code)
    if code == "tool_timeout":
        await until(lambda: service.gone == 1)
    assert len(service.asked) == (code != "tool_bad_arguments"), (
        "a call is made once, also where the client would like to make it again"
    )


async def test_too_long_an_answer_is_cut_where_it_can_be_seen(agents: Running, service: Service) -> None:
    """A secret is taken out before the cut, so that no part of it is left."""
    config = {"headers": {"Authorization": "{{secret.token}}"}}
    limit = 30 + len(SECRET) // 2
    await agents.call(
        "POST",
        "/v1/tools",
        201,
        json=tool(service.url + "/big", output_bytes_max=limit, config=config, secrets={"token": SECRET}),
    )
    _, event = await ask(agents, {})
    assert event["result"] == "x" * limit + f"\n[Cut here: the answer is longer than {limit} bytes.]"
    echo = tool(service.url + "/echo", name="echo", output_bytes_max=limit, config=config, secrets={"token": SECRET})
    made = (await agents.call("POST", "/v1/tools", 201, json=echo))["data"]
    tried = (await agents.call("POST", f"/v1/tools/{made['id']}/test", json={}))["data"]
    assert (SECRET[:8] in tried["result"], "[Cut here" in tried["result"]) == (False, True)


async def test_a_service_that_is_not_there(agents: Running) -> None:
    await agents.call("POST", "/v1/tools", 201, json=tool("http://127.0.0.1:9/"))
    assert (await ask(agents, {}))[1]["error"]["code"] == "tool_unreachable"


async def test_a_cancel_closes_the_connection(agents: Running, service: Service) -> None:
    await agents.call("POST", "/v1/tools", 201, json=tool(service.url + "/hang"))
    agents.model.scripts = [calling(("service", "{}"))]
    conversation = await agents.conversation(agent={"tools": ["service"]})
    body = {"content": "Go", "background": True}
    run = (await agents.call("POST", f"/v3/conversations/{conversation}/messages", 202, json=body))["data"]
    await until(lambda: service.asked)
    await agents.call("POST", f"/v1/runs/{run['id']}/cancel")
    await until(lambda: service.gone == 1)


async def test_private_addresses_are_refused(dsn: str, tmp_path: Path, service: Service) -> None:
    """However they are written: none of these calls reaches the service."""
    port = service.url.rsplit(":", 1)[1]
    hosts = (
        "127.0.0.1",
        "localhost",
        "127.1",
        "2130706433",
        "0x7f.0.0.1",
        "0.0.0.0",
        "[::1]",
        "[::ffff:127.0.0.1]",
        "a.localhost",
        "169.254.169.254",
        "10.0.0.1",
    )
    model = ScriptedModel([answer("Done.")], Capabilities(images=False, tools=True))
    async with serving(dsn, tmp_path, model) as server:
        for host in hosts:
            made = (
                await server.call("POST", "/v1/tools", 201, json=tool(f"http://{host}:{port}/", timeout_seconds=2))
            )["data"]
            _, event = await ask(server, {})
            assert event["error"]["code"] in ("tool_address_refused", "tool_unreachable"), (host, event)
            await server.call("DELETE", f"/v1/tools/{made['id']}")
        assert service.asked == []


def test_which_addresses_are_public() -> None:
    assert all(public(one) for one in ("8.8.8.8", "2606:4700::1111"))
    private = (
        "127.0.0.1",
        "10.1.2.3",
        "169.254.169.254",
        "0.0.0.0",
        "::1",
        "::ffff:10.0.0.1",
        "2002:7f00:1::",
        "fe80::1%eth0",
        "fd00::1",
        "224.0.0.1",
        "100.64.0.1",
    )
    assert [one for one in private if public(one)] == []


async def test_some_fields_of_a_tool_change(shared_server: Running) -> None:
    made = (
        await shared_server.call(
            "POST",
            "/v1/tools",
            201,
            json=tool(
                "https://example.com/{id}",
                name="patched",
                config={"parameters": {"type": "object", "properties": {"id": {"type": "string"}}}},
                secrets={"token": SECRET},
            ),
        )
    )["data"]
    path = f"/v1/tools/{made['id']}"
    changed = (await shared_server.call("PATCH", path, json={"approval": True, "timeout_seconds": 5}))["data"]
    assert changed == {**made, "approval": True, "timeout_seconds": 5, "updated_at": changed["updated_at"]}
    assert (await shared_server.call("PATCH", path, json={"secrets": {"other": "x"}}))["data"]["secret_names"] == [
        "other"
    ]
    for patch, named in (
        ({"timeout_seconds": 1e9}, "timeout_seconds"),
        ({"config": {"url": "nowhere"}}, "config.url"),
        ({"config": {}}, "config.url"),
        ({"config": {"url": "https://example.com/{x}"}}, "config.url"),
        ({"editable_params": ["x" * 200]}, "editable_params.0"),
    ):
        refused = await shared_server.call("PATCH", path, 400, json=patch)
        assert list(refused["error"]["details"]) == [named], refused
    await shared_server.call("POST", f"{path}/refresh", 400)
    # Two at once: none undoes the other.
    await asyncio.gather(
        *(
            shared_server.call("PATCH", path, json=patch)
            for patch in ({"approval": False}, {"description": "New."}, {"idempotent": True})
        )
    )
    now = (await shared_server.call("GET", path))["data"]
    assert (now["approval"], now["description"], now["idempotent"]) == (False, "New.", True)


async def test_schemas_that_lead_nowhere(agents: Running, service: Service) -> None:
    outside = {"type": "object", "properties": {"a": {"$ref": "https://example.com/x"}}}
    refused = await agents.call("POST", "/v1/tools", 400, json=tool(service.url + "/x", config={"parameters": outside}))
    assert list(refused["error"]["details"]) == ["config.parameters"]
    await agents.call("POST", "/v1/tools", 201, json=tool(service.url + "/x", config={"parameters": {"$ref": "#"}}))
    _, event = await ask(agents, {"a": 1})
    assert "result" in event


async def test_a_pattern_that_could_take_for_ever(agents: Running, service: Service) -> None:
    schema = {
        "type": "object",
        "properties": {"a": {"type": "string", "pattern": "^(a+)+$"}, "pattern": {"type": "integer"}},
    }
    await agents.call("POST", "/v1/tools", 201, json=tool(service.url + "/x", config={"parameters": schema}))
    _, event = await ask(agents, {"a": "a" * 60})
    assert "result" in event
    for arguments in ({"a": "a" * 60 + "!"}, {"pattern": "no number"}):
        _, event = await ask(agents, arguments)
        assert event["error"]["code"] == "tool_bad_arguments"


def test_what_fills_a_url_stays_in_its_place() -> None:
    assert rules.filled("https://h/a/{x}?q={y}", {"x": "../../b?c#d", "y": "1&z=2", "w": True}) == (
        "https://h/a/..%2F..%2Fb%3Fc%23d?q=1%26z%3D2",
        {"w": True},
    )


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"config": {"url": "ftp://example.com/"}}, "config.url"),
        ({"config": {"url": "https://{host}/"}}, "config.url"),
        ({"config": {"url": "https://u:p@example.com/"}}, "config.url"),
        ({"config": {"url": "https://example.com/{id}"}}, "config.url"),
        ({"config": {"url": "https://example.com/", "parameters": {"type": "nothing"}}}, "config.parameters"),
        ({"config": {"url": "https://example.com/", "headers": {"X": "{{secret.none}}"}}}, "config.headers.X"),
        ({"config": {"url": "https://example.com/", "headers": {"Host": "x"}}}, "config.headers.Host"),
        ({"type": "python", "config": {"entry_point": "none"}}, "config.entry_point"),
        ({"name": "no spaces"}, "name"),
        ({"timeout_seconds": 0}, "timeout_seconds"),
    ],
)
async def test_definitions_that_cannot_be(shared_server: Running, change: dict[str, Any], named: str) -> None:
    refused = await shared_server.call("POST", "/v1/tools", 400, json={**tool("https://example.com/"), **change})
    assert list(refused["error"]["details"]) == [named], refused


async def test_names_are_taken_once_and_a_retry_makes_one(shared_server: Running) -> None:
    body, key = tool("https://example.com/", name="once"), {"Idempotency-Key": "tool-1"}
    first = await shared_server.call("POST", "/v1/tools", 201, json=body, headers=key)
    assert await shared_server.call("POST", "/v1/tools", 201, json=body, headers=key) == first
    taken = await shared_server.call("POST", "/v1/tools", 409, json=body)
    assert taken["error"]["details"] == {"name": "is taken"}


async def test_what_a_model_writes_can_always_be_stored(agents: Running, service: Service) -> None:
    await agents.call(
        "POST",
        "/v1/tools",
        201,
        json=tool(service.url + "/x", config={"method": "POST", "parameters": {"type": "object"}}),
    )
    agents.model.scripts = [calling(("service", '{"a": "\\u0000"}'), say="nul \0 here"), answer("and \0 there")]
    run = await agents.ask(await agents.conversation(agent={"tools": ["service"]}))
    assert (run["status"], run["output"]) == ("completed", "nul \ufffd hereand \ufffd there")
