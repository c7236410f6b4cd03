"""Two organizations, two projects, every route with an id: what is not yours is not there, and nothing of it
changes."""

import asyncio
import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import uuid4

import asyncpg
import httpx
import pytest

from tests.conftest import Running
from tests.support.owned import Owned, needed, owning
from tests.support.running import NO_AUTHORITIES

STREAMED = {("POST", "/v3/conversations/{conversation_id}/messages")}
NOT_BY_OWNER = {
    "/v1/router/models/{model_id}/providers",
    "/v1/orgs/{org_id}",
    "/v1/ui-messages/{agent}/{chat}/stream",
    "/v1/a2a/{agent}",
    "/v1/hooks/{secret}",
    "/v1/shared/{secret}",
}
"""Models of the catalogue are everybody's; an organization is checked by itself; a secret names its owner."""
BODIES = {
    "/v1/runs/{run_id}/input": {"type": "human_feedback", "data": {"request_id": str(uuid4()), "feedback": "yes"}},
    "/v1/knowledgebases/{knowledgebase_id}/evaluate": {"queries": [{"query": "plan", "relevant": ["secret.txt"]}]},
    "/v1/knowledgebases/{knowledgebase_id}/vector-search": {"query": "plan"},
    "/v1/knowledgebase-items/{item_id}": {"metadata": {}},
    "/v1/knowledgebases/{knowledgebase_id}/sources": {
        "name": "s",
        "provider": "website",
        "config": {"url": "https://example.com/"},
    },
    "/v1/knowledgebase-sources/{source_id}": {
        "name": "s",
        "provider": "website",
        "config": {"url": "https://example.com/"},
    },
    "/v1/tools/{tool_id}": {"name": "t", "type": "http", "description": "d", "config": {"url": "https://example.com/"}},
    "/v1/tools/{tool_id}/test": {"arguments": {}},
}
"""Of routes that take nothing else: a stranger's body must be a good one, or its refusal proves nothing."""


@pytest.fixture(scope="module")
async def owned(shared_server: Running) -> AsyncIterator[Owned]:
    async with owning(shared_server) as made:
        yield made


async def census(dsn: str) -> dict[str, int]:
    database = await asyncpg.connect(dsn)
    try:
        tables = (
            "conversations",
            "conversation_segments",
            "messages",
            "files",
            "runs",
            "events",
            "deletions",
            "access_keys",
            "projects",
            "connections",
            "tools",
            "workflows",
            "workflow_versions",
            "apps",
            "app_deployments",
            "knowledgebases",
            "knowledge_items",
            "knowledge_sources",
            "knowledge_source_syncs",
            "spans",
            "traces",
            "memories",
            "memory_items",
            "memory_stores",
            "memory_files",
            "skills",
            "skill_versions",
            "artifacts",
            "artifact_versions",
            "artifact_shares",
        )
        return {table: await database.fetchval(f"SELECT count(*) FROM {table}") for table in tables}
    finally:
        await database.close()


async def test_every_route_with_an_id(shared_server: Running, owned: Owned) -> None:
    """The list of routes comes from the OpenAPI document, so a new route is covered the day it is made."""
    before = await census(shared_server.dsn)
    document = await shared_server.document()
    tried = 0
    for path, methods in document["paths"].items():
        if "{" not in path or path in NOT_BY_OWNER or path.startswith("/v1/connect/"):
            continue  # Those below /v1/connect/ want a connect token: every key gets 401.
        url = path.format_map(owned.ids)
        for method, operation in methods.items():
            options: dict[str, object] = {}
            content = operation.get("requestBody", {}).get("content", {})
            if "multipart/form-data" in content:
                options = {"files": {"files" if "knowledgebase" in path else "file": ("a.txt", b"x")}}
            elif "application/octet-stream" in content:
                options = {"content": b"x"}
            elif content:
                example = next(iter(content["application/json"]["examples"].values()))["value"]
                options = {"json": example if method == "patch" else BODIES.get(path, example)}
            options["params"] = needed(operation)
            for stranger in owned.strangers:
                answer = await stranger.request(method.upper(), url, **options)
                assert answer.status_code in (403, 404), f"{method} {url}: {answer.status_code} {answer.text}"
                assert answer.status_code == 404 or "project-scoped" in answer.text
                assert "secret" not in answer.text.lower()
                tried += 1
    assert tried >= 40
    assert await census(shared_server.dsn) == before


