"""What a stranger found who walked the contract line by line: each difference, on its own host."""

import json
from typing import Any

import httpx
import pytest

from tests.conftest import FIRST_KEY, Running
from tests.support.apps import deployed
from tests.support.running import NO_AUTHORITIES

NOWHERE = "0b54a6d2-6a0f-4b5e-9f6f-0d4f5a3c2b1a"
JSON = json.dumps({"input": {"input": "Hi"}}).encode()


@pytest.fixture(scope="module")
async def app(shared_server: Running) -> dict[str, Any]:
    return await deployed(shared_server)


def details(answer: httpx.Response, status: int = 400) -> dict[str, str]:
    assert answer.status_code == status, answer.text
    return dict(answer.json()["error"]["details"])


async def test_a_method_that_a_path_does_not_take_is_told_those_that_it_takes(shared_server: Running) -> None:
    client = shared_server.client
    for path, allowed in (
        ("/v1/conversations", "GET, POST"),
        (f"/v1/projects/{NOWHERE}", "DELETE, GET, PUT"),
        ("/v1/me", "GET"),
        (f"/kb/{NOWHERE}/", "POST"),
        ("/collector/v1/traces", "POST"),
    ):
        answer = await client.request("PROPFIND", path)
        assert (answer.status_code, answer.headers["allow"]) == (405, allowed), path


@pytest.mark.parametrize("path", ["/health", "/ready", "/router/health", f"/apps/{NOWHERE}/ready"])
async def test_whoever_watches_a_server_may_ask_with_head(shared_server: Running, path: str) -> None:
    answer = await shared_server.client.head(path)
    assert (answer.status_code, answer.content) == (200, b"")


async def test_a_request_without_a_credential_is_told_which_kind(shared_server: Running) -> None:
    async with httpx.AsyncClient(base_url=shared_server.url, verify=NO_AUTHORITIES) as nobody:
        for path in ("/v1/projects", f"/kb/{NOWHERE}/v1/items", "/router/v1/models", f"/apps/{NOWHERE}/v1/runs"):
            answer = await nobody.get(path)
            assert (answer.status_code, answer.headers["www-authenticate"]) == (401, "Bearer"), path


async def test_a_body_that_does_not_say_what_it_is_is_json(shared_server: Running, app: dict[str, Any]) -> None:
    """On every route: those of apps took it, others said of an object that it was none."""
    key = {"Authorization": f"Bearer {FIRST_KEY}"}
    for url, body in ((f"{shared_server.url}/v1/projects", b'{"name": "Plain"}'), (f"{app['url']}/v1/runs", JSON)):
        answer = await shared_server.client.post(url, content=body, headers=key)
        assert answer.is_success, answer.text
        assert "content-type" not in answer.request.headers
        answer = await shared_server.client.post(url, headers=key)
        assert details(answer) == {"body": "is required"}


async def test_a_post_whose_fields_may_all_be_left_out_needs_no_body(shared_server: Running) -> None:
    conversation = await shared_server.conversation()
    assert (await shared_server.client.post(f"/v1/conversations/{conversation}/fork")).status_code == 201
    report = {"file_name": "a.md", "name": "A", "kind": "markdown", "content": "one"}
    made = (await shared_server.call("POST", "/v1/artifacts", 201, json=report))["data"]
    assert (await shared_server.client.post(f"/v1/artifacts/{made['id']}/share")).status_code == 200
    assert details(await shared_server.client.patch(f"/v1/conversations/{conversation}")) == {"body": "is required"}
    assert details(await shared_server.client.post("/v1/conversations/x/fork")) == {"conversation_id": "must be a UUID"}


async def test_every_field_is_named_by_its_name(shared_server: Running, app: dict[str, Any]) -> None:
    client, runs = shared_server.client, f"{app['url']}/v1/runs"
    sent = {"input": {"input": "Hi"}}
    both = details(await client.post(runs, json={**sent, "stream": True, "background": True}))
    assert both == {"stream": "cannot be true together with background: send one of them"}
    conversation = await shared_server.conversation()
    path = f"/v3/conversations/{conversation}/messages"
    assert details(await client.post(path, json={"content": "Hi", "stream": True, "background": True})) == both
    files = details(await client.post(runs, json={**sent, "file_ids": [NOWHERE]}))
    assert files == {"file_ids[0]": "is not a file of this app; POST it to /v1/files of the app's host first"}
    dated = {"name": "k", "expires_at": "2030-01-01T00:00:00"}
    assert details(await client.post("/v1/access-keys", json=dated)) == {
        "expires_at": "must have a time zone, such as 2030-01-31T09:00:00Z"
    }
    once = {"timezone": "UTC", "run_at": "2030-01-01T00:00:00Z", "expires_at": "2031-01-01T00:00:00Z"}
    trigger = {"name": "t", "provider": "schedule", "config": once}
    assert list(details(await client.post(f"/v1/apps/{app['id']}/triggers", json=trigger))) == ["config.expires_at"]


