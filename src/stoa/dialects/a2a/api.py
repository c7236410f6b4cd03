"""A2A: an agent's card, and its JSON-RPC at `/v1/a2a/{agent}`, where the agent is an app's id or the slug of a model.

Both versions of the wire: clients that say `A2A-Version: 1.0`, or call the methods by their names of that version, are
answered in its words.
"""

from collections.abc import Awaitable, Callable, Mapping
from typing import Annotated, Any, Final
from uuid import UUID

import orjson
from fastapi import Depends, Request
from starlette.responses import JSONResponse, Response

from stoa import __version__
from stoa.dialects.a2a.service import TaskNotFound, Tasks, ended, message_of
from stoa.dialects.a2a.shapes import Words
from stoa.dialects.bodies import documented, read_fields
from stoa.http import Gate, Routes, refusals
from stoa.http.authentication import bearer_token
from stoa.http.sse import EventStream, Frames
from stoa.kernel.errors import AppError, BadRequest
from stoa.kernel.principal import Principal
from stoa.runs import Run

_METHODS: Final[Mapping[str, str]] = {
    "message/send": "send",
    "message/stream": "stream",
    "tasks/get": "get",
    "tasks/cancel": "cancel",
    "tasks/resubscribe": "subscribe",
    "agent/getAuthenticatedExtendedCard": "card",
    "SendMessage": "send",
    "SendStreamingMessage": "stream",
    "GetTask": "get",
    "CancelTask": "cancel",
    "SubscribeToTask": "subscribe",
    "GetExtendedAgentCard": "card",
}
_ERRORS: Final[Mapping[int, int]] = {400: -32602, 404: -32602, 409: -32600}
_NOT_FOUND: Final = -32001
_NOT_CANCELABLE: Final = -32002
_UNSUPPORTED: Final = -32004
_NO_METHOD: Final = -32601
_INVALID: Final = -32600
_EXAMPLE: Final = {
    "jsonrpc": "2.0",
    "id": 1,
    "method": "message/send",
    "params": {"message": {"messageId": "m1", "role": "user", "parts": [{"kind": "text", "text": "Hello"}]}},
}
Named = Callable[[Principal, str], Awaitable[tuple[str, str]]]
"""The name and description of an agent. Raises NotFound."""
Sent = tuple[Principal, dict[str, Any]]


class Refused(Exception):
    """An error of JSON-RPC."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(message)
        self.code, self.message = code, message


def a2a_routes(tasks: Tasks, named: Named, admit_stream: Callable[[Principal], None], gate: Gate) -> Routes:
    router = Routes(tags=["a2a"])

    async def received(request: Request) -> Sent:
        principal = await gate.admit(request, bearer_token(request), "conversations:write")
        return principal, await read_fields(request)

    @router.get("/v1/a2a/{agent:path}/.well-known/agent-card.json", response_class=Response, responses=refusals(404))
    async def get_agent_card(
        request: Request, agent: str, principal: Annotated[Principal, gate("conversations:read")]
    ) -> Response:
        """What the agent is, and where its methods are."""
        url = str(request.url.replace(query="")).removesuffix("/.well-known/agent-card.json")
        return JSONResponse(card(*await named(principal, agent), url))

    @router.post(
        "/v1/a2a/{agent:path}",
        response_class=Response,
        responses=refusals(404, 413, 415),
        openapi_extra=documented(_EXAMPLE),
    )
    async def call_a2a_agent(request: Request, agent: str, sent: Annotated[Sent, Depends(received)]) -> Response:
        """A2A's methods as JSON-RPC: send, stream, get, cancel, subscribe. Refusals are errors of JSON-RPC."""
        principal, body = sent
        request_id = body.get("id")
        if request_id is not None and not isinstance(request_id, str | int):
            request_id = None
        try:
            method, params, words = _call(body, request.headers.get("a2a-version"))
            if method == "card":
                return _result(request_id, card(*await named(principal, agent), str(request.url.replace(query=""))))
            if method in ("send", "stream"):
                run = await tasks.send(principal, agent, message_of(params))
            else:
                run = await tasks.get(principal, agent, _task(params))
            return await _answered(tasks, admit_stream, principal, run, method, words, request_id, params)
        except Refused as refused:
            return _error(request_id, refused.code, refused.message)
        except TaskNotFound as missing:
            return _error(request_id, _NOT_FOUND, missing.message)
        except AppError as refused:
            if refused.status in (401, 403, 429, 503):
                raise
            return _error(request_id, _ERRORS.get(refused.status, -32603), refused.message)

    return router


