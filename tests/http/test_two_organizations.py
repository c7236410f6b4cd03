"""Two organizations on one server: the second tries what the matrix of routes and ids does not reach: tickets, equal
keys and contents, lists, the doctor, metrics, the log, the tables themselves."""

import json
from collections.abc import AsyncIterator
from typing import Any
from uuid import UUID, uuid4

import asyncpg
import httpx
import pytest

from tests.conftest import Running
from tests.support.logs import logged
from tests.support.owned import Owned, owning
from tests.support.running import NO_AUTHORITIES

PUBLIC = ("model_id", "slug")
SHARED = {"nodes", "schema_migrations"}


@pytest.fixture(scope="module")
async def owned(shared_server: Running) -> AsyncIterator[Owned]:
    async with owning(shared_server) as made:
        yield made


@pytest.fixture
def stranger(owned: Owned) -> httpx.AsyncClient:
    """With a key of the other organization that may do everything there."""
    return owned.strangers[0]


async def made(client: httpx.AsyncClient, path: str, body: Any, **options: Any) -> dict[str, Any]:
    answer = await client.post(path, json=body, **options)
    assert answer.is_success, answer.text
    return dict(answer.json()["data"])


async def test_no_list_of_any_host_names_what_is_the_others(
    shared_server: Running, owned: Owned, stranger: httpx.AsyncClient
) -> None:
    """Every GET without an id, found in the documents: lists, reports, the doctor, what is counted."""
    foreign = {one for name, one in owned.ids.items() if name not in PUBLIC}
    asked = 0
    for prefix in ("", "/router", "/collector"):
        document = await shared_server.document(prefix)
        for path in (path for path, methods in document["paths"].items() if "get" in methods and "{" not in path):
            query = {"project_id": owned.ids["project_id"]} if path == "/v1/apps" else {}
            answer = await stranger.get(f"{prefix}{path}", params=query)
            assert answer.status_code in (200, 400, 401, 403, 404), (path, answer.text)
            assert not [one for one in foreign if one in answer.text], f"{prefix}{path}"
            assert "ecret" not in answer.text, f"{prefix}{path}"
            asked += 1
    assert asked > 20


async def test_a_ticket_opens_one_run_of_its_owner(
    shared_server: Running, owned: Owned, stranger: httpx.AsyncClient
) -> None:
    run = owned.ids["run_id"]
    assert (await stranger.post(f"/v1/runs/{run}/stream-tickets")).status_code == 404
    model = (await stranger.get("/v1/router/models")).json()["data"][0]["id"]
    conversation = await made(stranger, "/v1/conversations", {"model_id": model})
    path = f"/v3/conversations/{conversation['id']}/messages"
    theirs = (await made(stranger, path, {"content": "Hi", "stream": False}))["id"]
    ticket = (await made(stranger, f"/v1/runs/{theirs}/stream-tickets", {}))["ticket"]
    ours = (await shared_server.call("POST", f"/v1/runs/{run}/stream-tickets", 201))["data"]["ticket"]
    async with httpx.AsyncClient(verify=NO_AUTHORITIES, base_url=shared_server.url) as nobody:
        assert (await nobody.get(f"/v1/runs/{theirs}/stream?ticket={ticket}")).status_code == 200
        for stolen in (ticket, ours.replace(ours[:8], ticket[:8]), ticket[:-1]):
            assert (await nobody.get(f"/v1/runs/{run}/stream?ticket={stolen}")).status_code == 401
        assert (await nobody.get(f"/v1/runs/{theirs}/stream?ticket={ours}")).status_code == 401
        for other in (f"/v1/runs/{run}/events", f"/v1/runs/{run}", "/v1/runs"):
            assert (await nobody.get(f"{other}?ticket={ours}")).status_code in (400, 401)


async def test_equal_idempotency_keys_are_two(shared_server: Running, stranger: httpx.AsyncClient) -> None:
    """What the first organization has made under a key is not what the second one gets."""
    models = {}
    for client in (shared_server.client, stranger):
        models[client] = (await client.get("/v1/router/models")).json()["data"][0]["id"]
    tool = {"name": "same", "type": "http", "description": "d", "config": {"url": "https://example.com/"}}
    bodies: dict[str, Any] = {
        "/v1/conversations": {"model_id": models[stranger], "title": "Same"},
        "/v1/projects": {"name": "same"},
        "/v1/access-keys": {"name": "same"},
        "/v1/knowledgebases": {"name": "same"},
        "/v1/tools": tool,
        "/v1/workflows": {"name": "same", "flow": {"agent": {}}},
    }
    for path, body in bodies.items():
        key = {"Idempotency-Key": f"the-same-{uuid4()}"}
        first = await made(shared_server.client, path, body, headers=key)
        again = await made(shared_server.client, path, body, headers=key)
        second = await made(stranger, path, body, headers=key)
        assert first["id"] == again["id"], path
        assert second["id"] != first["id"], path


