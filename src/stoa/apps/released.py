"""Released flows, for runs. A version never changes, so it can be cached."""

from uuid import UUID

from stoa.apps.store import SQL
from stoa.db import Database
from stoa.db.internal import internal_statement


class Released:
    def __init__(self, database: Database) -> None:
        self._database = database

    async def flow(self, org_id: UUID, version_id: UUID) -> str | None:
        """The flow's text; None if the version was deleted."""
        async with internal_statement(self._database) as tx:
            text: str | None = await tx.fetchval(SQL.released_flow, org_id, version_id)
        return text