async def test_every_route_of_a_base_s_own_host(shared_server: Running, owned: Owned) -> None:
    """By its name and by its path: 403 for who may not use the base, 401 for who is nobody, whatever else is sent."""
    before = await census(shared_server.dsn)
    base_id = owned.ids["knowledgebase_id"]
    named = {"Host": f"{base_id}.kb.localhost"}
    document = (await shared_server.client.get("/openapi.json", headers=named)).json()
    nobody = [
        httpx.AsyncClient(verify=NO_AUTHORITIES, base_url=shared_server.url, headers=headers)
        for headers in ({}, {"Authorization": "Bearer stoa_acc_" + "x" * 64})
    ]
    tried = 0
    for path, methods in document["paths"].items():
        if path in ("/health", "/ready"):
            continue
        for method, operation in methods.items():
            content = operation.get("requestBody", {}).get("content", {})
            upload = {"files": {"files": ("a.txt", b"x")}}
            options: dict[str, object] = (
                upload
                if "multipart/form-data" in content
                else {"json": {"query": "plan", "metadata": {}}}
                if content
                else {}
            )
            url = path.format_map(owned.ids)
            targets: list[tuple[str, dict[str, str]]] = [(url, named), (f"/kb/{base_id}{url}", {})]
            if path.startswith("/v1/vector_stores/"):
                targets.append((url, {}))  # This one stands on the api host too.
            for target, headers in targets:
                for client, status in (
                    (owned.strangers[0], 403),
                    (owned.strangers[1], 403),
                    (nobody[0], 401),
                    (nobody[1], 401),
                ):
                    answer = await client.request(method.upper(), target, headers=headers, **options)
                    assert answer.status_code == status, f"{method} {target}: {answer.status_code} {answer.text}"
                    assert "secret" not in answer.text.lower()
                    tried += 1
    for client in nobody:
        await client.aclose()
    assert tried >= 64
    assert await census(shared_server.dsn) == before
    assert (
        await shared_server.client.post(
            "/v1/documents/search", headers={"Host": "none.kb.localhost"}, json={"query": "x"}
        )
    ).status_code == 404


async def test_every_route_of_an_app_s_own_host(shared_server: Running, owned: Owned) -> None:
    """By its name and by its path: 403 for who may not use the app, 401 for who is nobody."""
    before = await census(shared_server.dsn)
    app_id = owned.ids["app_id"]
    document = await shared_server.call("GET", f"/apps/{app_id}/openapi.json")
    nobody = {"Authorization": ""}, {"Authorization": "Bearer stoa_acc_" + "x" * 64}
    tried = 0
    for path, methods in document["paths"].items():
        if path in ("/health", "/ready"):
            continue
        for method, operation in methods.items():
            content = operation.get("requestBody", {}).get("content", {})
            options: dict[str, object] = {}
            if "application/json" in content:
                options = {
                    "json": BODIES.get(path, next(iter(content["application/json"]["examples"].values()))["value"])
                }
            elif content:
                options = {"files": {"file": ("a.txt", b"x")}}
            url = path.format_map(owned.ids)
            for target, named in ((url, {"Host": f"{app_id}.apps.localhost"}), (f"/apps/{app_id}{url}", {})):
                for stranger in owned.strangers:
                    answer = await stranger.request(method.upper(), target, headers=named, **options)
                    assert answer.status_code == 403, f"{method} {target}: {answer.status_code} {answer.text}"
                    assert "secret" not in answer.text.lower()
                for headers in nobody:
                    answer = await shared_server.client.request(
                        method.upper(), target, headers={**named, **headers}, **options
                    )
                    assert answer.status_code == 401, f"{method} {target}: {answer.status_code} {answer.text}"
                tried += 1
    assert tried >= 14
    assert await census(shared_server.dsn) == before


async def test_an_item_of_another_base_is_not_on_this_host(shared_server: Running, owned: Owned) -> None:
    other = (await shared_server.call("POST", "/v1/knowledgebases", 201, json={"name": "Another"}))["data"]["id"]
    for method, tail in (("GET", ""), ("PATCH", ""), ("DELETE", ""), ("POST", "/reprocess"), ("GET", "/content")):
        body = {"json": {"metadata": {}}} if method == "PATCH" else {}
        await shared_server.call(method, f"/kb/{other}/v1/items/{owned.ids['item_id']}{tail}", 404, **body)
    ids = {"ids": json.dumps([owned.ids["item_id"]])}
    await shared_server.call("POST", f"/kb/{other}/", 400, files={"files": ("a.txt", b"x")}, data=ids)
    await shared_server.call(
        "POST", f"/kb/{other}/v1/vector_stores/{owned.ids['knowledgebase_id']}/search", 404, json={"query": "x"}
    )