async def test_uploads_are_made_once_for_a_key(shared_server: Running, app: dict[str, Any]) -> None:
    client, key = shared_server.client, {"Idempotency-Key": "an-upload"}
    url = f"{app['url']}/v1/files"
    first, again = [await client.post(url, files={"file": ("a.txt", b"one")}, headers=key) for _ in range(2)]
    assert first.is_success
    assert first.json() == again.json()
    other = await client.post(url, files={"file": ("a.txt", b"two")}, headers=key)
    assert other.status_code == 409, other.text
    assert (await client.post(url, files={"file": ("a.txt", b"one")}, headers=key)).json() == first.json()
    key = {"Idempotency-Key": "a-run-with-files"}
    form = {"input": '{"input": "Hi"}'}
    runs = f"{app['url']}/v1/runs"
    first, again, other = [
        await client.post(runs, data=form, files={"files": ("a.txt", content)}, headers=key)
        for content in (b"one", b"one", b"two")
    ]
    assert (first.json()["data"]["id"], other.status_code) == (again.json()["data"]["id"], 409)


async def test_versions_and_requirements_are_made_once_for_a_key(shared_server: Running, app: dict[str, Any]) -> None:
    client, key = shared_server.client, {"Idempotency-Key": "a-version"}
    report = {"file_name": "a.md", "name": "A", "kind": "markdown", "content": "one"}
    made = (await shared_server.call("POST", "/v1/artifacts", 201, json=report))["data"]
    key |= {"If-Match": made["latest_version"]["id"] if "latest_version" in made else made["latest_version_id"]}
    path = f"/v1/artifacts/{made['id']}/versions"
    first, again = [await client.post(path, json={"content": "two"}, headers=key) for _ in range(2)]
    assert (first.status_code, first.json()) == (201, again.json())
    assert (await client.post(path, json={"content": "three"}, headers=key)).status_code == 409
    body = {"name": "crm", "type": "connection", "form": {"title": "CRM"}, "spec": {"type": "dynamiq.connections.Http"}}
    path = f"/v1/workflows/{app['workflow_id']}/requirements"
    first, again = [await client.post(path, json=body, headers={"Idempotency-Key": "crm"}) for _ in range(2)]
    assert (first.status_code, first.json()) == (201, again.json())


async def test_a_repeated_rollback_tells_the_same(shared_server: Running) -> None:
    """The second request under the key said that the app had gone forward again."""
    app = await deployed(shared_server)
    second = await deployed(shared_server)
    await shared_server.call("POST", f"/v1/apps/{app['id']}/deploy", json={"workflow_id": second["workflow_id"]})
    path, key = f"/v1/apps/{app['id']}/rollback", {"Idempotency-Key": "back"}
    first, again = [await shared_server.client.post(path, json={}, headers=key) for _ in range(2)]
    assert (first.status_code, first.json()) == (200, again.json())
    deployments = (await shared_server.call("GET", f"/v1/apps/{app['id']}/deployments"))["data"]
    assert deployments[0]["id"] == first.json()["data"]["deployment_id"]
    assert len(deployments) == 3


MADE_ONCE_ANYWAY = {
    "POST /v1/runs/{run_id}/stream-tickets": "a signed word, which nothing stores",
    "POST /v1/skills/import/github": "always refused",
    "POST /v1/projects/{project_id}/members": "somebody is a member once",
    "POST /v1/invitations/accept": "an invitation is accepted once, and its credential is its own",
    "POST /v1/imports": "the same manifest gives the import that it began",
}


@pytest.mark.parametrize("host", ["", "/kb/x", "/apps/x", "/router", "/collector"])
async def test_what_creates_takes_an_idempotency_key(shared_server: Running, host: str) -> None:
    """Contract section 2: every POST that creates something."""
    document = await shared_server.document(host)
    without = {
        f"POST {path}"
        for path, methods in document["paths"].items()
        for method, operation in methods.items()
        if method == "post" and "201" in operation["responses"]
        if not any(one["name"] == "Idempotency-Key" for one in operation.get("parameters", ()))
    }
    assert without == (set(MADE_ONCE_ANYWAY) if not host else set())
    undocumented = {
        f"{method.upper()} {path}"
        for path, methods in document["paths"].items()
        for method, operation in methods.items()
        if any(one["name"] == "Idempotency-Key" for one in operation.get("parameters", ()))
        if "409" not in operation["responses"]
    }
    assert undocumented == set(), "a key that was used with another request is a 409"
