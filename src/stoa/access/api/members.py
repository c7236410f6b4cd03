"""Members and invitations, beneath organizations and projects (contract section 3)."""

from typing import Annotated
from uuid import UUID

from fastapi import Depends

from stoa.access import wire
from stoa.access.invitations import Invitations
from stoa.access.members import Members
from stoa.access.orgs import Orgs
from stoa.access.types import OrgRole
from stoa.db.idempotency import IdempotencyKey
from stoa.http import (
    Acknowledgement,
    Body,
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
from stoa.kernel.pages import PageRequest
from stoa.kernel.principal import Principal

READ, WRITE = "access:read", "access:write"


def routes(orgs: Orgs, members: Members, invitations: Invitations, gate: Gate) -> Routes:
    router = Routes(tags=["access"])
    _members(router, orgs, members, gate)
    _project_members(router, orgs, members, gate)
    _invitations(router, orgs, invitations, gate)
    _project_invitations(router, orgs, invitations, gate)
    return router


def _members(router: Routes, orgs: Orgs, members: Members, gate: Gate) -> None:
    reading, writing = gate("access:read"), gate("access:write")

    @router.get("/v1/orgs/{org_id}/members", responses=refusals(404))
    async def list_members(
        org_id: UUID, principal: Annotated[Principal, reading], page: Annotated[PageRequest, Depends(Paging())]
    ) -> DataList[wire.MemberWire]:
        """Lists the organization's members in the order in which they joined."""
        return page_of(await members.of_org(await orgs.within(principal, org_id, READ), page), wire.member)

    @router.put("/v1/orgs/{org_id}/members/{user_id}", responses=refusals(404, 409))
    async def update_member(
        org_id: UUID, user_id: UUID, body: wire.RoleBody, principal: Annotated[Principal, writing]
    ) -> Data[wire.MemberWire]:
        """Changes a member's role. The last owner cannot get another role (409)."""
        there = await orgs.within(principal, org_id, WRITE)
        return Data(data=wire.member(await members.set_role(there, user_id, body.role)))

    @router.delete("/v1/orgs/{org_id}/members/{user_id}", responses=refusals(404, 409))
    async def delete_member(org_id: UUID, user_id: UUID, principal: Annotated[Principal, writing]) -> Acknowledgement:
        """Removes a member at once, with the member's tokens, sessions and open invitations in this organization. The
        last owner cannot be removed (409)."""
        await members.remove(await orgs.within(principal, org_id, WRITE), user_id)
        return Acknowledgement(message="deleted")


def _project_members(router: Routes, orgs: Orgs, members: Members, gate: Gate) -> None:
    reading, writing = gate("access:read"), gate("access:write")

    @router.get("/v1/projects/{project_id}/members", responses=refusals(404))
    async def list_project_members(
        project_id: UUID, principal: Annotated[Principal, reading], page: Annotated[PageRequest, Depends(Paging())]
    ) -> DataList[wire.MemberWire]:
        """Lists the members who have a role in this project. Owners and admins of the organization can access every
        project without one."""
        there = await orgs.of_project(principal, project_id, READ)
        return page_of(await members.of_project(there, project_id, page), wire.member)

    @router.post("/v1/projects/{project_id}/members", status_code=201, responses=refusals(404))
    async def add_project_member(
        project_id: UUID, body: wire.AddProjectMember, principal: Annotated[Principal, writing]
    ) -> Data[wire.MemberWire]:
        """Gives a member of the organization a role in the project, or changes that role."""
        there = await orgs.of_project(principal, project_id, WRITE)
        return Data(
            data=wire.member(await members.add_to_project(there, project_id, body.user_id, body.email, body.role))
        )

    @router.put("/v1/projects/{project_id}/members/{user_id}", responses=refusals(404))
    async def update_project_member(
        project_id: UUID, user_id: UUID, body: wire.ProjectRoleBody, principal: Annotated[Principal, writing]
    ) -> Data[wire.MemberWire]:
        there = await orgs.of_project(principal, project_id, WRITE)
        return Data(data=wire.member(await members.set_project_role(there, project_id, user_id, body.role)))

    @router.delete("/v1/projects/{project_id}/members/{user_id}", responses=refusals(404))
    async def delete_project_member(
        project_id: UUID, user_id: UUID, principal: Annotated[Principal, writing]
    ) -> Acknowledgement:
        """Removes the member's role in the project. Every member of the organization can still access an internal
        project."""
        await members.remove_from_project(await orgs.of_project(principal, project_id, WRITE), project_id, user_id)
        return Acknowledgement(message="deleted")


def _invitations(router: Routes, orgs: Orgs, invitations: Invitations, gate: Gate) -> None:
    reading, writing = gate("access:read"), gate("access:write")

    @router.get("/v1/orgs/{org_id}/invitations", responses=refusals(404))
    async def list_invitations(
        org_id: UUID, principal: Annotated[Principal, reading], page: Annotated[PageRequest, Depends(Paging())]
    ) -> DataList[wire.InvitationWire]:
        """Lists the open invitations, newest first, without their tokens."""
        return page_of(await invitations.list(await orgs.within(principal, org_id, READ), None, page), wire.invitation)

    @router.post("/v1/orgs/{org_id}/invitations", status_code=201, responses=refusals(404, 409))
    async def invite(
        org_id: UUID,
        body: wire.Invite,
        principal: Annotated[Principal, writing],
        idempotency_key: IdempotencyKeyHeader = None,
    ) -> Data[wire.SentInvitationWire]:
        """Invites an e-mail address for a week. If no mail server is configured, the response has the `token`, only
        this time; give it to the person."""
        there, once = await orgs.within(principal, org_id, WRITE), _once(idempotency_key, org_id, body)
        return Data(data=wire.sent(*await invitations.create(there, body.email, body.role, None, None, once)))

    @router.post("/v1/orgs/{org_id}/invitations/{invitation_id}/resend", responses=refusals(404))
    async def resend_invitation(
        org_id: UUID, invitation_id: UUID, principal: Annotated[Principal, writing]
    ) -> Data[wire.SentInvitationWire]:
        """Creates a new token, valid for another week. The previous token becomes invalid."""
        there = await orgs.within(principal, org_id, WRITE)
        return Data(data=wire.sent(*await invitations.resend(there, None, invitation_id)))

    @router.delete("/v1/orgs/{org_id}/invitations/{invitation_id}", responses=refusals(404))
    async def revoke_invitation(
        org_id: UUID, invitation_id: UUID, principal: Annotated[Principal, writing]
    ) -> Acknowledgement:
        await invitations.revoke(await orgs.within(principal, org_id, WRITE), None, invitation_id)
        return Acknowledgement(message="deleted")

    @router.post("/v1/invitations/accept", status_code=201, responses=refusals(404, 409))
    async def accept_invitation(body: wire.AcceptInvitation) -> Data[wire.AcceptedWire]:
        """Accepts an invitation, once. Its token is the only credential. A new user chooses a password and gets a first
        personal access token, valid for thirty days."""
        user, org_id, key = await invitations.accept(
            body.token, body.first_name, body.last_name, body.timezone, body.password
        )
        return Data(data=wire.AcceptedWire(user=wire.user(user), org_id=org_id, key=key))


def _project_invitations(router: Routes, orgs: Orgs, invitations: Invitations, gate: Gate) -> None:
    reading, writing = gate("access:read"), gate("access:write")

    @router.get("/v1/projects/{project_id}/invitations", responses=refusals(404))
    async def list_project_invitations(
        project_id: UUID, principal: Annotated[Principal, reading], page: Annotated[PageRequest, Depends(Paging())]
    ) -> DataList[wire.InvitationWire]:
        there = await orgs.of_project(principal, project_id, READ)
        return page_of(await invitations.list(there, project_id, page), wire.invitation)

    @router.post("/v1/projects/{project_id}/invitations", status_code=201, responses=refusals(404, 409))
    async def invite_to_project(
        project_id: UUID,
        body: wire.InviteToProject,
        principal: Annotated[Principal, writing],
        idempotency_key: IdempotencyKeyHeader = None,
    ) -> Data[wire.SentInvitationWire]:
        """Invites an e-mail address to a project, and to its organization as a member. Requires an owner, an admin or
        an organization-wide key. A project's own admins can add people who are members of the organization already."""
        there = await orgs.of_project(principal, project_id, WRITE)
        once = _once(idempotency_key, project_id, body)
        made = await invitations.create(there, body.email, OrgRole.MEMBER, project_id, body.role, once)
        return Data(data=wire.sent(*made))

    @router.post("/v1/projects/{project_id}/invitations/{invitation_id}/resend", responses=refusals(404))
    async def resend_project_invitation(
        project_id: UUID, invitation_id: UUID, principal: Annotated[Principal, writing]
    ) -> Data[wire.SentInvitationWire]:
        there = await orgs.of_project(principal, project_id, WRITE)
        return Data(data=wire.sent(*await invitations.resend(there, project_id, invitation_id)))

    @router.delete("/v1/projects/{project_id}/invitations/{invitation_id}", responses=refusals(404))
    async def revoke_project_invitation(
        project_id: UUID, invitation_id: UUID, principal: Annotated[Principal, writing]
    ) -> Acknowledgement:
        await invitations.revoke(await orgs.of_project(principal, project_id, WRITE), project_id, invitation_id)
        return Acknowledgement(message="deleted")


def _once(key: str | None, subject_id: UUID, body: Body) -> IdempotencyKey | None:
    """`subject_id` is the organization or project of the invitation."""
    if key is None:
        return None
    return IdempotencyKey(key, f"invitations/{subject_id}", fingerprint(body.model_dump(mode="json")))
