"""The routes of contract section 3."""

from typing import Annotated
from uuid import UUID

from fastapi import Depends, Query

from stoa.access import wire
from stoa.access.service import Access
from stoa.access.types import NewKey
from stoa.db.idempotency import IdempotencyKey
from stoa.http import (
    Acknowledgement,
    Data,
    DataList,
    Gate,
    IdempotencyKeyHeader,
    Paging,
    Routes,
    fingerprint,
    page_of,
    refusals,
)
from stoa.kernel.errors import BadRequest, Forbidden
from stoa.kernel.pages import PageRequest
from stoa.kernel.principal import Principal, SpendingLimit

KEYS_SORTABLE = {"created_at": "created_at", "name": "name"}
PROJECTS_SORTABLE = {"created_at": "created_at", "updated_at": "updated_at", "name": "name"}


def routes(access: Access, gate: Gate) -> Routes:
    router = Routes(tags=["access"])
    reading, writing = gate("access:read"), gate("access:write")

    @router.get("/v1/access-keys", responses=refusals())
    async def list_keys(
        principal: Annotated[Principal, reading], page: Annotated[PageRequest, Depends(Paging(KEYS_SORTABLE))]
    ) -> DataList[wire.AccessKeyWire]:
        """The keys of the caller's scope, newest first, without their secrets."""
        return page_of(await access.keys(principal, page), wire.key)

    @router.post("/v1/access-keys", status_code=201, responses=refusals(409))
    async def create_key(
        body: wire.CreateAccessKey,
        principal: Annotated[Principal, writing],
        idempotency_key: IdempotencyKeyHeader = None,
    ) -> Data[wire.CreatedAccessKeyWire]:
        """A new key. This answer alone holds the secret, in `key`; a repetition under the same Idempotency-Key does not."""
        _same_org(body.org_id, principal)
        once = (
            IdempotencyKey(idempotency_key, "access-keys", fingerprint(body.model_dump(mode="json")))
            if idempotency_key
            else None
        )
        limit = SpendingLimit(body.spending_limit.usd, body.spending_limit.period) if body.spending_limit else None
        new = NewKey(body.name, body.project_id, body.permissions, body.expires_at, body.rate_limit, limit)
        created, secret = await access.create_key(principal, new, once)
        return Data(data=wire.created_key(created, secret))

    @router.delete("/v1/access-keys/{key_id}", responses=refusals(404, 409))
    async def delete_key(
        key_id: UUID,
        principal: Annotated[Principal, writing],
        cascade: Annotated[
            bool, Query(description="Also revokes every key that it made, directly or through others.")
        ] = False,
        dry_run: Annotated[bool, Query(description="Revokes nothing, and names what would be revoked.")] = False,
    ) -> wire.RevocationWire:
        """Revokes a key, at once and on every node. The last key that can manage keys stays (409)."""
        return wire.revocation(await access.revoke_key(principal, key_id, cascade=cascade, dry_run=dry_run))

    @router.get("/v1/me", response_model=None, responses=refusals())
    async def me(_: Annotated[Principal, reading]) -> None:
        """The user behind a credential; an access key has none."""
        raise Forbidden("An access key is no user; /v1/me is for personal access tokens.")

    @router.get("/v1/orgs", responses=refusals())
    async def list_orgs(
        principal: Annotated[Principal, reading], page: Annotated[PageRequest, Depends(Paging())]
    ) -> DataList[wire.OrgWire]:
        return page_of(await access.orgs(principal, page), wire.org)

    @router.get("/v1/orgs/{org_id}", responses=refusals(404))
    async def get_org(org_id: UUID, principal: Annotated[Principal, reading]) -> Data[wire.OrgWire]:
        return Data(data=wire.org(await access.org(principal, org_id)))

    @router.get("/v1/projects", responses=refusals())
    async def list_projects(
        principal: Annotated[Principal, reading],
        page: Annotated[PageRequest, Depends(Paging(PROJECTS_SORTABLE))],
        org_id: UUID | None = None,
    ) -> DataList[wire.ProjectWire]:
        return page_of(await access.projects(principal, page, org_id), wire.project)

    @router.post("/v1/projects", status_code=201, responses=refusals(409))
    async def create_project(
        body: wire.ProjectBody, principal: Annotated[Principal, writing], idempotency_key: IdempotencyKeyHeader = None
    ) -> Data[wire.ProjectWire]:
        _same_org(body.org_id, principal)
        once = (
            IdempotencyKey(idempotency_key, "projects", fingerprint(body.model_dump(mode="json")))
            if idempotency_key
            else None
        )
        return Data(
            data=wire.project(
                await access.create_project(principal, body.name, body.description, body.visibility, once)
            )
        )

    @router.get("/v1/projects/{project_id}", responses=refusals(404))
    async def get_project(project_id: UUID, principal: Annotated[Principal, reading]) -> Data[wire.ProjectWire]:
        return Data(data=wire.project(await access.project(principal, project_id)))

    @router.put("/v1/projects/{project_id}", responses=refusals(404))
    async def update_project(
        project_id: UUID, body: wire.ProjectBody, principal: Annotated[Principal, writing]
    ) -> Data[wire.ProjectWire]:
        _same_org(body.org_id, principal)
        return Data(
            data=wire.project(
                await access.update_project(principal, project_id, body.name, body.description, body.visibility)
            )
        )

    @router.delete("/v1/projects/{project_id}", responses=refusals(404, 409))
    async def delete_project(project_id: UUID, principal: Annotated[Principal, writing]) -> Acknowledgement:
        """Deletes an empty project."""
        await access.delete_project(principal, project_id)
        return Acknowledgement(message="deleted")

    return router


def _same_org(org_id: UUID | None, principal: Principal) -> None:
    if org_id is not None and org_id != principal.org_id:
        raise BadRequest.field("org_id", "is not the organization of this key")
