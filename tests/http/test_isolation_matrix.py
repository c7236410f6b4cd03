"""Every route of every host, asked by every kind of stranger about what the first organization's project has.

The table of the answers is docs/isolation.md. It is written by `WRITE_DOCS=1 python -m pytest
tests/http/test_isolation_matrix.py`, and this test fails when it is not current: a route that is new has to be looked
at.
"""

import os
import re
import runpy
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import urlencode
from uuid import UUID, uuid4

import asyncpg
import httpx
import pytest

from stoa.access.rules import ORG_ROLES, PROJECT_ROLES, TOKEN_PREFIX, digest, new_secret
from stoa.access.types import OrgRole, ProjectRole
from tests.conftest import Running
from tests.support.owned import Owned, needed, owning
from tests.support.routes import ROUTES
from tests.support.running import NO_AUTHORITIES

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs/isolation.md"
OPEN = {
    "GET /health": "whether the server lives",
    "GET /ready": "whether it answers",
    "GET /metrics": "the operator's: loopback or STOA_METRICS_TOKEN",
    "POST /v1/invitations/accept": "the body's token is the credential",
    "POST /v1/hooks/{secret}": "the secret in the path is the credential",
    "GET /v1/shared/{secret}": "the same: a link that somebody shared",
}
"""Routes without a credential, and why."""
NOBODY = ("none", "malformed", "expired", "revoked")
COLUMNS = (
    *NOBODY,
    "other organization",
    "other project",
    "viewer",
    "another user",
    "token off the api host",
    "no permission",
    "connect token",
)
OWNED_BY_USERS = {"conversation_id", "file_id", "run_id"}
SCOPED_TO_ORG = re.compile(r"^/v1/orgs/\{org_id\}")
VIEWER = PROJECT_ROLES[ProjectRole.VIEWER] | ORG_ROLES[OrgRole.MEMBER]
BODIES: Mapping[str, Any] = {
    "POST /v1/traces": {"runs": []},
    "POST /collector/v1/traces": {"runs": []},
    "POST /v1/apps/ID/invoke": {},
    "POST /v1/agui/ID": {"threadId": "t", "runId": "r", "messages": [{"id": "m", "role": "user", "content": "x"}]},
    "POST /v1/ui-messages/ID": {
        "id": "c",
        "messages": [{"id": "m", "role": "user", "parts": [{"type": "text", "text": "x"}]}],
    },
    "POST /v1/a2a/ID": {
        "jsonrpc": "2.0",
        "id": 1,
        "method": "message/send",
        "params": {"message": {"messageId": "m", "role": "user", "parts": [{"kind": "text", "text": "x"}]}},
    },
}
OF_DIALECTS: Mapping[str, set[int]] = {
    "GET /v1/ui-messages/{agent}/{chat}/stream": {204},  # as of any chat in which nothing is under way
    "POST /v1/a2a/{agent}": {200},  # an error of JSON-RPC
}
"""What a stranger gets where a dialect says in its own way that there is no such thing."""
TABLES = (
    "conversations", "messages", "files", "runs", "events", "deletions", "connections", "tools", "knowledgebases",
    "knowledge_items", "knowledge_sources", "spans", "traces", "access_keys", "project_members", "invitations",
    "models", "workflows", "workflow_versions", "apps", "app_deployments", "triggers", "trigger_events",
    "app_signing_secrets", "callbacks", "requirements", "user_connections", "oauth_attempts", "memories",
    "memory_items", "memory_stores", "memory_files", "skills", "skill_versions", "artifacts",
    "artifact_versions", "artifact_shares",
)  # fmt: skip


@cache
def permissions() -> list[tuple[str, str, str]]:
    """(permission, method, path) of every route."""
    return list(runpy.run_path(str(ROOT / "tools/docs/permissions.py"))["routes"]())


