"""Looks access keys up by their hashes; concurrent look-ups share one statement.

Nothing is cached. The statement of a look-up starts after its request has arrived, so a key that was revoked before is
not found.
"""

from collections.abc import Sequence
from typing import Final

from stoa.access.store import SQL
from stoa.db import Database, Row
from stoa.db.internal import internal_statement
from stoa.kernel.joining import Joined

STATEMENTS_MAX: Final = 4
"""Concurrent statements. One that hangs does not delay the others."""
HASHES_MAX: Final = 500
"""Hashes in one statement."""


class KeyLookups:
    def __init__(self, database: Database) -> None:
        self._database = database
        self._joined = Joined("key look-ups", self._look_up, items_max=HASHES_MAX, at_once_max=STATEMENTS_MAX)

    async def row(self, digest: bytes) -> Row | None:
        """The key of this hash. Raises DatabaseUnavailable."""
        return await self._joined.do(digest)

    async def _look_up(self, digests: Sequence[bytes]) -> Sequence[Row | None]:
        async with internal_statement(self._database) as tx:
            found = {row["hash"]: row for row in await tx.fetch(SQL.keys_by_hash, list(set(digests)))}
        return [found.get(digest) for digest in digests]
