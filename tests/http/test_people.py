"""People: what roles permit, whose conversations a token sees, invitations, tokens, and who stays an owner."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any
from uuid import UUID, uuid4

import argon2
import asyncpg
import httpx
import pytest

from stoa.access import NewUser, OrgRole, Passwords, Tokens, Users
from stoa.access.rules import ATTEMPTS_MAX
from stoa.db import Database
from stoa.kernel.clock import SystemClock
from stoa.kernel.errors import Conflict, NotFound, RateLimited, Unauthorized
from stoa.kernel.ids import RandomIds
from tests.conftest import Running
from tests.support.running import NO_AUTHORITIES

PASSWORD = "correct horse battery"
QUICK = argon2.PasswordHasher(time_cost=1, memory_cost=8, parallelism=1)


@asynccontextmanager
async def people(running: Running) -> AsyncIterator[tuple[Users, Tokens]]:
    """What the operator's commands use."""
    database = await Database.open(running.dsn, connections_max=4)
    ids, clock = RandomIds(), SystemClock()
    yield Users(database, ids, clock, Passwords(QUICK)), Tokens(database, ids, clock)
    await database.close()


class Person:
    def __init__(self, running: Running, token: str) -> None:
        self.token = token
        self.client = httpx.AsyncClient(
            verify=NO_AUTHORITIES, base_url=running.url, headers={"Authorization": f"Bearer {token}"}, timeout=30
        )

    async def call(self, method: str, path: str, status: int = 200, **options: Any) -> Any:
        response = await self.client.request(method, path, **options)
        assert response.status_code == status, f"{method} {path}: {response.status_code} {response.text}"
        return response.json() if response.content else None


@pytest.fixture
async def person(running: Running) -> AsyncIterator[Any]:
    """Makes people, by e-mail address and role."""
    made: list[Person] = []

    async def make(email: str, role: OrgRole = OrgRole.MEMBER, **where: str) -> Person:
        async with people(running) as (users, tokens):
            _, org_id = await users.create(NewUser(email, "Ada", "L", "UTC"), PASSWORD, role, **where)
            made.append(Person(running, await tokens.issue(email, "test", org_id, None)))
        return made[-1]

    yield make
    for one in made:
        await one.client.aclose()


async def project(running: Running, **fields: Any) -> str:
    return str((await running.call("POST", "/v1/projects", 201, json={"name": "P", **fields}))["data"]["id"])


async def test_me(running: Running, person: Any) -> None:
    ada = await person("Ada@Example.com", OrgRole.OWNER)
    me = (await ada.call("GET", "/v1/me"))["data"]
    assert {**me, "id": "x"} == {
        "id": "x",
        "email": "ada@example.com",
        "first_name": "Ada",
        "last_name": "L",
        "timezone": "UTC",
    }
    await running.call("GET", "/v1/me", 403)


async def test_a_token_is_shown_once_and_dies_at_once(running: Running, person: Any) -> None:
    ada, bob = await person("ada@example.com"), await person("bob@example.com")
    made = (await ada.call("POST", "/v1/personal-access-tokens", 201, json={"name": "laptop"}))["data"]
    assert made["key"].startswith("stoa_pat_")
    assert made["preview"] == f"stoa_pat_{made['key'][9:12]}...{made['key'][-3:]}"
    listed = await ada.call("GET", "/v1/personal-access-tokens")
    assert made["key"] not in str(listed)
    assert listed["pagination"]["total_count"] == 2
    laptop = {"headers": {"Authorization": f"Bearer {made['key']}"}}
    await ada.call("GET", "/v1/me", **laptop)
    await bob.call("DELETE", f"/v1/personal-access-tokens/{made['id']}", 404)
    await ada.call("DELETE", f"/v1/personal-access-tokens/{made['id']}")
    await ada.call("GET", "/v1/me", 401, **laptop)
    await running.call("POST", "/v1/personal-access-tokens", 403, json={"name": "x"})
    database = await asyncpg.connect(running.dsn)
    stored = str(await database.fetch("SELECT * FROM personal_tokens"))
    await database.close()
    assert made["key"][9:40] not in stored


