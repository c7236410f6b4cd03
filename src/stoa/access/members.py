"""Who belongs to an organization and to its projects. One transaction per method."""

from uuid import UUID

from stoa.access import people, rules
from stoa.access.people import SQL
from stoa.access.types import Member, OrgRole, ProjectRole
from stoa.db import Database, Row, Tx, audit
from stoa.kernel.errors import BadRequest, Conflict, Forbidden, NotFound
from stoa.kernel.pages import Page, PageRequest
from stoa.kernel.principal import Principal


class Members:
    """Every method takes the caller's principal in the organization concerned (`Orgs.within`)."""

    def __init__(self, database: Database) -> None:
        self._database = database

    # --- of an organization -----------------------------------------------------------------------------------------
    async def of_org(self, principal: Principal, page: PageRequest) -> Page[Member]:
        require_member(principal)
        async with self._database.tenant(principal) as tx:
            rows = await tx.fetch(SQL.members, principal.org_id, page.page_size, page.offset)
            total = await tx.fetchval(SQL.count_members, principal.org_id)
        return Page.counted([people.member(row) for row in rows], page, total)

    async def set_role(self, principal: Principal, user_id: UUID, role: OrgRole) -> Member:
        """A user who may no longer invite loses the invitations that are still open. Raises Conflict if no owner would
        be left."""
        require_wide(principal)
        if role is not OrgRole.MEMBER:
            rules.check_admits(principal, role)
        async with self._database.tenant(principal) as tx:
            await tx.execute(SQL.lock_org, principal.org_id)
            await _member(tx, principal.org_id, user_id)
            if role is not OrgRole.OWNER:
                await _keep_an_owner(tx, principal.org_id, user_id)
            if role is OrgRole.MEMBER:
                await people.revoke_invitations_by(tx, principal, [user_id])
            await tx.fetchval(SQL.set_role, principal.org_id, user_id, role.value)
            await audit.record(tx, principal, "member.update", user_id)
            return people.member(await _member(tx, principal.org_id, user_id))

    async def remove(self, principal: Principal, user_id: UUID) -> None:
        """Also removes the user's project roles, tokens and sessions in this organization, and the invitations that the
        user has sent and nobody has accepted: with the token of one the user could return. The user's objects stay.

        Raises Conflict if no owner would be left.
        """
        require_wide(principal)
        async with self._database.tenant(principal) as tx:
            await tx.execute(SQL.lock_org, principal.org_id)
            await _member(tx, principal.org_id, user_id)
            await _keep_an_owner(tx, principal.org_id, user_id)
            await people.revoke_invitations_by(tx, principal, [user_id])
            await tx.execute(SQL.delete_member, principal.org_id, user_id)
            await audit.record(tx, principal, "member.delete", user_id)

    # --- of a project -----------------------------------------------------------------------------------------------
    async def of_project(self, principal: Principal, project_id: UUID, page: PageRequest) -> Page[Member]:
        async with self._database.tenant(principal) as tx:
            await check_project(tx, principal, project_id)
            rows = await tx.fetch(SQL.project_members, principal.org_id, project_id, page.page_size, page.offset)
            total = await tx.fetchval(SQL.count_project_members, principal.org_id, project_id)
        return Page.counted([people.member(row) for row in rows], page, total)

    async def add_to_project(
        self, principal: Principal, project_id: UUID, user_id: UUID | None, email: str | None, role: ProjectRole
    ) -> Member:
        """Lets a member of the organization, by id or e-mail address, into the project, or changes the role there."""
        rules.check_admits(principal, OrgRole.MEMBER, role)
        if (user_id is None) == (email is None):
            raise BadRequest(
                "Send either user_id or email.", details={"user_id": "or email, and not both", "email": "or user_id"}
            )
        async with self._database.tenant(principal) as tx:
            await check_project(tx, principal, project_id)
            found: UUID | None = user_id
            if email is not None:
                found = await tx.fetchval(SQL.member_by_email, principal.org_id, email.strip().lower())
            if found is None or await tx.fetchrow(SQL.member, principal.org_id, found) is None:
                raise BadRequest.field(
                    "email" if email is not None else "user_id",
                    "is no member of this organization; send an invitation first",
                )
            await tx.execute(SQL.put_project_member, principal.org_id, project_id, found, role.value)
            await audit.record(tx, principal, "project_member.create", found)
            return await _project_member(tx, principal, project_id, found)

    async def set_project_role(
        self, principal: Principal, project_id: UUID, user_id: UUID, role: ProjectRole
    ) -> Member:
        rules.check_admits(principal, OrgRole.MEMBER, role)
        async with self._database.tenant(principal) as tx:
            await check_project(tx, principal, project_id)
            await tx.fetchval(SQL.set_project_role, principal.org_id, project_id, user_id, role.value)
            found = await _project_member(tx, principal, project_id, user_id)
            await audit.record(tx, principal, "project_member.update", user_id)
            return found

    async def remove_from_project(self, principal: Principal, project_id: UUID, user_id: UUID) -> None:
        async with self._database.tenant(principal) as tx:
            await check_project(tx, principal, project_id)
            if await tx.fetchval(SQL.delete_project_member, principal.org_id, project_id, user_id) is None:
                raise NotFound(f"There is no member {user_id} of this project.")
            await audit.record(tx, principal, "project_member.delete", user_id)


def require_member(principal: Principal) -> None:
    """Raises Forbidden for a project's key: the organization's members are outside of its scope."""
    if principal.project_id is not None:
        raise Forbidden("A project-scoped key sees no people of the organization; use an organization-wide one.")


def require_wide(principal: Principal) -> None:
    """Raises Forbidden if the caller does not manage the whole organization."""
    require_member(principal)
    if not principal.organization_wide:
        raise Forbidden("Only owners, admins and organization-wide keys manage the organization's people.")


async def check_project(tx: Tx, principal: Principal, project_id: UUID) -> None:
    if await tx.fetchval(SQL.visible_project, principal.org_id, project_id) is None:
        raise NotFound(f"There is no project {project_id}.")


async def _member(tx: Tx, org_id: UUID, user_id: UUID) -> Row:
    row = await tx.fetchrow(SQL.member, org_id, user_id)
    if row is None:
        raise NotFound(f"There is no member {user_id} of this organization.")
    return row


async def _keep_an_owner(tx: Tx, org_id: UUID, user_id: UUID) -> None:
    """The caller must have locked the organization."""
    if not await tx.fetchval(SQL.other_owner, org_id, user_id):
        raise Conflict("The organization would keep no owner; make somebody else an owner first.")


async def _project_member(tx: Tx, principal: Principal, project_id: UUID, user_id: UUID) -> Member:
    row = await tx.fetchrow(SQL.project_member, principal.org_id, project_id, user_id)
    if row is None:
        raise NotFound(f"There is no member {user_id} of this project.")
    return people.member(row)
