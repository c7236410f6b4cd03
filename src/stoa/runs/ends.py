"""Group commit of runs' ends: concurrent ends share one statement and one commit."""

from collections.abc import Sequence
from typing import Final, TypeAlias

from stoa.db import FAILURES, Database, Raised, Unstorable
from stoa.db.internal import internal_statement
from stoa.kernel.joining import Joined
from stoa.runs.columns import joined_columns
from stoa.runs.store import SQL

ENDS_MAX: Final = 50
"""Ends in one statement."""
STATEMENTS_MAX: Final = 2
"""Concurrent statements; while they are in progress, further ends are collected for the next one."""
LOCK_WAIT: Final = "100ms"
"""The lock timeout of a shared statement, for a locked conversation; then each run ends in its own statement."""
SECONDS_MAX: Final = 0.1
"""A statement that takes longer no longer counts as in progress."""
_FIRST_EVENT: Final = 14
"""The place of the first argument of `end_run` that is about its events."""
_JSON: Final = range(6, 11)
"""The arguments of `end_run` that are JSON."""
End: TypeAlias = tuple[object, ...]
"""The arguments of `end_run`."""


class EndBatcher:
    def __init__(self, database: Database) -> None:
        self._database = database
        self._joined = Joined(
            "ends of runs",
            self._end,
            items_max=ENDS_MAX,
            at_once_max=STATEMENTS_MAX,
            seconds_max=SECONDS_MAX,
            alone=self._alone,
        )

    async def end(self, end: End) -> None:
        """Ends a run that changes nothing else. Raises Raised for `queue` and `fenced`, Unstorable and
        DatabaseUnavailable; then nothing is written."""
        if not await self._joined.do(end):
            await self._alone(end)

    async def _end(self, ends: Sequence[End]) -> Sequence[bool]:
        """Whether they have ended. If one of them cannot, False for all, without a write: then each is ended
        separately, so that none waits for another's lock or gets another's refusal."""
        if len(ends) == 1:
            return [await self._alone(ends[0])]
        # All conversations stay locked until the end of the statement, so every node locks them in the same order.
        ranked = sorted(ends, key=lambda end: str(end[2]))
        try:
            async with internal_statement(self._database) as tx:
                await tx.fetchval(SQL.end_runs, *joined_columns(ranked, _FIRST_EVENT, _JSON), LOCK_WAIT)
            return [True] * len(ends)
        except (Raised, Unstorable, TypeError, *FAILURES):
            return [False] * len(ends)

    async def _alone(self, end: End) -> bool:
        async with internal_statement(self._database) as tx:
            await tx.fetchval(SQL.end_run, *end)
        return True
