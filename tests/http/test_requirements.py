"""What an app needs of its end users: declared, connected with a token, lent to the tools of a run, refused where it is
missing."""

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit
from uuid import uuid4

import asyncpg
import httpx
import pytest

from stoa.gateway import Capabilities
from tests.conftest import Running, serving
from tests.support.apps import deployed
from tests.support.databases import Databases
from tests.support.doubles import ScriptedModel, answer, calling
from tests.support.providers import provider
from tests.support.running import NO_AUTHORITIES
from tests.support.services import Service

HI = {"input": {"input": "Hi"}}
FLOW = {"agent": {"model": "stoa-extractive", "instructions": "Look it up.", "tools": ["crm"]}}


@pytest.fixture(scope="module")
async def shared(cluster: Databases, room: Path) -> AsyncIterator[Running]:
    name = f"requirements_{uuid4().hex}"
    model = ScriptedModel(given_abilities=Capabilities(images=False, tools=True))
    async with serving(await cluster.copy(name), room / name, model, allow_private_addresses=True) as server:
        yield server


@pytest.fixture(scope="module")
async def service() -> AsyncIterator[Service]:
    async with Service.running() as made:
        yield made


@pytest.fixture(scope="module")
async def crm(shared: Running, service: Service) -> None:
    """A tool whose own secret is nobody's."""
    config = {"url": f"{service.url}/crm", "method": "GET", "headers": {"Authorization": "Bearer {{secret.token}}"}}
    tool = {
        "name": "crm",
        "type": "http",
        "description": "Customers.",
        "config": config,
        "secrets": {"token": "shared"},
    }
    await shared.call("POST", "/v1/tools", 201, json=tool)


@pytest.fixture
async def app(shared: Running, service: Service, crm: None) -> dict[str, Any]:
    server = shared
    service.asked.clear()
    server.model.scripts = [calling(("crm", "{}")), answer("Done.")]
    server.model.requests.clear()
    return await deployed(server, FLOW)


async def require(server: Running, app: dict[str, Any], status: int = 201, **fields: Any) -> dict[str, Any]:
    body = {
        "name": "crm",
        "type": "connection",
        "form": {"title": "Your CRM", "description": "We read your customers."},
        "spec": {"type": "dynamiq.connections.Http", "fields": ["token"], "tools": ["crm"]},
        **fields,
    }
    answered = await server.call("POST", f"/v1/workflows/{app['workflow_id']}/requirements", status, json=body)
    return dict(answered.get("data", answered))


async def link(server: Running, app: dict[str, Any], user_id: str = "u-1", **fields: Any) -> dict[str, Any]:
    body = {"user_id": user_id, **fields}
    return dict(await server.call("POST", f"/apps/{app['id']}/v1/connect/tokens", json=body))


def bearer(token: dict[str, Any]) -> dict[str, str]:
    return {"Authorization": f"Bearer {token['token']}"}


async def connect(server: Running, app: dict[str, Any], requirement: dict[str, Any], user_id: str, token: str) -> None:
    body = {"type": "dynamiq.connections.Http", "config": {"token": token}}
    url = f"/v1/connect/requirements/{requirement['id']}/credentials"
    given = await server.call("POST", url, json=body, headers=bearer(await link(server, app, user_id)))
    assert given == {"message": "created"}


async def run(server: Running, app: dict[str, Any], status: int = 200, **fields: Any) -> dict[str, Any]:
    answered = await server.call("POST", f"/apps/{app['id']}/v1/runs", status, json={**HI, **fields})
    return dict(answered.get("data", answered))


# --- declared -------------------------------------------------------------------------------------------------------
async def test_a_workflow_s_requirements(shared: Running, app: dict[str, Any]) -> None:
    server = shared
    made = await require(server, app)
    url = f"/v1/workflows/{app['workflow_id']}/requirements"
    assert (await server.call("GET", url))["data"] == [made]
    assert (await server.call("GET", f"{url}/{made['id']}"))["data"] == made
    assert made["spec"]["fields"] == ["token"]
    assert made["optional"] is False
    below = await require(server, app, name="again", spec={"type": made["spec"]["type"], "data": made["spec"]})
    assert below["spec"] == made["spec"], "what our own answers show is taken"
    await server.call("DELETE", f"{url}/{below['id']}")
    changed = {"form": {"title": "CRM"}, "optional": True}
    updated = (await server.call("PUT", f"{url}/{made['id']}", json=changed))["data"]
    assert (updated["form"], updated["optional"]) == ({"title": "CRM"}, True)
    assert "name" in (await require(server, app, 409))["error"]["details"]
    on_host = await server.call("GET", f"/apps/{app['id']}/v1/requirements")
    assert on_host == [
        {
            "id": made["id"],
            "type": "connection",
            "form": {"title": "CRM"},
            "spec": {"type": "dynamiq.connections.Http", "data": {"fields": ["token"], "tools": ["crm"]}},
            "workflow_id": app["workflow_id"],
            "name": "crm",
            "optional": True,
        }
    ]
    assert await server.call("DELETE", f"{url}/{made['id']}") == {"message": "deleted"}
    await server.call("GET", f"{url}/{made['id']}", 404)


