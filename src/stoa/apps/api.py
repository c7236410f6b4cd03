"""Workflows and apps on the api host (contract section 6)."""

from collections.abc import Callable, Sequence
from typing import Annotated, Any
from uuid import UUID

from fastapi import Depends, Query, Request
from pydantic import BaseModel
from starlette.responses import Response

from stoa.apps import app_wire, flow_wire, rules, wire
from stoa.apps.service import Apps
from stoa.apps.types import AppFilter, Drawing, NodeKind
from stoa.apps.workflows import Workflows
from stoa.http import (
    Acknowledgement,
    Data,
    DataList,
    Gate,
    IdempotencyKeyHeader,
    Paging,
    Routes,
    page_of,
    refusals,
    repeated,
)
from stoa.http.bodies import DOCUMENT_LIMIT
from stoa.http.routing import limited
from stoa.kernel.node_groups import NodeGroup
from stoa.kernel.pages import PageRequest
from stoa.kernel.principal import Principal


def _drawn(shape: BaseModel, drawing: Drawing | None, status: int = 200) -> Response:
    return Response(wire.drawn(shape, drawing), status, media_type="application/json")


def _shows(model: Any, status: int, *refused: int) -> dict[int | str, dict[str, Any]]:
    return {status: {"model": Data[model], "description": "With its flow."}, **refusals(*refused)}


def workflow_routes(workflows: Workflows, node_types: Callable[[], Sequence[NodeKind]], gate: Gate) -> Routes:
    router = Routes(tags=["workflows"])
    reading = gate("apps:read")
    _drawing(router, workflows, gate)

    @router.get("/v1/agent-builder/nodes", responses=refusals())
    async def list_node_types(
        _: Annotated[Principal, reading],
        group: Annotated[NodeGroup | None, Query(description="Only this family.")] = None,
    ) -> Data[list[flow_wire.NodeTypeWire]]:
        """Lists the node types that run on this server, with the fields that it reads."""
        return Data(data=[flow_wire.node_type(one) for one in node_types() if group in (None, one.group)])

    @router.get("/v1/workflows", responses=refusals())
    async def list_workflows(
        principal: Annotated[Principal, reading],
        page: Annotated[PageRequest, Depends(Paging(rules.WORKFLOWS_SORTABLE))],
        project_id: UUID | None = None,
    ) -> DataList[wire.WorkflowWire]:
        """Lists workflows by name, without their flows."""
        return page_of(await workflows.list(principal, page, project_id), wire.workflow)

    @router.get("/v1/workflows/{workflow_id}", response_model=None, responses=_shows(wire.WorkflowWire, 200, 404))
    async def get_workflow(workflow_id: UUID, principal: Annotated[Principal, reading]) -> Response:
        found = await workflows.get(principal, workflow_id)
        return _drawn(wire.workflow(found), found.drawing)

    @router.get("/v1/workflows/{workflow_id}/versions", responses=refusals(404))
    async def list_versions(
        workflow_id: UUID, principal: Annotated[Principal, reading], page: Annotated[PageRequest, Depends(Paging())]
    ) -> DataList[wire.VersionWire]:
        """Lists released versions, newest first, without their flows."""
        return page_of(await workflows.versions(principal, workflow_id, page), wire.version)

    @router.get(
        "/v1/workflows/{workflow_id}/versions/{version_id}",
        response_model=None,
        responses=_shows(wire.VersionWire, 200, 404),
    )
    async def get_version(workflow_id: UUID, version_id: UUID, principal: Annotated[Principal, reading]) -> Response:
        found = await workflows.version(principal, workflow_id, version_id)
        return _drawn(wire.version(found), found.drawing)

    @router.get("/v1/workflows/{workflow_id}/versions/{version_id}/diff", responses=refusals(404))
    async def compare_versions(
        workflow_id: UUID,
        version_id: UUID,
        principal: Annotated[Principal, reading],
        against: Annotated[UUID | None, Query(description="Another version; the one before, unless named.")] = None,
    ) -> Data[list[flow_wire.DifferenceWire]]:
        """Returns the nodes and fields that this version added, removed or changed. The order of nodes is ignored."""
        found = await workflows.differences(principal, workflow_id, version_id, against)
        return Data(data=[flow_wire.difference(one) for one in found])

    return router


