"""Delivers the runs of projects to their OTLP endpoints: from any node, at least once, in the order in which they
ended.

There is no queue: a project's row holds the position up to which runs were delivered. So a run never waits for its
export, and a receiver that was down for a day gets the day's runs when it is back, as far as they still exist.
"""

import asyncio
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final
from uuid import UUID, uuid4

import orjson
import structlog

from stoa.db import Database, Row
from stoa.db.internal import internal, internal_statement
from stoa.kernel.errors import Unavailable
from stoa.kernel.metrics import Counter, Metric
from stoa.kernel.supervise import Heartbeat, Supervisor, Wakeup, spread
from stoa.outbound.posting import Post, Undelivered
from stoa.traces import export, rules, store
from stoa.traces.ports import Vault
from stoa.traces.store import SQL
from stoa.traces.types import Span

POLL_SECONDS: Final = 2.0
CLAIM_SECONDS: Final = 120.0
"""The claim on a project expires after this time if its node dies. A delivery takes less: it reads, and makes a few
requests of at most 30 seconds each."""
PROJECTS_AT_ONCE_MAX: Final = 4
RUNS_MAX: Final = 50
"""The limit of runs in one request."""
IDLE_SECONDS: Final = 5.0
"""How long until a project without new runs is checked again."""
STUCK_SECONDS: Final = 150.0
_HEADERS: Final = {"User-Agent": "Stoa-OTLP/1"}
_WIRE: Final = {
    "Content-Type": export.CONTENT_TYPE,
    "Content-Encoding": "gzip",
    "Accept-Encoding": "identity",
}
_log = structlog.get_logger("stoa.traces")


@dataclass(frozen=True, slots=True)
class Endpoint:
    """The server's endpoint, for the runs of projects that name none."""

    url: str
    headers: Mapping[str, str]
    content: bool = False


@dataclass(frozen=True, slots=True)
class _Outcome:
    """The outcome of a batch: the position up to which runs are done, how many spans were accepted and rejected, and
    the receiver's message."""

    run: Row
    spans: int
    refused: int
    error: Mapping[str, Any] | None


