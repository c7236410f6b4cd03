"""`GET /v1/runs/{id}/events`, `GET /v1/runs/{id}/stream`, `POST /v1/runs/{id}/stream-tickets` (contract section 5)."""

from collections.abc import Awaitable, Callable
from typing import Annotated, Final
from uuid import UUID

from fastapi import Depends, Header, Query, Request
from starlette.responses import JSONResponse, Response

from stoa.http import Gate, Paging, Routes, Wire, refusals
from stoa.http.authentication import bearer_token
from stoa.http.openapi import described, documents
from stoa.http.sse import STREAM_CONTENT, EventStream
from stoa.http.wire import Data
from stoa.kernel.errors import BadRequest
from stoa.kernel.pages import PageRequest
from stoa.kernel.principal import Principal
from stoa.streams.service import Streams
from stoa.streams.tickets import TICKET_SECONDS, Tickets
from stoa.streams.wire import event_list, render_page

SEQUENCE_MAX: Final = 2**31 - 1
SEQUENCE_DIGITS_MAX: Final = 20


class TicketWire(Wire):
    ticket: str
    url: str
    expires_in_seconds: int


def routes(
    streams: Streams, gate: Gate, tickets: Tickets, principal_of_key: Callable[[UUID], Awaitable[Principal]]
) -> Routes:
    router = Routes(tags=["runs"])

    async def reader(
        request: Request,
        run_id: UUID,
        ticket: Annotated[
            str | None, Query(max_length=200, description="Instead of a header, for EventSource.")
        ] = None,
    ) -> Principal:
        if ticket is not None and bearer_token(request) is None:
            return await principal_of_key(tickets.key_of(run_id, ticket))
        return await gate.admit(request, bearer_token(request), "runs:read")

    @router.get(
        "/v1/runs/{run_id}/events",
        response_class=JSONResponse,
        responses={200: described("EventListWire"), **refusals(404)},
    )
    @documents(event_list)
    async def list_run_events(
        run_id: UUID,
        principal: Annotated[Principal, gate("runs:read")],
        page: Annotated[PageRequest, Depends(Paging())],
    ) -> Response:
        """A run's events, in sequence order: the same bytes that its stream carries."""
        return Response(render_page(await streams.page(principal, run_id, page)), media_type="application/json")

    @router.get(
        "/v1/runs/{run_id}/stream",
        response_class=Response,
        responses={
            200: {
                "description": "Server-Sent Events.",
                "content": STREAM_CONTENT,
            },
            204: {"description": "The run has ended, and nothing is left after the cursor."},
            **refusals(404),
        },
    )
    async def stream_run(
        run_id: UUID,
        principal: Annotated[Principal, Depends(reader)],
        after_sequence: Annotated[
            int | None, Query(ge=1, le=SEQUENCE_MAX, description="Only events after this one.")
        ] = None,
        last_event_id: Annotated[
            str | None,
            Header(
                alias="Last-Event-ID",
                description="As EventSource sends it; the larger of this and after_sequence counts."
                " Ignored where it is no event of this run.",
            ),
        ] = None,
    ) -> Response:
        """A run's events from the start or after a cursor; then live, until the terminal event; 204 if none is left."""
        head = await streams.head(principal, run_id)
        if after_sequence is not None and after_sequence > head.last_sequence:
            raise BadRequest.field(
                "after_sequence", f"cannot be {after_sequence}: this run has {head.last_sequence} events so far"
            )
        # EventSource reconnects to the URL that it was given: `after_sequence` stays as it was, Last-Event-ID moves on.
        after = max(after_sequence or 0, _sequence(last_event_id, head.last_sequence))
        if head.sealed and after == head.last_sequence:
            return Response(status_code=204)  # Any other answer makes a browser ask again, for ever.
        streams.admit(principal)
        return EventStream(streams.follow(principal, run_id, after, head), {"Stoa-Run-Id": str(run_id)})

    @router.post("/v1/runs/{run_id}/stream-tickets", status_code=201, responses=refusals(404))
    async def create_stream_ticket(
        request: Request, run_id: UUID, principal: Annotated[Principal, gate("runs:read")]
    ) -> Data[TicketWire]:
        """A URL that opens this run's stream without a header, for an hour: for a browser's EventSource."""
        await streams.head(principal, run_id)
        issued = tickets.issue(run_id, principal.key_id)
        url = str(request.url.replace(path=f"/v1/runs/{run_id}/stream", query=f"ticket={issued}"))
        return Data(data=TicketWire(ticket=issued, url=url, expires_in_seconds=TICKET_SECONDS))

    return router


def _sequence(last_event_id: str | None, last_sequence: int) -> int:
    """The sequence that a browser has seen last. The header may come from another stream, or be no number: an id that
    is no event of this run counts as none, and a run that is sent whole once more loses nothing.
    """
    text = (last_event_id or "").strip()
    if not text.isascii() or not text.isdigit() or len(text) > SEQUENCE_DIGITS_MAX:
        return 0
    sequence = int(text)
    return sequence if sequence <= last_sequence else 0