def _drawing(router: Routes, workflows: Workflows, gate: Gate) -> None:
    writing = gate("apps:write")

    @router.post("/v1/workflows", status_code=201, response_model=None, responses=_shows(wire.WorkflowWire, 201, 409))
    @limited(DOCUMENT_LIMIT)
    async def create_workflow(
        request: Request,
        body: wire.CreateWorkflow,
        principal: Annotated[Principal, writing],
        idempotency_key: IdempotencyKeyHeader = None,
    ) -> Response:
        """Creates a workflow. Its flow is checked only when it is released."""
        made = await workflows.create(
            principal,
            body.project_id,
            body.name,
            body.description,
            wire.drawing(await request.body()),
            repeated(idempotency_key, "workflows", body),
        )
        return _drawn(wire.workflow(made), made.drawing, 201)

    @router.put("/v1/workflows/{workflow_id}", response_model=None, responses=_shows(wire.WorkflowWire, 200, 404))
    async def update_workflow(
        workflow_id: UUID, body: wire.UpdateWorkflow, principal: Annotated[Principal, writing]
    ) -> Response:
        """Changes the name and description that are sent."""
        fields = wire.workflow_fields(body)
        changed = await workflows.update(principal, workflow_id, fields, body.name, body.description)
        return _drawn(wire.workflow(changed), changed.drawing)

    @router.post("/v1/workflows/{workflow_id}/save", response_model=None, responses=_shows(wire.WorkflowWire, 200, 404))
    @limited(DOCUMENT_LIMIT)
    async def save_workflow(
        request: Request,
        workflow_id: UUID,
        body: wire.SaveFlow,  # noqa: ARG001 — checked; what is stored is its text
        principal: Annotated[Principal, writing],
    ) -> Response:
        """Stores the flow and its canvas byte for byte, without checking them."""
        saved = await workflows.save(principal, workflow_id, wire.drawing(await request.body()))
        return _drawn(wire.workflow(saved), saved.drawing)

    _releasing(router, workflows, gate)


def _releasing(router: Routes, workflows: Workflows, gate: Gate) -> None:
    writing = gate("apps:write")

    @router.post(
        "/v1/workflows/{workflow_id}/release",
        status_code=201,
        response_model=None,
        responses=_shows(wire.VersionWire, 201, 404, 409),
    )
    @limited(DOCUMENT_LIMIT)
    async def release_workflow(
        request: Request,
        workflow_id: UUID,
        body: wire.ReleaseFlow,
        principal: Annotated[Principal, writing],
        idempotency_key: IdempotencyKeyHeader = None,
    ) -> Response:
        """Releases a version, which never changes. A 400 names every node that would not run."""
        drawing = wire.drawing(await request.body())
        once = repeated(idempotency_key, f"release/{workflow_id}", body)
        made = await workflows.release(principal, workflow_id, body.name, drawing, once)
        return _drawn(wire.version(made), made.drawing, 201)

    @router.post("/v1/workflows/{workflow_id}/validate", responses=refusals(404))
    @limited(DOCUMENT_LIMIT)
    async def validate_workflow(
        workflow_id: UUID, body: flow_wire.ValidateFlow, principal: Annotated[Principal, gate("apps:read")]
    ) -> Data[flow_wire.VerdictWire]:
        """Checks whether a flow would run in the project as it is now. Names each bad node, and each node that is
        probably a mistake."""
        return Data(data=flow_wire.verdict(await workflows.verdict(principal, workflow_id, body.flow)))


