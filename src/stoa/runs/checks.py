"""The doctor's checks of runs: each run has a living node, ends once, has its answer and its bill, and if it is paused
has an open question.
"""

import asyncio
from collections.abc import AsyncIterator, Sequence
from functools import partial
from typing import Final
from uuid import UUID

import orjson

from stoa.conversations import lock_conversation
from stoa.db import Database, Tx, load
from stoa.db.checks import Check, Scope, stated, stated_by_day
from stoa.db.internal import internal
from stoa.kernel.findings import Finding, Timeline
from stoa.kernel.leases import RUN
from stoa.runs import store, turns
from stoa.runs.store import SQL as RUNS

SQL: Final = load("stoa.runs", "checks.sql")
SECOND_QUERY_SECONDS: Final = RUN.seconds / 2
"""A run may be between two nodes at the first query. Nodes claim such runs several times in this time."""
_NO_REPAIR: Final = "No repair is safe; read the run's events, then delete the conversation or leave it as it is."


def checks(database: Database) -> Sequence[Check]:
    return [*_of_progress(database), *_of_records(database)]


def _of_progress(database: Database) -> Sequence[Check]:
    """Checks that every run makes progress."""
    return [
        Check(
            "runs.abandoned",
            "Every run that has begun belongs to a living node, or is claimed by one within seconds.",
            _abandoned,
            "Start a server on this database: it takes them over. The repair takes runs from dead nodes.",
            partial(_release, database),
        ),
        Check(
            "runs.ends",
            "A run's state is what the end of its journal says.",
            stated_by_day(SQL.ends),
            "The repair ends a run whose journal has ended. A run that ended without its journal is left as it is.",
            partial(_end, database),
            by_day=True,
        ),
        Check(
            "runs.journals",
            "Every run has a journal, and every journal a run.",
            stated_by_day(SQL.journals),
            _NO_REPAIR,
            by_day=True,
        ),
        Check(
            "runs.starts",
            "The first event of every run is its one run.started.",
            stated_by_day(SQL.starts),
            _NO_REPAIR,
            by_day=True,
        ),
        Check(
            "runs.several_active",
            "A conversation has at most one active run.",
            stated(SQL.several_active),
            "Cancel all but one of them.",
        ),
        Check(
            "runs.stuck_queue",
            "Every queued message waits for a run that is at work.",
            stated(SQL.stuck_queue),
            "The repair gives the next one its turn.",
            partial(_unstick, database),
        ),
        Check(
            "runs.paused_without_question",
            "Every paused run has an open question.",
            stated(SQL.paused_without_question),
            "The repair lets it go on.",
            partial(_changed, database, SQL.resume_without_question),
        ),
        Check(
            "runs.questions_of_ended_runs",
            "Every open question belongs to a run that waits for its answer.",
            stated(SQL.questions_of_ended_runs),
            "The repair withdraws the question.",
            partial(_changed, database, SQL.withdraw),
        ),
    ]


def _of_records(database: Database) -> Sequence[Check]:
    """Checks that the records of a run in several tables agree."""
    return [
        Check(
            "runs.missing_answers",
            "Every run has its message, and every ended run its one answer.",
            stated_by_day(SQL.missing_answers),
            _NO_REPAIR,
            by_day=True,
        ),
        Check(
            "runs.calls_and_events",
            "The tool ledger and the events tell of the same calls.",
            stated_by_day(SQL.calls_and_events),
            "The repair marks calls that an ended run left open as unknown; nothing else is touched.",
            partial(_changed, database, SQL.close_left_open),
            by_day=True,
        ),
        Check(
            "runs.wrong_bills",
            "A run's usage is the sum of its model calls.",
            stated_by_day(SQL.wrong_bills),
            _NO_REPAIR,
            by_day=True,
        ),
        Check(
            "runs.idempotency_keys",
            "Every remembered answer to a message names a run.",
            stated(SQL.idempotency_keys),
            "The repair forgets the answer: the key is free again.",
            partial(_forget, database),
        ),
    ]


async def timeline(tx: Tx) -> Timeline:
    """Of all organizations. Needs a transaction of the internal role."""
    row = await tx.fetchrow(SQL.timeline)
    assert row is not None
    return Timeline(row["first"], frozenset(row["open_days"]))


async def _abandoned(tx: Tx, scope: Scope) -> AsyncIterator[Finding]:
    """Runs that two queries find without a living node, at the same attempt: none claimed them in between."""
    first = {(row["subject"], row["attempt"]) for row in await tx.fetch(SQL.abandoned, scope.org_id, scope.since)}
    if not first:
        return
    await asyncio.sleep(SECOND_QUERY_SECONDS)
    for row in await tx.fetch(SQL.abandoned, scope.org_id, scope.since):
        if (row["subject"], row["attempt"]) in first:
            yield Finding(row["org_id"], str(row["subject"]), row["detail"])


async def _changed(database: Database, statement: str, finding: Finding) -> bool:
    async with internal(database) as tx:
        done = await tx.fetchval(statement, finding.org_id, UUID(finding.subject)) is not None
        await tx.execute("SELECT pg_notify('stoa_runs', 'claim')")
        return done


async def _release(database: Database, finding: Finding) -> bool:
    return await _changed(database, SQL.release, finding)


async def _end(database: Database, finding: Finding) -> bool:
    """Ends the run as the terminal event of its journal says."""
    async with internal(database) as tx:
        run = await store.run(tx, finding.org_id, UUID(finding.subject))
        row = await tx.fetchrow(SQL.end_of, finding.org_id, UUID(finding.subject))
        if run is None or row is None:
            return False
        data = orjson.loads(row["payload"])["data"]
        output = data.get("output", row["text"] or "")
        await tx.execute(
            SQL.end_as_journal_says, run.org_id, run.id, data["status"], output, data.get("error"), data["usage"]
        )
        return True


async def _unstick(database: Database, finding: Finding) -> bool:
    async with internal(database) as tx:
        run = await store.run(tx, finding.org_id, UUID(finding.subject))
        if run is None or await lock_conversation(tx, run.org_id, run.conversation_id) is None:
            return False
        if await tx.fetchval(SQL.leave_queue, run.org_id, run.id) is not None:
            return True
        if await tx.fetchval(RUNS.active_run, run.org_id, run.conversation_id) is not None:
            return False
        return await turns.give_turn(tx, run.org_id, run.conversation_id)


async def _forget(database: Database, finding: Finding) -> bool:
    async with internal(database) as tx:
        return await tx.fetchval(SQL.forget, finding.org_id, finding.subject) is not None
