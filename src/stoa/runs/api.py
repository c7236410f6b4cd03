"""Sending a message, and runs on the api host (contract sections 4.1 and 5)."""

from collections.abc import Callable
from typing import Annotated, Any, Final
from uuid import UUID

from fastapi import Depends, Query
from starlette.responses import JSONResponse, Response

from stoa.db.idempotency import IdempotencyKey
from stoa.http import (
    Acknowledgement,
    Data,
    DataList,
    Gate,
    IdempotencyKeyHeader,
    Paging,
    Routes,
    fingerprint,
    page_of,
    refusals,
    repeated,
)
from stoa.http.bodies import MESSAGE_LIMIT
from stoa.http.routing import limited
from stoa.http.sse import STREAM_CONTENT
from stoa.kernel.errors import BadRequest, Unavailable
from stoa.kernel.pages import PageRequest
from stoa.kernel.principal import Principal
from stoa.runs import wire
from stoa.runs.rules import ACTIVE
from stoa.runs.service import Runs
from stoa.runs.types import Run, RunFilter, RunStatus, SendMessage

SORTABLE = {"created_at": "created_at", "started_at": "started_at", "ended_at": "ended_at", "status": "status"}
AWAITING_INPUT: Final = "awaiting_input"
"""A filter and no status: started or paused, with an open question to a person (contract section 5)."""
OpenStream = Callable[[Principal, UUID], Response]
"""The event stream of a run, from its first event."""


_ANSWERS: dict[int | str, dict[str, Any]] = {
    200: {
        "model": Data[wire.RunWire],
        "description": "Server-Sent Events; with `stream: false` the finished run.",
        "content": STREAM_CONTENT,
    },
    202: {"model": Data[wire.RunWire], "description": "With `background: true`: the run, which goes on by itself."},
    **refusals(404, 409, 413),
}


def routes(
    runs: Runs,
    gate: Gate,
    open_stream: OpenStream,
    admit_stream: Callable[[Principal], None],
    draining: Callable[[], bool],
) -> Routes:
    router = Routes(tags=["runs"])

    async def answered(status: int, principal: Principal, run: Run) -> Response:
        requests = (await runs.requests(principal, [run.id])).get(run.id, ()) if run.status in ACTIVE else ()
        return JSONResponse(Data(data=wire.run(run, requests)).model_dump(mode="json", exclude_none=True), status)

    async def begun(
        principal: Principal,
        conversation_id: UUID,
        send: SendMessage,
        once: IdempotencyKey | None,
        body: wire.AnswerBody,
    ) -> Response:
        if draining():
            raise Unavailable("This server is restarting; send it again in a moment.", retry_after_seconds=2)
        if not body.background and body.stream is not False:
            admit_stream(principal)
        started = await runs.start(principal, conversation_id, send, once)
        if body.background:
            return await answered(202, principal, await runs.get(principal, started.run.id))
        if body.stream is False:
            return await answered(200, principal, await runs.ended(principal, started.run.id))
        return open_stream(principal, started.run.id)

    @router.post("/v3/conversations/{conversation_id}/messages", response_model=None, responses=_ANSWERS)
    @limited(MESSAGE_LIMIT)
    async def send_message(
        conversation_id: UUID,
        body: wire.SendMessageBody,
        principal: Annotated[Principal, gate("conversations:write")],
        idempotency_key: IdempotencyKeyHeader = None,
    ) -> Response:
        """Sends a message and streams the run that answers it. The run outlives its viewers: resume at
        /v1/runs/{id}/stream."""
        sent = body.model_dump(mode="json")
        once = (
            IdempotencyKey(idempotency_key, f"messages/{conversation_id}", fingerprint(sent))
            if idempotency_key
            else None
        )
        send = SendMessage(
            sent["content"], body.model_id, body.subagents_enabled, body.metadata, body.tools, body.on_busy
        )
        return await begun(principal, conversation_id, send, once, body)

    @router.post("/v1/conversations/{conversation_id}/regenerate", response_model=None, responses=_ANSWERS)
    async def regenerate(
        conversation_id: UUID,
        body: wire.RegenerateBody,
        principal: Annotated[Principal, gate("conversations:write")],
        idempotency_key: IdempotencyKeyHeader = None,
    ) -> Response:
        """Answers the last message once more, as a run like any other. Earlier answers stay, as `superseded`; models
        read the newest that was completed. To go back further, fork the conversation at the message to answer, and
        regenerate there."""
        once = repeated(idempotency_key, f"regenerate/{conversation_id}", body)
        send = SendMessage((), body.model_id, body.subagents_enabled, None, body.tools, regenerate=True)
        return await begun(principal, conversation_id, send, once, body)

    @router.get("/v1/runs", responses=refusals())
    async def list_runs(
        principal: Annotated[Principal, gate("runs:read")],
        page: Annotated[PageRequest, Depends(Paging(SORTABLE, cursors=True))],
        status: Annotated[
            list[str] | None, Query(max_length=10, description="Repeat it for several; awaiting_input is allowed.")
        ] = None,
        conversation_id: UUID | None = None,
        user_id: Annotated[str | None, Query(max_length=255)] = None,
    ) -> DataList[wire.RunWire]:
        """Runs that the caller may see, newest first."""
        statuses, awaiting_input = statuses_of(status)
        wanted = RunFilter(statuses, awaiting_input, conversation_id, user_id)
        found = await runs.list(principal, page, wanted)
        requests = await runs.requests(principal, [run.id for run in found.items])
        return page_of(found, lambda run: wire.run(run, requests.get(run.id, ())))

    @router.get("/v1/runs/{run_id}", responses=refusals(404))
    async def get_run(run_id: UUID, principal: Annotated[Principal, gate("runs:read")]) -> Data[wire.RunWire]:
        found = await runs.get(principal, run_id)
        return Data(data=wire.run(found, (await runs.requests(principal, [run_id])).get(run_id, ())))

    @router.post("/v1/runs/{run_id}/cancel", responses=refusals(404))
    async def cancel_run(run_id: UUID, principal: Annotated[Principal, gate("runs:write")]) -> Acknowledgement:
        """Ends the run: once this answers, nothing more is written to it, and the model's call is closed. No effect on
        a finished run."""
        await runs.cancel(principal, run_id)
        return Acknowledgement(message="canceled")

    _calls(router, runs, gate)
    _queue(router, runs, gate)
    return router


