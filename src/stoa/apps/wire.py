"""The JSON shapes of workflows and apps (contract section 6)."""

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal
from uuid import UUID

import orjson
from pydantic import AfterValidator, BaseModel, Field

from stoa.apps import rules
from stoa.apps.types import (
    AccessType,
    App,
    AppChanges,
    Deployed,
    Deployment,
    Drawing,
    NewApp,
    Version,
    Workflow,
)
from stoa.http import Body, Timestamp, Wire
from stoa.http.wire import not_blank, storable

WorkflowName = Annotated[str, Field(max_length=128), AfterValidator(rules.workflow_name)]
AppName = Annotated[str, Field(max_length=128), AfterValidator(rules.app_name)]
Description = Annotated[str, Field(max_length=rules.DESCRIPTION_CHARACTERS_MAX), AfterValidator(storable)]
FLOW: Mapping[str, Any] = {
    "agent": {"model": "openai/gpt-5-mini", "instructions": "You answer questions about tickets."}
}


# --- in -------------------------------------------------------------------------------------------------------------
class CreateWorkflow(Body):
    """`flow` is a graph `{"id", "nodes": […]}`, or the shorthand `{"agent": {…}}`; `flow_ui` is its canvas. Both are
    stored and returned as sent."""

    example: ClassVar[Mapping[str, Any]] = {"name": "tickets", "flow": FLOW}

    name: WorkflowName
    flow: dict[str, Any]
    flow_ui: dict[str, Any] | None = None
    project_id: UUID | None = None
    description: Description | None = None


class UpdateWorkflow(Body):
    """The name and description; POST /v1/workflows/{id}/save stores a flow."""

    example: ClassVar[Mapping[str, Any]] = {"name": "tickets", "description": "Answers questions about tickets."}

    name: WorkflowName | None = None
    description: Description | None = None


class SaveFlow(Body):
    """The flow is stored unchecked, because a draft may be incomplete."""

    example: ClassVar[Mapping[str, Any]] = {"flow": FLOW}

    flow: dict[str, Any]
    flow_ui: dict[str, Any] | None = None


class ReleaseFlow(Body):
    """The version never changes. Every node must have a type that runs on this server."""

    example: ClassVar[Mapping[str, Any]] = {"name": "tickets", "flow": FLOW}

    name: WorkflowName
    flow: dict[str, Any]
    flow_ui: dict[str, Any] | None = None


class AccessControl(Body):
    """A public app needs no credential."""

    access_type: AccessType


class CreateApp(Body):
    """Deploys a released version, by default the latest of the workflow. `deployment_config` and `runtime_id` are
    stored, and have no effect."""

    example: ClassVar[Mapping[str, Any]] = {
        "name": "Tickets",
        "project_id": "01890a5d-ac96-774b-bcce-b302099a8057",
        "workflow_id": "01890a5d-ac96-774b-bcce-b302099a8057",
    }

    name: AppName
    project_id: UUID
    workflow_id: UUID
    workflow_version_id: UUID | None = None
    description: Description | None = None
    access_control: AccessControl | None = None
    deployment_config: dict[str, Any] | None = None
    runtime_id: Annotated[str, Field(max_length=200), AfterValidator(storable)] | None = None


class DeployApp(Body):
    """The version to run from now on, by default the latest of the workflow. An older version is a rollback."""

    example: ClassVar[Mapping[str, Any]] = {"workflow_id": "01890a5d-ac96-774b-bcce-b302099a8057"}

    workflow_id: UUID
    workflow_version_id: UUID | None = None
    runtime_id: Annotated[str, Field(max_length=200), AfterValidator(storable)] | None = None


class UpdateApp(Body):
    """Only the fields that are sent change; null removes the description."""

    example: ClassVar[Mapping[str, Any]] = {"description": "Answers questions about tickets."}

    name: AppName | None = None
    description: Annotated[Description, AfterValidator(not_blank)] | None = None
    access_control: AccessControl | None = None


# --- out ------------------------------------------------------------------------------------------------------------
class WorkflowWire(Wire):
    """`flow` and `flow_ui` are as they were sent; lists leave them out. `versions` is the number of releases."""

    id: UUID
    name: str
    description: str | None
    project_id: UUID
    flow: dict[str, Any] | None
    flow_ui: dict[str, Any] | None
    versions: int
    created_at: Timestamp
    created_by: UUID | None
    updated_at: Timestamp
    updated_by: UUID | None


class VersionWire(Wire):
    """A released version, which never changes. Lists leave `flow` and `flow_ui` out."""

    id: UUID
    workflow_id: UUID
    project_id: UUID
    version: int
    name: str
    flow: dict[str, Any] | None
    flow_ui: dict[str, Any] | None
    created_at: Timestamp
    created_by: UUID | None


class AccessControlWire(Wire):
    access_type: Literal["private", "public"]


class DeployedWorkflowWire(Wire):
    id: UUID
    name: str


class DeployedVersionWire(Wire):
    id: UUID
    version: int
    name: str


