"""What an app's owner sees of it on the api host: sessions, figures, files of runs, what a rollback restores."""

from typing import Any
from uuid import uuid4

import httpx
import pytest

from tests.conftest import Running
from tests.support.apps import SHORT, deployed, release
from tests.support.running import NO_AUTHORITIES

SESSION = "01890a5d-ac96-774b-bcce-b302099a8057"


async def run(server: Running, app: dict[str, Any], **fields: Any) -> dict[str, Any]:
    body = {"input": {"input": "Hi"}, **fields}
    return dict((await server.call("POST", f"/apps/{app['id']}/v1/runs", json=body))["data"])


async def test_sessions_and_their_messages(shared_server: Running) -> None:
    server, app = shared_server, await deployed(shared_server)
    await run(server, app)
    first = await run(server, app, user_id="u-1", session_id=SESSION)
    second = await run(server, app, user_id="u-2", session_id=SESSION)
    url = f"/v1/apps/{app['id']}/sessions"
    listed = await server.call("GET", url)
    assert [(one["id"], one["user_id"]) for one in listed["data"]] == [(SESSION, "u-2"), (SESSION, "u-1")]
    assert listed["pagination"]["total_count"] == 2
    assert [one["conversation_id"] for one in listed["data"]] == [second["conversation_id"], first["conversation_id"]]
    assert len((await server.call("GET", f"{url}?user_id=u-1"))["data"]) == 1
    messages = (await server.call("GET", f"{url}/{SESSION}/messages?user_id=u-1"))["data"]
    assert [one["role"] for one in messages] == ["user", "assistant"]
    assert "user_id" in (await server.call("GET", f"{url}/{SESSION}/messages", 400))["error"]["details"]
    await server.call("GET", f"{url}/{uuid4()}/messages", 404)
    await server.call("GET", f"/v1/apps/{uuid4()}/sessions", 404)


async def test_figures_are_series(shared_server: Running) -> None:
    server, app = shared_server, await deployed(shared_server)
    for _ in range(2):
        await run(server, app)
    url = f"/v1/apps/{app['id']}/metrics"
    (point,) = (await server.call("GET", url))["data"]["series"]
    assert (point["runs"], point["completed"], point["failed"]) == (2, 2, 0)
    assert point["total_tokens"] > 0
    assert 0 < point["duration_ms_avg"] <= point["duration_ms_p95"]
    past = {"start_time": "2020-01-01T00:00:00Z", "end_time": "2020-01-02T00:00:00Z", "interval": "5m"}
    empty = (await server.call("GET", url, params=past))["data"]
    assert (empty["series"], empty["interval_seconds"]) == ([], 300)
    assert empty["start_time"].startswith("2020-01-01T00:00:00")
    for wrong, where in (
        ({"interval": "5"}, "interval"),
        ({"interval": "1s"}, "interval"),
        ({"start_time": past["end_time"], "end_time": past["start_time"]}, "start_time"),
        ({"start_time": "2020-01-01T00:00:00Z"}, "start_time"),
        ({"start_time": "yesterday"}, "start_time"),
    ):
        assert where in (await server.call("GET", url, 400, params=wrong))["error"]["details"]


async def test_files_of_a_run_have_links_that_end(shared_server: Running) -> None:
    server, app = shared_server, await deployed(shared_server)
    sent = await server.call(
        "POST",
        f"/apps/{app['id']}/v1/runs",
        data={"input": '{"input": "Hi"}'},
        files=[("files", ("b.txt", b"The sea is red."))],
    )
    url = f"/v1/apps/{app['id']}/runs/{sent['data']['id']}/artifacts"
    (artifact,) = (await server.call("GET", url))["data"]
    assert (artifact["name"], artifact["size"], artifact["kind"]) == ("b.txt", 15, "input")
    async with httpx.AsyncClient(verify=NO_AUTHORITIES, timeout=30) as anybody:
        got = await anybody.get(artifact["url"])
        assert (got.status_code, got.content) == (200, b"The sea is red.")
        assert got.headers["content-disposition"].startswith("attachment")
        for wrong in (
            artifact["url"][:-4] + "AAAA",
            artifact["url"].split("?")[0],
            f"{server.url}/v1/files/{uuid4()}/content?ticket=x",
        ):
            assert (await anybody.get(wrong)).status_code == 401
    other = await deployed(server)
    await server.call("GET", f"/v1/apps/{other['id']}/runs/{sent['data']['id']}/artifacts", 404)


async def test_a_rollback_says_first_what_it_restores(shared_server: Running) -> None:
    server, app = shared_server, await deployed(shared_server)
    url = f"/v1/apps/{app['id']}/rollback"
    assert "nothing to go back to" in (await server.call("POST", url, 400, json={"dry_run": True}))["error"]["message"]
    brief = {"agent": {**SHORT["agent"], "instructions": "Be brief."}}
    await release(server, app["workflow_id"], brief)
    moved = (await server.call("POST", f"/v1/apps/{app['id']}/deploy", json={"workflow_id": app["workflow_id"]}))[
        "data"
    ]
    plan = (await server.call("POST", url, json={"dry_run": True}))["data"]
    assert plan["now"]["id"] == moved["latest_deployment_id"]
    assert plan["then"]["workflow_version"]["version"] == 1
    assert plan["changes"] == [
        {"path": "agent.instructions", "now": "Be brief.", "then": SHORT["agent"]["instructions"]}
    ]
    assert "deployment_id" not in plan
    assert (await server.call("GET", f"/v1/apps/{app['id']}"))["data"] == moved, "a dry run changes nothing"
    done = (await server.call("POST", url, json={}))["data"]
    now = (await server.call("GET", f"/v1/apps/{app['id']}"))["data"]
    assert now["latest_deployment_id"] == done["deployment_id"]
    assert now["workflow_version_id"] == app["workflow_version_id"]
    forward = (await server.call("POST", url, json={"deployment_id": plan["now"]["id"], "dry_run": True}))["data"]
    assert forward["then"]["workflow_version"]["version"] == 2
    await server.call("POST", url, 400, json={"deployment_id": str(uuid4())})


@pytest.mark.parametrize("method", ["POST", "GET", "PUT", "PATCH", "DELETE"])
async def test_invoke_takes_any_method(shared_server: Running, method: str) -> None:
    server, app = shared_server, await deployed(shared_server)
    url = f"/v1/apps/{app['id']}/invoke"
    done = (await server.call(method, url, json={"question": "Why?"}))["data"]
    assert (done["input"], done["status"]) == ({"question": "Why?"}, "completed")
    await server.call(method, url, 400, json=[1])
    if method != "POST":
        assert (await server.call(method, url))["data"]["input"] == {}