async def test_lists_show_nothing_foreign(owned: Owned) -> None:
    for stranger in owned.strangers:
        for path in (
            "/v1/conversations",
            "/v1/conversations?q=secret",
            "/v1/runs",
            "/v1/connections",
            "/v1/tools",
            "/v1/knowledgebases",
            "/v1/workflows",
            f"/v1/apps?project_id={owned.ids['project_id']}",
        ):
            assert (await stranger.get(path)).json()["pagination"]["total_count"] == 0, path
        assert (await stranger.get("/v1/usage?group_by=run_id")).json()["pagination"]["total_count"] == 0
        for path in ("/v1/access-keys", "/v1/projects"):
            listed = json.dumps((await stranger.get(path)).json())
            # The sibling's own organization is no secret to it.
            assert not any(subject in listed for name, subject in owned.ids.items() if name != "org_id")


async def test_a_foreign_file_cannot_be_named(shared_server: Running, owned: Owned) -> None:
    stranger = owned.strangers[0]
    model = (await stranger.get("/v1/router/models")).json()["data"][0]["id"]
    mine = (await stranger.post("/v1/conversations", json={"model_id": model})).json()["data"]["id"]
    content = [{"type": "file", "file": {"id": owned.ids["file_id"]}}]
    refused = await stranger.post(f"/v3/conversations/{mine}/messages", json={"content": content})
    assert (refused.status_code, list(refused.json()["error"]["details"])) == (400, ["content[0].file.id"])
    await stranger.delete(f"/v1/conversations/{mine}")


async def test_limited_expired_and_revoked_keys(shared_server: Running) -> None:
    async def use(secret: str, method: str = "GET", path: str = "/v1/conversations") -> int:
        response = await shared_server.client.request(
            method, path, headers={"Authorization": f"Bearer {secret}"}, json={} if method == "POST" else None
        )
        return response.status_code

    made = (
        await shared_server.call(
            "POST", "/v1/access-keys", 201, json={"name": "reader", "permissions": ["conversations:read"]}
        )
    )["data"]
    assert await use(made["key"]) == 200
    assert [
        await use(made["key"], "POST"),
        await use(made["key"], "GET", "/v1/runs"),
        await use(made["key"], "GET", "/v1/access-keys"),
    ] == [403] * 3
    soon = (datetime.now(UTC) + timedelta(seconds=1)).isoformat()
    short = (await shared_server.call("POST", "/v1/access-keys", 201, json={"name": "short", "expires_at": soon}))[
        "data"
    ]
    assert await use(short["key"]) == 200
    async with asyncio.timeout(5):
        while await use(short["key"]) != 401:
            await asyncio.sleep(0.1)
    await shared_server.call("DELETE", f"/v1/access-keys/{made['id']}")
    assert await use(made["key"]) == 401


async def test_an_idempotency_key_belongs_to_its_scope(shared_server: Running, owned: Owned) -> None:
    headers = {"Idempotency-Key": "shared-word"}
    body = {"model_id": await shared_server.model_id()}
    ours = await shared_server.call("POST", "/v1/conversations", 201, json=body, headers=headers)
    again = await shared_server.call("POST", "/v1/conversations", 201, json=body, headers=headers)
    assert ours == again
    await shared_server.call("POST", "/v1/conversations", 409, json={**body, "title": "Another"}, headers=headers)
    theirs = (await owned.strangers[0].post("/v1/conversations", json=body, headers=headers)).json()["data"]["id"]
    assert theirs != ours["data"]["id"]


async def test_a_hundred_identical_posts_make_one_run(running: Running, tmp_path: Path) -> None:
    conversation_id = await running.conversation()
    headers = {"Idempotency-Key": "once"}
    path = f"/v3/conversations/{conversation_id}/messages"
    answers = await asyncio.gather(
        *(
            running.client.post(path, json={"content": "Hi", "stream": False}, headers=headers, timeout=60)
            for _ in range(100)
        )
    )
    assert {answer.status_code for answer in answers} == {200}, {
        answer.text for answer in answers if answer.status_code != 200
    }
    assert len({answer.json()["data"]["id"] for answer in answers}) == 1
    assert len(running.model.requests) == 1


async def test_a_busy_conversation_says_with_what(running: Running) -> None:
    gate = asyncio.Event()
    running.model.scripts = [[gate]]
    conversation_id = await running.conversation()
    path = f"/v3/conversations/{conversation_id}/messages"
    run = (await running.call("POST", path, 202, json={"content": "Hi", "background": True}))["data"]
    refused = await running.call("POST", path, 409, json={"content": "Me too"})
    assert refused["error"]["details"]["active_run_id"] == run["id"]
    assert (await running.call("GET", f"/v1/conversations/{conversation_id}"))["data"]["active_run_id"] == run["id"]
    deleted = await running.call("DELETE", f"/v1/conversations/{conversation_id}")
    receipt = (await running.call("GET", f"/v1/deletions/{deleted['deletion_id']}"))["data"]
    assert receipt["verified_at"]
    assert receipt["stores"]["runs"]["rows"] == 1
    await running.call("DELETE", f"/v1/conversations/{conversation_id}", 404)
    assert running.model.open == 0