class AppWire(Wire):
    """`hostname` is the app's own host name, or its full base URL if this server is reached by plain HTTP or on a port.
    `url` is a base URL that works for the caller."""

    id: UUID
    name: str
    description: str | None
    project_id: UUID
    hostname: str
    url: str
    workflow_id: UUID
    workflow_version_id: UUID
    deployment_config: dict[str, Any]
    access_control: AccessControlWire
    runtime_id: str | None
    runtime: dict[str, Any] | None
    created_at: Timestamp
    created_by: UUID | None
    updated_at: Timestamp
    updated_by: UUID | None
    archived_at: Timestamp | None
    archived_by: UUID | None
    latest_deployment_id: UUID
    workflow: DeployedWorkflowWire
    workflow_version: DeployedVersionWire


class DeploymentWire(Wire):
    id: UUID
    app_id: UUID
    workflow_id: UUID
    workflow_version_id: UUID
    workflow: DeployedWorkflowWire
    workflow_version: DeployedVersionWire
    created_at: Timestamp
    created_by: UUID | None


# --- shapes to values -----------------------------------------------------------------------------------------------
def drawing(body: bytes) -> Drawing:
    """The flow and its canvas, as the texts that were sent."""
    sent = rules.verbatim(body, "flow", "flow_ui")
    canvas = sent.get("flow_ui")
    return Drawing(sent["flow"], None if canvas == "null" else canvas)


def new_app(body: CreateApp) -> NewApp:
    access = body.access_control.access_type if body.access_control else AccessType.PRIVATE
    return NewApp(
        body.name,
        body.project_id,
        body.workflow_id,
        body.workflow_version_id,
        body.description,
        access,
        body.deployment_config,
        body.runtime_id,
    )


def app_changes(body: UpdateApp) -> AppChanges:
    fields = frozenset(
        name for name in body.model_fields_set if name == "description" or getattr(body, name) is not None
    )
    access = body.access_control.access_type if body.access_control else None
    return AppChanges(fields, body.name, body.description, access)


def workflow_fields(body: UpdateWorkflow) -> frozenset[str]:
    return frozenset(name for name in body.model_fields_set if name == "description" or body.name is not None)


# --- values to shapes -----------------------------------------------------------------------------------------------
def workflow(value: Workflow) -> WorkflowWire:
    return WorkflowWire(
        id=value.id,
        name=value.name,
        description=value.description,
        project_id=value.project_id,
        flow=None,
        flow_ui=None,
        versions=value.versions,
        created_at=value.created_at,
        created_by=value.created_by,
        updated_at=value.updated_at,
        updated_by=value.updated_by,
    )


def version(value: Version) -> VersionWire:
    return VersionWire(
        id=value.id,
        workflow_id=value.workflow_id,
        project_id=value.project_id,
        version=value.version,
        name=value.name,
        flow=None,
        flow_ui=None,
        created_at=value.created_at,
        created_by=value.created_by,
    )


def drawn(shape: BaseModel, value: Drawing | None) -> bytes:
    """A response that contains the flow's own text."""
    assert value is not None, "what is shown alone is read whole"
    data = shape.model_dump(mode="json", exclude_none=True) | {"flow": orjson.Fragment(value.flow)}
    if value.flow_ui is not None:
        data["flow_ui"] = orjson.Fragment(value.flow_ui)
    return orjson.dumps({"data": data})


def app(value: App, domain: str, root: str) -> AppWire:
    """`root` is the public base URL of this server."""
    url = f"{root.rstrip('/')}/apps/{value.id}"
    named = f"{value.id}.apps.{domain}"
    plain = not root.startswith("https://") or ":" in root.removeprefix("https://")
    return AppWire(
        id=value.id,
        name=value.name,
        description=value.description,
        project_id=value.project_id,
        hostname=url if plain else named,
        url=url,
        workflow_id=value.deployed.workflow_id,
        workflow_version_id=value.deployed.version_id,
        deployment_config=dict(value.deployment_config),
        access_control=AccessControlWire(access_type=value.access_type.value),
        runtime_id=value.runtime_id,
        runtime={"id": value.runtime_id} if value.runtime_id else None,
        created_at=value.created_at,
        created_by=value.created_by,
        updated_at=value.updated_at,
        updated_by=value.updated_by,
        archived_at=value.archived_at,
        archived_by=value.archived_by,
        latest_deployment_id=value.latest_deployment_id,
        workflow=_deployed_workflow(value.deployed),
        workflow_version=_deployed_version(value.deployed),
    )


def deployment(value: Deployment) -> DeploymentWire:
    return DeploymentWire(
        id=value.id,
        app_id=value.app_id,
        workflow_id=value.deployed.workflow_id,
        workflow_version_id=value.deployed.version_id,
        workflow=_deployed_workflow(value.deployed),
        workflow_version=_deployed_version(value.deployed),
        created_at=value.created_at,
        created_by=value.created_by,
    )


def _deployed_workflow(value: Deployed) -> DeployedWorkflowWire:
    return DeployedWorkflowWire(id=value.workflow_id, name=value.workflow_name)


def _deployed_version(value: Deployed) -> DeployedVersionWire:
    return DeployedVersionWire(id=value.version_id, version=value.version, name=value.version_name)
