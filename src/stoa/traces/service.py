"""The collector and the reader of traces. One transaction per method."""

import asyncio
from collections.abc import Sequence
from typing import Final
from uuid import NAMESPACE_OID, UUID, uuid4, uuid5

import structlog

from stoa.db import Database, Tx, audit
from stoa.db.internal import internal
from stoa.kernel.clock import Clock
from stoa.kernel.errors import BadRequest, NotFound
from stoa.kernel.metrics import Counter, Metric
from stoa.kernel.pages import Page, PageRequest
from stoa.kernel.principal import Principal
from stoa.traces import rules, store
from stoa.traces.differences import Pair, compare
from stoa.traces.ports import Projects
from stoa.traces.run_spans import holding
from stoa.traces.store import SQL
from stoa.traces.storing import store_spans
from stoa.traces.types import Aggregate, Batch, Filter, Span, Trace

SPANS_SHOWN_MAX: Final = 10_000
"""The limit of steps of one trace in one answer."""
SHOWN_BYTES_MAX: Final = 32 * 1024 * 1024
COUNTED_AHEAD_MAX: Final = 1_000
"""`total_count` counts at most this many traces after the page: an exact count would read all of them."""
GROUPS_MAX: Final = 1_000
"""The limit of groups in one aggregate answer."""
EXPIRED_MAX: Final = 200
"""The limit of traces removed in one transaction."""
_log = structlog.get_logger("stoa.traces")


class Collector:
    """Stores spans. It returns after the commit."""

    def __init__(self, database: Database) -> None:
        self._database = database
        outcomes = [("sdk", "stored"), ("otlp", "stored"), ("any", "rejected")]
        self._spans = Counter(
            "stoa_traces_spans", "Spans that were sent to the collector.", ("wire", "outcome"), outcomes
        )

    def metrics(self) -> Sequence[Metric]:
        return [self._spans]

    async def store(self, principal: Principal, project_id: UUID, batch: Batch) -> None:
        """Stores all spans of a request in one transaction. A span that is sent again replaces the stored one."""
        if batch.spans:
            async with self._database.tenant(principal) as tx:
                await store_spans(tx, principal.org_id, project_id, batch.spans)
            self._spans.add(batch.spans[0].wire, "stored", by=len(batch.spans))
        if batch.rejected:
            self._spans.add("any", "rejected", by=len(batch.rejected))


