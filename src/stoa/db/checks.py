"""The doctor's port: invariants of a slice's rows and blobs as checks.

A slice provides a list of `Check`; the composition root passes all of them to the doctor, which runs them within limits
and shows the findings. A check never writes; its `repair` fixes what is safe to fix, in separate transactions.
"""

from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from stoa.db.engine import Tx
from stoa.kernel.findings import Finding


@dataclass(frozen=True, slots=True)
class Scope:
    """Which rows to check: those of one organization or of all (None), created at or after `since` and before `until`;
    None is no bound."""

    org_id: UUID | None = None
    since: datetime | None = None
    until: datetime | None = None
    looked_at: Callable[[int], None] = lambda _: None
    """Long checks call it with the number of rows checked since the last call."""


@dataclass(frozen=True, slots=True)
class Check:
    name: str
    """`runs.abandoned`: the slice, and the invariant."""
    promise: str
    """The invariant, as a sentence: it holds when nothing is found."""
    find: Callable[[Tx, Scope], AsyncIterator[Finding]]
    """Streams violations. The transaction is read-only, and under row-level security when a tenant asks."""
    remedy: str
    """What a person should do, or what `repair` does."""
    repair: Callable[[Finding], Awaitable[bool]] | None = None
    """Repairs one finding if it still exists; true if it did. None if no repair is safe."""
    by_day: bool = False
    """Whether it can check the rows of a single day, which no longer change once that day's runs have ended: a day
    without findings is then not checked again. Such a check respects `since` and `until`; others may read
    everything."""


def stated(statement: str) -> Callable[[Tx, Scope], AsyncIterator[Finding]]:
    """`find` by one statement: $1 is the organization or NULL, $2 `since` or NULL; it gives org_id, subject
    and detail."""
    return _stated(statement, lambda scope: (scope.org_id, scope.since))


def stated_by_day(statement: str) -> Callable[[Tx, Scope], AsyncIterator[Finding]]:
    """The same with $3 `until` or NULL, for a check `by_day`."""
    return _stated(statement, lambda scope: (scope.org_id, scope.since, scope.until))


def _stated(
    statement: str, arguments: Callable[[Scope], tuple[UUID | datetime | None, ...]]
) -> Callable[[Tx, Scope], AsyncIterator[Finding]]:
    async def find(tx: Tx, scope: Scope) -> AsyncIterator[Finding]:
        async for row in tx.cursor(statement, *arguments(scope), prefetch=200):
            yield Finding(row["org_id"], str(row["subject"]), row["detail"])

    return find
