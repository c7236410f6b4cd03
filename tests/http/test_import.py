"""An OpenAPI document becomes tools: looked at first, made all or none, called as the document says."""

import json
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import Running, serving
from tests.support.doubles import ScriptedModel, answer, calling
from tests.support.services import SECRET, Service

DOCUMENT = """
openapi: 3.1.0
servers: [{url: SERVICE}]
security: [{key: []}]
paths:
  /echo/items/{item-id}:
    put:
      operationId: save
      parameters:
        - {name: item-id, in: path, required: true, schema: {type: string}}
        - {name: tag, in: query, schema: {type: array, items: {type: string}}}
        - {name: X-Mode, in: header, schema: {type: string}}
      requestBody:
        required: true
        content: {application/json: {schema: {type: object, properties: {name: {type: string}}}}}
  /echo/form:
    post:
      operationId: fill
      requestBody: {content: {application/x-www-form-urlencoded: {schema: {type: object}}}}
  /echo/plain:
    post: {operationId: ping}
components:
  securitySchemes: {key: {type: apiKey, in: header, name: Authorization}}
"""


def body(service: Service, **fields: Any) -> dict[str, Any]:
    return {"document": DOCUMENT.replace("SERVICE", service.url), "secrets": {"key": SECRET}, **fields}


async def test_an_import_is_previewed_created_and_called(agents: Running, service: Service) -> None:
    planned = (await agents.call("POST", "/v1/tools/import?dry_run=true", json=body(service)))["data"]
    assert [(one["name"], one["operation"], one["idempotent"]) for one in planned["tools"]] == [
        ("save", "PUT /echo/items/{item-id}", True),
        ("fill", "POST /echo/form", False),
        ("ping", "POST /echo/plain", False),
    ]
    assert "id" not in planned["tools"][0]
    assert (await agents.call("GET", "/v1/tools"))["pagination"]["total_count"] == 0
    key = {"Idempotency-Key": "import-1"}
    made = (await agents.call("POST", "/v1/tools/import", 201, json=body(service), headers=key))["data"]
    assert SECRET not in json.dumps(made)
    assert (await agents.call("POST", "/v1/tools/import", 201, json=body(service), headers=key))["data"] == made
    listed = (await agents.call("GET", "/v1/tools"))["data"]
    assert {one["id"] for one in listed} == {one["id"] for one in made["tools"]}
    assert [one["secret_names"] for one in listed] == [["key"]] * 3
    saving = {"item_id": "a/b", "tag": ["x", "y"], "X-Mode": "dry\r\nrun", "body": {"name": "Ada"}}
    calls: list[tuple[str, dict[str, Any]]] = [
        ("save", saving),
        ("fill", {"body": {"a": "1 2", "b": ["x", "y"]}}),
        ("ping", {}),
    ]
    agents.model.scripts = [calling(*((name, json.dumps(arguments)) for name, arguments in calls)), answer("Done.")]
    run = await agents.ask(await agents.conversation(agent={"tools": ["save", "fill", "ping"]}))
    events = await agents.events(run["id"])
    assert [
        one["data"].get("error")
        for one in events
        if one["type"].startswith("agent.tool_call.") and "input" in one["data"]
    ] == [None] * 3, events
    asked = {line.split("?")[0]: (line, headers, sent) for line, headers, sent in service.asked}
    line, headers, sent = asked["PUT /echo/items/a%2Fb"]
    assert (line, headers["x-mode"], headers["authorization"], json.loads(sent)) == (
        "PUT /echo/items/a%2Fb?tag=x&tag=y",
        "dry  run",
        SECRET,
        {"name": "Ada"},
    )
    line, headers, sent = asked["POST /echo/form"]
    assert (headers["content-type"].split(";")[0], sent) == ("application/x-www-form-urlencoded", b"a=1+2&b=x&b=y")
    assert asked["POST /echo/plain"][2] == b""
    assert SECRET not in json.dumps(events)


