"""The router's own host: OpenAI's routes, for clients that were written for them (contract section 8)."""

from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Annotated, Any, Final

from fastapi import Depends, Header, Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from stoa.db.idempotency import IdempotencyKey
from stoa.gateway.catalogue import Catalogue
from stoa.gateway.router import wire
from stoa.gateway.router.caching import HEADER, Cache, CacheOrder, order_of
from stoa.gateway.router.chat import Chat, ChatFrames, CompleteAnswer
from stoa.gateway.router.embeddings import Embeddings
from stoa.gateway.router.idempotency import IdempotentCalls
from stoa.gateway.router.routing import Routing
from stoa.http import Gate, IdempotencyKeyHeader, Routes, fingerprint, refusals
from stoa.http.authentication import bearer_token
from stoa.http.bodies import CHAT_LIMIT, BodyLimit, read_object
from stoa.http.disconnects import while_connected
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
Sent = tuple[Principal, dict[str, Any]]
EMBEDDING_LIMIT: Final = BodyLimit(CHAT_LIMIT.bytes_max, 310_000)
"""OpenAI takes 300,000 tokens in a request, and many clients send them as numbers."""


CacheHeader = Annotated[
    str | None,
    Header(
        alias=HEADER,
        max_length=50,
        description="`true` or `max-age=SECONDS`: takes an answer that was kept for the same request, and keeps this"
        " one. `, tools` behind it: also where the model may call tools. `false`: not, though the key asks for it.",
    ),
]


@dataclass(frozen=True, slots=True)
class Routed:
    """What answers the router's requests."""

    chat: Chat
    embeddings: Embeddings
    routing: Routing
    catalogue: Catalogue
    repeats: IdempotentCalls
    cache: Cache


def routes(routed: Routed, gate: Gate) -> Routes:
    router = Routes(tags=["router"])
    chat, embeddings = routed.chat, routed.embeddings
    routing, catalogue = routed.routing, routed.catalogue

    def received(limit: BodyLimit) -> Callable[[Request], Coroutine[Any, Any, Sent]]:
        async def read(request: Request) -> Sent:
            """Who asks, and the body: the key is asked for before the body is read."""
            principal = await gate.admit(request, bearer_token(request), "router:call")
            return principal, await read_object(request, limit)

        return read

    @router.post(
        "/v1/chat/completions",
        response_class=Response,
        responses=refusals(404, 409, 413, 415, 422, 502, 504),
        openapi_extra=_DOCUMENTED,
    )
    async def create_chat_completion(
        request: Request,
        sent: Annotated[Sent, Depends(received(CHAT_LIMIT))],
        idempotency_key: IdempotencyKeyHeader = None,
        stoa_cache: CacheHeader = None,
    ) -> Response:
        """Answers as OpenAI does, by whatever provider `model` leads to; with `stream` as server-sent events."""
        principal, fields = sent
        if fields.get("stream") is True:
            order = order_of(stoa_cache, principal)
            frames, head = await chat.streamed(principal, fields)
            return ChatStream(frames, head if order is None else {**head, "X-Stoa-Cache": "bypass"})
        once = _Once(idempotency_key, order_of(stoa_cache, principal))
        return await _answered(request, routed, principal, fields, once, chat.whole, chat.slugs)

    @router.post(
        "/v1/embeddings",
        response_class=Response,
        responses=refusals(404, 409, 413, 415, 422, 502, 504),
        openapi_extra=_EMBEDDING,
    )
    async def create_embedding(
        request: Request,
        sent: Annotated[Sent, Depends(received(EMBEDDING_LIMIT))],
        idempotency_key: IdempotencyKeyHeader = None,
        stoa_cache: CacheHeader = None,
    ) -> Response:
        """Vectors as OpenAI gives them, by a provider or by this server's own embedder (`stoa-embeddings`)."""
        principal, fields = sent
        once = _Once(idempotency_key, order_of(stoa_cache, principal))
        return await _answered(request, routed, principal, fields, once, embeddings.embed, embeddings.slugs_of)

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


@dataclass(frozen=True, slots=True)
class _Once:
    """What a request says of answers that there are already."""

    key: str | None
    order: CacheOrder | None


async def _answered(
    request: Request,
    routed: Routed,
    principal: Principal,
    fields: dict[str, Any],
    once: _Once,
    ask: Callable[[Principal, dict[str, Any]], Coroutine[Any, Any, CompleteAnswer]],
    slugs: Callable[[Principal, str], Coroutine[Any, Any, Sequence[str]]],
) -> Response:
    def answer() -> Coroutine[Any, Any, CompleteAnswer]:
        asked = partial(ask, principal, fields)
        return asked() if once.order is None else routed.cache.whole(principal, once.order, fields, slugs, asked)

    if once.key is None:
        work = answer()
    else:
        key = IdempotencyKey(once.key, f"router {request.url.path.rpartition('/v1/')[2]}", fingerprint(fields))
        work = routed.repeats.once(principal, key, answer)
    whole = await while_connected(request.scope, request.receive, work)
    return Response(whole.content, 200, dict(whole.headers), whole.content_type)


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
