"""`POST /v1/workflows/test`: runs a flow that is neither saved nor released (contract section 6). It really runs."""

from typing import Annotated

from fastapi import Request
from starlette.responses import JSONResponse, Response

from stoa.db.idempotency import IdempotencyKey
from stoa.http import Data, Gate, IdempotencyKeyHeader, Routes, fingerprint, refusals
from stoa.http.sse import STREAM_CONTENT
from stoa.kernel.principal import Principal
from stoa.runs import app_wire, forms, wire
from stoa.runs.host import AppRuns
from stoa.runs.ports import Trials
from stoa.runs.rules import ACTIVE
from stoa.runs.types import SendMessage

_ANSWERS = {
    200: {
        "model": Data[wire.RunWire],
        "description": "The run once it has ended, or waits for a person; with `stream`, Server-Sent Events.",
        "content": STREAM_CONTENT,
    },
    **refusals(409, 413, 415),
}


def testing_routes(app_runs: AppRuns, trials: Trials, gate: Gate) -> Routes:
    router = Routes(tags=["workflows"])

    @router.post(
        "/v1/workflows/test",
        response_model=None,
        responses=_ANSWERS,
    )
    @forms.documented(app_wire.TestFlow)
    async def test_workflow(
        request: Request,
        principal: Annotated[Principal, gate("apps:write")],
        idempotency_key: IdempotencyKeyHeader = None,
    ) -> Response:
        """Runs a flow in a conversation of its own. Its tools really act, and it stands on the bill."""
        app_runs.admit_start()
        async with forms.read(request, app_wire.TestFlow, ("flow", "input")) as (body, _):
            if body.stream:
                app_runs.reading.admit(principal)
            seal = fingerprint(body.model_dump(mode="json"))
            once = IdempotencyKey(idempotency_key, "workflow-tests", seal) if idempotency_key else None
            trial = await trials.prepare(principal, body.project_id, body.flow, body.input, once)
            content = app_wire.content_of(body.input, ())
            send = SendMessage(content, None, subagents_enabled=True, metadata=None, graph=trial.graph)
            started = await app_runs.runs.start(trial.principal, trial.conversation_id, send, once)
        if body.stream:
            return app_runs.reading.open_stream(trial.principal, started.run.id)
        ended = await app_runs.runs.ended(trial.principal, started.run.id)
        asked = await app_runs.runs.requests(principal, [ended.id]) if ended.status in ACTIVE else {}
        shown = Data(data=wire.run(ended, asked.get(ended.id, ())))
        return JSONResponse(shown.model_dump(mode="json", exclude_none=True))

    return router
