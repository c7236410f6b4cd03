"""Credentials, keys, organizations and projects. One transaction per method."""

from collections.abc import Collection
from dataclasses import replace
from decimal import Decimal
from typing import Final
from uuid import UUID

import asyncpg
import structlog

from stoa.access import people, rules, store
from stoa.access.lookups import KeyLookups
from stoa.access.ports import Dependents, NoDependents
from stoa.access.store import SQL
from stoa.access.types import AccessKey, NewKey, Org, Project, ProjectChange, ProjectRole, Revocation
from stoa.access.uses import KeyUses
from stoa.db import Database, Row, Tx, audit, idempotency
from stoa.db.idempotency import IdempotencyKey
from stoa.db.internal import internal, internal_statement
from stoa.kernel.clock import Clock
from stoa.kernel.errors import BadRequest, Conflict, Forbidden, NotFound, RateLimited, Unauthorized
from stoa.kernel.ids import Ids
from stoa.kernel.limits import WINDOW_SECONDS, Rate
from stoa.kernel.pages import Page, PageRequest
from stoa.kernel.principal import CredentialKind, Principal

_log = structlog.get_logger("stoa.access")
_UNKNOWN: Final = "This access key is unknown or was revoked."


class BootstrapError(Exception):
    """The first key cannot be made as configured; the message says why."""


