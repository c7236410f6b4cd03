"""Users and their sessions. One transaction per method.

A console signs a user in with `sign_in`, keeps the opaque id in a cookie, asks `verify` at each request, and calls
`sign_out` at the end.
"""

from typing import Final
from uuid import UUID

import asyncpg

from stoa.access import people, rules
from stoa.access.passwords import Passwords
from stoa.access.people import SQL
from stoa.access.types import NewUser, OrgRole, SignInMethod, User
from stoa.db import Database, Tx, audit
from stoa.db.internal import internal, internal_statement
from stoa.kernel.clock import Clock
from stoa.kernel.errors import BadRequest, Conflict, Forbidden, NotFound, RateLimited, Unauthorized
from stoa.kernel.ids import Ids
from stoa.kernel.principal import Principal
from stoa.kernel.storable import as_storable

_WRONG: Final = "E-mail address and password do not match."


class Users:
    def __init__(self, database: Database, ids: Ids, clock: Clock, passwords: Passwords) -> None:
        self._database = database
        self._ids = ids
        self._clock = clock
        self._passwords = passwords

    # --- the operator's commands ------------------------------------------------------------------------------------
    async def create(
        self, new: NewUser, password: str | None, role: OrgRole, *, org: str | None = None, new_org: str | None = None
    ) -> tuple[User, UUID]:
        """A user, and the organization in which the user has this role: one by name or id, a new one, or the first.

        Raises NotFound for the organization, Conflict where the e-mail address is taken.
        """
        hashed = await self._passwords.hash(rules.check_password(password)) if password is not None else None
        async with internal(self._database) as tx:
            org_id = await self._org(tx, org, new_org)
            made = await self.insert(tx, new, hashed, verified=True)  # The operator confirms the address.
            await tx.execute(SQL.insert_member, org_id, made.id, role.value)
            await audit.record(tx, Principal(org_id, None, made.id, user_id=made.id), "user.create", made.id)
        return made, org_id

    async def _org(self, tx: Tx, org: str | None, new_org: str | None) -> UUID:
        if new_org is not None:
            row = await tx.fetchrow(SQL.insert_new_org, self._ids.new(), rules.check_name(new_org))
            assert row is not None
            await tx.execute(SQL.insert_first_project, row["id"], self._ids.new())
            return row["id"]
        rows = await (tx.fetch(SQL.oldest_org) if org is None else tx.fetch(SQL.orgs_named, org))
        if len(rows) != 1:
            many = (
                f"{len(rows)} organizations are named {org}; give the id."
                if rows
                else f"There is no organization {org}."
            )
            raise NotFound("There is no organization yet; start the server once." if org is None else many)
        return rows[0]["id"]

    async def insert(self, tx: Tx, new: NewUser, hashed: str | None, *, verified: bool) -> User:
        """`verified`: the person has proven to own the e-mail address. Raises BadRequest and Conflict."""
        email = rules.check_email(new.email)
        try:
            row = await tx.fetchrow(
                SQL.insert_user,
                self._ids.new(),
                email,
                new.first_name,
                new.last_name,
                rules.check_timezone(new.timezone),
                hashed,
                verified,
            )
        except asyncpg.UniqueViolationError as error:
            raise Conflict(f"There is a user {email} already.") from error
        assert row is not None
        return people.user(row)

    async def set_password(self, email: str, password: str) -> User:
        """Also ends the user's sessions. Raises NotFound."""
        hashed = await self._passwords.hash(rules.check_password(password))
        async with internal(self._database) as tx:
            row = await tx.fetchrow(SQL.user_by_email, rules.check_email(email))
            if row is None:
                raise NotFound(f"There is no user {email}.")
            await tx.execute(SQL.set_password, row["id"], hashed)
            await tx.execute(SQL.sign_out_everywhere, row["id"])
            await tx.execute(SQL.delete_reset_links, row["id"])
        return people.user(row)

    # --- who a user is ----------------------------------------------------------------------------------------------
    async def me(self, principal: Principal) -> User:
        """Raises Forbidden for a credential that is no user's."""
        if principal.user_id is None:
            raise Forbidden("An access key is no user; /v1/me is for personal access tokens.")
        async with internal_statement(self._database) as tx:
            row = await tx.fetchrow(SQL.user, principal.user_id)
        if row is None:
            raise Unauthorized("This user was removed.")
        return people.user(row)

    # --- sessions ---------------------------------------------------------------------------------------------------
    async def sign_in(self, email: str, password: str, org_id: UUID | None = None) -> str:
        """The opaque id of a new session in an organization of the user: this one, or the user's first.

        Raises Unauthorized, the same whether address or password is wrong, and RateLimited after many failures.
        """
        async with internal(self._database) as tx:
            row = await tx.fetchrow(SQL.user_by_email, as_storable(email.strip().lower()))
            early = row is not None and (
                await tx.fetchval(SQL.begin_attempt, row["id"], rules.ATTEMPTS_MAX, rules.ATTEMPT_DELAY_SECONDS) is None
            )
        if early:
            raise RateLimited(
                "Too many attempts to sign in; wait half a minute.",
                retry_after_seconds=int(rules.ATTEMPT_DELAY_SECONDS),
            )
        if not await self._passwords.verify(row["password"] if row else None, password) or row is None:
            raise Unauthorized(_WRONG)
        async with internal(self._database) as tx:
            await tx.execute(SQL.end_attempt, row["id"])
            now = self._clock.now()
            made = await people.open_session(tx, self._ids, now, row["id"], SignInMethod.PASSWORD, org_id)
        return made.secret

    async def verify(self, secret: str) -> Principal:
        """The user of a session with the current roles; `permitted` chooses the projects of a request. Raises
        Unauthorized."""
        async with internal_statement(self._database) as tx:
            return await people.session_owner(tx, secret, self._clock.now())

    async def sign_out(self, secret: str) -> str | None:
        """Returns the logout hint for the provider, if the user signed in with it."""
        async with internal_statement(self._database) as tx:
            row = await tx.fetchrow(SQL.delete_session, rules.digest(secret))
        return row["hint"] if row is not None else None


def check_new(email: str, password: str | None) -> None:
    """Of an invitation whose user is new. Raises BadRequest naming the password."""
    if password is None:
        raise BadRequest.field("password", f"is needed: {email} is no user yet")