class ExportWorker:
    """Claims due projects by itself once it is started. What a stopped node has begun is sent again by another."""

    def __init__(self, database: Database, vault: Vault, guarded: Post, trusted: Post, server: Endpoint | None) -> None:
        self._database = database
        self._vault = vault
        self._guarded, self._trusted = guarded, trusted
        self._server = server
        self._supervisor = Supervisor()
        self._wakeup = Wakeup(POLL_SECONDS)
        self.heartbeat = Heartbeat("traces.export", STUCK_SECONDS)
        self._spans = Counter(
            "stoa_traces_exported_spans",
            "Spans of runs that an OTLP endpoint took, or refused for good.",
            ("outcome",),
            [("delivered",), ("refused",)],
        )
        self._failures = Counter("stoa_traces_export_failures", "Requests to OTLP endpoints that will be made again.")

    def metrics(self) -> Sequence[Metric]:
        return [self._spans, self._failures]

    async def start(self) -> None:
        self._supervisor.keep(self._forever, "traces.export", self.heartbeat)

    async def stop(self) -> None:
        await self._supervisor.stop()

    def wake(self) -> None:
        """Called when a project's export settings have changed."""
        self._wakeup.wake()

    async def _forever(self) -> None:
        while True:
            self.heartbeat.begin()
            more = False
            try:
                more = await self.turn()
                self.heartbeat.done()
            except Unavailable:
                pass  # The next round tries again.
            if not more:
                await self._wakeup.wait()

    async def turn(self) -> bool:
        """Delivers a batch for each of a few due projects; returns whether any was due."""
        claim = uuid4()
        if self._server is not None:
            async with internal_statement(self._database) as tx:
                await tx.execute(SQL.begin_exports)
        async with internal_statement(self._database) as tx:
            rows = await tx.fetch(
                SQL.claim_exports, claim, CLAIM_SECONDS, self._server is not None, PROJECTS_AT_ONCE_MAX
            )
        async with asyncio.TaskGroup() as group:
            for row in rows:
                group.create_task(self._deliver(row), name="traces.export.project")
        return len(rows) == PROJECTS_AT_ONCE_MAX

    async def _deliver(self, row: Row) -> None:
        runs, traces = await self._batch(row)
        if not runs:
            await self._done(row, row["exported_until"], row["exported_run"], 0, 0, row["export_error"], IDLE_SECONDS)
            return
        try:
            post, url, headers, content = self._endpoint(row)
            # The content of signed-in users' conversations is private: a project's setting must not show it to whoever
            # may change that setting.
            own = row["export_url"] is not None
            wanted = [
                export.Exported(spans, content and not (own and run["owned"]))
                for run, spans in zip(runs, traces, strict=True)
            ]
            outcome = await self._send(post, url, headers, row["project_id"], runs, wanted)
        except Undelivered as failed:
            await self._failed(row, failed)
            return
        self._spans.add("delivered", by=outcome.spans)
        self._spans.add("refused", by=outcome.refused)
        wait = 0.0 if len(runs) == RUNS_MAX else IDLE_SECONDS
        at = outcome.run["ended_at"], outcome.run["id"]
        await self._done(row, *at, outcome.spans, outcome.refused, outcome.error, wait)

    async def _batch(self, row: Row) -> tuple[Sequence[Row], Sequence[Sequence[Span]]]:
        """The next runs of the project that have ended, with their spans."""
        where = row["org_id"], row["project_id"]
        async with internal(self._database) as tx:
            until = await tx.fetchval(SQL.settled_until)
            runs = await tx.fetch(SQL.ended_runs, *where, row["exported_until"], row["exported_run"], until, RUNS_MAX)
        traces: list[Sequence[Span]] = []
        for run in runs:
            async with internal(self._database) as tx:
                rows = await store.own_rows(tx, row["org_id"], run["id"])
            traces.append(await asyncio.to_thread(rows.spans) if rows else ())
        return runs, traces

    def _endpoint(self, row: Row) -> tuple[Post, str, Mapping[str, str], bool]:
        """Raises Undelivered where the stored headers cannot be decrypted."""
        if row["export_url"] is None:
            assert self._server is not None, "claimed only where the server has one"
            return self._trusted, self._server.url, self._server.headers, self._server.content
        try:
            sealed = row["export_headers"]
            headers = orjson.loads(self._vault.open(row["project_id"], sealed)) if sealed is not None else {}
        except ValueError as error:
            raise Undelivered("secret_unreadable", f"{error}") from error
        return self._guarded, row["export_url"], headers, row["export_content"]

    async def _send(
        self, post: Post, url: str, headers: Mapping[str, str], project_id: UUID, runs: Sequence[Row],
        traces: Sequence[export.Exported],
    ) -> _Outcome:  # fmt: skip
        """Raises Undelivered where the batch must be sent again. A request that the receiver rejects as a whole is sent
        again run by run, so that one bad run does not lose the others."""
        body = await asyncio.to_thread(export.request, project_id, traces)
        count = sum(len(trace.spans) for trace in traces)
        answer = await post(url, {**_HEADERS, **headers, **_WIRE}, body)
        verdict = rules.verdict(answer.status)
        if verdict == "delivered":
            refused, why = await asyncio.to_thread(export.rejected_of, answer.body, answer.content_type)
            refused = min(max(refused, 0), count)
            error = {"code": "partly_refused", "message": why[:500]} if refused else None
            return _Outcome(runs[-1], count - refused, refused, error)
        if verdict == "again":
            seconds = rules.seconds_after(answer.retry_after)
            raise Undelivered("refused", f"The endpoint answered {answer.status}.", retry_after_seconds=seconds)
        if len(runs) == 1:
            why = f"The endpoint refused the run {runs[0]['id']} with {answer.status}; it was left out."
            _log.warning("a run's export was refused", project_id=str(project_id), run_id=str(runs[0]["id"]))
            return _Outcome(runs[0], 0, count, {"code": "refused", "message": why})
        half = len(runs) // 2
        first = await self._send(post, url, headers, project_id, runs[:half], traces[:half])
        try:
            rest = await self._send(post, url, headers, project_id, runs[half:], traces[half:])
        except Undelivered:
            return first  # The runs that were accepted count as delivered; the others are sent again.
        return _Outcome(rest.run, first.spans + rest.spans, first.refused + rest.refused, rest.error or first.error)

    async def _done(
        self, row: Row, until: datetime, run_id: UUID, spans: int, refused: int, error: Any, seconds: float
    ) -> None:
        where = row["org_id"], row["project_id"], row["export_claim"]
        async with internal_statement(self._database) as tx:
            await tx.fetchval(SQL.exported, *where, until, run_id, spans, refused, error, spread(seconds))

    async def _failed(self, row: Row, failed: Undelivered) -> None:
        self._failures.add()
        if row["export_attempt"] == 0:
            _log.warning("traces could not be exported", project_id=str(row["project_id"]), error=failed.message)
        seconds = rules.backoff(row["export_attempt"], random.random(), failed.retry_after_seconds)  # noqa: S311 — no secret
        where = row["org_id"], row["project_id"], row["export_claim"]
        error = {"code": failed.code, "message": failed.message[:500]}
        async with internal_statement(self._database) as tx:
            await tx.fetchval(SQL.export_failed, *where, error, seconds)
