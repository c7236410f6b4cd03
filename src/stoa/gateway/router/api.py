"""The router's own host: OpenAI's routes, for clients that were written for them (contract section 8)."""

import asyncio
from collections.abc import Callable, Coroutine
from functools import partial
from typing import Annotated, Any, Final, TypeVar

from fastapi import Depends, Request
from starlette.requests import ClientDisconnect
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from stoa.db.idempotency import IdempotencyKey
from stoa.gateway.catalogue import Catalogue
from stoa.gateway.router import wire
from stoa.gateway.router.chat import Chat, ChatFrames, Whole
from stoa.gateway.router.embeddings import Embeddings
from stoa.gateway.router.repeating import Repeats
from stoa.gateway.router.routing import Routing
from stoa.http import Gate, IdempotencyKeyHeader, Routes, fingerprint, refusals
from stoa.http.authentication import bearer_token
from stoa.http.bodies import CHAT_LIMIT, read_object
from stoa.http.connections import WHEN_GONE
from stoa.http.sse import EventStream
from stoa.kernel.errors import NotFound
from stoa.kernel.principal import Principal

_DOCUMENTED: Final[dict[str, Any]] = {
    "requestBody": {
        "required": True,
        "content": {
            "application/json": {
                "schema": {"type": "object", "description": "OpenAI's request; unknown fields are passed on."},
                "examples": {
                    "chat": {"value": {"model": "stoa-extractive", "messages": [{"role": "user", "content": "Hello"}]}}
                },
            }
        },
    }
}
_EMBEDDING: Final[dict[str, Any]] = {
    "requestBody": {
        "required": True,
        "content": {
            "application/json": {
                "schema": {"type": "object", "description": "OpenAI's request; unknown fields are passed on."},
                "examples": {"embedding": {"value": {"model": "stoa-embeddings", "input": ["Hello"]}}},
            }
        },
    }
}
T = TypeVar("T")
Sent = tuple[Principal, dict[str, Any]]


def routes(
    chat: Chat, embeddings: Embeddings, routing: Routing, catalogue: Catalogue, repeats: Repeats, gate: Gate
) -> Routes:
    router = Routes(tags=["router"])

    async def received(request: Request) -> Sent:
        """Who asks, and the body: the key is asked for before the body is read."""
        principal = await gate.admit(request, bearer_token(request), "router:call")
        return principal, await read_object(request, CHAT_LIMIT)

    @router.post(
        "/v1/chat/completions",
        response_class=Response,
        responses=refusals(404, 409, 413, 415, 422, 502, 504),
        openapi_extra=_DOCUMENTED,
    )
    async def create_chat_completion(
        request: Request, sent: Annotated[Sent, Depends(received)], idempotency_key: IdempotencyKeyHeader = None
    ) -> Response:
        """Answers as OpenAI does, by whatever provider `model` leads to; with `stream` as server-sent events."""
        principal, fields = sent
        if fields.get("stream") is True:
            frames, head = await chat.streamed(principal, fields)
            return ChatStream(frames, head)
        return await _answered(request, repeats, principal, fields, idempotency_key, chat.whole)

    @router.post(
        "/v1/embeddings",
        response_class=Response,
        responses=refusals(404, 409, 413, 415, 422, 502, 504),
        openapi_extra=_EMBEDDING,
    )
    async def create_embedding(
        request: Request, sent: Annotated[Sent, Depends(received)], idempotency_key: IdempotencyKeyHeader = None
    ) -> Response:
        """Vectors as OpenAI gives them, by a provider or by this server's own embedder (`stoa-embeddings`)."""
        principal, fields = sent
        return await _answered(request, repeats, principal, fields, idempotency_key, embeddings.embed)

    @router.get("/v1/models", responses=refusals())
    async def list_routed_models(
        principal: Annotated[Principal, gate("router:call", "models:read")],
    ) -> wire.RoutedModelsWire:
        """Every slug that `model` takes: the operator's routes and models, this server's embedder, and the models of
        the caller's connections."""
        own = await catalogue.own(principal)
        data = [wire.model(route.slug, "stoa") for route in routing.routes]
        data += [*wire.models(catalogue.entries), *(wire.model(slug, "stoa") for slug in embeddings.slugs)]
        return wire.RoutedModelsWire(object="list", data=[*data, *wire.models(own)])

    @router.get("/v1/models/{slug:path}", responses=refusals(404))
    async def get_routed_model(
        slug: str, principal: Annotated[Principal, gate("router:call", "models:read")]
    ) -> wire.RoutedModelWire:
        """One slug, which may hold slashes."""
        if routing.route(slug) is not None or slug in embeddings.slugs:
            return wire.model(slug, "stoa")
        if "\0" in slug:
            raise NotFound("There is no such model; GET /v1/models lists them.")
        entry, _ = await catalogue.named(principal, slug)
        return wire.model(entry.slug, entry.provider)

    return router


async def _answered(
    request: Request,
    repeats: Repeats,
    principal: Principal,
    fields: dict[str, Any],
    key: str | None,
    answer: Callable[[Principal, dict[str, Any]], Coroutine[Any, Any, Whole]],
) -> Response:
    if key is None:
        work = answer(principal, fields)
    else:
        once = IdempotencyKey(key, f"router {request.url.path.rpartition('/v1/')[2]}", fingerprint(fields))
        work = repeats.once(principal, once, lambda: answer(principal, fields))
    whole = await while_connected(request.scope, request.receive, work)
    return Response(whole.content, 200, dict(whole.headers), whole.content_type)


async def while_connected(scope: Scope, receive: Receive, work: Coroutine[Any, Any, T]) -> T:
    """What `work` gives; it is cancelled when the client goes. Raises ClientDisconnect then."""
    task = asyncio.current_task()
    assert task is not None
    left = ended = False

    def leave() -> None:
        nonlocal left
        if not ended:
            left = True
            task.cancel()

    stop_watching = _watch(scope, receive, leave)
    try:
        return await work
    except asyncio.CancelledError:
        if left and not task.uncancel():
            raise ClientDisconnect from None
        raise
    finally:
        ended = True
        stop_watching()


def _watch(scope: Scope, receive: Receive, leave: Callable[[], None]) -> Callable[[], None]:
    """Calls `leave` when the client goes, until what this gives is called."""
    when_gone: Callable[[Callable[[], None] | None], None] | None = scope.get(WHEN_GONE)
    if when_gone is not None:
        when_gone(leave)
        return partial(when_gone, None)
    watching = asyncio.ensure_future(_gone(receive))

    def ended(watcher: asyncio.Future[None]) -> None:
        if not watcher.cancelled():
            watcher.exception()  # Whatever it raises: nobody waits for the answer.
            leave()

    def stop() -> None:
        watching.remove_done_callback(ended)
        watching.cancel()

    watching.add_done_callback(ended)
    return stop


async def _gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


class ChatStream(EventStream):
    """An event stream whose call is settled whatever becomes of it."""

    def __init__(self, frames: ChatFrames, headers: Any) -> None:
        super().__init__(frames, headers)
        self._chat = frames

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await super().__call__(scope, receive, send)
        finally:
            await self._chat.abandon()