async def test_a_repeated_request_makes_one_token_and_hides_its_secret(person: Any) -> None:
    ada = await person("ada@example.com")
    options: Any = {"json": {"name": "ci"}, "headers": {"Idempotency-Key": "once"}}
    first = (await ada.call("POST", "/v1/personal-access-tokens", 201, **options))["data"]
    again = (await ada.call("POST", "/v1/personal-access-tokens", 201, **options))["data"]
    assert again == {name: value for name, value in first.items() if name != "key"}


async def test_a_token_does_not_outlive_the_one_that_makes_it(running: Running, person: Any) -> None:
    ada = await person("ada@example.com")
    short = (
        await ada.call(
            "POST", "/v1/personal-access-tokens", 201, json={"name": "s", "expires_at": "2099-01-01T00:00:00Z"}
        )
    )["data"]
    with_it = {"headers": {"Authorization": f"Bearer {short['key']}"}}
    later = {"name": "l", "expires_at": "2100-01-01T00:00:00Z"}
    await ada.call("POST", "/v1/personal-access-tokens", 400, json=later, **with_it)
    made = (await ada.call("POST", "/v1/personal-access-tokens", 201, json={"name": "l"}, **with_it))["data"]
    assert made["expires_at"] == short["expires_at"]


async def test_a_token_works_on_the_api_host_only(running: Running, person: Any) -> None:
    ada = await person("ada@example.com", OrgRole.OWNER)
    base = (await ada.call("POST", "/v1/knowledgebases", 201, json={"name": "k"}))["data"]["id"]
    asked = {"json": {"query": "x"}}
    for path, headers in (
        (f"/kb/{base}/v1/documents/search", {}),
        ("/v1/documents/search", {"Host": f"{base}.kb.localhost"}),
        (f"/v1/vector_stores/{base}/search", {}),
        ("/v1/traces", {"Host": "collector.localhost"}),
        ("/collector/v1/traces", {}),
    ):
        refused = await ada.call("POST", path, 403, headers=headers, **asked)
        assert "api host only" in refused["error"]["message"], path
        dead = {"Authorization": "Bearer stoa_pat_" + "x" * 64, **headers}
        await ada.call("POST", path, 401, headers=dead, **asked)