def app_routes(apps: Apps, gate: Gate, domain: str, public_url: str | None) -> Routes:
    router = Routes(tags=["apps"])
    reading, writing = gate("apps:read"), gate("apps:write")

    def root(request: Request) -> str:
        return public_url or str(request.base_url)

    @router.get("/v1/apps", responses=refusals())
    async def list_apps(
        request: Request,
        principal: Annotated[Principal, reading],
        page: Annotated[PageRequest, Depends(Paging(rules.APPS_SORTABLE))],
        project_id: UUID,
        workflow_id: UUID | None = None,
        archived: bool = False,
        include_archived: bool = False,
    ) -> DataList[wire.AppWire]:
        """Lists a project's apps by name. Archived apps are included only on request."""
        wanted = AppFilter(project_id, workflow_id, archived, include_archived)
        found = await apps.list(principal, page, wanted)
        return page_of(found, lambda value: wire.app(value, domain, root(request)))

    @router.post("/v1/apps", status_code=201, responses=refusals(409))
    async def create_app(
        request: Request,
        body: wire.CreateApp,
        principal: Annotated[Principal, writing],
        idempotency_key: IdempotencyKeyHeader = None,
    ) -> Data[wire.AppWire]:
        """Creates an app that runs a released version of a workflow. The app is deployed when this responds."""
        made = await apps.create(principal, wire.new_app(body), repeated(idempotency_key, "apps", body))
        return Data(data=wire.app(made, domain, root(request)))

    @router.get("/v1/apps/{app_id}", responses=refusals(404))
    async def get_app(request: Request, app_id: UUID, principal: Annotated[Principal, reading]) -> Data[wire.AppWire]:
        return Data(data=wire.app(await apps.get(principal, app_id), domain, root(request)))

    @router.patch("/v1/apps/{app_id}", responses=refusals(404))
    async def update_app(
        request: Request, app_id: UUID, body: wire.UpdateApp, principal: Annotated[Principal, writing]
    ) -> Data[wire.AppWire]:
        """Changes the name, the description and who may use the app. POST …/deploy changes the version that it runs."""
        changed = await apps.update(principal, app_id, wire.app_changes(body))
        return Data(data=wire.app(changed, domain, root(request)))

    @router.post("/v1/apps/{app_id}/deploy", responses=refusals(404, 409))
    async def deploy_app(
        request: Request,
        app_id: UUID,
        body: wire.DeployApp,
        principal: Annotated[Principal, writing],
        idempotency_key: IdempotencyKeyHeader = None,
    ) -> Data[wire.AppWire]:
        """Deploys another version. The app keeps its id and hostname; runs in progress keep their version."""
        once = repeated(idempotency_key, f"deploy/{app_id}", body)
        deployed = await apps.deploy(principal, app_id, body.workflow_id, body.workflow_version_id, once)
        return Data(data=wire.app(deployed, domain, root(request)))

    @router.post("/v1/apps/{app_id}/rollback", responses=refusals(404, 409))
    async def rollback_app(
        app_id: UUID,
        body: app_wire.RollbackApp,
        principal: Annotated[Principal, writing],
        idempotency_key: IdempotencyKeyHeader = None,
    ) -> Data[app_wire.RollbackWire]:
        """Deploys again what the app ran before. With `dry_run` it only returns what that would restore."""
        once = repeated(idempotency_key, f"rollback/{app_id}", body)
        done = await apps.rollback(principal, app_id, body.deployment_id, dry_run=body.dry_run, once=once)
        return Data(data=app_wire.rollback(done))

    @router.get("/v1/apps/{app_id}/deployments", responses=refusals(404))
    async def list_deployments(
        app_id: UUID, principal: Annotated[Principal, reading], page: Annotated[PageRequest, Depends(Paging())]
    ) -> DataList[wire.DeploymentWire]:
        """Lists the app's deployments, newest first."""
        return page_of(await apps.deployments(principal, app_id, page), wire.deployment)

    @router.post("/v1/apps/{app_id}/archive", responses=refusals(404))
    async def archive_app(
        request: Request, app_id: UUID, principal: Annotated[Principal, writing]
    ) -> Data[wire.AppWire]:
        """Archives an app: it accepts no more runs. POST …/restore reverses this."""
        archived = await apps.archive(principal, app_id, archived=True)
        return Data(data=wire.app(archived, domain, root(request)))

    @router.post("/v1/apps/{app_id}/restore", responses=refusals(404))
    async def restore_app(
        request: Request, app_id: UUID, principal: Annotated[Principal, writing]
    ) -> Data[wire.AppWire]:
        restored = await apps.archive(principal, app_id, archived=False)
        return Data(data=wire.app(restored, domain, root(request)))

    @router.delete("/v1/apps/{app_id}", responses=refusals(404))
    async def delete_app(app_id: UUID, principal: Annotated[Principal, writing]) -> Acknowledgement:
        """Deletes an app with its deployments, permanently. Its conversations stay, and accept no more messages."""
        await apps.delete(principal, app_id)
        return Acknowledgement(message="deleted")

    return router
