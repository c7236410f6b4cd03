"""Turns an identity that an OpenID Connect provider has confirmed into a user and a session."""

from typing import Final

from stoa.access import people, rules
from stoa.access.invitations import join
from stoa.access.people import SQL
from stoa.access.types import Claims, NewUser, Opened, OrgRole, SignInMethod, SignUpPolicy
from stoa.access.users import Users
from stoa.db import Database, Row, Tx, audit
from stoa.db.internal import internal
from stoa.kernel.clock import Clock
from stoa.kernel.errors import Forbidden
from stoa.kernel.ids import Ids
from stoa.kernel.principal import Principal

_UNVERIFIED: Final = (
    "Your provider does not say that this e-mail address is yours, so it opens no account here. Ask whoever runs the"
    " provider to verify addresses."
)


class Identities:
    """The pair of issuer and subject identifies a user. The e-mail address counts once, when that pair is new, and only
    where the provider vouches for it."""

    def __init__(self, database: Database, ids: Ids, clock: Clock, users: Users, newcomers: SignUpPolicy) -> None:
        self._database = database
        self._ids = ids
        self._clock = clock
        self._users = users
        self._newcomers = newcomers

    async def sign_in(self, claims: Claims, hint: str | None) -> Opened:
        """Raises Forbidden, and Unauthorized for a user without an organization."""
        self._check_domain(claims)
        async with internal(self._database) as tx:
            row = await tx.fetchrow(SQL.identity, claims.issuer, claims.subject)
            if row is None:
                row = await self._first_time(tx, claims)
            now = self._clock.now()
            return await people.open_session(tx, self._ids, now, row["id"], SignInMethod.OIDC, hint=hint)

    def _check_domain(self, claims: Claims) -> None:
        domains = self._newcomers.domains
        if not domains:
            return
        if claims.email is None or not claims.email_verified:
            raise Forbidden(_UNVERIFIED)
        if claims.email.rpartition("@")[2].lower() not in domains:
            raise Forbidden(f"Only addresses of {', '.join(domains)} sign in here.")

    async def _first_time(self, tx: Tx, claims: Claims) -> Row:
        """Links the identity to the user with the address, or to a new one."""
        if claims.email is None or not claims.email_verified:
            raise Forbidden(_UNVERIFIED)
        email = rules.check_email(claims.email)
        await tx.execute(SQL.lock_email, email)
        if (row := await tx.fetchrow(SQL.identity, claims.issuer, claims.subject)) is not None:
            return row  # A concurrent request of the same person won.
        row = await tx.fetchrow(SQL.user_by_email, email)
        if row is None:
            row = await self._newcomer(tx, email, claims)
        elif await people.confirm_email(tx, row["id"]):
            # The person who set this password had not proven to own the address.
            await tx.execute(SQL.drop_password, row["id"])
            await tx.execute(SQL.sign_out_everywhere, row["id"])
            await tx.execute(SQL.delete_reset_links, row["id"])
        await tx.execute(SQL.insert_identity, claims.issuer, claims.subject, row["id"])
        return row

    async def _newcomer(self, tx: Tx, email: str, claims: Claims) -> Row:
        invited = [people.invitation(row) for row in await tx.fetch(SQL.take_invitations_of, email, self._clock.now())]
        if not invited and not self._newcomers.members:
            raise Forbidden(f"{email} is nobody's here; ask an owner for an invitation to this address.")
        new = NewUser(email, claims.first_name, claims.last_name, claims.timezone)
        made = await self._users.insert(tx, new, None, verified=True)
        for one in invited:
            await join(tx, one, made.id)
        if not invited:
            org = await tx.fetchrow(SQL.oldest_org)
            assert org is not None, "a server has an organization"
            await tx.execute(SQL.insert_member, org["id"], made.id, OrgRole.MEMBER.value)
            await audit.record(tx, Principal(org["id"], None, made.id, user_id=made.id), "user.create", made.id)
        row = await tx.fetchrow(SQL.user, made.id)
        assert row is not None
        return row
