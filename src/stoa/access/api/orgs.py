"""Organizations and projects (contract section 3)."""

from typing import Annotated
from uuid import UUID

from fastapi import Depends, Query

from stoa.access import wire
from stoa.access.orgs import Orgs
from stoa.access.service import Access
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
from stoa.kernel.errors import BadRequest
from stoa.kernel.pages import PageRequest
from stoa.kernel.principal import Principal

PROJECTS_SORTABLE = {"created_at": "created_at", "updated_at": "updated_at", "name": "name"}


def routes(access: Access, orgs: Orgs, gate: Gate) -> Routes:
    router = Routes(tags=["access"])
    reading = gate("access:read")

    @router.get("/v1/orgs", responses=refusals())
    async def list_orgs(
        principal: Annotated[Principal, reading], page: Annotated[PageRequest, Depends(Paging())]
    ) -> DataList[wire.OrgWire]:
        """Lists the organization of a key, or all organizations of a user."""
        found = await (orgs.list(principal, page) if principal.user_id else access.orgs(principal, page))
        return page_of(found, wire.org)

    @router.post("/v1/orgs", status_code=201, responses=refusals(409))
    async def create_org(
        body: wire.OrgBody,
        principal: Annotated[Principal, gate("access:write")],
        idempotency_key: IdempotencyKeyHeader = None,
    ) -> Data[wire.OrgWire]:
        """Creates an organization with one project. Requires the token of an owner or admin, who becomes its owner."""
        once = repeated(idempotency_key, "orgs", body)
        return Data(data=wire.org(await orgs.create(principal, body.name, once)))

    @router.get("/v1/orgs/{org_id}", responses=refusals(404))
    async def get_org(org_id: UUID, principal: Annotated[Principal, reading]) -> Data[wire.OrgWire]:
        there = await orgs.within(principal, org_id, "access:read")
        return Data(data=wire.org(await access.org(there, org_id)))

    @router.put("/v1/orgs/{org_id}", responses=refusals(404))
    async def update_org(
        org_id: UUID, body: wire.OrgBody, principal: Annotated[Principal, gate("access:write")]
    ) -> Data[wire.OrgWire]:
        return Data(data=wire.org(await orgs.rename(principal, org_id, body.name)))

    _projects(router, access, orgs, gate)
    return router


def _projects(router: Routes, access: Access, orgs: Orgs, gate: Gate) -> None:
    reading = gate("access:read")

    @router.get("/v1/projects", responses=refusals())
    async def list_projects(
        principal: Annotated[Principal, reading],
        page: Annotated[PageRequest, Depends(Paging(PROJECTS_SORTABLE))],
        org_id: UUID | None = None,
    ) -> DataList[wire.ProjectWire]:
        if principal.user_id is not None and org_id is not None:
            principal = await orgs.within(principal, org_id, "access:read")
        return page_of(await access.projects(principal, page, org_id), wire.project)

    @router.post("/v1/projects", status_code=201, responses=refusals(409))
    async def create_project(
        body: wire.ProjectBody,
        principal: Annotated[Principal, gate("access:write", "projects:write")],
        idempotency_key: IdempotencyKeyHeader = None,
    ) -> Data[wire.ProjectWire]:
        there = await _named_org(orgs, body.org_id, principal)
        once = repeated(idempotency_key, "projects", body)
        return Data(data=wire.project(await access.create_project(there, wire.project_change(body), once)))

    @router.get("/v1/projects/{project_id}", responses=refusals(404))
    async def get_project(
        project_id: UUID,
        principal: Annotated[Principal, reading],
        org_id: Annotated[UUID | None, Query(description="404 where the project belongs to another.")] = None,
    ) -> Data[wire.ProjectWire]:
        there = await orgs.of_project(principal, project_id, "access:read")
        return Data(data=wire.project(await access.project(there, project_id, org_id)))

    @router.put("/v1/projects/{project_id}", responses=refusals(404))
    async def update_project(
        project_id: UUID,
        body: wire.ProjectBody,
        principal: Annotated[Principal, gate("access:write", "projects:write")],
    ) -> Data[wire.ProjectWire]:
        there = await orgs.of_project(principal, project_id, "projects:write")
        _same_org(body.org_id, there)
        return Data(data=wire.project(await access.update_project(there, project_id, wire.project_change(body))))

    @router.delete("/v1/projects/{project_id}", responses=refusals(404, 409))
    async def delete_project(
        project_id: UUID, principal: Annotated[Principal, gate("access:write", "projects:write")]
    ) -> Acknowledgement:
        """Deletes an empty project."""
        await access.delete_project(await orgs.of_project(principal, project_id, "access:write"), project_id)
        return Acknowledgement(message="deleted")


async def _named_org(orgs: Orgs, org_id: UUID | None, principal: Principal) -> Principal:
    """A key can name only its own organization."""
    if principal.user_id is None:
        _same_org(org_id, principal)
    return await orgs.within(principal, org_id, "projects:write")


def _same_org(org_id: UUID | None, principal: Principal) -> None:
    if org_id is not None and org_id != principal.org_id:
        raise BadRequest.field("org_id", "is not the organization of this key")
