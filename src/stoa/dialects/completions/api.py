"""Chat completions with `Stoa-Resumable: true`, or with a key whose streams are resumable by default. The stream is
read from a journal, which outlives its connection."""

from collections import deque
from collections.abc import Sequence
from contextlib import suppress
from typing import Annotated, Any, Final, cast

from fastapi import Depends, Header, Request
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from stoa.db.idempotency import IdempotencyKey
from stoa.dialects.bodies import documented, read_fields
from stoa.dialects.completions.reading import DIALECT, read
from stoa.dialects.completions.translator import DONE, CompletionTranslator, Numbered
from stoa.dialects.responses.errors import as_openai
from stoa.dialects.responses.names import our_id
from stoa.dialects.starting import Attachment, Beginning, Order
from stoa.events import decode
from stoa.http import Gate, IdempotencyKeyHeader, Routes, fingerprint, refusals
from stoa.http.authentication import bearer_token
from stoa.http.bodies import CHAT_LIMIT, allow, read_json
from stoa.http.sse import OTHER_STREAM_CONTENT, EventStream
from stoa.journal import Record
from stoa.kernel.errors import AppError, NotFound
from stoa.kernel.principal import Principal
from stoa.runs import Run
from stoa.streams import Streams

HEADER: Final = b"stoa-resumable"
_CHAT: Final = "/v1/chat/completions"
_RESUMABLE: Final = "/v1/chat/completions/resumable"
_EXAMPLE: Final = {"model": "stoa-extractive", "messages": [{"role": "user", "content": "Hello"}], "stream": True}
Sent = tuple[Principal, dict[str, Any]]
LastEventId = Annotated[str | None, Header(alias="Last-Event-ID", max_length=20)]


class Resumable:
    """Middleware that sends resumable chat completions to their own route.

    The header decides; without it, the key's setting does. A key's setting applies only to requests that can be
    resumable.
    """

    def __init__(self, app: ASGIApp, gate: Gate) -> None:
        self._app = app
        self._gate = gate

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["method"] == "POST" and scope["path"].endswith(_CHAT):
            wanted = next((value for name, value in scope["headers"] if name == HEADER), None)
            if wanted is None:
                scope, receive = await self._as_the_key_says(scope, receive)
            elif wanted.strip().lower() in (b"true", b"1"):
                scope = _rerouted(scope)
        await self._app(scope, receive, send)

    async def _as_the_key_says(self, scope: Scope, receive: Receive) -> tuple[Scope, Receive]:
        """Reroutes the request of a key whose streams are resumable. It never refuses: the route reports what is wrong
        with a request."""
        request = Request(scope, receive)
        try:
            principal = await self._gate.admit(request, bearer_token(request), "router:call")
        except AppError:
            return scope, receive
        if not principal.resumable_streams:
            return scope, receive
        allow(scope, CHAT_LIMIT)
        received: list[Message] = []
        while True:
            message = await receive()
            received.append(message)
            if message["type"] != "http.request" or not message.get("more_body"):
                break
        body = b"".join(message.get("body", b"") for message in received)
        with suppress(AppError):
            fields = await read_json(body, CHAT_LIMIT)
            if isinstance(fields, dict):
                read(cast("dict[str, Any]", fields))
                scope = _rerouted(scope)
        return scope, _again(received, receive)


def _rerouted(scope: Scope) -> Scope:
    path = scope["path"].removesuffix(_CHAT) + _RESUMABLE
    return {**scope, "path": path, "raw_path": path.encode()}


def _again(received: Sequence[Message], receive: Receive) -> Receive:
    """A `receive` that first replays the messages that were received already."""
    held = deque(received)

    async def replay() -> Message:
        return held.popleft() if held else await receive()

    return replay


def completion_routes(beginning: Beginning, streams: Streams, gate: Gate) -> Routes:
    router = Routes(tags=["router"])

    async def received(request: Request) -> Sent:
        principal = await gate.admit(request, bearer_token(request), "router:call")
        return principal, await read_fields(request)

    def streamed(principal: Principal, run: Run, last: str | None) -> Response:
        echo = run.options["wanted"]["echo"]
        created = int(run.created_at.timestamp())
        translator = CompletionTranslator(f"chatcmpl_{run.id.hex}", created, echo["model"], usage=echo["usage"])
        numbered = Numbered(int(last) if last is not None and last.isascii() and last.isdigit() else 0)

        def translate(records: Sequence[Record]) -> bytes:
            return numbered.encode(translator.take([decode(record.type, record.payload) for record in records]))

        frames = streams.translated(principal, run.id, translate, DONE)
        return EventStream(frames, {"Stoa-Run-Id": str(run.id)})

    answers: dict[int | str, dict[str, Any]] = {
        200: {"description": "Chunks, numbered.", "content": OTHER_STREAM_CONTENT}
    }

    @router.post(
        _RESUMABLE,
        response_class=Response,
        responses={**answers, **refusals(404, 409, 413, 415)},
        openapi_extra=documented(_EXAMPLE),
    )
    async def create_resumable_completion(
        sent: Annotated[Sent, Depends(received)],
        idempotency_key: IdempotencyKeyHeader = None,
        last_event_id: LastEventId = None,
    ) -> Response:
        """What POST /v1/chat/completions does with `Stoa-Resumable: true`. The same Idempotency-Key again gives the
        same stream, after Last-Event-ID."""
        principal, fields = sent
        once = IdempotencyKey(idempotency_key, DIALECT, fingerprint(fields)) if idempotency_key else None
        with as_openai():
            asked = read(fields)
            streams.admit(principal)
            uploads = [Attachment(one.name, one.mime_type, one.data) for one in asked.uploads]
            order = Order(asked.model, asked.items, asked.wanted, uploads, user=asked.user)
            return streamed(principal, await beginning.start(principal, order, once), last_event_id)

    @router.get(
        "/v1/chat/completions/{completion}",
        response_class=Response,
        responses={**answers, **refusals(404)},
    )
    async def resume_completion(
        completion: str, principal: Annotated[Principal, gate("router:call")], last_event_id: LastEventId = None
    ) -> Response:
        """The chunks of a resumable completion after Last-Event-ID, then live, up to an hour after its end."""
        missing = NotFound(f"There is no completion {completion[:100]} that can be resumed.")
        run_id = our_id(completion)
        if run_id is None:
            raise missing
        try:
            run = await beginning.runs.get(principal, run_id)
        except NotFound:
            raise missing from None
        if (run.options.get("wanted") or {}).get("dialect") != DIALECT:
            raise missing
        streams.admit(principal)
        return streamed(principal, run, last_event_id)

    return router
