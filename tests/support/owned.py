"""The objects of one project, and principals without access to it."""

from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any
from uuid import UUID, uuid4

import asyncpg
import httpx

from stoa.access.rules import digest, new_secret
from tests.support.apps import deployed
from tests.support.running import NO_AUTHORITIES, Running
from tests.support.transfers import made_up


@dataclass
class Owned:
    """The objects of the first organization's project, by the name of the path parameter."""

    ids: dict[str, str]
    strangers: list[httpx.AsyncClient]


def needed(operation: Mapping[str, Any]) -> dict[str, str]:
    """A valid query of a route, by the OpenAPI document: the required parameters."""
    given = operation.get("parameters", ())
    return {one["name"]: "u" for one in given if one["in"] == "query" and one.get("required")}


@asynccontextmanager
async def owning(server: Running) -> AsyncGenerator[Owned]:
    """Creates one of everything for the first project of the server's organization, and a principal each of another
    organization and of another project."""
    conversation_id = await server.conversation(title="Secret plans")
    upload = await server.call(
        "POST", f"/v1/conversations/{conversation_id}/files", 201, files={"file": ("plan.txt", b"The secret plan.")}
    )
    run = await server.ask(conversation_id, "The secret question")
    gone = await server.conversation()
    deletion = await server.call("DELETE", f"/v1/conversations/{gone}")
    key = (await server.call("POST", "/v1/access-keys", 201, json={"name": "victim"}))["data"]["id"]
    project = (await server.call("GET", "/v1/projects"))["data"][0]["id"]
    other_project = (await server.call("POST", "/v1/projects", 201, json={"name": "Other"}))["data"]["id"]
    sibling = (
        await server.call("POST", "/v1/access-keys", 201, json={"name": "sibling", "project_id": other_project})
    )["data"]["key"]
    app = await deployed(server, {"agent": {"model": "stoa-extractive", "instructions": "Secret"}}, name="Secret app")
    schedule = {
        "name": "Secret nights",
        "provider": "schedule",
        "config": {"timezone": "UTC", "schedule": "0 0 29 2 *"},
    }
    trigger_id = (await server.call("POST", f"/v1/apps/{app['id']}/triggers", json=schedule))["data"]["id"]
    await server.call("POST", f"/v1/apps/{app['id']}/triggers/{trigger_id}/activate")
    firing = (await server.call("POST", f"/v1/apps/{app['id']}/triggers/{trigger_id}/run"))["data"]["id"]
    tool = {
        "name": "plan",
        "type": "http",
        "description": "d",
        "config": {"url": "https://example.com/"},
        "secrets": {"token": "hush"},
    }
    tool_id = (await server.call("POST", "/v1/tools", 201, json=tool))["data"]["id"]
    base = (
        await server.call("POST", "/v1/knowledgebases", 201, json={"name": "Secret library", "project_id": project})
    )["data"]
    item = (
        await server.call(
            "POST", f"/v1/knowledgebases/{base['id']}/upload", 201, files={"files": ("plan.txt", b"The secret plan.")}
        )
    )["data"][0]
    feed = {
        "name": "Secret site",
        "provider": "website",
        "config": {"url": "https://example.com/"},
        "secrets": {"authorization": "hush"},
    }
    source_id = (await server.call("POST", f"/v1/knowledgebases/{base['id']}/sources", 201, json=feed))["data"]["id"]
    collecting = await server.call("POST", "/v1/access-keys", 201, json={"name": "collecting", "project_id": project})
    span = {
        "id": "victim-run",
        "trace_id": "victim-trace",
        "name": "Secret run",
        "type": "workflow",
        "source_id": "s",
        "start_time": "2026-03-01T12:00:00Z",
        "end_time": "2026-03-01T12:00:01+00:00",
    }
    sender = {"Authorization": f"Bearer {collecting['data']['key']}"}
    await server.call("POST", "/v1/traces", json={"runs": [span]}, headers=sender)
    memory = (await server.call("POST", "/v1/memories", 201, json={"name": "Secret memory"}))["data"]
    said = {"role": "user", "content": [{"type": "text", "text": "The secret plan."}]}
    await server.call("POST", f"/v1/memories/{memory['id']}/items", 201, json={"user_id": "u", "data": said})
    store = (await server.call("POST", "/v1/memory-stores", 201, json={"name": "Secret notes"}))["data"]
    note = {"user_id": "u", "path": "u", "content": "The secret plan."}
    await server.call("PUT", f"/v1/memory-stores/{store['id']}/files", json=note)
    taught = {"name": "secret-plan", "description": "Secret", "instructions": "The secret plan."}
    skill = (await server.call("POST", "/v1/skills", 201, json=taught))["data"]
    report = {"file_name": "plan.md", "name": "Secret report", "kind": "markdown", "content": "The secret plan."}
    published = (await server.call("POST", "/v1/artifacts", 201, json=report))["data"]
    await server.call("POST", f"/v1/artifacts/{published['id']}/share", json={})
    database = await asyncpg.connect(server.dsn)
    org_id, stranger, connection = uuid4(), new_secret(), uuid4()
    await database.execute("INSERT INTO orgs (id, name) VALUES ($1, 'Strangers')", org_id)
    await database.execute("INSERT INTO projects (org_id, id, name) VALUES ($1, $2, 'Theirs')", org_id, uuid4())
    await database.execute(
        "INSERT INTO access_keys (org_id, id, name, hash, preview) VALUES ($1, $2, 'stranger', $3, '')",
        org_id,
        uuid4(),
        digest(stranger),
    )
    await database.execute(
        "INSERT INTO connections (org_id, project_id, id, name, type) SELECT org_id, id, $1, 'mine', 'openai' FROM "
        "projects WHERE id = $2",
        connection,
        UUID(project),
    )
    await database.close()
    org = (await server.call("GET", "/v1/orgs"))["data"][0]["id"]
    invited = (await server.call("POST", f"/v1/orgs/{org}/invitations", 201, json={"email": "victim@example.com"}))[
        "data"
    ]
    need = {"name": "n", "type": "connection", "form": {"title": "Secret CRM"}, "spec": {"type": "x"}, "optional": True}
    required = await server.call("POST", f"/v1/workflows/{app['workflow_id']}/requirements", 201, json=need)
    manifest, _ = made_up(("tools", False, [b'{"id": "x"}']))
    importing = (await server.call("POST", "/v1/imports", 201, json=manifest))["data"]
    ids = {
        "import_id": importing["id"],
        "number": "no-number",
        "requirement_id": required["data"]["id"],
        "callback_id": str(uuid4()),
        "session_id": str(uuid4()),
        "org_id": org,
        "user_id": str(uuid4()),
        "token_id": str(uuid4()),
        "invitation_id": invited["id"],
        "conversation_id": conversation_id,
        "file_id": upload["data"]["id"],
        "run_id": run["id"],
        "deletion_id": deletion["deletion_id"],
        "key_id": key,
        "project_id": project,
        "connection_id": str(connection),
        "tool_id": tool_id,
        "knowledgebase_id": base["id"],
        "item_id": item["id"],
        "vector_store_id": base["id"],
        "source_id": source_id,
        "trace_id": span["trace_id"],
        "app_id": app["id"],
        "workflow_id": app["workflow_id"],
        "version_id": app["workflow_version_id"],
        "agent": app["id"],
        "chat": conversation_id,
        "trigger_id": trigger_id,
        "event_id": firing,
        "memory_id": memory["id"],
        "artifact_id": published["id"],
        "secret": "5e" * 16,  # Of nobody.
        "store_id": store["id"],
        "skill_id": skill["id"],
        "version": skill["latest_version_id"],
    }
    strangers = [
        httpx.AsyncClient(verify=NO_AUTHORITIES, base_url=server.url, headers={"Authorization": f"Bearer {token}"})
        for token in (stranger, sibling)
    ]
    yield Owned(ids, strangers)
    for client in strangers:
        await client.aclose()
