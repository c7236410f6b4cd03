"""Workflows and apps, made over HTTP."""

from typing import Any

from tests.support.running import Running

SHORT = {"agent": {"model": "stoa-extractive", "instructions": "You answer questions about tickets."}}


async def released(server: Running, flow: dict[str, Any] | None = None, name: str = "tickets") -> tuple[str, str]:
    """A workflow with one released version: their ids."""
    workflow = (await server.call("POST", "/v1/workflows", 201, json={"name": name, "flow": SHORT}))["data"]
    return workflow["id"], await release(server, workflow["id"], flow or SHORT)


async def release(server: Running, workflow_id: str, flow: dict[str, Any]) -> str:
    sent = {"name": "v", "flow": flow, "flow_ui": {}}
    return str((await server.call("POST", f"/v1/workflows/{workflow_id}/release", 201, json=sent))["data"]["id"])


async def project(server: Running) -> str:
    return str((await server.call("GET", "/v1/projects"))["data"][0]["id"])


async def deployed(server: Running, flow: dict[str, Any] | None = None, **fields: Any) -> dict[str, Any]:
    """An app of one released version."""
    workflow_id, _ = await released(server, flow)
    body = {"name": "Tickets", "project_id": await project(server), "workflow_id": workflow_id, **fields}
    return dict((await server.call("POST", "/v1/apps", 201, json=body))["data"])
