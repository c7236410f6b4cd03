"""`POST /v1/messages` on the router's host: for clients that were written for Anthropic's API."""

from typing import Any, Final

from fastapi import Request
from starlette.responses import Response

from stoa.gateway.router.api import ChatStream
from stoa.gateway.router.messages import Messages, error_body
from stoa.http import Gate, Routes
from stoa.http.authentication import bearer_token
from stoa.http.bodies import CHAT_LIMIT, read_object
from stoa.http.leaving import while_connected
from stoa.kernel.errors import AppError

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


def message_routes(messages: Messages, gate: Gate) -> Routes:
    router = Routes(tags=["router"])

    @router.post("/v1/messages", response_class=Response, openapi_extra=_DOCUMENTED)
    async def create_message(request: Request) -> Response:
        """Answers as Anthropic does, by whatever provider `model` leads to; with `stream` as server-sent events. The
        key may come as `x-api-key`. Refusals have Anthropic's shape."""
        try:
            token = bearer_token(request) or request.headers.get("x-api-key")
            principal = await gate.admit(request, token, "router:call")
            fields = await read_object(request, CHAT_LIMIT)
            if fields.get("stream") is True:
                frames, head = await messages.streamed(principal, fields)
                return ChatStream(frames, head)
            whole = await while_connected(request.scope, request.receive, messages.whole(principal, fields))
        except AppError as error:
            return Response(error_body(error), error.status, dict(error.headers), "application/json")
        return Response(whole.content, 200, dict(whole.headers), whole.content_type)

    return router