async def test_specifications_that_are_none(shared: Running, app: dict[str, Any]) -> None:
    oauth = {
        "type": "oauth2",
        "client_id": "c",
        "authorize_url": "https://a.example/",
        "token_url": "https://a.example/",
    }
    for spec, where in (
        ({}, "spec.type"),
        ({"type": "x", "fields": "token"}, "spec.fields"),
        ({"type": "x", "tools": [1]}, "spec.tools"),
        ({**oauth, "client_id": ""}, "spec.client_id"),
        ({**oauth, "token_url": "javascript:alert(1)"}, "spec.token_url"),
    ):
        assert where in (await require(shared, app, 400, spec=spec))["error"]["details"]
    refused = await require(shared, app, 400, type="pipedream_account", spec={})
    assert "spec.app_slug" in refused["error"]["details"]


# --- connected ------------------------------------------------------------------------------------------------------
async def test_a_user_connects_and_a_run_uses_it(shared: Running, app: dict[str, Any], service: Service) -> None:
    """At the end `DELETE /apps/APP/v1/requirements/ID/connections` forgets it."""
    server, requirement = shared, await require(shared, app)
    status = f"/apps/{app['id']}/v1/requirements/status?user_id=u-1"
    before = await server.call("GET", status)
    assert (before["status"], [one["id"] for one in before["unsatisfied"]]) == ("incomplete", [requirement["id"]])
    for user in ({"user_id": "u-1"}, {}):
        refused = (await run(server, app, 409, **user))["error"]
        assert refused["code"] == "requirements_unmet"
        assert refused["details"] == {requirement["id"]: "Your CRM"}
    assert (await server.call("GET", f"/apps/{app['id']}/v1/runs"))["data"] == [], "it fails before it begins"
    token = await link(server, app)
    assert token["url"] == f"{server.url}/connect#{token['token']}"
    assert token["expires_at"]
    offered = (await server.call("GET", "/v1/connect/requirements", headers=bearer(token)))["data"]
    assert [(one["title"], one["spec"]["type"]) for one in offered] == [("Your CRM", "dynamiq.connections.Http")]
    state = "/v1/connect/requirements/status"
    assert (await server.call("GET", state, headers=bearer(token)))["data"][0]["status"] == "pending"
    await connect(server, app, requirement, "u-1", "of-u-1")
    assert (await server.call("GET", state, headers=bearer(token)))["data"][0]["status"] == "completed"
    assert await server.call("GET", status) == {"status": "complete", "unsatisfied": []}
    assert (await run(server, app, user_id="u-1"))["status"] == "completed"
    assert [headers["authorization"] for _, headers, _ in service.asked] == ["Bearer of-u-1"]
    database = await asyncpg.connect(server.dsn)
    stored = await database.fetchval("SELECT secret FROM user_connections WHERE requirement_id = $1", requirement["id"])
    await database.close()
    assert b"of-u-1" not in stored
    gone = f"/apps/{app['id']}/v1/requirements/{requirement['id']}/connections?user_id=u-1"
    assert await server.call("DELETE", gone) == {"message": "deleted"}
    await server.call("DELETE", gone, 404)
    await run(server, app, 409, user_id="u-1")


async def test_each_user_s_own(shared: Running, app: dict[str, Any], service: Service) -> None:
    server, requirement = shared, await require(shared, app)
    for user in ("u-1", "u-2"):
        await connect(server, app, requirement, user, f"of-{user}")
    for user in ("u-2", "u-1"):
        server.model.requests.clear()
        await run(server, app, user_id=user)
    assert [headers["authorization"] for _, headers, _ in service.asked] == ["Bearer of-u-2", "Bearer of-u-1"]


