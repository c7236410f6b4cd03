"""Workflows and apps, between rows and values. Every function is handed the transaction it works in."""

from collections.abc import Mapping, Sequence
from typing import Any, Final
from uuid import UUID

from stoa.apps.types import AccessType, App, AppFilter, Deployed, Deployment, Drawing, Models, Version, Workflow
from stoa.db import Row, Tx, load
from stoa.kernel.errors import NotFound
from stoa.kernel.pages import PageRequest
from stoa.kernel.principal import Principal

SQL: Final = load("stoa.apps")


# --- workflows ------------------------------------------------------------------------------------------------------
async def workflow(tx: Tx, org_id: UUID, workflow_id: UUID) -> Workflow:
    """Raises NotFound."""
    row = await tx.fetchrow(SQL.workflow, org_id, workflow_id)
    if row is None:
        raise no_workflow(workflow_id)
    return _workflow(row, Drawing(row["flow"], row["flow_ui"]))


def no_workflow(workflow_id: UUID) -> NotFound:
    return NotFound(f"There is no workflow {workflow_id}.")


async def list_workflows(
    tx: Tx, org_id: UUID, project_id: UUID | None, page: PageRequest
) -> tuple[Sequence[Workflow], int]:
    query = SQL.list_workflows.format(order=page.order_by("name"))
    rows = await tx.fetch(query, org_id, project_id, page.page_size, page.offset)
    return [_workflow(row, None) for row in rows], await tx.fetchval(SQL.count_workflows, org_id, project_id)


async def version(tx: Tx, org_id: UUID, workflow_id: UUID, version_id: UUID | None) -> Version | None:
    """A version of the workflow; `version_id` None: the latest."""
    row = (
        await tx.fetchrow(SQL.latest_version, org_id, workflow_id)
        if version_id is None
        else await tx.fetchrow(SQL.version, org_id, workflow_id, version_id)
    )
    return _version(row, Drawing(row["flow"], row["flow_ui"]), row["agent"]) if row else None


async def version_before(tx: Tx, org_id: UUID, workflow_id: UUID, number: int) -> Version | None:
    row = await tx.fetchrow(SQL.version_before, org_id, workflow_id, number)
    return _version(row, Drawing(row["flow"], row["flow_ui"]), row["agent"]) if row else None


async def list_versions(tx: Tx, org_id: UUID, workflow_id: UUID, page: PageRequest) -> tuple[Sequence[Version], int]:
    rows = await tx.fetch(SQL.list_versions, org_id, workflow_id, page.page_size, page.offset)
    return [_version(row, None, None) for row in rows], await tx.fetchval(SQL.count_versions, org_id, workflow_id)


def _workflow(row: Row, drawing: Drawing | None) -> Workflow:
    return Workflow(
        row["id"],
        row["project_id"],
        row["name"],
        row["description"],
        drawing,
        row["versions"],
        row["created_by"],
        row["created_at"],
        row["updated_by"],
        row["updated_at"],
    )


def _version(row: Row, drawing: Drawing | None, agent: Mapping[str, Any] | None) -> Version:
    return Version(
        row["id"],
        row["project_id"],
        row["workflow_id"],
        row["version"],
        row["name"],
        drawing,
        agent,
        row["created_by"],
        row["created_at"],
    )


# --- apps -----------------------------------------------------------------------------------------------------------
async def app(tx: Tx, org_id: UUID, app_id: UUID) -> App:
    """Raises NotFound."""
    row = await tx.fetchrow(SQL.app, org_id, app_id)
    if row is None:
        raise no_app(app_id)
    return _app(row)


def no_app(app_id: UUID) -> NotFound:
    return NotFound(f"There is no app {app_id}.")


async def list_apps(tx: Tx, org_id: UUID, page: PageRequest, wanted: AppFilter) -> tuple[Sequence[App], int]:
    filters = (org_id, wanted.project_id, wanted.workflow_id, wanted.archived, wanted.include_archived)
    order = page.order_by("name")
    query = SQL.list_apps.format(apps_order=_of("p", order), listed_order=_of("a", order))
    rows = await tx.fetch(query, *filters, page.page_size, page.offset)
    return [_app(row) for row in rows], await tx.fetchval(SQL.count_apps, *filters)


def _of(table: str, order: str) -> str:
    return ", ".join(f"{table}.{column.strip()}" for column in order.split(","))


async def insert_deployment(
    tx: Tx, principal: Principal, app_id: UUID, deployment_id: UUID, released: Version, models: Models
) -> None:
    await tx.execute(
        SQL.insert_deployment,
        principal.org_id,
        released.project_id,
        deployment_id,
        app_id,
        released.workflow_id,
        released.id,
        models.agent,
        models.nodes,
        principal.key_id,
    )


async def list_deployments(tx: Tx, org_id: UUID, app_id: UUID, page: PageRequest) -> tuple[Sequence[Deployment], int]:
    rows = await tx.fetch(SQL.list_deployments, org_id, app_id, page.page_size, page.offset)
    found = [Deployment(row["id"], row["app_id"], _deployed(row), row["created_by"], row["created_at"]) for row in rows]
    return found, await tx.fetchval(SQL.count_deployments, org_id, app_id)


async def deployment_before(tx: Tx, org_id: UUID, app_id: UUID, wanted: UUID | None) -> Deployment | None:
    """The named deployment; by default the newest with another version than the present one."""
    row = await tx.fetchrow(SQL.deployment_before, org_id, app_id, wanted)
    return Deployment(row["id"], row["app_id"], _deployed(row), row["created_by"], row["created_at"]) if row else None


def _deployed(row: Row) -> Deployed:
    return Deployed(row["workflow_id"], row["workflow_name"], row["version_id"], row["version"], row["version_name"])


def _app(row: Row) -> App:
    return App(
        row["id"],
        row["org_id"],
        row["project_id"],
        row["name"],
        row["description"],
        AccessType(row["access_type"]),
        row["deployment_config"],
        row["runtime_id"],
        row["latest_deployment_id"],
        _deployed(row),
        row["created_by"],
        row["created_at"],
        row["updated_by"],
        row["updated_at"],
        row["archived_by"],
        row["archived_at"],
    )
