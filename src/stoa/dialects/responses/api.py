"""OpenAI's `/v1/responses`, on the router's host and under `/openai` (contract section 8)."""

from collections.abc import Callable
from typing import Annotated, Any, Final, Literal

from fastapi import Depends, Query, Request
from starlette.responses import JSONResponse, Response

from stoa.db.idempotency import IdempotencyKey
from stoa.dialects import bodies
from stoa.dialects.bodies import documented
from stoa.dialects.responses import reading, shapes
from stoa.dialects.responses.compacting import compacted
from stoa.dialects.responses.errors import as_openai
from stoa.dialects.responses.names import response_id
from stoa.dialects.responses.service import Responses, include_of
from stoa.http import Gate, IdempotencyKeyHeader, Routes, fingerprint, refusals
from stoa.http.authentication import bearer_token
from stoa.http.sse import EventStream, Frames
from stoa.kernel.principal import Principal
from stoa.runs import Run

Sent = tuple[Principal, dict[str, Any]]
Limit = Annotated[int, Query(ge=1, le=shapes.LIMIT_MAX)]
Order = Annotated[Literal["asc", "desc"], Query()]
After = Annotated[str | None, Query(max_length=100)]
Include = Annotated[list[str] | None, Query(alias="include[]", max_length=20)]
_EXAMPLE: Final = {"model": "stoa-extractive", "input": "Hello"}


async def read_fields(request: Request) -> dict[str, Any]:
    """The body. Raises InvalidRequest, TooLarge, UnsupportedMediaType."""
    with as_openai():
        return await bodies.read_fields(request)


def response_routes(responses: Responses, admit_stream: Callable[[Principal], None], gate: Gate) -> Routes:
    router = Routes(tags=["responses"])

    async def received(request: Request) -> Sent:
        """The principal and the body. The key is checked before the body is read."""
        principal = await gate.admit(request, bearer_token(request), "conversations:write")
        return principal, await read_fields(request)

    @router.post(
        "/v1/responses",
        response_class=Response,
        responses=refusals(404, 409, 413, 415),
        openapi_extra=documented(_EXAMPLE),
    )
    async def create_response(
        sent: Annotated[Sent, Depends(received)], idempotency_key: IdempotencyKeyHeader = None
    ) -> Response:
        """Answers as OpenAI's Responses do, by a run: its stream is resumable, and it outlives its viewers."""
        principal, fields = sent
        once = IdempotencyKey(idempotency_key, "responses", fingerprint(fields)) if idempotency_key else None
        with as_openai():
            asked = reading.read(fields)
            include = include_of(fields.get("include"))
            if asked.stream:
                admit_stream(principal)
            run = await responses.create(principal, asked, include, once)
            if asked.stream:
                return _streamed(run, responses.frames(principal, run))
            shown = await (responses.shown if asked.background else responses.ended)(principal, run)
            return JSONResponse(shown)

    @router.post(
        "/v1/responses/compact",
        response_class=Response,
        responses=refusals(404, 413, 415, 502),
        openapi_extra=documented(_EXAMPLE),
    )
    async def compact_response(sent: Annotated[Sent, Depends(received)]) -> Response:
        """The conversation as one item, a summary that the model writes: what a later request brings instead."""
        principal, fields = sent
        with as_openai():
            return JSONResponse(await compacted(responses, principal, fields))

    @router.get("/v1/responses/{response}", response_class=Response, responses=refusals(404))
    async def get_response(
        response: str,
        principal: Annotated[Principal, gate("runs:read")],
        stream: bool = False,
        starting_after: Annotated[int | None, Query(ge=0, le=2**53)] = None,
        include: Include = None,
    ) -> Response:
        """The response as it is now; with `stream` its events, after the sequence number `starting_after`."""
        with as_openai():
            run = await responses.get(principal, response)
            if not stream:
                return JSONResponse(await responses.shown(principal, run, include or ()))
            admit_stream(principal)
            after = -1 if starting_after is None else starting_after
            return _streamed(run, responses.frames(principal, run, after, include or ()))

    _changing(router, responses, gate)
    return router


def _streamed(run: Run, frames: Frames) -> EventStream:
    return EventStream(frames, {"Stoa-Run-Id": str(run.id)})


def _changing(router: Routes, responses: Responses, gate: Gate) -> None:
    @router.post("/v1/responses/{response}/cancel", response_class=Response, responses=refusals(404))
    async def cancel_response(response: str, principal: Annotated[Principal, gate("runs:write")]) -> Response:
        """Ends the response; no effect on one that has ended."""
        with as_openai():
            run = await responses.get(principal, response)
            return JSONResponse(await responses.cancel(principal, run))

    @router.delete("/v1/responses/{response}", response_class=Response, responses=refusals(404))
    async def delete_response(response: str, principal: Annotated[Principal, gate("conversations:write")]) -> Response:
        """Nobody sees it any more. Its data goes with the last response of its chain."""
        with as_openai():
            run = await responses.get(principal, response)
            await responses.delete(principal, run)
            return JSONResponse({"id": response_id(run.id), "object": "response", "deleted": True})

    @router.get("/v1/responses/{response}/input_items", response_class=Response, responses=refusals(404))
    async def list_input_items(
        response: str,
        principal: Annotated[Principal, gate("runs:read")],
        limit: Limit = 20,
        order: Order = "desc",
        after: After = None,
    ) -> Response:
        """What the request brought, as items."""
        with as_openai():
            run = await responses.get(principal, response)
            return JSONResponse(shapes.listed(await responses.input_items(principal, run), limit, order, after))