async def _answered(
    tasks: Tasks,
    admit_stream: Callable[[Principal], None],
    principal: Principal,
    run: Run,
    method: str,
    words: Words,
    request_id: Any,
    params: Mapping[str, Any],
) -> Response:
    match method:
        case "send":
            configuration = params.get("configuration")
            held = configuration if isinstance(configuration, dict) else {}
            at_once = held.get("blocking") is False or held.get("returnImmediately") is True
            task = await (tasks.shown if at_once else tasks.ended)(principal, run, words)
            return _result(request_id, words.wrapped("task", task))
        case "get":
            return _result(request_id, await tasks.shown(principal, run, words))
        case "cancel":
            if ended(run):
                raise Refused(_NOT_CANCELABLE, f"The task {run.id} has ended: it is {run.status.value}.")
            return _result(request_id, await tasks.cancel(principal, run, words))
        case _:
            if method == "subscribe" and ended(run) and words.version == "1.0":
                raise Refused(_UNSUPPORTED, f"The task {run.id} has ended; get it instead.")
            admit_stream(principal)
            frames: Frames = tasks.frames(principal, run, words, request_id)
            return EventStream(frames, {"Stoa-Run-Id": str(run.id)})


def _call(body: Mapping[str, Any], version: str | None) -> tuple[str, Mapping[str, Any], Words]:
    name, params = body.get("method"), body.get("params")
    if body.get("jsonrpc") != "2.0" or not isinstance(name, str):
        raise Refused(_INVALID, 'Send {"jsonrpc": "2.0", "id", "method", "params"}.')
    method = _METHODS.get(name)
    if method is None:
        raise Refused(_NO_METHOD, f"There is no method {name[:100]!r}; there are {', '.join(sorted(_METHODS))}.")
    new = "/" not in name or (version or "").strip().startswith("1")
    return method, params if isinstance(params, dict) else {}, Words("1.0" if new else "0.3")


def _task(params: Mapping[str, Any]) -> UUID:
    given = str(params.get("id") or params.get("taskId") or "").removeprefix("tasks/")
    try:
        return UUID(given)
    except ValueError:
        if given:
            raise Refused(_NOT_FOUND, f"There is no task {given[:100]}.") from None
        raise BadRequest.field("id", "is required: the id of a task") from None


def _result(request_id: Any, result: Mapping[str, Any]) -> Response:
    return _json({"jsonrpc": "2.0", "id": request_id, "result": result})


def _error(request_id: Any, code: int, message: str) -> Response:
    return _json({"jsonrpc": "2.0", "id": request_id, "error": {"code": code, "message": message}})


def _json(value: Any) -> Response:
    return Response(orjson.dumps(value), media_type="application/json")


def card(name: str, description: str, url: str) -> dict[str, Any]:
    """An agent card that both versions of the protocol can read."""
    skill = {"id": "chat", "name": name, "description": description, "tags": ["chat"]}
    return {
        "protocolVersion": "0.3.0",
        "name": name,
        "description": description,
        "url": url,
        "preferredTransport": "JSONRPC",
        "supportedInterfaces": [
            {"url": url, "protocolBinding": "JSONRPC", "protocolVersion": "1.0"},
            {"url": url, "protocolBinding": "JSONRPC", "protocolVersion": "0.3"},
        ],
        "version": __version__,
        "capabilities": {"streaming": True, "pushNotifications": False},
        "defaultInputModes": ["text/plain", "image/png", "image/jpeg", "application/pdf"],
        "defaultOutputModes": ["text/plain"],
        "skills": [skill],
        "securitySchemes": {"bearer": {"type": "http", "scheme": "bearer"}},
        "security": [{"bearer": []}],
    }
