"""Apps on the api host: deployed, rolled back, opened, archived, deleted."""

from tests.conftest import Running
from tests.support.apps import SHORT, deployed, project, release, released


async def test_an_app_is_deployed_rolled_back_and_keeps_its_name(shared_server: Running) -> None:
    server = shared_server
    workflow_id, first = await released(server)
    unreleased = (await server.call("POST", "/v1/workflows", 201, json={"name": "w", "flow": SHORT}))["data"]["id"]
    body = {"name": "Tickets (1)", "project_id": await project(server), "workflow_id": unreleased}
    assert "name" in (await server.call("POST", "/v1/apps", 400, json=body))["error"]["details"]
    body["name"] = "Tickets 1"
    assert "release" in (await server.call("POST", "/v1/apps", 400, json=body))["error"]["details"]["workflow_id"]
    body |= {
        "workflow_id": workflow_id,
        "access_control": {"access_type": "private"},
        "deployment_config": {"deployment_type": "serverless", "config": {}},
        "runtime_id": "small",
    }
    app = (await server.call("POST", "/v1/apps", 201, json=body))["data"]
    assert app["workflow_version"] == {"id": first, "version": 1, "name": "v"}
    assert app["workflow"] == {"id": workflow_id, "name": "tickets"}
    assert app["hostname"] == app["url"] == f"{server.url}/apps/{app['id']}"
    assert app["deployment_config"] == body["deployment_config"]
    second = await release(server, workflow_id, SHORT)
    moved = await server.call("POST", f"/v1/apps/{app['id']}/deploy", json={"workflow_id": workflow_id})
    assert moved["data"]["workflow_version_id"] == second
    back = {"workflow_id": workflow_id, "workflow_version_id": first}
    restored = (await server.call("POST", f"/v1/apps/{app['id']}/deploy", json=back))["data"]
    assert restored["workflow_version_id"] == first
    assert restored["hostname"] == app["hostname"]
    history = (await server.call("GET", f"/v1/apps/{app['id']}/deployments"))["data"]
    assert [one["workflow_version_id"] for one in history] == [first, second, first]
    assert history[0]["id"] == restored["latest_deployment_id"]


async def test_lists_archive_and_delete(shared_server: Running) -> None:
    server = shared_server
    app = await deployed(server, name="Zebra")
    url = f"/v1/apps?project_id={app['project_id']}&workflow_id={app['workflow_id']}"
    assert [one["id"] for one in (await server.call("GET", url))["data"]] == [app["id"]]
    assert (await server.call("POST", f"/v1/apps/{app['id']}/archive"))["data"]["archived_at"]
    assert (await server.call("GET", url))["data"] == []
    assert len((await server.call("GET", f"{url}&archived=true"))["data"]) == 1
    assert len((await server.call("GET", f"{url}&include_archived=true"))["data"]) == 1
    await server.call("POST", f"/v1/apps/{app['id']}/deploy", 400, json={"workflow_id": app["workflow_id"]})
    assert "archived_at" not in (await server.call("POST", f"/v1/apps/{app['id']}/restore"))["data"]
    changes = {"name": "Yak", "access_control": {"access_type": "public"}}
    changed = (await server.call("PATCH", f"/v1/apps/{app['id']}", json=changes))["data"]
    assert (changed["name"], changed["access_control"]) == ("Yak", {"access_type": "public"})
    await server.call("GET", "/v1/apps", 400)
    assert await server.call("DELETE", f"/v1/apps/{app['id']}") == {"message": "deleted"}
    await server.call("DELETE", f"/v1/apps/{app['id']}", 404)


async def test_the_same_request_deploys_once(shared_server: Running) -> None:
    server = shared_server
    workflow_id, _ = await released(server)
    body = {"name": "Once", "project_id": await project(server), "workflow_id": workflow_id}
    key = {"Idempotency-Key": "deploy-once"}
    first = await server.call("POST", "/v1/apps", 201, json=body, headers=key)
    again = await server.call("POST", "/v1/apps", 201, json=body, headers=key)
    assert first["data"]["id"] == again["data"]["id"]
    await server.call("POST", "/v1/apps", 409, json={**body, "name": "Other"}, headers=key)


async def test_a_model_that_is_not_there_is_refused_where_it_is_deployed(shared_server: Running) -> None:
    server = shared_server
    workflow_id, _ = await released(server, {"agent": {"model": "no-such/model"}})
    body = {"name": "App", "project_id": await project(server), "workflow_id": workflow_id}
    error = (await server.call("POST", "/v1/apps", 400, json=body))["error"]
    assert "no-such/model" in error["details"]["flow.agent.model"]
