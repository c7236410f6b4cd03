"""Users, members, invitations and tokens, between rows and values."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Final
from uuid import UUID

from stoa.access import rules
from stoa.access.types import (
    Invitation,
    Member,
    Opened,
    Org,
    PersonalToken,
    ProjectRole,
    SignInMethod,
    User,
    UserSession,
)
from stoa.db import Row, Tx, audit, load
from stoa.kernel.errors import Unauthorized
from stoa.kernel.ids import Ids
from stoa.kernel.origin import ORIGIN
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
    """A user with the current roles. Sees nothing until `permitted` has chosen the projects."""
    session = credential is CredentialKind.SESSION
    return Principal(
        row["org_id"],
        None,
        row["id"],
        # Credentials that a signed-in user creates may outlive the session; those of a token expire with the token.
        expires_at=None if session else row["expires_at"],
        credential=credential,
        user_id=row["user_id"],
        projects=(),
        grants=rules.grants(row["role"], row["projects"]),
    )


async def session_owner(tx: Tx, secret: str, now: datetime) -> Principal:
    """The user of a session with the current roles; `permitted` chooses the projects of a request. Raises
    Unauthorized."""
    row = await tx.fetchrow(SQL.session_by_hash, rules.digest(secret)) if _is_session(secret) else None
    if row is None or row["expires_at"] <= now:
        raise Unauthorized("This session has ended; sign in again.")
    return principal(row, CredentialKind.SESSION)


def _is_session(secret: str) -> bool:
    return rules.well_formed(secret, rules.SESSION_PREFIX)


async def open_session(
    tx: Tx, ids: Ids, now: datetime, user_id: UUID, method: SignInMethod, org_id: UUID | None = None,
    hint: str | None = None,
) -> Opened:  # fmt: skip
    """A session in this organization of the user, or in the user's first. Raises Unauthorized if there is none."""
    chosen = org_id or await tx.fetchval(SQL.first_org_of_user, user_id)
    if chosen is None or await tx.fetchrow(SQL.membership, chosen, user_id) is None:
        raise Unauthorized("This user is a member of no organization; ask an owner for an invitation.")
    secret, origin = rules.new_secret(rules.SESSION_PREFIX), ORIGIN.get()
    made = Opened(secret, now + timedelta(days=rules.SESSION_DAYS))
    await tx.execute(SQL.delete_ended_sessions, user_id)
    await tx.execute(
        SQL.insert_session,
        chosen,
        ids.new(),
        user_id,
        rules.digest(secret),
        made.expires_at,
        method.value,
        origin.address if origin else None,
        origin.client if origin else None,
        hint,
    )
    return made


async def confirm_email(tx: Tx, user_id: UUID) -> bool:
    """Records that the user has proven to own the address. True if that is new: personal access tokens are then
    revoked, because somebody else may have created them."""
    if await tx.fetchval(SQL.verify_email, user_id) is None:
        return False
    await tx.execute(SQL.delete_tokens, user_id)
    return True


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


def session(row: Row, current: UUID) -> UserSession:
    return UserSession(
        row["id"],
        row["org_id"],
        row["method"],
        row["address"],
        row["client"],
        row["created_at"],
        row["expires_at"],
        row["id"] == current,
    )


def token(row: Row) -> PersonalToken:
    return PersonalToken(row["id"], row["org_id"], row["name"], row["preview"], row["expires_at"], row["created_at"])


async def revoke_invitations_by(tx: Tx, principal: Principal, sender_ids: Sequence[UUID]) -> None:
    """Revokes the open invitations that these users or access keys have sent."""
    for row in await tx.fetch(SQL.delete_invitations_by, principal.org_id, list(sender_ids)):
        await audit.record(tx, principal, "invitation.delete", row["id"])
