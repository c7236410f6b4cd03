"""`POST /v1/messages` on the router's host: for clients that were written for Anthropic's API."""

from typing import Annotated, Any, Final

from fastapi import Header, Request
from starlette.responses import Response

from stoa.gateway.router.api import ChatStream
from stoa.gateway.router.messages import Messages, error_body
from stoa.http import Gate, Routes
from stoa.http.authentication import bearer_token
from stoa.http.bodies import CHAT_LIMIT, read_object
from stoa.http.disconnects import while_connected
from stoa.kernel.errors import AppError
from stoa.kernel.principal import Principal

_DOCUMENTED: Final[dict[str, Any]] = {
    "requestBody": {
        "required": True,
        "content": {
            "application/json": {
                "schema": {"type": "object", "description": "Anthropic's request; unknown fields are passed on."},
                "examples": {
                    "message": {
                        "value": {
                            "model": "stoa-extractive",
                            "max_tokens": 1024,
                            "messages": [{"role": "user", "content": "Hello"}],
                        }
                    }
                },
            }
        },
    }
}


BetaHeader = Annotated[
    str | None,
    Header(alias="anthropic-beta", max_length=500, description="Passed on to a provider of Anthropic's wire."),
]


def message_routes(messages: Messages, gate: Gate) -> Routes:
    router = Routes(tags=["router"])

    async def received(request: Request) -> tuple[Principal, dict[str, Any]]:
        """The key may come as `x-api-key`."""
        token = bearer_token(request) or request.headers.get("x-api-key")
        principal = await gate.admit(request, token, "router:call")
        return principal, await read_object(request, CHAT_LIMIT)

    @router.post("/v1/messages", response_class=Response, openapi_extra=_DOCUMENTED)
    async def create_message(request: Request, anthropic_beta: BetaHeader = None) -> Response:
        """Answers as Anthropic does, by whatever provider `model` leads to; with `stream` as server-sent events. The
        key may come as `x-api-key`. Refusals have Anthropic's shape."""
        try:
            principal, fields = await received(request)
            if fields.get("stream") is True:
                frames, head = await messages.streamed(principal, fields, anthropic_beta)
                return ChatStream(frames, head)
            asked = messages.whole(principal, fields, anthropic_beta)
            whole = await while_connected(request.scope, request.receive, asked)
        except AppError as error:
            return Response(error_body(error), error.status, dict(error.headers), "application/json")
        return Response(whole.content, 200, dict(whole.headers), whole.content_type)

    @router.post("/v1/messages/count_tokens", response_class=Response, openapi_extra=_DOCUMENTED)
    async def count_message_tokens(request: Request, anthropic_beta: BetaHeader = None) -> Response:
        """The tokens that a message would be: as a provider of Anthropic's wire counts them, for other models
        estimated. Costs nothing."""
        try:
            principal, fields = await received(request)
            counted = messages.count(principal, fields, anthropic_beta)
            content = await while_connected(request.scope, request.receive, counted)
        except AppError as error:
            return Response(error_body(error), error.status, dict(error.headers), "application/json")
        return Response(content, 200, None, "application/json")

    return router