def _calls(router: Routes, runs: Runs, gate: Gate) -> None:
    @router.post("/v1/runs/{run_id}/input", responses=refusals(404))
    async def give_input(
        run_id: UUID, body: wire.InputBody, principal: Annotated[Principal, gate("runs:write")]
    ) -> Acknowledgement:
        """Answers a question of the run (`input_requests`), once. A paused run goes on; a second answer is a 400."""
        await runs.answer(principal, run_id, wire.given(body))
        return Acknowledgement(message="ok")

    @router.get("/v1/runs/{run_id}/tool-calls", responses=refusals(404))
    async def list_tool_calls(
        run_id: UUID, principal: Annotated[Principal, gate("runs:read")]
    ) -> Data[list[wire.ToolCallWire]]:
        """The run's tool ledger: each call as it was entered before it was made, and what became of it."""
        return Data(data=[wire.tool_call(call) for call in await runs.tool_calls(principal, run_id)])


def _queue(router: Routes, runs: Runs, gate: Gate) -> None:
    @router.get("/v1/conversations/{conversation_id}/queue", responses=refusals(404))
    async def list_queue(
        conversation_id: UUID, principal: Annotated[Principal, gate("conversations:read")]
    ) -> Data[list[wire.QueuedWire]]:
        """Messages sent with `on_busy: queue` that wait for their turn, the next one first."""
        waiting = await runs.queue(principal, conversation_id)
        return Data(data=[wire.queued(position, run) for position, run in enumerate(waiting, 1)])

    @router.delete("/v1/conversations/{conversation_id}/queue/{run_id}", responses=refusals(404, 409))
    async def remove_from_queue(
        conversation_id: UUID, run_id: UUID, principal: Annotated[Principal, gate("conversations:write")]
    ) -> Acknowledgement:
        """Takes a message out of the queue; 409 once its turn has come."""
        await runs.unqueue(principal, conversation_id, run_id)
        return Acknowledgement(message="deleted")


def statuses_of(names: list[str] | None) -> tuple[list[RunStatus] | None, bool]:
    """The statuses that are asked for, None for any; and whether those that await input are, whatever their status."""
    if not names:
        return None, False
    statuses: list[RunStatus] = []
    for name in names:
        if name in tuple(RunStatus):
            statuses.append(RunStatus(name))
        elif name != AWAITING_INPUT:
            raise BadRequest.field("status", f"cannot be {name!r}; use {', '.join(RunStatus)}, {AWAITING_INPUT}")
    return statuses, AWAITING_INPUT in names