async def test_a_users_conversations_are_visible_to_that_user_only(running: Running, person: Any) -> None:
    """Whatever the role: not an owner's, not an organization-wide key's; and a user sees none of the keys'."""
    ada, boss = await person("ada@example.com"), await person("boss@example.com", OrgRole.OWNER)
    model = await running.model_id()
    mine = (await ada.call("POST", "/v1/conversations", 201, json={"model_id": model, "title": "Mine"}))["data"]["id"]
    uploaded = await ada.call("POST", f"/v1/conversations/{mine}/files", 201, files={"file": ("a.txt", b"secret")})
    sent = {"content": "Where is the secret?", "stream": False}
    run = (await ada.call("POST", f"/v3/conversations/{mine}/messages", json=sent))["data"]["id"]
    keys = await running.conversation(title="Of a key")
    await running.ask(keys)
    paths = [
        f"/v1/conversations/{mine}",
        f"/v1/conversations/{mine}/messages",
        f"/v1/conversations/{mine}/files",
        f"/v1/conversations/{mine}/queue",
        f"/v1/files/{uploaded['data']['id']}",
        f"/v1/files/{uploaded['data']['id']}/content",
        f"/v1/runs/{run}",
        f"/v1/runs/{run}/events",
        f"/v1/runs/{run}/stream",
        f"/v1/runs/{run}/tool-calls",
        f"/v1/traces/{run}",
    ]
    for path in paths:
        response = await ada.client.get(path)
        assert response.status_code == 200, f"{path}: {response.text}"
        for other in (boss.client, running.client):
            assert (await other.get(path)).status_code == 404, path
    for method, path, body in (
        ("POST", f"/v3/conversations/{mine}/messages", sent),
        ("PATCH", f"/v1/conversations/{mine}", {"title": "Theirs"}),
        ("DELETE", f"/v1/conversations/{mine}", None),
        ("POST", f"/v1/conversations/{mine}/fork", {}),
        ("POST", f"/v1/conversations/{mine}/regenerate", {"stream": False}),
        ("POST", f"/v1/runs/{run}/cancel", None),
        ("POST", f"/v1/runs/{run}/stream-tickets", None),
    ):
        for other in (boss.client, running.client):
            assert (await other.request(method, path, json=body)).status_code == 404, path
    for path in ("/v1/conversations", "/v1/conversations?q=secret", "/v1/runs"):
        assert [one["id"] for one in (await ada.call("GET", path))["data"]] in ([mine], [run]), path
        assert (await boss.call("GET", path))["pagination"]["total_count"] == 0, path
    assert [one["id"] for one in (await running.call("GET", "/v1/conversations"))["data"]] == [keys]
    assert (await running.call("GET", "/v1/runs"))["pagination"]["total_count"] == 1
    await ada.call("GET", f"/v1/conversations/{keys}", 404)
    assert (await boss.call("GET", "/v1/doctor"))["data"]["broken"] == 0
    ticket = (await ada.call("POST", f"/v1/runs/{run}/stream-tickets", 201))["data"]["ticket"]
    async with httpx.AsyncClient(verify=NO_AUTHORITIES, base_url=running.url) as nobody:
        assert (await nobody.get(f"/v1/runs/{run}/stream?ticket={ticket}")).status_code == 200
    receipt = (await ada.call("DELETE", f"/v1/conversations/{mine}"))["deletion_id"]
    await ada.call("GET", f"/v1/deletions/{receipt}")
    await boss.call("GET", f"/v1/deletions/{receipt}", 404)
    await running.call("GET", f"/v1/deletions/{receipt}", 404)


async def test_what_roles_in_projects_permit(running: Running, person: Any) -> None:
    """A member sees internal projects and the private ones that list the member; and changes what the role there
    permits."""
    ada, boss = await person("ada@example.com"), await person("boss@example.com", OrgRole.ADMIN)
    home = (await running.call("GET", "/v1/projects"))["data"][0]["id"]
    secret, shared = await project(running, visibility="private"), await project(running, visibility="private")
    base = {
        where: (await running.call("POST", "/v1/knowledgebases", 201, json={"name": "k", "project_id": where}))["data"][
            "id"
        ]
        for where in (home, secret, shared)
    }
    me = (await ada.call("GET", "/v1/me"))["data"]["id"]
    rename = {"json": {"name": "Renamed"}}

    async def seen() -> set[str]:
        listed = {one["id"] for one in (await ada.call("GET", "/v1/knowledgebases"))["data"]}
        assert {one["id"] for one in (await ada.call("GET", "/v1/projects"))["data"]} == {
            where for where, its in base.items() if its in listed
        }
        return listed

    assert await seen() == {base[home]}
    await ada.call("PUT", f"/v1/knowledgebases/{base[home]}", **rename)
    await ada.call("GET", f"/v1/knowledgebases/{base[secret]}", 404)
    await ada.call("POST", "/v1/knowledgebases", 400, json={"name": "n", "project_id": secret})
    added = await boss.call(
        "POST", f"/v1/projects/{shared}/members", 201, json={"email": "ada@example.com", "role": "viewer"}
    )
    assert added["data"]["user_id"] == me
    assert await seen() == {base[home], base[shared]}
    await ada.call("GET", f"/v1/knowledgebases/{base[shared]}")
    await ada.call("PUT", f"/v1/knowledgebases/{base[shared]}", 404, **rename)
    await ada.call("POST", "/v1/knowledgebases", 400, json={"name": "n", "project_id": shared})
    await ada.call("GET", f"/v1/projects/{shared}/members")
    await ada.call("PUT", f"/v1/projects/{shared}/members/{me}", 403, json={"role": "admin"})
    await boss.call("PUT", f"/v1/projects/{shared}/members/{me}", json={"role": "editor"})
    await ada.call("PUT", f"/v1/knowledgebases/{base[shared]}", **rename)
    await boss.call("PUT", f"/v1/projects/{shared}/members/{me}", json={"role": "admin"})
    key = (await ada.call("POST", "/v1/access-keys", 201, json={"name": "mine", "project_id": shared}))["data"]
    assert "doctor:read" not in key["permissions"]
    await ada.call("POST", "/v1/access-keys", 400, json={"name": "wide"})
    await ada.call("POST", "/v1/access-keys", 400, json={"name": "other", "project_id": secret})
    await ada.call("PUT", f"/v1/projects/{shared}", json={"name": "Ours", "visibility": "private"})
    await ada.call("DELETE", f"/v1/projects/{shared}", 403)
    await boss.call("DELETE", f"/v1/projects/{shared}/members/{me}")
    assert await seen() == {base[home]}
    for path in ("/v1/doctor", "/v1/access-keys/" + str(uuid4())):
        assert (await ada.client.request("GET" if "doctor" in path else "DELETE", path)).status_code == 403
    mine = (await ada.call("POST", "/v1/projects", 201, json={"name": "Mine", "visibility": "private"}))["data"]["id"]
    await ada.call("PUT", f"/v1/projects/{mine}", json={"name": "Mine too", "visibility": "private"})