@dataclass(frozen=True)
class Asked:
    host: str
    """api, kb, app or collector."""
    method: str
    path: str
    prefix: str
    upload: str | None
    query: str = ""

    @property
    def name(self) -> str:
        return f"{self.method} {self.path}"

    @property
    def connecting(self) -> bool:
        """Whether it takes connect tokens, and nothing else."""
        return self.host == "api" and self.path.startswith("/v1/connect/")

    @property
    def tried(self) -> str:
        """As tests/http/test_refusals.py names it."""
        base = {"api": "", "kb": "/kb/BASE", "app": "/apps/APP", "collector": "/collector"}[self.host]
        return f"{self.method} {base}{re.sub(r'{[^}]+}', 'ID', self.path)}"

    @property
    def permissions(self) -> set[str]:
        path = {"kb": "the base's host: ", "app": "the app's host: "}.get(self.host, "") + self.path
        found = {one for one, method, route in permissions() if (method, route) == (self.method, path)}
        if self.host == "kb" and not found:
            found = {"knowledge:read"} if self.method == "GET" else {"knowledge:write"}
        return found


async def routes(server: Running, base_id: str, app_id: str) -> list[Asked]:
    found: list[Asked] = []
    for host, prefix in (
        ("api", ""),
        ("kb", f"/kb/{base_id}"),
        ("app", f"/apps/{app_id}"),
        ("collector", "/collector"),
    ):
        document = await server.document(prefix)
        for path, methods in document["paths"].items():
            for method, operation in methods.items():
                form = operation.get("requestBody", {}).get("content", {}).get("multipart/form-data")
                upload = None if form is None else "files" if "knowledgebase" in path or host == "kb" else "file"
                found.append(Asked(host, method.upper(), path, prefix, upload, urlencode(needed(operation))))
    # A member may make projects, and administers them: after that, the viewer is more than a viewer somewhere.
    return sorted(found, key=lambda asked: asked.name == "POST /v1/projects")


@pytest.fixture(scope="module")
async def owned(shared_server: Running) -> AsyncIterator[Owned]:
    async with owning(shared_server) as made:
        yield made


@pytest.fixture(scope="module")
async def strangers(shared_server: Running, owned: Owned) -> AsyncIterator[dict[str, list[httpx.AsyncClient]]]:
    """Credentials by column; each of a column's must get the same answer."""
    server, ids = shared_server, owned.ids
    org, project = UUID(ids["org_id"]), UUID(ids["project_id"])
    database = await asyncpg.connect(server.dsn)
    secrets = {name: new_secret() for name in ("expired", "revoked", "nothing")}
    past = datetime.now(UTC) - timedelta(seconds=5)
    tokens: dict[str, str] = {}
    await database.execute(
        "INSERT INTO access_keys (org_id, id, name, hash, preview, expires_at) VALUES ($1, $2, 'e', $3, '', $4)",
        org, uuid4(), digest(secrets["expired"]), past,
    )  # fmt: skip
    for name, role in (("viewer", "member"), ("owner", "owner"), ("expired", "owner")):
        user = uuid4()
        tokens[name] = new_secret(TOKEN_PREFIX)
        await database.execute("INSERT INTO users (id, email) VALUES ($1, $2)", user, f"{name}@example.com")
        await database.execute("INSERT INTO org_members VALUES ($1, $2, $3)", org, user, role)
        await database.execute(
            ("INSERT INTO personal_tokens (org_id, id, user_id, name, hash, preview, expires_at) VALUES "
             "($1, $2, $3, 't', $4, '', $5)"),
            org, uuid4(), user, digest(tokens[name]), past if name == "expired" else None,
        )  # fmt: skip
        if name == "viewer":
            await database.execute("INSERT INTO project_members VALUES ($1, $2, $3, 'viewer')", org, project, user)
            for other in await database.fetch("SELECT id FROM projects WHERE org_id = $1 AND id <> $2", org, project):
                await database.execute("INSERT INTO project_members VALUES ($1, $2, $3, 'viewer')", org, other[0], user)
    await database.close()
    made = (await server.call("POST", "/v1/access-keys", 201, json={"name": "revoked"}))["data"]
    await server.call("DELETE", f"/v1/access-keys/{made['id']}")
    limited = [
        (await server.call("POST", "/v1/access-keys", 201, json={"name": "l", "permissions": [one]}))["data"]["key"]
        for one in ("doctor:read", "usage:read")
    ]

    connect = await server.call("POST", f"/apps/{ids['app_id']}/v1/connect/tokens", json={"user_id": "u"})

    def client(authorization: str | None) -> httpx.AsyncClient:
        headers = {"Authorization": authorization} if authorization is not None else {}
        return httpx.AsyncClient(verify=NO_AUTHORITIES, base_url=server.url, headers=headers, timeout=30)

    made_clients = {
        "none": [client(None), client("")],
        "malformed": [
            client(one) for one in ("Basic abc", "Bearer x", "Bearer stoa_acc_short", "Bearer stoa_pat_short")
        ],
        "expired": [client(f"Bearer {one}") for one in (secrets["expired"], tokens["expired"])],
        "revoked": [client(f"Bearer {one}") for one in (made["key"], secrets["revoked"], new_secret(TOKEN_PREFIX))],
        "other organization": [owned.strangers[0]],
        "other project": [owned.strangers[1]],
        "viewer": [client(f"Bearer {tokens['viewer']}")],
        "another user": [client(f"Bearer {tokens['owner']}")],
        "token off the api host": [client(f"Bearer {tokens['owner']}"), client(f"Bearer {tokens['viewer']}")],
        "no permission": [client(f"Bearer {one}") for one in limited],
        "connect token": [client(f"Bearer {connect['token']}")],
    }
    yield made_clients
    for name, clients in made_clients.items():
        if not name.startswith("other "):
            for one in clients:
                await one.aclose()


