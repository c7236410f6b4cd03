"""Access keys (contract section 3)."""

from datetime import timedelta
from typing import Annotated
from uuid import UUID

from fastapi import Depends, Query

from stoa.access import key_wire, wire
from stoa.access.keys import Keys
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


def routes(access: Access, keys: Keys, gate: Gate) -> Routes:
    router = Routes(tags=["access"])
    reading, writing = gate("access:read"), gate("access:write")

    @router.get("/v1/access-keys", responses=refusals())
    async def list_keys(
        principal: Annotated[Principal, reading], page: Annotated[PageRequest, Depends(Paging(KEYS_SORTABLE))]
    ) -> DataList[wire.AccessKeyWire]:
        """Lists the keys in the caller's scope, newest first, without their secrets."""
        return page_of(await keys.list(principal, page), wire.key)

    @router.post("/v1/access-keys", status_code=201, responses=refusals(409))
    async def create_key(
        body: wire.CreateAccessKey,
        principal: Annotated[Principal, writing],
        idempotency_key: IdempotencyKeyHeader = None,
    ) -> Data[wire.CreatedAccessKeyWire]:
        """Creates a key. Only this response has the secret, in `key`; a repetition with the same Idempotency-Key does
        not."""
        _same_org(body.org_id, principal)
        once = repeated(idempotency_key, "access-keys", body)
        limit = SpendingLimit(body.spending_limit.usd, body.spending_limit.period) if body.spending_limit else None
        new = NewKey(
            body.name,
            body.project_id,
            body.permissions,
            body.expires_at,
            body.rate_limit,
            limit,
            body.cache_seconds,
            resumable_streams=body.resumable_streams,
        )
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
        """Revokes a key at once on every node, with the open invitations that it has sent. The last key that can manage
        keys cannot be revoked (409)."""
        return wire.revocation(await access.revoke_key(principal, key_id, cascade=cascade, dry_run=dry_run))

    _changing(router, keys, gate)
    return router


def _changing(router: Routes, keys: Keys, gate: Gate) -> None:
    reading, writing = gate("access:read"), gate("access:write")
    cascading = Query(description="The keys that it made, directly or through others, lose what it loses.")

    @router.get("/v1/access-keys/{key_id}", responses=refusals(404))
    async def get_key(key_id: UUID, principal: Annotated[Principal, reading]) -> Data[key_wire.UsedAccessKeyWire]:
        """Returns a key with the addresses and clients that used it."""
        return Data(data=key_wire.used_key(await keys.get(principal, key_id)))

    @router.patch("/v1/access-keys/{key_id}", responses=refusals(404, 409))
    async def update_key(
        key_id: UUID,
        body: key_wire.UpdateAccessKey,
        principal: Annotated[Principal, writing],
        cascade: Annotated[bool, cascading] = False,
    ) -> Data[wire.AccessKeyWire]:
        """Changes name, permissions, expiry and limits, at once on every node. A key can never have more than the
        caller and the key's creator have."""
        changed = await keys.update(principal, key_id, key_wire.key_changes(body), cascade=cascade)
        return Data(data=wire.key(changed))

    @router.post("/v1/access-keys/{key_id}/preview", responses=refusals(404, 409))
    async def preview_key_update(
        key_id: UUID,
        body: key_wire.UpdateAccessKey,
        principal: Annotated[Principal, writing],
        cascade: Annotated[bool, cascading] = False,
    ) -> Data[key_wire.KeyEffectsWire]:
        """Changes nothing. Returns the keys and triggers that would lose access by this change."""
        effects = await keys.effects(principal, key_id, key_wire.key_changes(body), cascade=cascade)
        return Data(data=key_wire.key_effects(effects))

    @router.post("/v1/access-keys/{key_id}/rotate", status_code=201, responses=refusals(404, 409))
    async def rotate_key(
        key_id: UUID,
        body: key_wire.RotateAccessKey,
        principal: Annotated[Principal, writing],
        idempotency_key: IdempotencyKeyHeader = None,
    ) -> Data[wire.CreatedAccessKeyWire]:
        """Creates a key that replaces this one. This one expires at the end of the overlap. Only this response has the
        secret."""
        once = repeated(idempotency_key, f"access-keys/{key_id}/rotate", body)
        overlap = timedelta(seconds=body.overlap_seconds)
        made, secret = await keys.rotate(principal, key_id, overlap, once)
        return Data(data=wire.created_key(made, secret))


def _same_org(org_id: UUID | None, principal: Principal) -> None:
    if org_id is not None and org_id != principal.org_id:
        raise BadRequest.field("org_id", "is not the organization of this key")