async def test_lists_of_several_projects_show_what_the_policies_admit(running: Running, person: Any) -> None:
    ada = await person("ada@example.com")
    for number in range(3):
        where = await project(running, name=f"P{number}")
        for _ in range(2):
            made = await running.call("POST", "/v1/knowledgebases", 201, json={"name": f"k{_}", "project_id": where})
            assert made
    private = await project(running, visibility="private")
    await running.call("POST", "/v1/knowledgebases", 201, json={"name": "hidden", "project_id": private})
    listed = await ada.call("GET", "/v1/knowledgebases?page_size=500")
    assert listed["pagination"]["total_count"] == len(listed["data"]) == 6


async def test_an_invitation_opens_once(running: Running, person: Any) -> None:
    org = (await running.call("GET", "/v1/orgs"))["data"][0]["id"]
    invited = (await running.call("POST", f"/v1/orgs/{org}/invitations", 201, json={"email": "Eve@example.com"}))[
        "data"
    ]
    assert (invited["email"], invited["role"], invited["mailed"]) == ("eve@example.com", "member", False)
    await running.call("POST", f"/v1/orgs/{org}/invitations", 409, json={"email": "eve@example.com"})
    again = (await running.call("POST", f"/v1/orgs/{org}/invitations/{invited['id']}/resend"))["data"]
    listed = await running.call("GET", f"/v1/orgs/{org}/invitations")
    assert again["token"] not in str(listed)
    body = {"token": invited["token"], "first_name": "Eve", "password": PASSWORD}
    async with httpx.AsyncClient(verify=NO_AUTHORITIES, base_url=running.url, timeout=30) as nobody:
        path = "/v1/invitations/accept"
        assert (await nobody.post(path, json=body)).status_code == 404  # The first token opens nothing any more.
        body["token"] = again["token"]
        for password in (None, "short"):
            refused = await nobody.post(path, json={**body, "password": password})
            assert (refused.status_code, list(refused.json()["error"]["details"])) == (400, ["password"])
        answers = await asyncio.gather(*(nobody.post(path, json=body) for _ in range(5)))
        assert sorted(one.status_code for one in answers) == [201, 404, 404, 404, 404]
        accepted = next(one for one in answers if one.status_code == 201).json()["data"]
        assert (accepted["user"]["email"], accepted["org_id"]) == ("eve@example.com", org)
        eve = {"Authorization": f"Bearer {accepted['key']}"}
        assert (await nobody.get("/v1/me", headers=eve)).json()["data"]["first_name"] == "Eve"
        gone = (await running.call("POST", f"/v1/orgs/{org}/invitations", 201, json={"email": "x@example.com"}))["data"]
        await running.call("DELETE", f"/v1/orgs/{org}/invitations/{gone['id']}")
        assert (await nobody.post(path, json={**body, "token": gone["token"]})).status_code == 404
        # Who is a user already becomes a member of one project more, and nothing else of the user changes.
        private = await project(running, visibility="private")
        into = await running.call(
            "POST", f"/v1/projects/{private}/invitations", 201, json={"email": "eve@example.com", "role": "viewer"}
        )
        joined = await nobody.post(path, json={"token": into["data"]["token"], "first_name": "Mallory"})
        assert joined.json()["data"]["user"]["first_name"] == "Eve"
        assert "key" not in joined.json()["data"]
        assert private in (await nobody.get("/v1/projects", headers=eve)).text


