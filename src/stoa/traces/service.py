"""The collector, and the reading of traces. One transaction per method."""

from collections.abc import Sequence
from datetime import timedelta
from typing import Final
from uuid import NAMESPACE_OID, UUID, uuid5

import structlog

from stoa.db import Database, audit
from stoa.db.internal import internal
from stoa.kernel.clock import Clock
from stoa.kernel.errors import BadRequest, NotFound
from stoa.kernel.metrics import Counter, Metric
from stoa.kernel.pages import Page, PageRequest
from stoa.kernel.principal import Principal
from stoa.traces import store
from stoa.traces.ports import Projects
from stoa.traces.store import SQL
from stoa.traces.types import Batch, Filter, Span, Trace

SPANS_SHOWN_MAX: Final = 10_000
"""Of one trace in one answer."""
EXPIRED_MAX: Final = 200
"""Traces removed in one transaction."""
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
        """All spans of a request in one transaction; the same span again replaces the one that is there."""
        if batch.spans:
            async with self._database.tenant(principal) as tx:
                await store.store_spans(tx, principal.org_id, project_id, batch.spans)
            self._spans.add(batch.spans[0].wire, "stored", by=len(batch.spans))
        if batch.rejected:
            self._spans.add("any", "rejected", by=len(batch.rejected))


class Traces:
    def __init__(self, database: Database, projects: Projects) -> None:
        self._database = database
        self._projects = projects

    async def list(self, principal: Principal, which: Filter, page: PageRequest) -> Page[Trace]:
        """The traces of one project, the newest first: those that were sent, and those of Stoa's own runs."""
        project_id = await self._projects.chosen(principal, which.project_id)
        async with self._database.tenant(principal) as tx:
            found, total = await store.list_traces(tx, principal.org_id, project_id, which, page)
        return Page(found, page.page, page.page_size, total)

    async def get(self, principal: Principal, trace_id: str) -> Sequence[Span]:
        """Every span of a trace, in the order in which they began. Raises NotFound."""
        async with self._database.tenant(principal) as tx:
            row = await tx.fetchrow(SQL.trace, principal.org_id, trace_id)
            if row is not None:
                rows = await tx.fetch(SQL.spans, principal.org_id, row["project_id"], trace_id, SPANS_SHOWN_MAX)
                return [store.span(one) for one in rows]
            run_id = _run_id(trace_id)
            run = await tx.fetchrow(store.own(SQL.own_run), principal.org_id, run_id) if run_id else None
            if run_id is None or run is None:
                raise NotFound(f"There is no trace {trace_id}.")
            calls = await tx.fetch(SQL.own_calls, principal.org_id, run_id)
        return store.own_spans(run_id, run, calls)

    async def delete(self, principal: Principal, trace_id: str) -> None:
        """A trace that was sent, with all its spans. A run's trace goes with its conversation. Raises NotFound."""
        async with self._database.tenant(principal) as tx:
            row = await tx.fetchrow(SQL.trace, principal.org_id, trace_id)
            if row is None:
                run_id = _run_id(trace_id)
                if run_id and await tx.fetchrow(store.own(SQL.own_run), principal.org_id, run_id) is not None:
                    raise BadRequest.field(
                        "trace_id", "is a run of this server: its trace is deleted with its conversation"
                    )
                raise NotFound(f"There is no trace {trace_id}.")
            await tx.fetchval(SQL.delete_trace, principal.org_id, row["project_id"], trace_id)
            await tx.execute(SQL.delete_spans, principal.org_id, row["project_id"], trace_id)
            await audit.record(tx, principal, "trace.delete", _run_id(trace_id) or uuid5(NAMESPACE_OID, trace_id))


class Retention:
    """Removes traces that nothing was added to for `days`."""

    def __init__(self, database: Database, clock: Clock, days: float) -> None:
        self._database = database
        self._clock = clock
        self._days = days

    async def remove_expired(self) -> int:
        """Up to 200 traces with their spans; gives how many."""
        before = self._clock.now() - timedelta(days=self._days)
        async with internal(self._database) as tx:
            rows = await tx.fetch(SQL.expired, before, EXPIRED_MAX)
            for row in rows:
                await tx.execute(SQL.delete_spans, row["org_id"], row["project_id"], row["id"])
                await tx.fetchval(SQL.delete_trace, row["org_id"], row["project_id"], row["id"])
        if rows:
            _log.info("expired traces removed", traces=len(rows))
        return len(rows)


def _run_id(trace_id: str) -> UUID | None:
    try:
        return UUID(trace_id)
    except ValueError:
        return None
