"""The AI SDK's UI messages: `api: '/v1/ui-messages/{agent}'` of `useChat`, where the agent is an app's id or the slug
of a model; `GET …/{chat}/stream` is its `resume`."""

from collections.abc import Sequence
from typing import Annotated, Any, Final

from fastapi import Depends, Request
from starlette.responses import Response

from stoa.db.idempotency import IdempotencyKey
from stoa.dialects.bodies import documented, read_fields
from stoa.dialects.threads import Threads
from stoa.dialects.ui_messages.reading import turn_of
from stoa.dialects.ui_messages.translator import DONE, UiMessageTranslator, encode
from stoa.events import decode
from stoa.http import Gate, IdempotencyKeyHeader, Routes, fingerprint, refusals
from stoa.http.authentication import bearer_token
from stoa.http.sse import OTHER_STREAM_CONTENT, EventStream
from stoa.journal import Record
from stoa.kernel.principal import Principal
from stoa.runs import Run
from stoa.streams import Streams

HEADER: Final = {"x-vercel-ai-ui-message-stream": "v1"}
_EXAMPLE: Final = {
    "id": "chat-1",
    "trigger": "submit-message",
    "messages": [{"id": "m1", "role": "user", "parts": [{"type": "text", "text": "Hello"}]}],
}


def ui_message_routes(threads: Threads, streams: Streams, gate: Gate) -> Routes:
    router = Routes(tags=["ui-messages"])

    async def received(request: Request) -> tuple[Principal, dict[str, Any]]:
        principal = await gate.admit(request, bearer_token(request), "conversations:write")
        return principal, await read_fields(request)

    def streamed(principal: Principal, run: Run) -> Response:
        translator = UiMessageTranslator(f"msg-{run.id}")

        def translate(records: Sequence[Record]) -> bytes:
            return encode(translator.take([decode(record.type, record.payload) for record in records]))

        frames = streams.translated(principal, run.id, translate, DONE)
        return EventStream(frames, {**HEADER, "Stoa-Run-Id": str(run.id)})

    answers: dict[int | str, dict[str, Any]] = {
        200: {"description": "A UI message stream, version 1.", "content": OTHER_STREAM_CONTENT}
    }

    @router.post(
        "/v1/ui-messages/{agent:path}",
        response_class=Response,
        responses={**answers, **refusals(404, 409, 413, 415)},
        openapi_extra=documented(_EXAMPLE),
    )
    async def send_ui_messages(
        agent: str,
        sent: Annotated[tuple[Principal, dict[str, Any]], Depends(received)],
        idempotency_key: IdempotencyKeyHeader = None,
    ) -> Response:
        """Answers what `useChat` sends: its last message, or the results of the client's own tools."""
        principal, fields = sent
        streams.admit(principal)
        once = IdempotencyKey(idempotency_key, "ui-messages", fingerprint(fields)) if idempotency_key else None
        return streamed(principal, await threads.start(principal, turn_of(agent, fields), once))

    @router.get(
        "/v1/ui-messages/{agent:path}/{chat}/stream",
        response_class=Response,
        responses={**answers, 204: {"description": "Nothing is under way in this chat."}, **refusals(404)},
    )
    async def resume_ui_messages(
        agent: str,  # noqa: ARG001 - part of the address that useChat builds
        chat: str,
        principal: Annotated[Principal, gate("runs:read")],
    ) -> Response:
        """The answer that is under way in a chat, from its first chunk, then live; 204 where there is none."""
        run = await threads.latest(principal, chat)
        if run is None:
            return Response(status_code=204)
        streams.admit(principal)
        return streamed(principal, run)

    return router