async def test_nobody_returns_by_an_invitation_that_they_have_sent(running: Running, person: Any) -> None:
    boss = await person("boss@example.com", OrgRole.OWNER)
    org = (await boss.call("GET", "/v1/orgs"))["data"][0]["id"]
    path, members = f"/v1/orgs/{org}/invitations", f"/v1/orgs/{org}/members"

    async def admin(email: str) -> tuple[Any, str]:
        made = await person(email, OrgRole.ADMIN)
        return made, str((await made.call("GET", "/v1/me"))["data"]["id"])

    async def invited(by: Any, email: str) -> str:
        return str((await by.call("POST", path, 201, json={"email": email, "role": "admin"}))["data"]["id"])

    demoted, demoted_id = await admin("ada@example.com")
    removed, removed_id = await admin("bob@example.com")
    kept = await invited(boss, "kept@example.com")
    sent = await invited(boss, "sent@example.com")
    await removed.call("POST", f"{path}/{sent}/resend")  # Whoever sends it again has its token.
    await invited(demoted, "one@example.com")
    await invited(removed, "two@example.com")
    key = (await boss.call("POST", "/v1/access-keys", 201, json={"name": "k", "org_id": org}))["data"]
    async with httpx.AsyncClient(verify=NO_AUTHORITIES, base_url=running.url, timeout=30) as other:
        other.headers["Authorization"] = f"Bearer {key['key']}"
        assert (await other.post(path, json={"email": "three@example.com"})).status_code == 201
    await running.call("PUT", f"{members}/{demoted_id}", json={"role": "member"})
    await running.call("DELETE", f"{members}/{removed_id}")
    await running.call("DELETE", f"/v1/access-keys/{key['id']}")
    assert [one["id"] for one in (await running.call("GET", path))["data"]] == [kept]
    lines = (await running.call("GET", "/v1/audit?page_size=100"))["data"]
    assert sum(one["action"] == "invitation.delete" for one in lines) == 4


async def test_a_repeated_invitation_is_one(running: Running) -> None:
    org = (await running.call("GET", "/v1/orgs"))["data"][0]["id"]
    options: Any = {"json": {"email": "eve@example.com"}, "headers": {"Idempotency-Key": "invite"}}
    first = (await running.call("POST", f"/v1/orgs/{org}/invitations", 201, **options))["data"]
    again = (await running.call("POST", f"/v1/orgs/{org}/invitations", 201, **options))["data"]
    assert (again["id"], "token" in again) == (first["id"], False)


async def test_an_owner_stays_and_who_is_removed_is_out_at_once(running: Running, person: Any) -> None:
    boss, ada = await person("boss@example.com", OrgRole.OWNER), await person("ada@example.com")
    org = (await boss.call("GET", "/v1/orgs"))["data"][0]
    assert org["role"] == "owner"
    ids = {one["email"]: one["user_id"] for one in (await ada.call("GET", f"/v1/orgs/{org['id']}/members"))["data"]}
    members = f"/v1/orgs/{org['id']}/members"
    await boss.call("PUT", f"{members}/{ids['boss@example.com']}", 409, json={"role": "member"})
    await boss.call("DELETE", f"{members}/{ids['boss@example.com']}", 409)
    await ada.call("PUT", f"{members}/{ids['ada@example.com']}", 403, json={"role": "owner"})
    await running.call("PUT", f"{members}/{ids['ada@example.com']}", json={"role": "owner"})
    answers = await asyncio.gather(
        *(boss.client.put(f"{members}/{one}", json={"role": "member"}) for one in ids.values())
    )
    assert 409 in {one.status_code for one in answers} or 403 in {one.status_code for one in answers}
    roles = [one["role"] for one in (await running.call("GET", members))["data"]]
    assert roles.count("owner") == 1
    await running.call("PUT", f"{members}/{ids['boss@example.com']}", json={"role": "owner"})
    await running.call("DELETE", f"{members}/{ids['ada@example.com']}")
    await ada.call("GET", "/v1/me", 401)


