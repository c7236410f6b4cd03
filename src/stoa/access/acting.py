"""The principal of work that outlives its request: a trigger starts runs long after the request that created it."""

from uuid import UUID

from stoa.access import people, rules, store
from stoa.access.store import SQL
from stoa.db import Database
from stoa.db.internal import internal_statement
from stoa.kernel.clock import Clock
from stoa.kernel.principal import Principal


class Acting:
    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock

    async def acting(
        self, org_id: UUID, project_id: UUID, actor_id: UUID, user: bool, permission: str, /
    ) -> Principal | None:
        """A principal of the project with the actor's limits; None once the actor is revoked, has expired, has left, or
        lacks the permission there. Its objects belong to the project's keys, also if the actor is a user, so that
        others in the project see them."""
        return await (self._user if user else self._key)(org_id, project_id, actor_id, permission)

    async def _key(self, org_id: UUID, project_id: UUID, key_id: UUID, permission: str) -> Principal | None:
        async with internal_statement(self._database) as tx:
            row = await tx.fetchrow(SQL.key_owner, key_id)
        if row is None or row["org_id"] != org_id or row["project_id"] not in (None, project_id):
            return None
        key = store.principal(row)
        if key.expires_at is not None and key.expires_at <= self._clock.now():
            return None
        if key.permissions is not None and permission not in key.permissions:
            return None
        return Principal(org_id, project_id, key_id, spending_limit=key.spending_limit)

    async def _user(self, org_id: UUID, project_id: UUID, user_id: UUID, permission: str) -> Principal | None:
        async with internal_statement(self._database) as tx:
            row = await people.membership_row(tx, org_id, user_id)
        if row is None:
            return None
        granted = rules.grants(row["role"], row["projects"])
        if permission not in granted.everywhere | granted.projects.get(project_id, frozenset()):
            return None
        return Principal(org_id, project_id, user_id)