async def census(dsn: str, org_id: str, project_id: str) -> dict[str, int]:
    """What the project has."""
    database = await asyncpg.connect(dsn)
    try:
        return {
            table: await database.fetchval(
                f"SELECT count(*) FROM {table} WHERE org_id = $1 AND (project_id = $2 OR project_id IS NULL)",
                UUID(org_id),
                UUID(project_id),
            )
            for table in TABLES
        }
    finally:
        await database.close()


def expected(asked: Asked, column: str) -> set[int] | None:
    """The statuses that are right; None where the column does not apply."""
    names = set(re.findall(r"{(\w+)}", asked.path))
    if column in NOBODY or column == "connect token" or asked.connecting:
        no_column = asked.connecting and column in ("connect token", "token off the api host", "another user")
        return None if no_column else {401}
    if column == "token off the api host":
        return {403} if asked.host != "api" else None
    if column == "no permission":
        return {403}
    if column == "another user":
        return {404} if asked.host == "api" and names & OWNED_BY_USERS else None
    if column == "viewer":
        if asked.host != "api":
            return {403}
        if not asked.permissions & VIEWER:
            return {403}
        return {200, 201, 204, 400, 401, 403, 404}
    if asked.host in ("kb", "app"):
        return {403}
    if asked.name in OF_DIALECTS:
        return OF_DIALECTS[asked.name]
    if asked.host == "api" and names - {"model_id"}:
        if SCOPED_TO_ORG.match(asked.path) and column == "other project":
            return {200, 403, 404}  # Its own organization; but of nobody in it.
        return {403, 404}
    return {200, 201, 204, 400, 401, 403, 404, 409}


async def ask(client: httpx.AsyncClient, asked: Asked, ids: Mapping[str, str], model_id: str) -> httpx.Response:
    bodies = {f"{one.method} {one.path}": one.body for one in ROUTES if one.body is not None}
    options: dict[str, Any] = {}
    if asked.upload is not None:
        options["files"] = {asked.upload: ("a.txt", b"x")}
    elif (body := BODIES.get(asked.tried, bodies.get(asked.tried))) is not None:
        options["json"] = {key: model_id if value == "MODEL" else value for key, value in body.items()}
    url = asked.prefix + asked.path.format_map(ids)
    return await client.request(asked.method, f"{url}?{asked.query}" if asked.query else url, **options)