async def test_a_missing_optional_requirement_disables_its_tools_only(
    shared: Running, app: dict[str, Any], service: Service
) -> None:
    server, requirement = shared, await require(shared, app, optional=True)
    done = await run(server, app, user_id="u-1")
    assert done["status"] == "completed"
    assert service.asked == []
    assert "crm" not in [tool.name for tool in server.model.requests[0].tools]
    status = await server.call("GET", f"/apps/{app['id']}/v1/requirements/status?user_id=u-1")
    assert (status["status"], len(status["unsatisfied"])) == ("complete", 1)
    await connect(server, app, requirement, "u-1", "mine")
    server.model.requests.clear()
    await run(server, app, user_id="u-1")
    assert [headers["authorization"] for _, headers, _ in service.asked] == ["Bearer mine"]


async def test_who_has_no_key_speaks_for_no_user(shared: Running, app: dict[str, Any], service: Service) -> None:
    """A public app's caller may write any user_id."""
    server, requirement = shared, await require(shared, app, optional=True)
    await connect(server, app, requirement, "u-1", "mine")
    await server.call("PATCH", f"/v1/apps/{app['id']}", json={"access_control": {"access_type": "public"}})
    host = f"/apps/{app['id']}"
    async with httpx.AsyncClient(verify=NO_AUTHORITIES, base_url=server.url, timeout=30) as anybody:
        done = await anybody.post(f"{host}/v1/runs", json={**HI, "user_id": "u-1"})
        assert done.json()["data"]["status"] == "completed"
        assert service.asked == [], "the tool was withheld"
        assert (await anybody.post(f"{host}/v1/connect/tokens", json={"user_id": "u-1"})).status_code == 403
        assert (await anybody.get(f"{host}/v1/requirements/status?user_id=u-1")).status_code == 403


async def test_a_message_to_the_app_fails_as_its_runs_do(shared: Running, app: dict[str, Any]) -> None:
    server = shared
    await require(server, app)
    made = {"app_id": app["id"], "user_id": "u-1"}
    conversation = (await server.call("POST", "/v1/conversations", 201, json=made))["data"]["id"]
    done = await server.ask(conversation)
    assert (done["status"], done["error"]["code"]) == ("failed", "requirements_unmet")
    assert server.model.requests == []


# --- tokens ---------------------------------------------------------------------------------------------------------
async def test_what_a_connect_token_may(shared: Running, app: dict[str, Any]) -> None:
    server, first = shared, await require(shared, app)
    second = await require(server, app, name="other", form={"title": "Other"})
    narrow = bearer(await link(server, app, requirement_ids=[second["id"]]))
    offered = (await server.call("GET", "/v1/connect/requirements", headers=narrow))["data"]
    assert [one["id"] for one in offered] == [second["id"]]
    body = {"type": "dynamiq.connections.Http", "config": {"token": "x"}}
    url = "/v1/connect/requirements/{}/credentials"
    await server.call("POST", url.format(first["id"]), 404, json=body, headers=narrow)
    wide = bearer(await link(server, app))
    for wrong, where in (
        ({**body, "type": "dynamiq.connections.Other"}, "type"),
        ({**body, "config": {}}, "config.token"),
        ({**body, "config": {"token": "x", "more": "y"}}, "config.more"),
        ({**body, "config": {"token": 7}}, "config.token"),
    ):
        refused = await server.call("POST", url.format(first["id"]), 400, json=wrong, headers=wide)
        assert where in refused["error"]["details"]
    await server.call("POST", f"/v1/connect/requirements/{first['id']}/pipedream/authorize", 400, headers=wide)
    await server.call("POST", f"/v1/connect/requirements/{first['id']}/oauth2/authorize", 400, headers=wide)
    asked = {"user_id": "u-1", "requirement_ids": [str(uuid4())]}
    await server.call("POST", f"/apps/{app['id']}/v1/connect/tokens", 400, json=asked)
    for path in ("/v1/apps", "/v1/me", "/v1/conversations", f"/apps/{app['id']}/v1/runs"):
        assert (await server.client.get(path, headers=wide)).status_code == 401, path
    head, claims, signature = (await link(server, app))["token"].split(".")
    none = "eyJhbGciOiJub25lIn0"
    for token in ("x", f"{head}.{claims}.", f"{none}.{claims}.", f"{head}.{claims[:-2]}AA.{signature}", "a" * 5000):
        headers = {"Authorization": f"Bearer {token}"}
        assert (await server.client.get("/v1/connect/requirements", headers=headers)).status_code == 401, token
    assert (await server.client.get("/v1/connect/requirements")).status_code == 401, "an access key is no connect token"
    await server.call("POST", f"/v1/apps/{app['id']}/archive")
    assert (await server.client.get("/v1/connect/requirements", headers=wide)).status_code == 401