class Traces:
    def __init__(self, database: Database, projects: Projects) -> None:
        self._database = database
        self._projects = projects

    async def list(self, principal: Principal, which: Filter, page: PageRequest) -> Page[Trace]:
        """The traces of one project, newest first: sent ones and Stoa's own runs. It reads a bounded number of traces,
        so a page may hold fewer than `limit` although more follow; its cursor continues where reading stopped. Raises
        BadRequest."""
        project_id = await self._projects.chosen(principal, which.project_id)
        after = rules.place(page.cursor) if page.cursor is not None else None
        async with self._database.tenant(principal) as tx:
            org_id, offset = principal.org_id, 0 if after else page.offset
            found = await store.list_traces(tx, org_id, project_id, which, page.page_size, offset, after)
            total, estimated = offset + len(found.traces), found.read_on is not None
            # A page that is not full has reached the reading limit; a count would read the same rows again.
            if (after or len(found.traces) == page.page_size) and not which.words:
                most = page.offset + page.page_size + COUNTED_AHEAD_MAX
                total = max(total, await store.count(tx, org_id, project_id, which, most))
                estimated = total >= most or len(found.traces) < page.page_size < total
        cursor = rules.cursor(found.read_on) if found.read_on else None
        return Page(found.traces, page.page, page.page_size, total, estimated, cursor)

    async def aggregates(self, principal: Principal, which: Filter, by: Sequence[str]) -> Sequence[Aggregate]:
        """Groups and sums up the newest 10,000 traces of the filter. Raises BadRequest."""
        project_id = await self._projects.chosen(principal, which.project_id)
        async with self._database.tenant(principal) as tx:
            return await store.aggregates(tx, principal.org_id, project_id, which, by, GROUPS_MAX)

    async def get(self, principal: Principal, trace_id: str, sequence: int | None = None) -> Sequence[Span]:
        """Every span of a trace, in the order in which they began. With `sequence`: those that this journal event
        belongs to, from the root to the innermost. Raises NotFound."""
        async with self._database.tenant(principal) as tx:
            row = await tx.fetchrow(SQL.trace, principal.org_id, trace_id)
            if row is not None:
                rows = await tx.fetch(
                    SQL.spans, principal.org_id, row["project_id"], trace_id, SPANS_SHOWN_MAX, SHOWN_BYTES_MAX
                )
                own, event = None, None
            else:
                own, rows = await self._own(tx, principal, trace_id), ()
                event = (
                    await store.own_event(tx, principal.org_id, own.run_id, sequence) if sequence is not None else None
                )
        if own is None:
            if sequence is not None:
                raise BadRequest.field("sequence", "is of a run's journal, and this trace is no run of this server")
            return await asyncio.to_thread(lambda: [store.span(one) for one in rows])
        spans = await asyncio.to_thread(own.spans)
        if sequence is None:
            return spans
        if event is None:
            raise NotFound(f"The run {trace_id} has no event {sequence}.")
        return holding(spans, event)

    async def _own(self, tx: Tx, principal: Principal, trace_id: str) -> store.OwnRows:
        run_id = _run_id(trace_id)
        found = await store.own_rows(tx, principal.org_id, run_id) if run_id else None
        if found is None:
            raise NotFound(f"There is no trace {trace_id}.")
        return found

    async def compare(self, principal: Principal, trace_id: str, other_id: str | None) -> Sequence[Pair]:
        """Two traces, step by step. Raises NotFound, and BadRequest where the other trace is not named."""
        left = await self.get(principal, trace_id)
        if other_id is None:
            raise BadRequest.field("other", "is required: the id of the trace to compare with")
        right = await self.get(principal, other_id)
        return await asyncio.to_thread(compare, left, right)

    async def delete(self, principal: Principal, trace_id: str) -> UUID:
        """Deletes a trace that was sent, with all its spans; returns the id of the receipt. A run's trace is deleted
        with its conversation. Raises NotFound, BadRequest."""
        subject_id, deletion_id = _run_id(trace_id) or uuid5(NAMESPACE_OID, trace_id), uuid4()
        async with self._database.tenant(principal) as tx:
            row = await tx.fetchrow(SQL.trace, principal.org_id, trace_id)
            if row is None:
                run_id = _run_id(trace_id)
                if run_id and await tx.fetchrow(store.own_filled(SQL.own_run), principal.org_id, run_id) is not None:
                    raise BadRequest.field(
                        "trace_id", "is a run of this server: its trace is deleted with its conversation"
                    )
                raise NotFound(f"There is no trace {trace_id}.")
            where = principal.org_id, row["project_id"], trace_id
            if await tx.fetchval(SQL.lock_trace, *where) is None:
                raise NotFound(f"There is no trace {trace_id}.")
            rows, size = await store.delete_trace(tx, *where)
            stores = {"spans": {"rows": rows, "bytes": size}, "traces": {"rows": 1, "bytes": 0}}
            await tx.execute(
                SQL.insert_deletion, principal.org_id, row["project_id"], deletion_id, subject_id, stores,
                principal.key_id,
            )  # fmt: skip
            await audit.record(tx, principal, "trace.delete", subject_id)
        await self._prove(principal, where, deletion_id)
        return deletion_id

    async def _prove(self, principal: Principal, where: tuple[UUID, UUID, str], deletion_id: UUID) -> None:
        """Scans the tables again, in a transaction that begins after the deletion's commit."""
        async with self._database.tenant(principal) as tx:
            if not await tx.fetchval(SQL.left_over, *where, deletion_id):
                await tx.execute(SQL.verified, principal.org_id, deletion_id)


class Retention:
    """Removes traces without new spans for their project's retention time. `days` None: where a project sets no
    retention, its traces are kept."""

    def __init__(self, database: Database, clock: Clock, days: float | None) -> None:
        self._database = database
        self._clock = clock
        self._days = days

    async def remove_expired(self) -> int:
        """Removes up to 200 traces with their spans; returns how many."""
        removed = 0
        async with internal(self._database) as tx:
            rows = [
                *await tx.fetch(SQL.expired, self._days, EXPIRED_MAX, self._clock.now()),
                *await tx.fetch(SQL.abandoned, EXPIRED_MAX),
            ]
            for row in rows:
                await store.delete_trace(tx, row["org_id"], row["project_id"], row["id"])
                removed += 1
        if removed:
            _log.info("expired traces removed", traces=removed)
        return removed


def _run_id(trace_id: str) -> UUID | None:
    try:
        return UUID(trace_id)
    except ValueError:
        return None
