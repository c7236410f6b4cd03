"""The organizations of users. One transaction per method."""

from uuid import UUID

from stoa.access import people, store
from stoa.access.people import SQL
from stoa.access.types import Org, OrgRole
from stoa.db import Database, audit, idempotency
from stoa.db.idempotency import IdempotencyKey
from stoa.db.internal import internal
from stoa.kernel.errors import Forbidden, NotFound
from stoa.kernel.ids import Ids
from stoa.kernel.pages import Page, PageRequest
from stoa.kernel.principal import Principal


class Orgs:
    def __init__(self, database: Database, ids: Ids) -> None:
        self._database = database
        self._ids = ids

    async def within(self, principal: Principal, org_id: UUID | None, permission: str) -> Principal:
        """The caller's principal in an organization: the credential's own, or another one of its user.

        Raises NotFound if the caller is not a member, Forbidden if the role there does not permit it.
        """
        if org_id is None or org_id == principal.org_id:
            return principal
        if principal.user_id is None:
            raise _no_org(org_id)
        async with internal(self._database) as tx:
            row = await tx.fetchrow(SQL.membership, org_id, principal.user_id)
        if row is None:
            raise _no_org(org_id)
        there = people.elsewhere(principal, row).permitted((permission,))
        if there is None:
            raise Forbidden(f"Your role in this organization does not give the permission {permission}.")
        return there

    async def of_project(self, principal: Principal, project_id: UUID, permission: str) -> Principal:
        """The caller's principal in the organization of a project. Raises as `within`; unchanged for an unknown
        project."""
        if principal.user_id is None:
            return principal
        async with internal(self._database) as tx:
            org_id = await tx.fetchval(SQL.org_of_project, project_id, principal.user_id)
        return await self.within(principal, org_id, permission)

    async def list(self, principal: Principal, page: PageRequest) -> Page[Org]:
        """A user's organizations."""
        async with internal(self._database) as tx:
            rows = await tx.fetch(
                SQL.orgs_of_user.format(order="o.created_at, o.id"), principal.user_id, page.page_size, page.offset
            )
            total = await tx.fetchval(SQL.count_orgs_of_user, principal.user_id)
        return Page.counted([people.org_of_user(row) for row in rows], page, total)

    async def create(self, principal: Principal, name: str, once: IdempotencyKey | None) -> Org:
        """A new organization with one project; the caller, an owner or admin of the present one, becomes its owner."""
        if principal.user_id is None:
            raise Forbidden(
                "An access key belongs to one organization and makes no other; use a personal access token, or on the"
                " server's machine: stoa users create --owner --new-org NAME"
            )
        if not principal.organization_wide:
            raise Forbidden("Only owners and admins make organizations.")
        async with internal(self._database) as tx:
            if once and (first := await idempotency.claim(tx, principal, once)):
                found = await tx.fetchrow(SQL.org, UUID(first["id"]))
                if found is None:
                    raise NotFound("The organization that this Idempotency-Key made was deleted.")
                return store.org(found)
            row = await tx.fetchrow(SQL.insert_new_org, self._ids.new(), name)
            assert row is not None
            made = store.org(row)
            await tx.execute(SQL.insert_first_project, made.id, self._ids.new())
            await tx.execute(SQL.insert_member, made.id, principal.user_id, OrgRole.OWNER.value)
            maker = Principal(made.id, None, principal.key_id, user_id=principal.user_id)
            await audit.record(tx, maker, "org.create", made.id)
            if once:
                await idempotency.record(tx, principal, once, {"id": str(made.id)}, made.id)
        return made

    async def rename(self, principal: Principal, org_id: UUID, name: str) -> Org:
        there = await self.within(principal, org_id, "access:write")
        if not there.organization_wide:
            raise Forbidden(
                "A project-scoped key cannot rename the organization, and of its users only owners and admins can."
            )
        async with self._database.tenant(there) as tx:
            row = await tx.fetchrow(SQL.update_org, org_id, name)
            if row is None:
                raise _no_org(org_id)
            await audit.record(tx, there, "org.update", org_id)
        return store.org(row)


def _no_org(org_id: UUID) -> NotFound:
    return NotFound(f"There is no organization {org_id}.")