async def test_the_page_is_static_and_strict(shared: Running) -> None:
    page = await shared.client.get("/connect")
    assert page.headers["content-security-policy"].startswith("default-src 'none'; script-src 'self'")
    assert "unsafe" not in page.headers["content-security-policy"]
    assert page.headers["referrer-policy"] == "no-referrer"
    assert page.headers["cache-control"] == "no-store"
    assert "<script>" not in page.text
    for name, kind in (("connect.js", "text/javascript"), ("connect.css", "text/css")):
        asset = await shared.client.get(f"/connect/assets/{name}")
        assert asset.headers["content-type"].startswith(kind)
    assert (await shared.client.get("/connect/assets/connect.html")).status_code == 400


# --- OAuth2 ---------------------------------------------------------------------------------------------------------
@pytest.fixture(scope="module")
async def authority() -> AsyncIterator[str]:
    """Its tokens end before the minute in which they are renewed: each run renews."""
    async with provider("--token-max-age", "30") as url:
        yield url


async def test_authorization_at_a_real_provider(
    shared: Running, app: dict[str, Any], service: Service, authority: str
) -> None:
    """Code and PKCE, in the browser that began it, once; then a token that is renewed for a run."""
    server = shared
    spec = {
        "type": "oauth2",
        "authorize_url": f"{authority}/oauth2/authorize",
        "token_url": f"{authority}/oauth2/token",
        "client_id": "stoa",
        "scopes": ["openid"],
        "tools": ["crm"],
    }
    requirement = await require(server, app, spec=spec, client_secret="hush")
    assert "hush" not in json.dumps(requirement)
    headers = bearer(await link(server, app))
    credentials = f"/v1/connect/requirements/{requirement['id']}/credentials"
    refused = await server.call("POST", credentials, 400, json={"type": "oauth2", "config": {}}, headers=headers)
    assert "oauth2/authorize" in refused["error"]["details"]["type"]
    begin = f"{server.url}/v1/connect/requirements/{requirement['id']}/oauth2/authorize"
    failed, connected = "/connect?result=failed", "/connect?result=connected"
    async with (
        httpx.AsyncClient(verify=NO_AUTHORITIES, timeout=30) as browser,
        httpx.AsyncClient(verify=NO_AUTHORITIES, timeout=30) as stranger,
    ):
        sent = (await browser.post(begin, headers=headers)).json()["data"]["url"]
        asked = parse_qs(urlsplit(sent).query)
        assert asked["code_challenge_method"] == ["S256"]
        assert asked["redirect_uri"] == [f"{server.url}/connect/callback"]
        back = (await browser.post(sent, data={"sub": "alice"})).headers["location"]
        assert (await stranger.get(back)).headers["location"] == failed, "another browser"
        assert (await browser.get(back)).headers["location"] == failed, "the state is used up"
        sent = (await browser.post(begin, headers=headers)).json()["data"]["url"]
        back = (await browser.post(sent, data={"sub": "alice"})).headers["location"]
        assert (await browser.get(back)).headers["location"] == connected
        assert (await browser.get(back)).headers["location"] == failed, "once"
        assert (await browser.get(f"{server.url}/connect/callback")).headers["location"] == failed
    status = await server.call("GET", f"/apps/{app['id']}/v1/requirements/status?user_id=u-1")
    assert status["status"] == "complete"
    database = await asyncpg.connect(server.dsn)
    of = "SELECT secret FROM user_connections WHERE requirement_id = $1"
    before = await database.fetchval(of, requirement["id"])
    assert (await run(server, app, user_id="u-1"))["status"] == "completed"
    assert await database.fetchval(of, requirement["id"]) != before, "it was renewed"
    assert len(service.asked) == 1
    await database.execute(
        "UPDATE requirements SET spec = spec || $2 WHERE id = $1",
        requirement["id"],
        json.dumps({"token_url": f"{service.url}/status/400"}),
    )
    await database.execute(
        "UPDATE user_connections SET expires_at = now() WHERE requirement_id = $1", requirement["id"]
    )
    done = await run(server, app, user_id="u-1")
    assert (done["status"], done["error"]["code"]) == ("failed", "requirements_unmet"), "the service takes it no more"
    assert await database.fetchval(of, requirement["id"]) is None
    await database.close()
