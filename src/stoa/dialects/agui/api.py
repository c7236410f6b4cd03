"""AG-UI: `POST /v1/agui/{agent}`, where the agent is an app's id or the slug of a model."""

from collections.abc import Sequence
from typing import Annotated, Any, Final

from fastapi import Depends, Request
from starlette.responses import Response

from stoa.dialects.agui.reading import DIALECT, turn_of
from stoa.dialects.agui.translator import AguiTranslator, encode
from stoa.dialects.bodies import documented, read_fields
from stoa.dialects.starting import once_for
from stoa.dialects.threads import Threads
from stoa.events import decode
from stoa.http import Gate, Routes, refusals
from stoa.http.authentication import bearer_token
from stoa.http.sse import STREAM_CONTENT, EventStream
from stoa.journal import Record
from stoa.kernel.principal import Principal
from stoa.streams import Streams

_EXAMPLE: Final = {
    "threadId": "thread-1",
    "runId": "run-1",
    "state": {},
    "messages": [{"id": "m1", "role": "user", "content": "Hello"}],
    "tools": [],
    "context": [],
    "forwardedProps": {},
}


def agui_routes(threads: Threads, streams: Streams, gate: Gate) -> Routes:
    router = Routes(tags=["agui"])

    async def received(request: Request) -> tuple[Principal, dict[str, Any]]:
        principal = await gate.admit(request, bearer_token(request), "conversations:write")
        return principal, await read_fields(request)

    @router.post(
        "/v1/agui/{agent:path}",
        response_class=Response,
        responses={
            200: {"description": "AG-UI's events.", "content": STREAM_CONTENT},
            **refusals(404, 409, 413, 415),
        },
        openapi_extra=documented(_EXAMPLE),
    )
    async def run_agui_agent(
        agent: str, sent: Annotated[tuple[Principal, dict[str, Any]], Depends(received)]
    ) -> Response:
        """Runs an agent as AG-UI's clients ask for it. The same `runId` again gives the same run, from its start."""
        principal, fields = sent
        turn, run_id = turn_of(agent, fields)
        streams.admit(principal)
        run = await threads.start(principal, turn, once_for(DIALECT, turn.thread, run_id))
        translator = AguiTranslator(turn.thread, run_id)

        def translate(records: Sequence[Record]) -> bytes:
            return encode(translator.take([decode(record.type, record.payload) for record in records]))

        return EventStream(streams.translated(principal, run.id, translate), {"Stoa-Run-Id": str(run.id)})

    return router
