"""OpenAI's `/v1/conversations`, on the router's host and under `/openai`."""

from typing import Annotated, Any, Final

from fastapi import Depends, Request
from starlette.responses import JSONResponse, Response

from stoa.dialects.bodies import documented
from stoa.dialects.responses import shapes
from stoa.dialects.responses.api import After, Limit, Order, read_fields
from stoa.dialects.responses.conversations import ItemConversations, shown
from stoa.dialects.responses.errors import as_openai
from stoa.dialects.responses.names import conversation_id
from stoa.dialects.responses.reading import metadata
from stoa.http import Gate, Routes, refusals
from stoa.http.authentication import bearer_token
from stoa.kernel.errors import BadRequest
from stoa.kernel.principal import Principal

Sent = tuple[Principal, dict[str, Any]]


_METADATA: Final = documented({"metadata": {"topic": "tickets"}})
_ITEMS: Final = documented({"items": [{"type": "message", "role": "user", "content": "Hello"}]})


def conversation_routes(held: ItemConversations, gate: Gate) -> Routes:
    router = Routes(tags=["conversations"])

    async def received(request: Request) -> Sent:
        principal = await gate.admit(request, bearer_token(request), "conversations:write")
        return principal, await read_fields(request)

    @router.post("/v1/conversations", response_class=Response, responses=refusals(413, 415), openapi_extra=_METADATA)
    async def create_item_conversation(sent: Annotated[Sent, Depends(received)]) -> Response:
        """A conversation, with what was said in it before."""
        principal, fields = sent
        with as_openai():
            made = await held.create(principal, metadata(fields.get("metadata")), fields.get("items"))
            return JSONResponse(shown(made))

    @router.get("/v1/conversations/{conversation}", response_class=Response, responses=refusals(404))
    async def get_item_conversation(
        conversation: str, principal: Annotated[Principal, gate("conversations:read")]
    ) -> Response:
        return JSONResponse(shown(await held.get(principal, conversation)))

    @router.post(
        "/v1/conversations/{conversation}",
        response_class=Response,
        responses=refusals(404, 413, 415),
        openapi_extra=_METADATA,
    )
    async def update_item_conversation(conversation: str, sent: Annotated[Sent, Depends(received)]) -> Response:
        """Replaces its metadata."""
        principal, fields = sent
        with as_openai():
            if "metadata" not in fields:
                raise BadRequest.field("metadata", "is required")
            return JSONResponse(shown(await held.update(principal, conversation, metadata(fields["metadata"]))))

    @router.delete("/v1/conversations/{conversation}", response_class=Response, responses=refusals(404))
    async def delete_item_conversation(
        conversation: str, principal: Annotated[Principal, gate("conversations:write")]
    ) -> Response:
        """With everything that was said in it."""
        gone = await held.delete(principal, conversation)
        return JSONResponse({"id": conversation_id(gone), "object": "conversation.deleted", "deleted": True})

    _items(router, held, gate)
    return router


def _items(router: Routes, held: ItemConversations, gate: Gate) -> None:
    async def received(request: Request) -> Sent:
        principal = await gate.admit(request, bearer_token(request), "conversations:write")
        return principal, await read_fields(request)

    @router.get("/v1/conversations/{conversation}/items", response_class=Response, responses=refusals(404))
    async def list_conversation_items(
        conversation: str,
        principal: Annotated[Principal, gate("conversations:read")],
        limit: Limit = 20,
        order: Order = "desc",
        after: After = None,
    ) -> Response:
        """Messages, calls and results, newest first."""
        with as_openai():
            found = await held.items(principal, await held.get(principal, conversation))
            return JSONResponse(shapes.listed(found, limit, order, after))

    @router.post(
        "/v1/conversations/{conversation}/items",
        response_class=Response,
        responses=refusals(404, 409, 413, 415),
        openapi_extra=_ITEMS,
    )
    async def create_conversation_items(conversation: str, sent: Annotated[Sent, Depends(received)]) -> Response:
        """Puts in what was said, without an answer."""
        principal, fields = sent
        with as_openai():
            made = await held.add(principal, conversation, fields.get("items"))
            return JSONResponse(shapes.listed(made, shapes.LIMIT_MAX, "asc", None))

    @router.get("/v1/conversations/{conversation}/items/{item}", response_class=Response, responses=refusals(404))
    async def get_conversation_item(
        conversation: str, item: str, principal: Annotated[Principal, gate("conversations:read")]
    ) -> Response:
        return JSONResponse(await held.item(principal, conversation, item))
