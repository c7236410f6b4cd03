"""The first owner: created by a link that a start prints while there is none."""

from datetime import timedelta
from typing import Final

from stoa.access import people, rules
from stoa.access.passwords import Passwords
from stoa.access.people import SQL
from stoa.access.types import NewUser, Opened, OrgRole, SignInMethod
from stoa.access.users import Users
from stoa.db import Database, audit
from stoa.db.internal import internal, internal_statement
from stoa.kernel.clock import Clock
from stoa.kernel.errors import Conflict, NotFound
from stoa.kernel.ids import Ids
from stoa.kernel.principal import Principal

LIFETIME: Final = timedelta(minutes=15)
_CLOSED: Final = "This link is unknown, was used, or is older than 15 minutes; start the server again for another one."
_OWNED: Final = "This server has an owner already. Sign in, or ask an owner for an invitation."


class FirstOwner:
    def __init__(self, database: Database, ids: Ids, clock: Clock, passwords: Passwords, users: Users) -> None:
        self._database = database
        self._ids = ids
        self._clock = clock
        self._passwords = passwords
        self._users = users

    async def link(self) -> str | None:
        """A new link's secret; None if there is an owner. Links of other nodes stay valid until they expire."""
        secret = rules.new_secret(rules.OWNER_PREFIX)
        async with internal(self._database) as tx:
            await tx.execute(SQL.delete_owner_links, False)
            if await tx.fetchval(SQL.any_owner):
                return None
            await tx.execute(SQL.insert_owner_link, rules.digest(secret), self._clock.now() + LIFETIME)
        return secret

    async def redeem(self, secret: str, new: NewUser, password: str) -> Opened:
        """Creates the owner of the first organization, and signs in. Raises NotFound, Conflict once there is an owner,
        and BadRequest."""
        async with internal_statement(self._database) as tx:
            if not await tx.fetchval(SQL.link_open, rules.digest(secret), "first_owner", self._clock.now()):
                raise NotFound(_CLOSED)  # Before a hash is computed.
        rules.check_email(new.email)
        hashed = await self._passwords.hash(rules.check_password(password))
        async with internal(self._database) as tx:
            org_id = await tx.fetchval(SQL.lock_first_org)
            if await tx.fetchrow(SQL.take_link, rules.digest(secret), "first_owner", self._clock.now()) is None:
                raise NotFound(_CLOSED)
            if await tx.fetchval(SQL.any_owner):
                raise Conflict(_OWNED)
            # The operator, who started the server, confirms the address.
            user = await self._users.insert(tx, new, hashed, verified=True)
            await tx.execute(SQL.insert_member, org_id, user.id, OrgRole.OWNER.value)
            await tx.execute(SQL.delete_owner_links, True)
            await audit.record(tx, Principal(org_id, None, user.id, user_id=user.id), "user.create", user.id)
            return await people.open_session(
                tx, self._ids, self._clock.now(), user.id, SignInMethod.FIRST_START, org_id
            )
