"""Invitations: a token that makes somebody a member, once. One transaction per method."""

from datetime import timedelta
from typing import Final
from uuid import UUID

import asyncpg

from stoa.access import people, rules, texts
from stoa.access.members import check_project, require_member, require_wide
from stoa.access.passwords import Passwords
from stoa.access.people import SQL
from stoa.access.ports import Mail
from stoa.access.tokens import Tokens
from stoa.access.types import Invitation, NewUser, Opened, OrgRole, ProjectRole, SignInMethod, User
from stoa.access.users import Users, check_new
from stoa.db import Database, Tx, audit, idempotency
from stoa.db.idempotency import IdempotencyKey
from stoa.db.internal import internal, internal_statement
from stoa.kernel.clock import Clock
from stoa.kernel.errors import Conflict, NotFound
from stoa.kernel.ids import Ids
from stoa.kernel.pages import Page, PageRequest
from stoa.kernel.principal import Principal

FIRST_TOKEN_DAYS: Final = 30
"""The lifetime of the token that a new user gets with the response."""
_CLOSED: Final = "This invitation is unknown, was used, or has expired; ask for another one."


class Invitations:
    """Every method except `accept` takes the caller's principal in the organization concerned (`Orgs.within`)."""

    def __init__(
        self,
        database: Database,
        ids: Ids,
        clock: Clock,
        passwords: Passwords,
        users: Users,
        tokens: Tokens,
        mail: Mail,
        public_url: str | None = None,
    ) -> None:
        self._database = database
        self._ids = ids
        self._clock = clock
        self._passwords = passwords
        self._users = users
        self._tokens = tokens
        self._mail = mail
        self._public_url = public_url

    async def create(
        self,
        principal: Principal,
        email: str,
        role: OrgRole,
        project_id: UUID | None,
        project_role: ProjectRole | None,
        once: IdempotencyKey | None,
    ) -> tuple[Invitation, str | None, bool]:
        """The invitation, its token (shown once; not where it was mailed, nor to a repeated request), and whether it
        was mailed."""
        require_wide(principal)
        rules.check_admits(principal, role, project_role)
        address, secret = rules.check_email(email), rules.new_secret(rules.INVITATION_PREFIX)
        try:
            async with self._database.tenant(principal) as tx:
                if project_id is not None:
                    await check_project(tx, principal, project_id)
                if once and (first := await idempotency.claim(tx, principal, once)):
                    known = await tx.fetchrow(SQL.invitation, principal.org_id, project_id, UUID(first["id"]))
                    if known is None:
                        raise NotFound("The invitation that this Idempotency-Key made was accepted or revoked.")
                    return people.invitation(known), None, False
                if project_id is None and await tx.fetchval(SQL.member_by_email, principal.org_id, address) is not None:
                    raise Conflict(f"{address} is a member of this organization already.")
                row = await tx.fetchrow(
                    SQL.insert_invitation,
                    principal.org_id,
                    project_id,
                    self._ids.new(),
                    address,
                    role.value,
                    project_role.value if project_role else None,
                    rules.digest(secret),
                    self._clock.now() + timedelta(days=rules.INVITATION_DAYS),
                    principal.user_id or principal.key_id,
                )
                assert row is not None
                made = people.invitation(row)
                await audit.record(tx, principal, "invitation.create", made.id)
                if once:
                    await idempotency.record(tx, principal, once, {"id": str(made.id)}, made.id)
        except asyncpg.UniqueViolationError as error:
            raise Conflict(f"{address} has an invitation already; send it again, or revoke it.") from error
        return await self._send(made, secret)

    async def list(self, principal: Principal, project_id: UUID | None, page: PageRequest) -> Page[Invitation]:
        require_member(principal)
        async with self._database.tenant(principal) as tx:
            if project_id is not None:
                await check_project(tx, principal, project_id)
            rows = await tx.fetch(SQL.invitations, principal.org_id, project_id, page.page_size, page.offset)
            total = await tx.fetchval(SQL.count_invitations, principal.org_id, project_id)
        return Page.counted([people.invitation(row) for row in rows], page, total)

    async def resend(
        self, principal: Principal, project_id: UUID | None, invitation_id: UUID
    ) -> tuple[Invitation, str | None, bool]:
        """A new token with a new expiry; the old token becomes invalid."""
        require_wide(principal)
        secret = rules.new_secret(rules.INVITATION_PREFIX)
        async with self._database.tenant(principal) as tx:
            row = await tx.fetchrow(
                SQL.renew_invitation,
                principal.org_id,
                project_id,
                invitation_id,
                rules.digest(secret),
                self._clock.now() + timedelta(days=rules.INVITATION_DAYS),
                principal.user_id or principal.key_id,
            )
            if row is None:
                raise NotFound(f"There is no invitation {invitation_id}.")
            renewed = people.invitation(row)
            project_role = ProjectRole(renewed.project_role) if renewed.project_role else None
            rules.check_admits(principal, OrgRole(renewed.role), project_role)
            await audit.record(tx, principal, "invitation.update", invitation_id)
        return await self._send(renewed, secret)

    async def revoke(self, principal: Principal, project_id: UUID | None, invitation_id: UUID) -> None:
        require_wide(principal)
        async with self._database.tenant(principal) as tx:
            if await tx.fetchval(SQL.delete_invitation, principal.org_id, project_id, invitation_id) is None:
                raise NotFound(f"There is no invitation {invitation_id}.")
            await audit.record(tx, principal, "invitation.delete", invitation_id)

    async def accept(
        self, secret: str, first_name: str, last_name: str, timezone: str, password: str | None
    ) -> tuple[User, UUID, str | None]:
        """The user, the organization, and for a new user a first personal access token.

        The token only gives the right to become a member under its e-mail address: it does not sign in an existing
        user. Raises NotFound for a token that is unknown, used or expired.
        """
        hashed = await self._hash(secret, password)
        async with internal(self._database) as tx:
            user, invited, new = await self._take(tx, secret, first_name, last_name, timezone, password, hashed)
            key = await self._first_token(tx, invited.org_id, user.id) if new else None
        return user, invited.org_id, key

    async def accept_in_browser(
        self, secret: str, first_name: str, last_name: str, timezone: str, password: str | None
    ) -> tuple[User, Opened | None]:
        """The same in the console: a new user is signed in, an existing user has to sign in. Raises as `accept`."""
        hashed = await self._hash(secret, password)
        async with internal(self._database) as tx:
            user, invited, new = await self._take(tx, secret, first_name, last_name, timezone, password, hashed)
            if not new:
                return user, None
            now, method = self._clock.now(), SignInMethod.INVITATION
            return user, await people.open_session(tx, self._ids, now, user.id, method, invited.org_id)

    async def _hash(self, secret: str, password: str | None) -> str | None:
        """Hashes the password before the transaction, so that no lock is held meanwhile, and only for a valid token, so
        that nobody else can use up CPU. Raises NotFound and BadRequest."""
        async with internal_statement(self._database) as tx:
            if not await tx.fetchval(SQL.invitation_open, rules.digest(secret), self._clock.now()):
                raise NotFound(_CLOSED)
        return await self._passwords.hash(rules.check_password(password)) if password is not None else None

    async def _take(
        self,
        tx: Tx,
        secret: str,
        first_name: str,
        last_name: str,
        timezone: str,
        password: str | None,
        hashed: str | None,
    ) -> tuple[User, Invitation, bool]:
        """The user, the invitation, and whether the user is new."""
        row = await tx.fetchrow(SQL.take_invitation, rules.digest(secret), self._clock.now())
        if row is None:
            raise NotFound(_CLOSED)
        invited = people.invitation(row)
        known = await tx.fetchrow(SQL.user_by_email, invited.email)
        if known is None:
            check_new(invited.email, password)
            new, mailed = NewUser(invited.email, first_name, last_name, timezone), row["mailed_at"] is not None
            user = await self._users.insert(tx, new, hashed, verified=mailed)
        else:
            user = people.user(known)
        await join(tx, invited, user.id)
        return user, invited, known is None

    async def _first_token(self, tx: Tx, org_id: UUID, user_id: UUID) -> str:
        key = rules.new_secret(rules.TOKEN_PREFIX)
        end = self._clock.now() + timedelta(days=FIRST_TOKEN_DAYS)
        await self._tokens.insert(tx, org_id, user_id, "First token", end, key)
        return key

    async def _send(self, invited: Invitation, secret: str) -> tuple[Invitation, str | None, bool]:
        """The invitation, its token if no mail was sent, and whether one was sent. A mailed token is given to nobody
        else, so that using it proves ownership of the address."""
        if not await self._mail.send(invited.email, *texts.invitation(invited, secret, self._public_url)):
            return invited, secret, False
        async with internal_statement(self._database) as tx:
            await tx.execute(SQL.invitation_mailed, invited.org_id, invited.id, rules.digest(secret))
        return invited, None, True


async def join(tx: Tx, invited: Invitation, user_id: UUID) -> None:
    """Makes a user a member according to an accepted invitation."""
    await tx.execute(SQL.insert_member, invited.org_id, user_id, invited.role)
    if invited.project_id is not None:
        await tx.execute(SQL.put_project_member, invited.org_id, invited.project_id, user_id, invited.project_role)
    maker = Principal(invited.org_id, None, user_id, user_id=user_id)
    await audit.record(tx, maker, "invitation.accept", invited.id)
