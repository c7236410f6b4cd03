"""Access keys (contract section 3)."""

from typing import Annotated
from uuid import UUID

from fastapi import Depends, Query

from stoa.access import wire
from stoa.access.service import Access
from stoa.access.types import NewKey
from stoa.http import (
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
from stoa.kernel.principal import Principal, SpendingLimit

KEYS_SORTABLE = {"created_at": "created_at", "name": "name"}


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
        once = repeated(idempotency_key, "access-keys", body)
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

    return router


def _same_org(org_id: UUID | None, principal: Principal) -> None:
    if org_id is not None and org_id != principal.org_id:
        raise BadRequest.field("org_id", "is not the organization of this key")