async def test_several_organizations(running: Running, person: Any) -> None:
    boss, ada = await person("boss@example.com", OrgRole.OWNER), await person("ada@example.com")
    other = (await boss.call("POST", "/v1/orgs", 201, json={"name": "Second"}))["data"]["id"]
    await ada.call("POST", "/v1/orgs", 403, json={"name": "Third"})
    await running.call("POST", "/v1/orgs", 403, json={"name": "Third"})
    assert {one["id"] for one in (await boss.call("GET", "/v1/orgs"))["data"]} >= {other}
    assert (await boss.call("GET", f"/v1/orgs/{other}"))["data"]["name"] == "Second"
    for stranger in (ada, running):
        await stranger.call("GET", f"/v1/orgs/{other}", 404)
        await stranger.call("GET", f"/v1/orgs/{other}/members", 404)
    there = (await boss.call("POST", "/v1/projects", 201, json={"name": "There", "org_id": other}))["data"]
    assert there["org_id"] == other
    assert len((await boss.call("GET", f"/v1/projects?org_id={other}"))["data"]) == 2
    await boss.call("GET", f"/v1/projects/{there['id']}")
    await ada.call("GET", f"/v1/projects/{there['id']}", 404)
    token = (await boss.call("POST", "/v1/personal-access-tokens", 201, json={"name": "2", "org_id": other}))["data"]
    await ada.call("POST", "/v1/personal-access-tokens", 400, json={"name": "2", "org_id": other})
    acting = {"headers": {"Authorization": f"Bearer {token['key']}"}}
    assert (await boss.call("GET", "/v1/access-keys", **acting))["data"] == []
    assert (await person("carol@example.com", OrgRole.OWNER, new_org="Fourth")) is not None
    async with people(running) as (users, _):
        with pytest.raises(Conflict):
            await users.create(NewUser("carol@example.com"), PASSWORD, OrgRole.MEMBER)
        with pytest.raises(NotFound):
            await users.create(NewUser("dave@example.com"), PASSWORD, OrgRole.MEMBER, org="Nowhere")


async def test_sessions_for_a_console(running: Running, person: Any) -> None:
    await person("ada@example.com", OrgRole.OWNER)
    async with people(running) as (users, _):
        session = await users.sign_in("ADA@example.com", PASSWORD)
        principal = await users.verify(session)
        assert principal.projects == (), "sees nothing until a permission is asked for"
        allowed = principal.permitted(("conversations:read",))
        assert allowed is not None
        assert allowed.organization_wide
        response = await running.client.get("/v1/me", headers={"Authorization": f"Bearer {session}"})
        assert response.status_code == 401, "a session is no bearer token"
        for email, password in (("ada@example.com", "wrong"), ("nobody@example.com", PASSWORD)):
            with pytest.raises(Unauthorized, match="do not match"):
                await users.sign_in(email, password)
        await users.sign_out(session)
        with pytest.raises(Unauthorized):
            await users.verify(session)
        kept = await users.sign_in("ada@example.com", PASSWORD)
        await users.set_password("ada@example.com", "another password")
        with pytest.raises(Unauthorized):
            await users.verify(kept)
        for _ in range(ATTEMPTS_MAX):
            with pytest.raises(Unauthorized):
                await users.sign_in("ada@example.com", "wrong")
        with pytest.raises(RateLimited):
            await users.sign_in("ada@example.com", "another password")
        database = await asyncpg.connect(running.dsn)
        stored = str(await database.fetch("SELECT * FROM user_sessions")) + str(
            await database.fetchval("SELECT password FROM users LIMIT 1")
        )
        await database.close()
        assert session[9:40] not in stored
        assert "another password" not in stored


