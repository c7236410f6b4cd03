"""Changing, rotating and listing access keys, and their uses. One transaction per method."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from typing import Final
from uuid import UUID

from stoa.access import rules, store
from stoa.access.service import Access, allowed, made_before
from stoa.access.store import SQL
from stoa.access.types import AccessKey, Effect, KeyChanges, KeyEffects, KeyUse
from stoa.db import Database, Row, Tx, audit, idempotency, load
from stoa.db.idempotency import IdempotencyKey
from stoa.kernel.clock import Clock
from stoa.kernel.errors import BadRequest, Conflict, Forbidden, NotFound
from stoa.kernel.ids import Ids
from stoa.kernel.pages import Page, PageRequest
from stoa.kernel.principal import Principal

_SQL: Final = load("stoa.access", "keys.sql")


class Keys:
    def __init__(self, database: Database, access: Access, ids: Ids, clock: Clock) -> None:
        self._database = database
        self._access = access
        self._uses = access.uses
        self._dependents = access.dependents
        self._ids = ids
        self._clock = clock

    # --- reading ----------------------------------------------------------------------------------------------------
    async def list(self, principal: Principal, page: PageRequest) -> Page[AccessKey]:
        """Each with its last use; uses on other nodes may be half a minute old."""
        await self._uses.write()
        found = await self._access.keys(principal, page)
        async with self._database.tenant(principal) as tx:
            uses = await _uses(tx, principal.org_id, [key.id for key in found.items])
        return replace(found, items=[replace(key, uses=uses.get(key.id, ())) for key in found.items])

    async def get(self, principal: Principal, key_id: UUID) -> AccessKey:
        await self._uses.write()
        async with self._database.tenant(principal) as tx:
            row = await tx.fetchrow(SQL.key, principal.org_id, key_id)
            uses = await _uses(tx, principal.org_id, [key_id])
        if row is None:
            raise _no_key(key_id)
        return replace(store.key(row), uses=uses.get(key_id, ()))

    # --- changing ---------------------------------------------------------------------------------------------------
    async def update(self, principal: Principal, key_id: UUID, changes: KeyChanges, *, cascade: bool) -> AccessKey:
        """Only the named fields change, at once on every node. With `cascade` the keys that it created lose the same
        permissions.

        Raises Forbidden for more than the caller or the key's maker may do, and Conflict when the organization would
        keep no key that can manage its keys.
        """
        async with self._database.tenant(principal) as tx:
            before, after, below = await self._planned(tx, principal, key_id, changes, cascade=cascade)
            limit = after.spending_limit
            row = await tx.fetchrow(
                _SQL.update_key,
                principal.org_id,
                key_id,
                after.name,
                after.permissions,
                after.expires_at,
                after.rate_limit,
                Decimal(str(limit.usd)) if limit else None,
                limit.period if limit else None,
                after.cache_seconds,
                after.resumable_streams,
            )
            assert row is not None, "the row is locked"
            lost = _lost(before, after)
            if below:
                every = list(rules.PERMISSIONS)
                await tx.execute(_SQL.narrow_keys, principal.org_id, [key.id for key in below], lost, every)
            until = rules.manages_until(before, after, self._clock.now())
            if until is not None and not await tx.fetchval(_SQL.manages_after, principal.org_id, until):
                raise Conflict(rules.NO_MANAGER)
            for changed in (key_id, *(key.id for key in below)):
                await audit.record(tx, principal, "access_key.update", changed)
        return store.key(row)

    async def effects(self, principal: Principal, key_id: UUID, changes: KeyChanges, *, cascade: bool) -> KeyEffects:
        """The effects of `update`: keys with the permissions that they would lose, and triggers that would stop."""
        async with self._database.tenant(principal) as tx:
            before, after, below = await self._planned(tx, principal, key_id, changes, cascade=cascade)
            lost = frozenset(_lost(before, after))
            keys = [
                Effect(key.id, key.name, sorted(lost & _held(key))) for key in (before, *below) if lost & _held(key)
            ]
            stopping = [one.id for one in keys if "apps:run" in one.loses]
            return KeyEffects(keys, await self._dependents.of(tx, principal.org_id, stopping))

    async def _planned(
        self, tx: Tx, principal: Principal, key_id: UUID, changes: KeyChanges, *, cascade: bool
    ) -> tuple[AccessKey, AccessKey, Sequence[AccessKey]]:
        """The key before and after, and with `cascade` the keys that it created. The organization is locked."""
        if principal.rate_limit is not None or principal.spending_limit is not None:
            raise Forbidden("A key with a rate or spending limit cannot change keys: it could lift its own.")
        await tx.execute(SQL.lock_org, principal.org_id)
        row = await tx.fetchrow(_SQL.key_to_change, principal.org_id, key_id)
        if row is None:
            raise _no_key(key_id)
        before = store.key(row)
        if before.successor_id is not None:
            raise Conflict(f"This key was rotated and ends by itself; change {before.successor_id}, its successor.")
        after = await self._changed(tx, principal, before, changes)
        below: Sequence[AccessKey] = ()
        if cascade and _lost(before, after):
            rows = await tx.fetch(SQL.keys_to_revoke, principal.org_id, key_id, True)
            below = [one for one in (store.key(row) for row in rows) if one.id != key_id]
        return before, after, below

    async def _changed(self, tx: Tx, principal: Principal, before: AccessKey, changes: KeyChanges) -> AccessKey:
        maker = await tx.fetchrow(_SQL.maker, principal.org_id, before.created_by) if before.created_by else None
        may = _less(allowed(principal, before.project_id), _permissions(maker))
        wanted = changes.permissions if "permissions" in changes.fields else before.permissions
        # Also unchanged ones: a caller with fewer permissions must not extend the life of a key with more.
        permissions = rules.check_permissions(wanted, may) if wanted is not None or may is None else None
        if wanted is None and may is not None:
            raise Forbidden("This key may do more than you or its maker may; name the permissions that it is to keep.")
        expires_at = before.expires_at
        if "expires_at" in changes.fields:
            expires_at = rules.check_expiry(changes.expires_at, principal, self._clock.now())
            end = maker["expires_at"] if maker else None
            if end is not None and (expires_at is None or expires_at > end):
                raise BadRequest.field("expires_at", "is after the end of the key that made it")
        named = ("rate_limit", "spending_limit", "cache_seconds", "resumable_streams")
        limits = {name: getattr(changes if name in changes.fields else before, name) for name in named}
        name = changes.name if "name" in changes.fields and changes.name is not None else before.name
        return replace(before, name=name, permissions=permissions, expires_at=expires_at, **limits)

    # --- rotating ---------------------------------------------------------------------------------------------------
    async def rotate(
        self, principal: Principal, key_id: UUID, overlap: timedelta, once: IdempotencyKey | None
    ) -> tuple[AccessKey, str | None]:
        """A new key that replaces this one, which expires at the end of the overlap.

        The successor takes over its permissions, limits, spending, creator, created keys and triggers.
        """
        secret = rules.new_secret()
        async with self._database.tenant(principal) as tx:
            if (made := await made_before(tx, principal, once)) is not None:
                return made, None
            before, after, _ = await self._planned(tx, principal, key_id, KeyChanges(frozenset()), cascade=False)
            now = self._clock.now()
            if before.expires_at is not None and before.expires_at <= now:
                raise Conflict("This key has expired; make a new one instead.")
            limit = after.spending_limit
            row = await tx.fetchrow(
                SQL.insert_key,
                principal.org_id,
                before.project_id,
                self._ids.new(),
                before.name,
                rules.digest(secret),
                rules.preview(secret),
                after.permissions,
                before.expires_at,
                before.created_by,
                before.rate_limit,
                Decimal(str(limit.usd)) if limit else None,
                limit.period if limit else None,
                before.cache_seconds,
                before.resumable_streams,
            )
            assert row is not None
            made = store.key(row)
            end = now + overlap
            ends = end if before.expires_at is None else min(end, before.expires_at)
            await tx.execute(_SQL.end_with_successor, principal.org_id, key_id, made.id, ends)
            await tx.execute(_SQL.adopt, principal.org_id, key_id, made.id)
            await tx.execute(_SQL.copy_spending, principal.org_id, key_id, made.id)
            await self._dependents.hand_over(tx, principal.org_id, key_id, made.id)
            await audit.record(tx, principal, "access_key.rotate", key_id)
            await audit.record(tx, principal, "access_key.create", made.id)
            if once:
                await idempotency.record(tx, principal, once, {"id": str(made.id)}, made.id)
        return made, secret


async def _uses(tx: Tx, org_id: UUID, key_ids: Sequence[UUID]) -> Mapping[UUID, Sequence[KeyUse]]:
    found: dict[UUID, list[KeyUse]] = {}
    for row in await tx.fetch(_SQL.uses, org_id, list(key_ids)):
        use = KeyUse(row["address"] or None, row["client"] or None, row["first_at"], row["last_at"])
        found.setdefault(row["key_id"], []).append(use)
    return found


def _held(key: AccessKey) -> frozenset[str]:
    return frozenset(rules.PERMISSIONS if key.permissions is None else key.permissions)


def _lost(before: AccessKey, after: AccessKey) -> list[str]:
    return sorted(_held(before) - _held(after))


def _permissions(maker: Row | None) -> frozenset[str] | None:
    return frozenset(maker["permissions"]) if maker is not None and maker["permissions"] is not None else None


def _less(one: frozenset[str] | None, other: frozenset[str] | None) -> frozenset[str] | None:
    """The intersection; None is everything."""
    if one is None or other is None:
        return other if one is None else one
    return one & other


def _no_key(key_id: UUID) -> NotFound:
    return NotFound(f"There is no access key {key_id}.")