async def test_the_matrix(
    shared_server: Running,
    owned: Owned,
    strangers: dict[str, list[httpx.AsyncClient]],
) -> None:
    server, model_id = shared_server, await shared_server.model_id()
    ids = {**owned.ids, "model_id": model_id}
    before = await census(server.dsn, ids["org_id"], ids["project_id"])
    table: dict[Asked, list[str]] = {}
    wrong: list[str] = []
    secrets = [ids[name] for name in ("conversation_id", "file_id", "run_id", "tool_id", "item_id", "source_id")]
    for asked in await routes(server, ids["knowledgebase_id"], ids["app_id"]):
        if asked.name in OPEN:
            continue
        assert asked.permissions or asked.connecting, f"{asked.name} needs a permission, or a place in OPEN"
        cells: list[str] = []
        for column in COLUMNS:
            right = expected(asked, column)
            if right is None:
                cells.append("")
                continue
            clients = strangers[column]
            if column == "no permission":
                clients = [clients[1 if "doctor:read" in asked.permissions else 0]]
            answers = [await ask(client, asked, ids, model_id) for client in clients]
            statuses = {answer.status_code for answer in answers}
            wrong += (
                [f"{asked.name} by {column}: {statuses}, not {right}"]
                if len(statuses) != 1 or not statuses <= right
                else []
            )
            if column != "viewer":
                path = asked.path.format_map(ids)
                shown = [one for one in secrets if any(one in answer.text for answer in answers) and one not in path]
                wrong += [f"{asked.name} by {column} shows {one}" for one in shown]
                wrong += [
                    f"{asked.name} by {column} shows text" for answer in answers if "secret plan" in answer.text.lower()
                ]
            cells.append(" ".join(str(one) for one in sorted(statuses)))
        table[asked] = cells
    assert not wrong, "\n".join(wrong)
    assert await census(server.dsn, ids["org_id"], ids["project_id"]) == before, "a stranger has changed something"
    written = page(table)
    if os.environ.get("WRITE_DOCS"):
        PAGE.write_text(written)
    assert PAGE.read_text("utf-8") == written, "run: WRITE_DOCS=1 python -m pytest tests/http/test_isolation_matrix.py"


def page(table: Mapping[Asked, list[str]]) -> str:
    lines = [
        "# Isolation",
        "",
        "What every route of every host answers to every kind of stranger that asks about what a project of another",
        (
            "organization, or another project, has. Written by `tests/http/test_isolation_matrix.py`, "
            "which asks a real server and fails"
        ),
        (
            "when an answer is another one, when something of the project is shown or changed, or when "
            "a route is missing here."
        ),
        "",
        "- **none, malformed, expired, revoked**: no credential that counts, keys and tokens alike.",
        (
            "- **other organization, other project**: a key that may do everything, there. Without an "
            "id in the path it is about what is the"
        ),
        "  key's own (2xx), and shows nothing of the project.",
        (
            "- **viewer**: a token of a user who may only read the project. Conversations and runs "
            "begun with keys are not the user's (404)."
        ),
        "- **another user**: the token of an owner, asking about what is not the owner's own conversation.",
        "- **token off the api host**: a valid personal access token, on a host that is not the api host.",
        "- **no permission**: a key of the organization whose permissions do not hold the route's.",
        "- **connect token**: that of an end user of the project's app, which opens `/v1/connect/…` alone.",
        "",
    ]
    for host in ("api", "kb", "app", "collector"):
        lines += [f"## The {host} host", "", f"| route | {' | '.join(COLUMNS)} |", "|---" * (len(COLUMNS) + 1) + "|"]
        lines += [
            f"| `{asked.name}` | {' | '.join(cells)} |"
            for asked, cells in sorted(table.items(), key=lambda one: (one[0].path, one[0].method))
            if asked.host == host
        ]
        lines.append("")
    lines += ["## Open to everybody", "", "| route | why |", "|---|---|"]
    lines += [f"| `{name}` | {why} |" for name, why in OPEN.items()]
    return "\n".join(lines) + "\n"