class Access:
    def __init__(self, database: Database, ids: Ids, clock: Clock) -> None:
        self._database = database
        self._ids = ids
        self._clock = clock
        self.uses = KeyUses(database, clock)
        self._lookups = KeyLookups(database)
        self.dependents: Dependents = NoDependents()
        """Set once what goes on in the name of keys exists."""

    # --- the first start --------------------------------------------------------------------------------------------
    async def bootstrap(self, chosen: str | None) -> str | None:
        """Creates the first organization, project and key, once for all nodes. Returns the secret if this call created
        it.

        `chosen` is the operator's own first key: added at any start where it is not there yet, unless it was revoked.
        Raises BootstrapError.
        """
        if chosen is not None and not rules.well_formed(chosen):
            raise BootstrapError(f"STOA_BOOTSTRAP_KEY must be {rules.PREFIX} followed by 64 letters and digits.")
        async with internal(self._database) as tx:
            await tx.execute(SQL.bootstrap_lock)
            org_id = await tx.fetchval(SQL.first_org)
            if org_id is not None and (chosen is None or await tx.fetchval(SQL.keys_by_hash, [rules.digest(chosen)])):
                return None
            if chosen is not None and await tx.fetchval(SQL.was_revoked, rules.digest(chosen)):
                _log.warning("first key was revoked", preview=rules.preview(chosen))
                return None
            if org_id is None:
                org_id = self._ids.new()
                await tx.execute(SQL.insert_org, org_id, "Default")
                await tx.fetchrow(SQL.insert_project, org_id, self._ids.new(), "Default", None, "internal", None)
            secret = chosen or rules.new_secret()
            await tx.fetchrow(
                SQL.insert_key,
                org_id,
                None,
                self._ids.new(),
                "First key",
                rules.digest(secret),
                rules.preview(secret),
                *[None] * 7,
                False,
            )
            return secret

    # --- credentials ------------------------------------------------------------------------------------------------
    async def authenticate(self, token: str) -> Principal:
        """The principal of an access key, or of a session opened with one. It is looked up at each request, so that
        a revocation takes effect at once on every node."""
        if token.startswith(rules.TOKEN_PREFIX):
            return await self._token_owner(token)
        if token.startswith(rules.KEY_SESSION_PREFIX):
            async with internal_statement(self._database) as tx:
                row = await tx.fetchrow(SQL.session_owner, rules.digest(token), self._clock.now())
            if row is None:
                raise Unauthorized("This session has ended, or its access key was revoked; sign in again.")
            return self._living(row)
        if not rules.well_formed(token):
            raise Unauthorized("This is not an access key: one is stoa_acc_ and 64 letters and digits.")
        owner = self._living(await self._lookups.row(rules.digest(token)))
        self.uses.record_use(owner.org_id, owner.key_id)
        return owner

    async def authenticate_browser(self, token: str) -> Principal:
        """The same for the console's session cookies; programs cannot use a user's session."""
        if not token.startswith(rules.SESSION_PREFIX):
            return await self.authenticate(token)
        async with internal_statement(self._database) as tx:
            return await people.session_owner(tx, token, self._clock.now())

    async def _token_owner(self, token: str) -> Principal:
        if not rules.well_formed(token, rules.TOKEN_PREFIX):
            raise Unauthorized("This is not a personal access token: one is stoa_pat_ and 64 letters and digits.")
        async with internal_statement(self._database) as tx:
            row = await people.token_row(tx, rules.digest(token))
        if row is None:
            raise Unauthorized("This personal access token is unknown or was revoked.")
        if row["expires_at"] is not None and row["expires_at"] <= self._clock.now():
            raise Unauthorized("This personal access token has expired; make a new one.")
        return people.principal(row, CredentialKind.PERSONAL_TOKEN)

    async def principal_of(self, key_id: UUID) -> Principal:
        """The principal of the credential that a signed ticket names, for reading a run. Raises Unauthorized once the
        credential is revoked."""
        async with internal(self._database) as tx:
            row = await people.credential_row(tx, key_id)
            if row is None:
                return self._living(await tx.fetchrow(SQL.key_owner, key_id))
        kind = CredentialKind.SESSION if row["session"] else CredentialKind.PERSONAL_TOKEN
        reader = people.principal(row, kind).permitted(("runs:read",))
        if reader is None or (row["expires_at"] is not None and row["expires_at"] <= self._clock.now()):
            raise Unauthorized("This credential has expired or lost its rights.")
        return reader

    async def valid_keys(self, key_ids: Collection[UUID]) -> Collection[UUID]:
        """Those of the keys, tokens and sessions that were neither revoked nor have expired."""
        async with internal_statement(self._database) as tx:
            return [row["id"] for row in await tx.fetch(SQL.valid_keys, list(key_ids), self._clock.now())]

    async def valid_owners(self, owners: Collection[tuple[UUID, UUID]]) -> set[tuple[UUID, UUID]]:
        """Which of these (organization, id) pairs are still a member, or a valid key, token or session."""
        org_ids, ids = [org_id for org_id, _ in owners], [owner_id for _, owner_id in owners]
        async with internal_statement(self._database) as tx:
            rows = await tx.fetch(SQL.valid_owners, org_ids, ids, self._clock.now())
        return {(row["org_id"], row["id"]) for row in rows}

    async def admit(self, principal: Principal) -> Rate | None:
        """Counts a request of a key with a rate limit, over all nodes; None for a key without one.

        Raises RateLimited.
        """
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
        """The key and its secret. A repetition of the request gets the key alone: the secret is not kept."""
        project_id, limit = new.project_id or principal.project_id, new.spending_limit
        permissions = rules.check_permissions(new.permissions, allowed(principal, project_id))
        if principal.rate_limit is not None or principal.spending_limit is not None:
            raise Forbidden("A key with a rate or spending limit cannot make keys: each would have limits of its own.")
        expires_at = rules.check_expiry(new.expires_at, principal, self._clock.now())
        secret = rules.new_secret()
        async with self._database.tenant(principal) as tx:
            if (made := await made_before(tx, principal, once)) is not None:
                return made, None
            await tx.execute(SQL.share_org, principal.org_id)
            by_key = principal.user_id is None
            if by_key and await tx.fetchrow(SQL.key, principal.org_id, principal.key_id) is None:
                raise Unauthorized(_UNKNOWN)  # Revoked during this request.
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
                principal.user_id or principal.key_id,
                new.rate_limit,
                Decimal(str(limit.usd)) if limit else None,
                limit.period if limit else None,
                new.cache_seconds,
                new.resumable_streams,
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
        return Page.counted(found, page, total)

    async def revoke_key(
        self, principal: Principal, key_id: UUID, *, cascade: bool = False, dry_run: bool = False
    ) -> Revocation:
        """Revokes a key, with `cascade` also every key that it made, directly or through others; and the open
        invitations that these keys have sent.

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
                raise Conflict(rules.NO_MANAGER)
            triggers = await self.dependents.of(tx, principal.org_id, ids)
            if not dry_run:
                await tx.execute(SQL.delete_keys, principal.org_id, ids)
                await people.revoke_invitations_by(tx, principal, ids)
                for revoked in ids:
                    await audit.record(tx, principal, "access_key.delete", revoked)
        return Revocation(keys, done=not dry_run, triggers=triggers)

    # --- organizations and projects ---------------------------------------------------------------------------------
    async def home(self, principal: Principal) -> UUID:
        """The project that new things of this principal belong to."""
        if principal.project_id is not None:
            return principal.project_id
        async with self._database.tenant(principal) as tx:
            project_id = await tx.fetchval(SQL.home_project, principal.org_id)
        if project_id is None and principal.user_id is not None:
            raise Forbidden("None of your roles lets you make this in a project; ask an owner of the organization.")
        assert project_id is not None, "an organization has a project"
        return project_id

    async def chosen(self, principal: Principal, project_id: UUID | None) -> UUID:
        """The same, if the caller may name a project. Raises BadRequest for a project outside the principal's scope."""
        if project_id is None:
            return await self.home(principal)
        async with self._database.tenant(principal) as tx:
            if await tx.fetchrow(SQL.project, principal.org_id, project_id) is None:
                raise BadRequest.field("project_id", "is no project that this key may use")
        return project_id

    async def orgs(self, principal: Principal, page: PageRequest) -> Page[Org]:
        """The one organization that a key belongs to, or those of a user."""
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
        return Page.counted(found, page, total)

    async def project(self, principal: Principal, project_id: UUID, org_id: UUID | None = None) -> Project:
        """Raises NotFound, also if `org_id` is not the project's organization."""
        async with self._database.tenant(principal) as tx:
            row = await tx.fetchrow(SQL.project, principal.org_id, project_id)
        if row is None or org_id not in (None, principal.org_id):
            raise _no_project(project_id)
        return store.project(row)

    async def create_project(self, principal: Principal, wanted: ProjectChange, once: IdempotencyKey | None) -> Project:
        if principal.project_id is not None:
            raise Forbidden("A project-scoped key cannot make projects; use an organization-wide one.")
        project_id = self._ids.new()
        if principal.projects is not None:  # The creator sees the new project.
            principal = replace(principal, projects=[*principal.projects, project_id])
        async with self._database.tenant(principal) as tx:
            if once and (first := await idempotency.claim(tx, principal, once)):
                row = await tx.fetchrow(SQL.project, principal.org_id, UUID(first["id"]))
                if row is None:
                    raise NotFound("The project that this Idempotency-Key made was deleted.")
                return store.project(row)
            row = await tx.fetchrow(
                SQL.insert_project,
                principal.org_id,
                project_id,
                wanted.name,
                wanted.description,
                wanted.visibility,
                wanted.retention_days,
            )
            assert row is not None
            created = store.project(row)
            if principal.user_id is not None:
                await people.put_in_project(tx, principal.org_id, project_id, principal.user_id, ProjectRole.ADMIN)
            await audit.record(tx, principal, "project.create", created.id)
            if once:
                await idempotency.record(tx, principal, once, {"id": str(created.id)}, created.id)
        return created

    async def update_project(self, principal: Principal, project_id: UUID, wanted: ProjectChange) -> Project:
        async with self._database.tenant(principal) as tx:
            row = await tx.fetchrow(
                SQL.update_project,
                principal.org_id,
                project_id,
                wanted.name,
                wanted.description,
                wanted.visibility,
                wanted.retention_days,
                not wanted.keeps_retention,
            )
            if row is None:
                raise _no_project(project_id)
            await audit.record(tx, principal, "project.update", project_id)
        return store.project(row)

    async def delete_project(self, principal: Principal, project_id: UUID) -> None:
        """Deletes only an empty project, and never the last one, so that no data is deleted implicitly."""
        if not principal.organization_wide:
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
                        "This project still holds conversations, knowledge bases, connections or keys;"
                        " delete those first."
                    )
                await tx.execute(SQL.delete_project, principal.org_id, project_id)
                await audit.record(tx, principal, "project.delete", project_id)
        except asyncpg.ForeignKeyViolationError as error:
            raise Conflict("Something was made in this project at this moment; delete that first.") from error


async def made_before(tx: Tx, principal: Principal, once: IdempotencyKey | None) -> AccessKey | None:
    """The key that the first request with this Idempotency-Key created, None if this is the first.

    Raises NotFound if that key was revoked.
    """
    if once is None or (first := await idempotency.claim(tx, principal, once)) is None:
        return None
    row = await tx.fetchrow(SQL.key, principal.org_id, UUID(first["id"]))
    if row is None:
        raise NotFound("The key that this Idempotency-Key made was revoked.")
    return store.key(row)


def allowed(principal: Principal, project_id: UUID | None) -> frozenset[str] | None:
    """What a key that this principal makes may be allowed; None is all of its scope. Raises BadRequest."""
    if principal.projects is None:
        return principal.permissions
    if project_id is None or project_id not in principal.projects or principal.grants is None:
        raise BadRequest.field("project_id", "must be a project that you administer")
    return principal.grants.projects[project_id]


def _no_project(project_id: UUID) -> NotFound:
    return NotFound(f"There is no project {project_id}.")
