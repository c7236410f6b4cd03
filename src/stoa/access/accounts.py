"""A signed-in user's own sessions, password and current organization. One transaction per method. Every method raises
Unauthorized once the session has ended."""

from typing import Final
from uuid import UUID

from stoa.access import people, rules
from stoa.access.passwords import Passwords
from stoa.access.people import SQL
from stoa.access.types import Account
from stoa.db import Database, Row, Tx, audit
from stoa.db.internal import internal
from stoa.kernel.clock import Clock
from stoa.kernel.errors import BadRequest, NotFound, RateLimited, Unauthorized
from stoa.kernel.ids import Ids
from stoa.kernel.principal import Principal

SESSIONS_MAX: Final = 100
ORGS_MAX: Final = 100


class Accounts:
    def __init__(self, database: Database, ids: Ids, clock: Clock, passwords: Passwords) -> None:
        self._database = database
        self._ids = ids
        self._clock = clock
        self._passwords = passwords

    async def of(self, secret: str) -> Account:
        async with internal(self._database) as tx:
            row = await self._row(tx, secret)
            sessions = await tx.fetch(SQL.sessions_of_user, row["id"], self._clock.now(), SESSIONS_MAX)
            orgs = await tx.fetch(SQL.orgs_of_user.format(order="o.created_at, o.id"), row["id"], ORGS_MAX, 0)
        return Account(
            people.user(row),
            row["org_id"],
            [people.org_of_user(one) for one in orgs],
            [people.session(one, row["session_id"]) for one in sessions],
            has_password=row["password"] is not None,
            has_identity=row["has_identity"],
        )

    async def end(self, secret: str, session_id: UUID | None) -> None:
        """Ends one session of the user; None: all but this one."""
        async with internal(self._database) as tx:
            row = await self._row(tx, secret)
            if session_id is None:
                await tx.execute(SQL.end_other_sessions, row["id"], row["session_id"])
            elif await tx.fetchval(SQL.end_session, row["id"], session_id) is None:
                raise NotFound("This session has ended already.")

    async def change_password(self, secret: str, present: str, password: str) -> str:
        """Ends the user's other sessions, and returns the e-mail address. `present` is required if there is a password.

        Raises BadRequest naming the field, and RateLimited after many wrong ones.
        """
        rules.check_password(password)
        async with internal(self._database) as tx:
            row = await self._row(tx, secret)
            early = row["password"] is not None and (
                await tx.fetchval(SQL.begin_attempt, row["id"], rules.ATTEMPTS_MAX, rules.ATTEMPT_DELAY_SECONDS) is None
            )
        if early:
            raise RateLimited(
                "Too many attempts; wait half a minute.", retry_after_seconds=int(rules.ATTEMPT_DELAY_SECONDS)
            )
        if row["password"] is not None and not await self._passwords.verify(row["password"], present):
            raise BadRequest.field("present", "is not your password")
        hashed = await self._passwords.hash(password)
        async with internal(self._database) as tx:
            again = await self._row(tx, secret)
            if again["password"] != row["password"]:
                raise Unauthorized("Your password was changed at this moment; sign in again.")
            await tx.execute(SQL.set_password, row["id"], hashed)
            await tx.execute(SQL.end_other_sessions, row["id"], row["session_id"])
            await tx.execute(SQL.delete_reset_links, row["id"])
            maker = Principal(row["org_id"], None, row["session_id"], user_id=row["id"])
            await audit.record(tx, maker, "user.update", row["id"])
        return row["email"]

    async def switch(self, secret: str, org_id: UUID) -> None:
        """Switches this session to another organization of its user. Raises NotFound."""
        async with internal(self._database) as tx:
            row = await self._row(tx, secret)
            if await tx.fetchval(SQL.switch_session, row["session_id"], org_id, self._ids.new()) is None:
                raise NotFound(f"There is no organization {org_id}.")

    async def _row(self, tx: Tx, secret: str) -> Row:
        row = await tx.fetchrow(SQL.account_of_session, rules.digest(secret), self._clock.now())
        if row is None:
            raise Unauthorized("This session has ended; sign in again.")
        return row
