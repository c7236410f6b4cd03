"""Runs, between rows and values."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Final
from uuid import UUID

from stoa.conversations import text_of
from stoa.db import Row, Tx, load
from stoa.db.lists import next_cursor, page_ids
from stoa.events import EventType, delta_of, from_subagent
from stoa.gateway import Usage, add_spending, estimated_tokens
from stoa.journal import Journal
from stoa.kernel.errors import NotFound
from stoa.kernel.leases import Wanted
from stoa.kernel.pages import Page, PageRequest
from stoa.runs.agent.steps import Answer, LedgerEntry, Question
from stoa.runs.types import (
    DialectFilter,
    Figure,
    InputRequest,
    Lost,
    ModelUse,
    RequestType,
    Run,
    RunFilter,
    RunStatus,
    ToolCallRow,
)

SQL: Final = load("stoa.runs")
DIALECT_RUNS_MAX: Final = 10_000
"""A dialect's list of an agent's runs reads only the newest, so that a selective filter stays bounded."""
CURSOR_COLUMNS: Final[Mapping[str, type[datetime | int]]] = {"created_at": datetime}
"""Columns for cursors: those without NULL. A run may not have started or ended yet."""


async def run(tx: Tx, org_id: UUID, run_id: UUID) -> Run | None:
    row = await tx.fetchrow(SQL.run, org_id, run_id)
    return from_row(row) if row else None


async def visible_run(tx: Tx, org_id: UUID, run_id: UUID) -> Run:
    """The run. Raises NotFound if this transaction sees no such run."""
    found = await run(tx, org_id, run_id)
    if found is None:
        raise no_run(run_id)
    return found


def no_run(run_id: UUID) -> NotFound:
    return NotFound(f"There is no run {run_id}.")


async def run_for_update(tx: Tx, org_id: UUID, run_id: UUID) -> Run | None:
    row = await tx.fetchrow(SQL.run_for_update, org_id, run_id)
    return from_row(row) if row else None


async def list_runs(tx: Tx, org_id: UUID, page: PageRequest, wanted: RunFilter) -> Page[Run]:
    """Raises BadRequest for an invalid cursor."""
    statuses = None if wanted.statuses is None else [status.value for status in wanted.statuses]
    if wanted.awaiting_input:
        return await _awaiting_runs(tx, org_id, page, wanted, statuses)
    filters = {
        "status": statuses,
        "conversation_id": wanted.conversation_id,
        "user_id": wanted.user_id,
        "app_id": wanted.app_id,
        "session_id": wanted.session_id,
    }
    found = await page_ids(tx, "runs", page, filters, CURSOR_COLUMNS)
    rows = await tx.fetch(SQL.listed_runs, org_id, found.ids)
    return Page(
        [from_row(row) for row in rows],
        page.page,
        page.page_size,
        found.total,
        found.estimated,
        next_cursor(page, CURSOR_COLUMNS, rows),
    )


async def _awaiting_runs(
    tx: Tx, org_id: UUID, page: PageRequest, wanted: RunFilter, statuses: Sequence[str] | None
) -> Page[Run]:
    """Runs with an open question to a person, and those of `statuses`. They are few, so they are counted exactly."""
    filters = (org_id, statuses, wanted.conversation_id, wanted.user_id, True, wanted.app_id, wanted.session_id)
    query = SQL.awaiting_runs.format(order=page.order_by("created_at DESC"))
    rows = await tx.fetch(query, *filters, page.page_size, page.offset)
    total = await tx.fetchval(SQL.count_awaiting_runs, *filters)
    return Page.counted([from_row(row) for row in rows], page, total)


async def dialect_runs(tx: Tx, org_id: UUID, wanted: DialectFilter, limit: int) -> tuple[Sequence[Run], int]:
    """A page, newest first, and how many there are in all. Both look at the newest `DIALECT_RUNS_MAX` alone."""
    statuses = None if wanted.statuses is None else [status.value for status in wanted.statuses]
    agent, filters = (org_id, wanted.dialect, wanted.agent), (statuses, wanted.conversation_id, wanted.since)
    after = wanted.after or (datetime.max.replace(tzinfo=UTC), UUID(int=2**128 - 1))
    rows = await tx.fetch(SQL.dialect_runs, *agent, *after, DIALECT_RUNS_MAX, *filters, limit)
    total = await tx.fetchval(SQL.count_dialect_runs, *agent, DIALECT_RUNS_MAX, *filters)
    return [from_row(row) for row in rows], total


async def queued(tx: Tx, org_id: UUID, conversation_id: UUID) -> Sequence[Run]:
    """The conversation's queue, the next one first."""
    return [from_row(row) for row in await tx.fetch(SQL.queued, org_id, conversation_id)]


