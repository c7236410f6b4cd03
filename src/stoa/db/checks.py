"""What a slice promises about its rows and blobs, in a form that can be counted: the port of the doctor.

A slice gives a list of `Check`; the composition root hands them all to the doctor, which runs them within bounds and
shows what it finds. A check reads and never writes; what can safely be put right is its `repair`, in transactions of
its own.
"""

from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from stoa.db.engine import Tx
from stoa.kernel.findings import Finding


@dataclass(frozen=True, slots=True)
class Scope:
    """Where to look: the rows of one organization or of all (None), made at or after `since` and before `until`, or
    whenever (None)."""

    org_id: UUID | None = None
    since: datetime | None = None
    until: datetime | None = None
    looked_at: Callable[[int], None] = lambda _: None
    """Told how many more things were looked at, by checks that take long."""


@dataclass(frozen=True, slots=True)
class Check:
    name: str
    """`runs.abandoned`: the slice, and what is broken."""
    promise: str
    """What holds when nothing is found: a sentence."""
    find: Callable[[Tx, Scope], AsyncIterator[Finding]]
    """Streams what is broken. The transaction is read-only, and under row-level security when a tenant asks."""
    remedy: str
    """What a person does about it, or what `repair` does."""
    repair: Callable[[Finding], Awaitable[bool]] | None = None
    """Puts one finding right if it still is as it was found; true when it did. None where no repair is safe."""
    by_day: bool = False
    """Whether it can be made for the rows of one day, and nothing about them changes once that day's runs have ended:
    then a day in which nothing is broken need not be looked at again. It keeps to `since` and `until`; others may
    look at everything."""


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