async def test_every_policy_knows_several_projects(running: Running) -> None:
    """Also of tables that later migrations make: `widen_policies` is called after each."""
    database = await asyncpg.connect(running.dsn)
    narrow = await database.fetch(
        "SELECT tablename FROM pg_policies WHERE qual LIKE '%stoa_project()%' AND qual NOT LIKE '%stoa_projects()%'"
        " OR with_check LIKE '%stoa_project()%' AND with_check NOT LIKE '%stoa_projects()%'"
    )
    await database.execute("CREATE TABLE late (org_id uuid, project_id uuid)")
    await database.execute("ALTER TABLE late ENABLE ROW LEVEL SECURITY")
    await database.execute(
        "CREATE POLICY tenant ON late TO stoa_tenant USING (org_id = stoa_org() AND "
        "(stoa_project() IS NULL OR project_id = stoa_project()))"
    )
    await database.execute("GRANT SELECT ON late TO stoa_tenant")
    await database.execute("SELECT widen_policies()")
    org, one, two, three = (UUID(int=number) for number in range(1, 5))
    await database.executemany("INSERT INTO late VALUES ($1, $2)", [(org, one), (org, two), (org, three)])
    for projects, expected in ((f"{{{one},{two}}}", 2), ("{}", 0)):
        async with database.transaction():
            await database.execute(
                f"SET LOCAL ROLE stoa_tenant; SET LOCAL stoa.org_id = '{org}';"
                f" SET LOCAL stoa.project_id = '{UUID(int=0)}'; SET LOCAL stoa.project_ids = '{projects}'"
            )
            assert await database.fetchval("SELECT count(*) FROM late") == expected
    await database.close()
    assert narrow == []


async def test_a_key_admits_nobody_to_more_than_it_may_do_itself(running: Running, person: Any) -> None:
    await person("ada@example.com")
    org = (await running.call("GET", "/v1/orgs"))["data"][0]["id"]
    members = f"/v1/orgs/{org}/members"
    ada = next(one["user_id"] for one in (await running.call("GET", members))["data"])
    home = (await running.call("GET", "/v1/projects"))["data"][0]["id"]
    sent = (await running.call("POST", f"/v1/orgs/{org}/invitations", 201, json={"email": "o@x.org", "role": "owner"}))[
        "data"
    ]["id"]
    requests: list[tuple[str, str, dict[str, str]]] = [
        ("POST", f"/v1/orgs/{org}/invitations", {"email": "evil@x.org", "role": "owner"}),
        ("POST", f"/v1/orgs/{org}/invitations", {"email": "evil@x.org"}),
        ("POST", f"/v1/orgs/{org}/invitations/{sent}/resend", {}),
        ("PUT", f"{members}/{ada}", {"role": "admin"}),
        ("POST", f"/v1/projects/{home}/members", {"user_id": ada, "role": "editor"}),
        ("PUT", f"/v1/projects/{home}/members/{ada}", {"role": "admin"}),
        ("POST", f"/v1/projects/{home}/invitations", {"email": "evil@x.org", "role": "viewer"}),
    ]
    for limits in ({"permissions": ["access:read", "access:write"]}, {"rate_limit": 1_000}):
        key = (await running.call("POST", "/v1/access-keys", 201, json={"name": "k", **limits}))["data"]["key"]
        headers = {"Authorization": f"Bearer {key}"}
        for method, path, body in requests:
            answer = await running.client.request(method, path, json=body, headers=headers)
            assert answer.status_code == 403, (limits, method, path, answer.text)
    assert [one["id"] for one in (await running.call("GET", f"/v1/orgs/{org}/invitations"))["data"]] == [sent]
    assert [one["role"] for one in (await running.call("GET", members))["data"]] == ["member"]