async def claim(tx: Tx, node_id: UUID, wanted: Wanted) -> Sequence[Run]:
    return [from_row(row) for row in await tx.fetch(SQL.claim, node_id, *wanted.arguments())]


def from_row(row: Row) -> Run:
    return Run(
        row["id"],
        row["org_id"],
        row["project_id"],
        row["conversation_id"],
        row["message_id"],
        row["message_position"],
        row["model_id"],
        row["app_id"],
        row["user_id"],
        RunStatus(row["status"]),
        row["options"],
        row["input"],
        row["output"],
        row["error"],
        row["usage"],
        row["checkpoint"],
        row["checkpoint_sequence"],
        row["attempt"],
        row["node_id"],
        row["cancel_reason"],
        row["created_by"],
        row["created_at"],
        row["started_at"],
        row["ended_at"],
        row["queued_at"],
        row["session_id"],
        row["result"],
        row["owner_id"],
    )


async def figures(
    tx: Tx, org_id: UUID, app_id: UUID, begins: datetime, ends: datetime, seconds: int, runs_max: int
) -> Sequence[Figure]:
    return [Figure(**dict(row)) for row in await tx.fetch(SQL.figures, org_id, app_id, begins, ends, seconds, runs_max)]


async def pending_requests(tx: Tx, org_id: UUID, run_ids: Sequence[UUID]) -> Mapping[UUID, Sequence[InputRequest]]:
    """The open questions of runs, oldest first, by run."""
    found: dict[UUID, list[InputRequest]] = {}
    for row in await tx.fetch(SQL.pending_requests, org_id, run_ids):
        found.setdefault(row["run_id"], []).append(_request(row))
    return found


async def answers(tx: Tx, org_id: UUID, run_id: UUID) -> Mapping[str, Answer]:
    """People's answers by request, including expired requests."""
    rows = await tx.fetch(SQL.answers, org_id, run_id)
    return {str(row["id"]): Answer(row["status"], **(row["answer"] or {})) for row in rows}


async def tool_calls(tx: Tx, org_id: UUID, run_id: UUID) -> Sequence[ToolCallRow]:
    return [_tool_call(row) for row in await tx.fetch(SQL.tool_calls, org_id, run_id)]


async def calls_of_earlier_answers(tx: Tx, run: Run) -> Sequence[ToolCallRow]:
    """The calls that other runs have begun for the message that this one answers."""
    return [_tool_call(row) for row in await tx.fetch(SQL.calls_of_earlier_answers, run.org_id, run.message_id, run.id)]


async def enter(tx: Tx, run: Run, entries: Sequence[LedgerEntry]) -> None:
    for entry in entries:
        await tx.execute(
            SQL.enter_call,
            run.org_id,
            run.project_id,
            run.id,
            entry.id,
            run.conversation_id,
            entry.name,
            entry.kind,
            entry.input,
            entry.idempotent,
            entry.status,
            entry.result,
            entry.error,
        )


async def ask(tx: Tx, run: Run, questions: Sequence[Question]) -> None:
    for question in questions:
        await tx.execute(
            SQL.insert_request,
            run.org_id,
            run.project_id,
            run.id,
            question.id,
            run.conversation_id,
            question.type,
            question.prompt,
            question.params,
            list(question.editable_params),
            list(question.options) if question.options else None,
            question.seconds_max,
            question.schema,
        )