async def test_all_or_none_and_once_more(agents: Running, service: Service) -> None:
    taken = {"name": "fill", "type": "http", "description": "Mine.", "config": {"url": "https://example.com/"}}
    mine = (await agents.call("POST", "/v1/tools", 201, json=taken))["data"]
    refused = await agents.call("POST", "/v1/tools/import", 409, json=body(service))
    assert "fill" in refused["error"]["message"]
    assert (await agents.call("GET", "/v1/tools"))["pagination"]["total_count"] == 1
    # With a prefix beside it, or in its place under the same id.
    made = (
        await agents.call("POST", "/v1/tools/import", 201, json=body(service, prefix="echo_", operations=["fill"]))
    )["data"]
    assert [one["name"] for one in made["tools"]] == ["echo_fill"]
    replaced = (await agents.call("POST", "/v1/tools/import", 201, json=body(service, replace=True)))["data"]
    assert mine["id"] in {one["id"] for one in replaced["tools"]}
    assert (await agents.call("GET", f"/v1/tools/{mine['id']}"))["data"]["description"] == "POST /echo/form"
    assert (await agents.call("GET", "/v1/tools"))["pagination"]["total_count"] == 4


async def test_a_document_by_url(agents: Running, service: Service) -> None:
    service.documents["/openapi.yaml"] = DOCUMENT.replace("SERVICE", "/api").encode()
    planned = (await agents.call("POST", "/v1/tools/import?dry_run=true", json={"url": f"{service.url}/openapi.yaml"}))[
        "data"
    ]
    assert planned["tools"][2]["config"]["url"] == f"{service.url}/api/echo/plain"
    assert "wants key" in planned["tools"][2]["notes"][0]
    pages = ((f"{service.url}/status/404", "404"), (f"{service.url}/status/302", "not followed"))
    for url, said in (*pages, ("http://127.0.0.1:9/", "cannot be read"), ("ftp://x", "http")):
        refused = await agents.call("POST", "/v1/tools/import", 400, json={"url": url})
        assert said in refused["error"]["details"]["url"], refused


async def test_a_document_at_a_private_address(dsn: str, tmp_path: Path, service: Service) -> None:
    async with serving(dsn, tmp_path, ScriptedModel()) as server:
        for host in ("127.0.0.1", "localhost", "2130706433"):
            refused = await server.call(
                "POST",
                "/v1/tools/import",
                400,
                json={"url": f"http://{host}:{service.url.rsplit(':', 1)[1]}/openapi.yaml"},
            )
            assert "url" in refused["error"]["details"]
    assert service.asked == []


@pytest.mark.parametrize(
    ("fields", "named"),
    [
        ({"url": "https://example.com"}, "document"),
        ({"document": None}, "document"),
        ({"document": "{"}, "document"),
        ({"document": {"openapi": "2.0"}}, "document"),
        ({"base_url": "nowhere"}, "base_url"),
        ({"operations": ["nothing"]}, "operations"),
        ({"prefix": "no spaces"}, "prefix"),
        ({"headers": {"Host": "x"}}, "headers.Host"),
        ({"headers": {"X": "{{secret.none}}"}}, "headers.X"),
        ({"query": {"q": "{{secret.none}}"}}, "query.q"),
        ({"document": {"openapi": "3.1.0", "paths": {"/a": {"get": {}}}}}, "GET /a"),
        ({"timeout_seconds": 0}, "timeout_seconds"),
    ],
)
async def test_what_cannot_be(shared_server: Running, fields: dict[str, Any], named: str) -> None:
    refused = await shared_server.call(
        "POST", "/v1/tools/import", 400, json={**body(Service("https://example.com")), **fields}
    )
    assert named in refused["error"]["details"], refused
    assert (await shared_server.call("GET", "/v1/tools"))["pagination"]["total_count"] == 0
