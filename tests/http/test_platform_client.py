"""What the command line of the platform's released client (0.69.0) sends for workflows and apps, as golden requests.

Each line is one request of one command, in its order: the path's placeholders are filled from what was answered
before, as the client does.
"""

from collections.abc import Mapping
from typing import Any

from tests.conftest import Running
from tests.support.apps import project

STARTER = {
    "id": "6f6f3f86-0a52-4a54-8a0e-5d1d9c1d3c11",
    "nodes": [
        {
            "id": "input",
            "name": "input",
            "type": "dynamiq.nodes.utils.Input",
            "depends": [],
            "schema": {"properties": {}},
        }
    ],
}
CANVAS: Mapping[str, Any] = {"nodes": [], "edges": [], "custom_node_data": {}}
SHORT = {"id": "6f6f3f86-0a52-4a54-8a0e-5d1d9c1d3c11", "agent": {"model": "stoa-extractive"}}


async def test_workflow_and_app_commands(shared_server: Running) -> None:
    server = shared_server
    known: dict[str, str] = {"project": await project(server)}

    async def send(method: str, path: str, body: Any = None, status: int = 200) -> Any:
        options = {} if body is None else {"json": body}
        return (await server.call(method, path.format_map(known), status, **options)).get("data")

    # workflow create '{"name": "triage"}'
    create = {"name": "triage", "project_id": known["project"], "flow": STARTER, "flow_ui": CANVAS}
    known["workflow"] = (await send("POST", "/v1/workflows", create, 201))["id"]
    # workflow validate: every page of the nodes, of which there is one
    nodes = await server.call("GET", "/v1/agent-builder/nodes?page=1&page_size=500")
    assert "pagination" not in nodes
    assert all(one["type"].startswith("dynamiq.nodes.") for one in nodes["data"])
    # workflow save
    saved = await send("POST", "/v1/workflows/{workflow}/save", {"flow": SHORT, "flow_ui": CANVAS})
    assert (saved["flow"], saved["flow_ui"]) == (SHORT, CANVAS)
    # workflow verify
    assert (await send("GET", "/v1/workflows/{workflow}"))["flow"] == SHORT
    # workflow release: the current values, read and sent again
    current = await send("GET", "/v1/workflows/{workflow}")
    again = {"name": current["name"], "flow": current["flow"], "flow_ui": current["flow_ui"]}
    known["version"] = (await send("POST", "/v1/workflows/{workflow}/release", again, 201))["id"]
    # workflow versions, list --all, node-types llms
    assert len(await send("GET", "/v1/workflows/{workflow}/versions")) == 1
    listed = await server.call("GET", f"/v1/workflows?project_id={known['project']}&page=1&page_size=500")
    assert {"page_count", "total_count"} <= listed["pagination"].keys()
    assert await send("GET", "/v1/agent-builder/nodes?group=llms")
    # app deploy --name Triage --workflow … --description …
    deploy = {
        "name": "Triage",
        "project_id": known["project"],
        "workflow_id": known["workflow"],
        "access_control": {"access_type": "private"},
        "deployment_config": {"deployment_type": "serverless", "config": {}},
        "description": "Sorts tickets.",
    }
    app = await send("POST", "/v1/apps", deploy, 201)
    known["app"] = app["id"]
    # app redeploy, list, get, deployments
    redeploy = {"workflow_id": known["workflow"], "workflow_version_id": known["version"]}
    await send("POST", "/v1/apps/{app}/deploy", redeploy)
    assert await send("GET", "/v1/apps?project_id={project}&workflow_id={workflow}&include_archived=true")
    assert len(await send("GET", "/v1/apps/{app}/deployments")) == 2
    # app invoke: the hostname as it is, without a path, as it begins with http
    hostname = (await send("GET", "/v1/apps/{app}"))["hostname"]
    assert hostname.startswith("http")
    answer = await server.client.post(hostname, json={"input": {"input": "Which ticket is urgent?"}})
    assert answer.status_code == 200, answer.text
    assert answer.json()["output"]["content"]
    # app delete
    assert await server.call("DELETE", f"/v1/apps/{known['app']}") == {"message": "deleted"}