async def keep_nodes(tx: Tx, run: Run, states: Sequence[tuple[str, Mapping[str, Any]]]) -> None:
    """The states of nodes of a graph, by their path."""
    if states:
        paths, values = [path for path, _ in states], [state for _, state in states]
        await tx.execute(SQL.keep_nodes, run.org_id, run.project_id, run.id, paths, values)


async def nodes(tx: Tx, run: Run) -> Sequence[tuple[str, Mapping[str, Any]]]:
    return [(row["path"], row["state"]) for row in await tx.fetch(SQL.nodes, run.org_id, run.id)]


async def bill(tx: Tx, run: Run, uses: Sequence[ModelUse]) -> None:
    """The lines of the bill, and what a limited key has spent."""
    await tx.execute(SQL.bill, run.org_id, run.id, uses_json(uses))
    await spend(tx, run, uses)


def uses_json(uses: Sequence[ModelUse]) -> list[dict[str, Any]]:
    """Lines of the bill, as the schema's functions read them."""
    return [
        {
            "model": use.model,
            "prompt_tokens": use.usage.prompt_tokens,
            "completion_tokens": use.usage.completion_tokens,
            "cached_tokens": use.usage.cached_tokens,
            "reasoning_tokens": use.usage.reasoning_tokens,
            "estimated": use.usage.estimated,
            "cost_usd": f"{use.cost_usd:.9f}" if use.cost_usd is not None else None,
        }
        for use in uses
    ]


async def spend(tx: Tx, run: Run, uses: Sequence[ModelUse]) -> None:
    """What a limited key has spent."""
    cost = sum(use.cost_usd or 0.0 for use in uses)
    if cost and run.options.get("spending_limit"):
        await add_spending(tx, run.org_id, run.project_id, run.created_by, run.id.int, cost)


async def billed(tx: Tx, run: Run) -> tuple[Usage, float | None]:
    """The usage on the bill so far: the completed steps and the lost attempts."""
    row = await tx.fetchrow(SQL.billed, run.org_id, run.id)
    assert row is not None
    usage = Usage(
        row["prompt_tokens"],
        row["completion_tokens"],
        row["cached_tokens"],
        row["reasoning_tokens"],
        estimated=row["estimated"],
    )
    return usage, None if row["cost_usd"] is None else float(row["cost_usd"])


async def lost(tx: Tx, journal: Journal, run: Run) -> Lost:
    """The text of the last attempt after its last step, and an estimate of its cost."""
    begun = await journal.of_type(tx, run.org_id, run.id, EventType.RUN_RECOVERED)
    since = max(run.checkpoint_sequence, begun[-1].sequence if begun else 0)
    answers = await journal.of_type(tx, run.org_id, run.id, EventType.RESPONSE_DELTA, since)
    thoughts = await journal.of_type(tx, run.org_id, run.id, EventType.REASONING_DELTA, since)
    if not (answers or thoughts) and (
        run.checkpoint is not None or run.attempt == 0
    ):  # A run that no node has executed has called no model.
        return Lost("", None)
    said = "".join(delta_of(record.payload) for record in answers if not from_subagent(record.payload))
    paid = sum(len(delta_of(record.payload)) for records in (answers, thoughts) for record in records)
    prompt = estimated_tokens(len(text_of(run.input["content"])))
    return Lost(said, ModelUse(None, Usage(prompt, estimated_tokens(paid), estimated=True), None))


def _tool_call(row: Row) -> ToolCallRow:
    return ToolCallRow(
        row["id"],
        row["name"],
        row["kind"],
        row["input"],
        row["status"],
        row["times"],
        row["result"],
        row["error"],
        row["begun_at"],
        row["settled_at"],
    )


def _request(row: Row) -> InputRequest:
    return InputRequest(
        row["id"],
        row["run_id"],
        RequestType(row["type"]),
        row["prompt"],
        row["params"],
        row["editable_params"],
        row["options"],
        row["expires_at"],
        row["schema"],
    )
