"""Sessions: what a browser holds instead of an access key, and links that open one once. One transaction per method."""

from datetime import datetime, timedelta
from uuid import uuid4

from stoa.access import rules, store
from stoa.access.service import Access
from stoa.access.store import SQL
from stoa.db import Database, Tx
from stoa.db.internal import internal
from stoa.kernel.clock import Clock
from stoa.kernel.errors import Unauthorized
from stoa.kernel.principal import Principal


class Sessions:
    """A session's secret works wherever its key does. It is stored as a hash, ends with its key, and can be closed."""

    def __init__(self, database: Database, clock: Clock, access: Access) -> None:
        self._database = database
        self._clock = clock
        self._access = access

    async def open(self, key: str) -> tuple[str, datetime]:
        """A session's secret and its end, for an access key. Raises Unauthorized."""
        if not rules.well_formed(key):
            raise Unauthorized("This is not an access key: one is stoa_acc_ and 64 letters and digits.")
        principal = await self._access.authenticate(key)
        async with internal(self._database) as tx:
            return await self._insert(tx, principal, "session", rules.KEY_SESSION_PREFIX, rules.SESSION_LIFETIME)

    async def link(self, key: str) -> str:
        """A secret that opens one session, once and soon. Raises Unauthorized."""
        principal = await self._access.authenticate(key)
        async with internal(self._database) as tx:
            return (await self._insert(tx, principal, "link", rules.LINK_PREFIX, rules.LINK_LIFETIME))[0]

    async def redeem(self, link: str) -> tuple[str, datetime]:
        """The session that a link opens. Raises Unauthorized when it was used, is too old, or its key is gone."""
        async with internal(self._database) as tx:
            row = await tx.fetchrow(SQL.take_link, rules.digest(link), self._clock.now())
            if row is not None:
                principal = store.principal(row)
                return await self._insert(tx, principal, "session", rules.KEY_SESSION_PREFIX, rules.SESSION_LIFETIME)
        raise Unauthorized(
            "This sign-in link was used already, or is older than 15 minutes. Sign in with an access key."
        )

    async def close(self, secret: str) -> None:
        """Ends a session; one that has ended stays so."""
        async with internal(self._database) as tx:
            await tx.execute(SQL.delete_session, rules.digest(secret))

    async def _insert(
        self, tx: Tx, key: Principal, kind: str, prefix: str, lifetime: timedelta
    ) -> tuple[str, datetime]:
        """A row that lives no longer than its key. Rows that have ended go."""
        secret, now = rules.new_secret(prefix), self._clock.now()
        ends = min(now + lifetime, key.expires_at or now + lifetime)
        await tx.execute(SQL.delete_ended_sessions, now)
        made = await tx.fetchval(
            SQL.insert_session, key.org_id, key.key_id, uuid4(), kind, rules.digest(secret), now, ends
        )
        if made is None:
            raise Unauthorized("This access key was revoked.")
        return secret, ends
