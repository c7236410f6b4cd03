"""Users, members, invitations and tokens, between rows and values."""

from dataclasses import replace
from typing import Final
from uuid import UUID

from stoa.access import rules
from stoa.access.types import Invitation, Member, Org, PersonalToken, ProjectRole, User
from stoa.db import Row, Tx, load
from stoa.kernel.principal import CredentialKind, Principal

SQL: Final = load("stoa.access", "people.sql")


async def token_row(tx: Tx, digest: bytes) -> Row | None:
    return await tx.fetchrow(SQL.token_by_hash, digest)


async def credential_row(tx: Tx, credential_id: UUID) -> Row | None:
    """Of a token or a session."""
    return await tx.fetchrow(SQL.credential_by_id, credential_id)


async def membership_row(tx: Tx, org_id: UUID, user_id: UUID) -> Row | None:
    return await tx.fetchrow(SQL.membership, org_id, user_id)


async def put_in_project(tx: Tx, org_id: UUID, project_id: UUID, user_id: UUID, role: ProjectRole) -> None:
    await tx.execute(SQL.put_project_member, org_id, project_id, user_id, role.value)


def principal(row: Row, credential: CredentialKind) -> Principal:
    """A user, with the roles of this moment. Sees nothing until `permitted` has chosen the projects."""
    session = credential is CredentialKind.SESSION
    return Principal(
        row["org_id"],
        None,
        row["id"],
        # What a user makes while signed in may last longer than that session; what a token makes ends with the token.
        expires_at=None if session else row["expires_at"],
        credential=credential,
        user_id=row["user_id"],
        projects=(),
        grants=rules.grants(row["role"], row["projects"]),
    )


def elsewhere(principal: Principal, row: Row) -> Principal:
    """The same user in another organization."""
    return replace(
        principal,
        org_id=row["org_id"],
        project_id=None,
        projects=(),
        grants=rules.grants(row["role"], row["projects"]),
    )


def user(row: Row) -> User:
    return User(row["id"], row["email"], row["first_name"], row["last_name"], row["timezone"])


def org_of_user(row: Row) -> Org:
    return Org(row["id"], row["name"], row["created_at"], row["role"])


def member(row: Row) -> Member:
    return Member(row["user_id"], row["email"], row["first_name"], row["last_name"], row["role"], row["created_at"])


def invitation(row: Row) -> Invitation:
    return Invitation(
        row["id"],
        row["org_id"],
        row["project_id"],
        row["email"],
        row["role"],
        row["project_role"],
        row["expires_at"],
        row["created_by"],
        row["created_at"],
    )


def token(row: Row) -> PersonalToken:
    return PersonalToken(row["id"], row["org_id"], row["name"], row["preview"], row["expires_at"], row["created_at"])
