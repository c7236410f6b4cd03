"""Access as its owners use it. One transaction per method."""

from collections.abc import Collection
from decimal import Decimal
from typing import Final
from uuid import UUID

import asyncpg
import structlog

from stoa.access import rules, store
from stoa.access.store import SQL
from stoa.access.types import AccessKey, NewKey, Org, Project, Revocation
from stoa.db import Database, Row, audit, idempotency
from stoa.db.idempotency import IdempotencyKey
from stoa.db.internal import internal, internal_statement
from stoa.kernel.clock import Clock
from stoa.kernel.errors import BadRequest, Conflict, Forbidden, NotFound, RateLimited, Unauthorized
from stoa.kernel.ids import Ids
from stoa.kernel.limits import WINDOW_SECONDS, Rate
from stoa.kernel.pages import Page, PageRequest
from stoa.kernel.principal import Principal

_log = structlog.get_logger("stoa.access")
_UNKNOWN: Final = "This access key is unknown or was revoked."


class BootstrapError(Exception):
    """The first key cannot be made as configured; the message says why."""


class Access:
    def __init__(self, database: Database, ids: Ids, clock: Clock) -> None:
        self._database = database
        self._ids = ids
        self._clock = clock

    # --- the first start --------------------------------------------------------------------------------------------
    async def bootstrap(self, chosen: str | None) -> str | None:
        """Makes the first organization, project and key, once, however many nodes start. Gives the secret if this call made it.

        `chosen` is the operator's own first key: added at any start where it is not there yet, unless it was revoked.
        Raises BootstrapError.
        """
        if chosen is not None and not rules.well_formed(chosen):
            raise BootstrapError(f"STOA_BOOTSTRAP_KEY must be {rules.PREFIX} followed by 64 letters and digits.")
        async with internal(self._database) as tx:
            await tx.execute(SQL.bootstrap_lock)
            org_id = await tx.fetchval(SQL.first_org)
            if org_id is not None and (chosen is None or await tx.fetchval(SQL.key_by_hash, rules.digest(chosen))):
                return None
            if chosen is not None and await tx.fetchval(SQL.was_revoked, rules.digest(chosen)):
                _log.warning("first key was revoked", preview=rules.preview(chosen))
                return None
            if org_id is None:
                org_id = self._ids.new()
                await tx.execute(SQL.insert_org, org_id, "Default")
                await tx.fetchrow(SQL.insert_project, org_id, self._ids.new(), "Default", None, "internal")
            secret = chosen or rules.new_secret()
            await tx.fetchrow(
                SQL.insert_key,
                org_id,
                None,
                self._ids.new(),
                "First key",
                rules.digest(secret),
                rules.preview(secret),
                None,
                None,
                None,
                None,
                None,
                None,
            )
            return secret

    # --- credentials ------------------------------------------------------------------------------------------------
    async def authenticate(self, token: str) -> Principal:
        """The owner of an access key, or of a session opened with one: looked up at each request, so that revoking works at
        once, on every node."""
        if token.startswith("stoa_pat_"):
            raise Unauthorized(
                "Personal access tokens are not available in this version; send an access key (stoa_acc_…)."
            )
        if token.startswith(rules.SESSION_PREFIX):
            async with internal_statement(self._database) as tx:
                row = await tx.fetchrow(SQL.session_owner, rules.digest(token), self._clock.now())
            if row is None:
                raise Unauthorized("This session has ended, or its access key was revoked; sign in again.")
            return self._living(row)
        if not rules.well_formed(token):
            raise Unauthorized("This is not an access key: one is stoa_acc_ and 64 letters and digits.")
        async with internal_statement(self._database) as tx:
            return self._living(await tx.fetchrow(SQL.key_by_hash, rules.digest(token)))

    async def principal_of(self, key_id: UUID) -> Principal:
        """The owner of a key that something we signed names. Raises Unauthorized once the key is gone."""
        async with internal(self._database) as tx:
            return self._living(await tx.fetchrow(SQL.key_owner, key_id))

    async def living_keys(self, key_ids: Collection[UUID]) -> Collection[UUID]:
        """Those of the keys that were neither revoked nor have expired."""
        async with internal_statement(self._database) as tx:
            return [row["id"] for row in await tx.fetch(SQL.living_keys, list(key_ids), self._clock.now())]

    async def admit(self, principal: Principal) -> Rate | None:
        """Counts a request of a key with a rate limit, on whatever node. Raises RateLimited; None for a key without one."""
        limit = principal.rate_limit
        if limit is None:
            return None
        async with internal_statement(self._database) as tx:
            busy = await tx.fetchval(SQL.admit, principal.org_id, principal.key_id, WINDOW_SECONDS / limit)
            if busy is not None:
                return Rate(limit, busy)
            rate = Rate(limit, await tx.fetchval(SQL.busy_seconds, principal.org_id, principal.key_id) or 0.0)
        wait = rate.retry_after_seconds
        message = (
            f"This key may send {limit} requests a minute; try again in {wait} {'second' if wait == 1 else 'seconds'}."
        )
        raise RateLimited(message, retry_after_seconds=wait, headers=rate.headers())

    def _living(self, row: Row | None) -> Principal:
        if row is None:
            raise Unauthorized(_UNKNOWN)
        if row["expires_at"] is not None and row["expires_at"] <= self._clock.now():
            raise Unauthorized("This access key has expired; make a new one.")
        return store.principal(row)

    # --- keys -------------------------------------------------------------------------------------------------------
    async def create_key(
        self, principal: Principal, new: NewKey, once: IdempotencyKey | None
    ) -> tuple[AccessKey, str | None]:
        """The key and its secret; a repetition of the same request gives the key without the secret, which is not kept."""
        permissions = rules.check_permissions(new.permissions, principal)
        if principal.rate_limit is not None or principal.spending_limit is not None:
            raise Forbidden("A key with a rate or spending limit cannot make keys: each would have limits of its own.")
        expires_at = rules.check_expiry(new.expires_at, principal, self._clock.now())
        project_id, limit = new.project_id or principal.project_id, new.spending_limit
        secret = rules.new_secret()
        async with self._database.tenant(principal) as tx:
            if once and (first := await idempotency.claim(tx, principal, once)):
                row = await tx.fetchrow(SQL.key, principal.org_id, UUID(first["id"]))
                if row is None:
                    raise NotFound("The key that this Idempotency-Key made was revoked.")
                return store.key(row), None
            await tx.execute(SQL.share_org, principal.org_id)
            if await tx.fetchrow(SQL.key, principal.org_id, principal.key_id) is None:
                raise Unauthorized(_UNKNOWN)  # Revoked since this request began: it makes no more keys.
            if project_id is not None and await tx.fetchrow(SQL.project, principal.org_id, project_id) is None:
                raise BadRequest.field("project_id", "is no project that this key may see")
            row = await tx.fetchrow(
                SQL.insert_key,
                principal.org_id,
                project_id,
                self._ids.new(),
                new.name,
                rules.digest(secret),
                rules.preview(secret),
                permissions,
                expires_at,
                principal.key_id,
                new.rate_limit,
                Decimal(str(limit.usd)) if limit else None,
                limit.period if limit else None,
            )
            assert row is not None
            created = store.key(row)
            await audit.record(tx, principal, "access_key.create", created.id)
            if once:
                await idempotency.record(tx, principal, once, {"id": str(created.id)}, created.id)
        return created, secret

    async def keys(self, principal: Principal, page: PageRequest) -> Page[AccessKey]:
        async with self._database.tenant(principal) as tx:
            found, total = await store.list_keys(tx, principal.org_id, page)
        return Page(found, page.page, page.page_size, total)

    async def revoke_key(
        self, principal: Principal, key_id: UUID, *, cascade: bool = False, dry_run: bool = False
    ) -> Revocation:
        """Revokes a key, with `cascade` also every key that it made, directly or through others.

        Raises NotFound, and Conflict when the organization would keep no key that can manage its keys.
        """
        async with self._database.tenant(principal) as tx:
            await tx.execute(SQL.lock_org, principal.org_id)
            rows = await tx.fetch(SQL.keys_to_revoke, principal.org_id, key_id, cascade)
            keys = sorted((store.key(row) for row in rows), key=lambda key: key.id != key_id)
            if not keys:
                raise NotFound(f"There is no access key {key_id}.")
            ids = [key.id for key in keys]
            if any(rules.manages_keys(key) for key in keys) and not await tx.fetchval(
                SQL.managers_left, principal.org_id, ids
            ):
                raise Conflict(
                    "The organization would keep no key that can manage its keys. Make another organization-wide key with"
                    " the permission access:write first."
                )
            if not dry_run:
                await tx.execute(SQL.delete_keys, principal.org_id, ids)
                for revoked in ids:
                    await audit.record(tx, principal, "access_key.delete", revoked)
        return Revocation(keys, done=not dry_run)

    # --- organizations and projects ---------------------------------------------------------------------------------
    async def home(self, principal: Principal) -> UUID:
        """The project that new things of this principal belong to."""
        if principal.project_id is not None:
            return principal.project_id
        async with self._database.tenant(principal) as tx:
            project_id = await tx.fetchval(SQL.home_project, principal.org_id)
        assert project_id is not None, "an organization has a project"
        return project_id

    async def chosen(self, principal: Principal, project_id: UUID | None) -> UUID:
        """The same, where the caller may name a project. Raises BadRequest when it is none of the principal's."""
        if project_id is None:
            return await self.home(principal)
        async with self._database.tenant(principal) as tx:
            if await tx.fetchrow(SQL.project, principal.org_id, project_id) is None:
                raise BadRequest.field("project_id", "is no project that this key may use")
        return project_id

    async def orgs(self, principal: Principal, page: PageRequest) -> Page[Org]:
        """The one organization that a key belongs to."""
        found = [await self.org(principal, principal.org_id)]
        return Page(found[page.offset :], page.page, page.page_size, 1)

    async def org(self, principal: Principal, org_id: UUID) -> Org:
        async with self._database.tenant(principal) as tx:
            row = await tx.fetchrow(SQL.orgs, org_id)
        if row is None:
            raise NotFound(f"There is no organization {org_id}.")
        return store.org(row)

    async def projects(self, principal: Principal, page: PageRequest, org_id: UUID | None) -> Page[Project]:
        if org_id is not None and org_id != principal.org_id:
            return Page((), page.page, page.page_size, 0)
        async with self._database.tenant(principal) as tx:
            found, total = await store.list_projects(tx, principal.org_id, page)
        return Page(found, page.page, page.page_size, total)

    async def project(self, principal: Principal, project_id: UUID) -> Project:
        async with self._database.tenant(principal) as tx:
            row = await tx.fetchrow(SQL.project, principal.org_id, project_id)
        if row is None:
            raise _no_project(project_id)
        return store.project(row)

    async def create_project(
        self, principal: Principal, name: str, description: str | None, visibility: str, once: IdempotencyKey | None
    ) -> Project:
        if principal.project_id is not None:
            raise Forbidden("A project-scoped key cannot make projects; use an organization-wide one.")
        async with self._database.tenant(principal) as tx:
            if once and (first := await idempotency.claim(tx, principal, once)):
                row = await tx.fetchrow(SQL.project, principal.org_id, UUID(first["id"]))
                if row is None:
                    raise NotFound("The project that this Idempotency-Key made was deleted.")
                return store.project(row)
            row = await tx.fetchrow(
                SQL.insert_project, principal.org_id, self._ids.new(), name, description, visibility
            )
            assert row is not None
            created = store.project(row)
            await audit.record(tx, principal, "project.create", created.id)
            if once:
                await idempotency.record(tx, principal, once, {"id": str(created.id)}, created.id)
        return created

    async def update_project(
        self, principal: Principal, project_id: UUID, name: str, description: str | None, visibility: str
    ) -> Project:
        async with self._database.tenant(principal) as tx:
            row = await tx.fetchrow(SQL.update_project, principal.org_id, project_id, name, description, visibility)
            if row is None:
                raise _no_project(project_id)
            await audit.record(tx, principal, "project.update", project_id)
        return store.project(row)

    async def delete_project(self, principal: Principal, project_id: UUID) -> None:
        """Only an empty one, and never the last: nothing is deleted that was not named."""
        if principal.project_id is not None:
            raise Forbidden("A project-scoped key cannot delete projects; use an organization-wide one.")
        try:
            async with self._database.tenant(principal) as tx:
                if await tx.fetchrow(SQL.project, principal.org_id, project_id) is None:
                    raise _no_project(project_id)
                await tx.execute(SQL.lock_org, principal.org_id)
                if await tx.fetchval(SQL.count_projects, principal.org_id) == 1:
                    raise Conflict("This is the organization's last project; it cannot be deleted.")
                if await tx.fetchval(SQL.project_in_use, principal.org_id, project_id):
                    raise Conflict(
                        "This project still holds conversations, knowledge bases, connections or keys; delete those first."
                    )
                await tx.execute(SQL.delete_project, principal.org_id, project_id)
                await audit.record(tx, principal, "project.delete", project_id)
        except asyncpg.ForeignKeyViolationError as error:
            raise Conflict("Something was made in this project at this moment; delete that first.") from error


def _no_project(project_id: UUID) -> NotFound:
    return NotFound(f"There is no project {project_id}.")