async def test_equal_contents_are_two_files(shared_server: Running, owned: Owned, stranger: httpx.AsyncClient) -> None:
    """Nothing tells that another organization has a file already, and a deletion takes away one's own."""
    model = (await stranger.get("/v1/router/models")).json()["data"][0]["id"]
    conversation = (await made(stranger, "/v1/conversations", {"model_id": model}))["id"]
    same, other = ("plan.txt", b"The secret plan."), ("plan.txt", b"Another text....")
    answers = [
        (await stranger.post(f"/v1/conversations/{conversation}/files", files={"file": one})).json()["data"]
        for one in (same, other)
    ]
    shapes = [{name: type(value) for name, value in one.items()} for one in answers]
    assert shapes[0] == shapes[1]
    assert answers[0]["id"] != owned.ids["file_id"]
    assert (await stranger.delete(f"/v1/conversations/{conversation}")).is_success
    kept = await shared_server.client.get(f"/v1/files/{owned.ids['file_id']}/content")
    assert (kept.status_code, kept.content) == (200, b"The secret plan.")
    base = (await made(stranger, "/v1/knowledgebases", {"name": "Mine"}))["id"]
    found = await stranger.post(f"/v1/knowledgebases/{base}/vector-search", json={"query": "the secret plan"})
    assert (found.status_code, found.json()["data"]) == (200, []), "their index holds nothing of ours"


async def test_no_agent_names_what_is_the_others(owned: Owned, stranger: httpx.AsyncClient) -> None:
    model = (await stranger.get("/v1/router/models")).json()["data"][0]["id"]
    for agent in ({"tools": ["plan"]}, {"knowledge_bases": [owned.ids["knowledgebase_id"]]}):
        refused = await stranger.post("/v1/conversations", json={"model_id": model, "agent": agent})
        assert refused.status_code == 400, refused.text
    flow = {"agent": {"model": "stoa-extractive", "knowledge_bases": [owned.ids["knowledgebase_id"]]}}
    workflow = await stranger.post("/v1/workflows", json={"name": "w", "flow": flow})
    if workflow.is_success:
        body = {"name": "v", "flow": flow, "flow_ui": {}}
        path = f"/v1/workflows/{workflow.json()['data']['id']}/release"
        assert (await stranger.post(path, json=body)).status_code == 400


async def test_metrics_and_log_hold_no_content(
    shared_server: Running, owned: Owned, stranger: httpx.AsyncClient
) -> None:
    """Of nobody: the operator's pages name routes, models of the operator and counts."""
    talk = f"/v3/conversations/{owned.ids['conversation_id']}/messages"
    with logged() as lines:
        for path in ("/v1/conversations", "/v1/tools"):
            await stranger.get(path)
            await shared_server.client.post(path, json={"title": "Secret title", "name": "Secret name"})
        await shared_server.client.post(talk, json={"content": "The secret question again", "stream": False})
        page = (await shared_server.client.get("/metrics")).text
    assert sum('"event": "request"' in line for line in lines) >= 6
    for text in (page, *lines):
        assert "ecret" not in text
        assert "hush" not in text
        assert "stoa_acc_" not in text
    assert not [one for name, one in owned.ids.items() if name not in PUBLIC and one in page]


async def test_every_table_under_row_level_security(shared_server: Running, owned: Owned) -> None:
    """As the role of tenants, in the name of the second organization: no row of the first, of any table."""
    database = await asyncpg.connect(shared_server.dsn)
    ours = UUID(owned.ids["org_id"])
    try:
        theirs = await database.fetchval("SELECT id FROM orgs WHERE name = 'Strangers'")
        tables = [
            row["table_name"]
            for row in await database.fetch(
                "SELECT table_name FROM information_schema.columns WHERE column_name = 'org_id'"
                " AND table_schema = 'public' ORDER BY table_name"
            )
        ]
        filled = [
            table
            for table in tables
            if await database.fetchval(f"SELECT EXISTS (SELECT 1 FROM {table} WHERE org_id = $1)", ours)
        ]
        assert len(filled) > 20, filled
        for table in filled:
            async with database.transaction():
                await database.execute("SET LOCAL ROLE stoa_tenant")
                await database.execute(f"SET LOCAL stoa.org_id = '{theirs}'")
                await database.execute("SET LOCAL stoa.project_id = ''")
                if not await database.fetchval("SELECT has_table_privilege('stoa_tenant', $1, 'SELECT')", table):
                    continue
                seen = await database.fetchval(f"SELECT count(*) FROM {table} WHERE org_id = $1", ours)
                assert seen == 0, table
    finally:
        await database.close()


async def test_the_doctor_of_one_organization(shared_server: Running, stranger: httpx.AsyncClient) -> None:
    """A promise that is broken for the first is not counted for the second."""
    run = (await shared_server.ask(await shared_server.conversation()))["id"]
    database = await asyncpg.connect(shared_server.dsn)
    try:
        await database.execute("DELETE FROM events WHERE run_id = $1 AND sequence = 2", UUID(run))
    finally:
        await database.close()
    ours = (await shared_server.call("GET", "/v1/doctor"))["data"]
    theirs = (await stranger.get("/v1/doctor")).json()["data"]
    assert run in json.dumps(ours)
    assert set(ours["data"]) == {"files", "database"}
    assert theirs.get("data") is None, "where this server's files are is its operator's business"
    assert ours["broken"] > 0
    assert run not in json.dumps(theirs)
    assert theirs["broken"] == 0, theirs
