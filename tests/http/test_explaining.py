"""`?explain=access`: owners are told which rule refused, on every host; nobody else learns anything, and no owner
anything of another organization."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any
from uuid import uuid4

import asyncpg
import httpx
import pytest

from stoa.access import NewUser, OrgRole, Passwords, Tokens, Users
from stoa.access.explaining import FOR_OWNERS
from stoa.access.rules import digest, new_secret
from stoa.db import Database
from stoa.kernel.clock import SystemClock
from stoa.kernel.ids import RandomIds
from tests.conftest import FIRST_KEY, Running
from tests.support.running import NO_AUTHORITIES

ASK = {"explain": "access"}
OWNER = {"Stoa-Owner": f"Bearer {FIRST_KEY}"}


async def key(server: Running, **fields: Any) -> dict[str, Any]:
    return (await server.call("POST", "/v1/access-keys", 201, json={"name": "poor", **fields}))["data"]


async def project(server: Running, **fields: Any) -> str:
    return (await server.call("POST", "/v1/projects", 201, json={"name": f"P {uuid4().hex[:6]}", **fields}))["data"][
        "id"
    ]


@asynccontextmanager
async def person(server: Running, role: OrgRole, **where: str) -> AsyncIterator[tuple[str, str]]:
    """(e-mail address, token) of a new user."""
    database = await Database.open(server.dsn, connections_max=2)
    try:
        ids, clock, email = RandomIds(), SystemClock(), f"{uuid4().hex[:8]}@example.com"
        _, org_id = await Users(database, ids, clock, Passwords()).create(NewUser(email), None, role, **where)
        yield email, await Tokens(database, ids, clock).issue(email, "t", org_id, None)
    finally:
        await database.close()


async def told(server: Running, token: str | None, path: str, method: str = "GET", **options: Any) -> tuple[int, str]:
    headers = {**({"Authorization": f"Bearer {token}"} if token else {}), **options.pop("headers", {})}
    async with httpx.AsyncClient(base_url=server.url, timeout=30, verify=NO_AUTHORITIES) as client:
        answer = await client.request(method, path, params=ASK, headers=headers, **options)
    return answer.status_code, answer.json()["error"].get("details", {}).get("access", "")


async def test_the_rule_that_refused_is_named(shared_server: Running) -> None:
    """What stands in the way of another key, asked by an owner."""
    server = shared_server
    here, other = await project(server), await project(server)
    base = (await server.call("POST", "/v1/knowledgebases", 201, json={"name": "k", "project_id": here}))["data"]["id"]
    elsewhere, poor = await key(server, project_id=other), await key(server, permissions=["usage:read"])
    path = f"/v1/knowledgebases/{base}"
    status, why = await told(server, elsewhere["key"], path, headers=OWNER)
    assert status == 404
    assert "The caller is the access key “poor”" in why
    assert f"The knowledge base {base} lies in the project" in why
    assert "the key is limited to" in why
    status, why = await told(server, poor["key"], path, headers=OWNER)
    assert (status, "The route needs knowledge:read; the key has usage:read." in why) == (403, True)
    for where, host in ((f"/kb/{base}/v1/items", {}), ("/v1/items", {"Host": f"{base}.kb.localhost"})):
        status, why = await told(server, elsewhere["key"], where, headers={**OWNER, **host})
        assert (status, f"The knowledge base {base} lies in the project" in why) == (403, True), where
    nothing = str(uuid4())
    status, why = await told(server, FIRST_KEY, f"/v1/runs/{nothing}")
    assert (status, f"Your organizations have nothing with the id {nothing}." in why) == (404, True)
    await server.call("DELETE", path)
    assert "was deleted at" in (await told(server, FIRST_KEY, path))[1]
    # A body, a stream and a route that bypasses the framework are explained too; so is HEAD, without a body.
    talk = await server.conversation()
    said = {"json": {"content": "Hi"}, "headers": OWNER}
    status, why = await told(server, elsewhere["key"], f"/v3/conversations/{talk}/messages", "POST", **said)
    assert (status, f"The conversation {talk} lies in the project" in why) == (404, True)
    async with httpx.AsyncClient(base_url=server.url, verify=NO_AUTHORITIES) as client:
        assert (await client.head(path, params=ASK)).status_code in (401, 405)


async def test_credentials_that_open_nothing(shared_server: Running) -> None:
    server = shared_server
    gone, old = await key(server), await key(server)
    await server.call("DELETE", f"/v1/access-keys/{gone['id']}")
    database = await asyncpg.connect(server.dsn)
    await database.execute(
        "UPDATE access_keys SET expires_at = now() - interval '1 day' WHERE hash = $1", digest(old["key"])
    )
    await database.close()
    for token, part in (
        (gone["key"], "This access key was revoked at 2"),
        (old["key"], "expired at 2"),
        (new_secret(), "was never one of your organizations'"),
        ("nonsense", "was never one of your organizations'"),
        (None, "No credential was sent"),
    ):
        status, why = await told(server, token, "/v1/runs", headers=OWNER)
        assert (status, part in why) == (401, True), (token, why)


async def test_users_and_their_roles(shared_server: Running) -> None:
    server = shared_server
    secret = await project(server, visibility="private")
    open_to_all = await project(server)
    tools = [
        (
            await server.call(
                "POST",
                "/v1/knowledgebases",
                201,
                json={"name": "k", "project_id": where},
            )
        )["data"]["id"]
        for where in (secret, open_to_all)
    ]
    async with person(server, OrgRole.MEMBER) as (email, token):
        status, why = await told(server, token, f"/v1/knowledgebases/{tools[0]}", headers=OWNER)
        assert (status, f"The caller is the user {email}, with the role member." in why) == (404, True)
        assert "lies in the private project" in why
        body = {"email": email, "role": "viewer"}
        await server.call("POST", f"/v1/projects/{open_to_all}/members", 201, json=body)
        changed = {"json": {"name": "n"}, "headers": OWNER}
        _, why = await told(server, token, f"/v1/knowledgebases/{tools[1]}", "PUT", **changed)
        assert "where the user's role does not give knowledge:write." in why
        _, why = await told(server, token, "/v1/doctor", headers=OWNER)
        assert "The route needs doctor:read, which none of the user's roles gives" in why
        status, why = await told(server, token, f"/kb/{tools[1]}/v1/items", headers=OWNER)
        assert (status, "works on the api host only" in why) == (403, True)
        talk = await server.conversation()
        assert (
            "belongs to the access keys of its project"
            in (await told(server, token, f"/v1/conversations/{talk}", headers=OWNER))[1]
        )


async def test_nobody_else_is_told_anything(shared_server: Running) -> None:
    """Not who has no owner's credential, and an owner of another organization not whether something is there."""
    server = shared_server
    base = (await server.call("POST", "/v1/knowledgebases", 201, json={"name": "k"}))["data"]["id"]
    poor = await key(server, permissions=["usage:read"])
    scoped = await key(server, project_id=await project(server))
    for token in (poor["key"], scoped["key"], new_secret(), None):
        for proof in ({}, {"Stoa-Owner": poor["key"]}, {"Stoa-Owner": scoped["key"]}, {"Stoa-Owner": "nonsense"}):
            _, why = await told(server, token, f"/v1/knowledgebases/{base}", headers=proof)
            assert why in ("", FOR_OWNERS), (token, proof, why)
    async with person(server, OrgRole.OWNER, new_org=f"Other {uuid4().hex[:6]}") as (_, stranger):
        _, real = await told(server, stranger, f"/v1/knowledgebases/{base}")
        made_up = str(uuid4())
        _, nothing = await told(server, stranger, f"/v1/knowledgebases/{made_up}")
        assert real.replace(base, "ID") == nothing.replace(made_up, "ID")
        _, why = await told(server, FIRST_KEY, f"/v1/runs/{made_up}", headers={"Stoa-Owner": stranger})
        assert why == "This credential belongs to none of your organizations."
    async with person(server, OrgRole.MEMBER) as (_, member):
        assert (await told(server, member, "/v1/doctor"))[1] == FOR_OWNERS


@pytest.mark.parametrize(
    "query", ["explain=access", "page=1&explain=access&page_size=2", "explain=access&explain=access"]
)
async def test_a_request_that_succeeds_is_as_ever(shared_server: Running, query: str) -> None:
    plain = await shared_server.client.get("/v1/projects?page_size=2&page=1")
    asked = await shared_server.client.get(f"/v1/projects?{query}")
    assert asked.status_code == plain.status_code == 200
    assert (await shared_server.client.get("/v1/projects?explain=everything")).status_code == 400
    refused = await shared_server.client.get(f"/v1/projects?{query}&colour=red")
    assert (refused.status_code, list(refused.json()["error"]["details"])) == (400, ["colour"])
