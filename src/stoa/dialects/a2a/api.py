"""A2A: an agent's card, and its JSON-RPC at `/v1/a2a/{agent}`, where the agent is an app's id or the slug of a model.

Both protocol versions are served: clients that send `A2A-Version: 1.0`, or use that version's method names, are
answered in its format.
"""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Final

import orjson
from fastapi import Depends, Request
from starlette.responses import JSONResponse, Response

from stoa.dialects.a2a import errors
from stoa.dialects.a2a.asked import history_of, listing_of, message_of, task_of
from stoa.dialects.a2a.card import card
from stoa.dialects.a2a.errors import Refused
from stoa.dialects.a2a.service import TaskNotFound, Tasks, ended
from stoa.dialects.a2a.shapes import Version, Words
from stoa.dialects.bodies import documented, read_fields
from stoa.http import Gate, Routes, refusals
from stoa.http.authentication import bearer_token
from stoa.http.sse import EventStream, Frames
from stoa.kernel.errors import AppError
from stoa.kernel.principal import Principal

_METHODS: Final[Mapping[str, str]] = {
    "message/send": "send",
    "message/stream": "stream",
    "tasks/get": "get",
    "tasks/list": "list",
    "tasks/cancel": "cancel",
    "tasks/resubscribe": "subscribe",
    "agent/getAuthenticatedExtendedCard": "card",
    "SendMessage": "send",
    "SendStreamingMessage": "stream",
    "GetTask": "get",
    "ListTasks": "list",
    "CancelTask": "cancel",
    "SubscribeToTask": "subscribe",
    "GetExtendedAgentCard": "card",
}
_STREAMED: Final = frozenset({"stream", "subscribe"})
_EXAMPLE: Final = {
    "jsonrpc": "2.0",
    "id": 1,
    "method": "message/send",
    "params": {"message": {"messageId": "m1", "role": "user", "parts": [{"kind": "text", "text": "Hello"}]}},
}
Named = Callable[[Principal, str], Awaitable[tuple[str, str]]]
"""The name and description of an agent. Raises NotFound."""


@dataclass(frozen=True, slots=True)
class Call:
    """A request as it came. `refusal` is set where its body is not a JSON-RPC call."""

    principal: Principal
    body: Mapping[str, Any]
    version: str
    """The protocol version that the client named; mostly empty."""
    refusal: Refused | None = None

    @property
    def id(self) -> str | int | None:
        named = self.body.get("id")
        return named if isinstance(named, str | int) and not isinstance(named, bool) else None


def a2a_routes(tasks: Tasks, named: Named, admit_stream: Callable[[Principal], None], gate: Gate) -> Routes:
    router = Routes(tags=["a2a"])

    async def received(request: Request) -> Call:
        principal = await gate.admit(request, bearer_token(request), "conversations:write")
        version = request.headers.get("a2a-version", "").strip()
        try:
            return Call(principal, await read_fields(request), version)
        except AppError as refused:
            parsed = refused.details == {"body": "must be an object"} or refused.status != 400
            code = errors.INVALID_REQUEST if parsed else errors.PARSE
            return Call(principal, {}, version, Refused(code, refused.message))

    @router.get("/v1/a2a/{agent:path}/.well-known/agent-card.json", response_class=Response, responses=refusals(404))
    async def get_agent_card(
        request: Request, agent: str, principal: Annotated[Principal, gate("conversations:read")]
    ) -> Response:
        """What the agent is, and where its methods are. Both versions of the protocol can read it; with `A2A-Version`
        it is in the words of that one alone."""
        url = str(request.url.replace(query="")).removesuffix("/.well-known/agent-card.json")
        version = _version(request.headers.get("a2a-version", "").strip())
        return JSONResponse(card(*await named(principal, agent), url, version))

    @router.post(
        "/v1/a2a/{agent:path}",
        response_class=Response,
        responses=refusals(404, 413, 415),
        openapi_extra=documented(_EXAMPLE),
    )
    async def call_a2a_agent(request: Request, agent: str, call: Annotated[Call, Depends(received)]) -> Response:
        """A2A's methods as JSON-RPC: send, stream, get, list, cancel, subscribe. Refusals are errors of JSON-RPC."""
        method = ""
        try:
            method, params, words = _parsed(call)
            if method == "card":
                url = str(request.url.replace(query=""))
                return _result(call.id, card(*await named(call.principal, agent), url, _version(call.version)))
            return await _answered(tasks, admit_stream, call, agent, method, params, words)
        except Refused as refused:
            return _error(call.id, refused.code, refused.message, streamed=method in _STREAMED)
        except TaskNotFound as missing:
            return _error(call.id, errors.TASK_NOT_FOUND, missing.message, streamed=method in _STREAMED)
        except AppError as refused:
            if refused.status in (401, 403, 429, 503):
                raise
            code = errors.OF_STATUS.get(refused.status, errors.INTERNAL)
            return _error(call.id, code, refused.message, streamed=method in _STREAMED)

    return router


async def _answered(
    tasks: Tasks,
    admit_stream: Callable[[Principal], None],
    call: Call,
    agent: str,
    method: str,
    params: Mapping[str, Any],
    words: Words,
) -> Response:
    principal = call.principal
    if method == "list":
        return _result(call.id, await tasks.list(principal, agent, listing_of(params), words))
    if method == "send":
        configuration = params.get("configuration")
        configured = configuration if isinstance(configuration, dict) else {}
        history = history_of(configured)
        run = await tasks.send(principal, agent, message_of(params))
        at_once = configured.get("blocking") is False or configured.get("returnImmediately") is True
        task = await (tasks.shown if at_once else tasks.ended)(principal, run, words, history)
        return _result(call.id, words.wrapped("task", task))
    if method == "stream":
        run = await tasks.send(principal, agent, message_of(params))
    else:
        history = history_of(params)
        run = await tasks.get(principal, agent, task_of(params, "id", "taskId"))
        if method == "get":
            return _result(call.id, await tasks.shown(principal, run, words, history))
        if method == "cancel":
            if ended(run):
                raise Refused(errors.NOT_CANCELABLE, f"The task {run.id} has ended: it is {run.status.value}.")
            return _result(call.id, await tasks.cancel(principal, run, words))
        if ended(run) and words.version == "1.0":
            raise Refused(errors.UNSUPPORTED, f"The task {run.id} has ended; get it instead.")
    admit_stream(principal)
    frames: Frames = tasks.frames(principal, run, words, call.id)
    return EventStream(frames, {"Stoa-Run-Id": str(run.id)})


def _parsed(call: Call) -> tuple[str, Mapping[str, Any], Words]:
    """The method, its parameters, and the format of the answer. Raises Refused."""
    if call.refusal is not None:
        raise call.refusal
    name, params, request_id = call.body.get("method"), call.body.get("params"), call.body.get("id")
    if call.body.get("jsonrpc") != "2.0" or not isinstance(name, str) or request_id != call.id:
        raise Refused(errors.INVALID_REQUEST, 'Send {"jsonrpc": "2.0", "id", "method", "params"}.')
    if "pushnotification" in name.lower():
        raise Refused(errors.NO_PUSH, "Push notifications are not offered; stream or subscribe to the task.")
    method = _METHODS.get(name)
    if method is None:
        raise Refused(errors.NO_METHOD, f"There is no method {name[:100]!r}; there are {', '.join(sorted(_METHODS))}.")
    if params is not None and not isinstance(params, dict):
        raise Refused(errors.INVALID_PARAMS, "params must be an object.")
    new = "/" not in name or _version(call.version) == "1.0"
    return method, params or {}, Words("1.0" if new else "0.3")


def _version(named: str) -> Version | None:
    """The protocol version that a client names."""
    return "1.0" if named.startswith("1") else "0.3" if named.startswith("0") else None


def _result(request_id: Any, result: Mapping[str, Any]) -> Response:
    return _json({"jsonrpc": "2.0", "id": request_id, "result": result})


def _error(request_id: Any, code: int, message: str, *, streamed: bool) -> Response:
    """A client that asked for a stream reads only events, so it gets the error as an event."""
    error = {"jsonrpc": "2.0", "id": request_id, "error": {"code": code, "message": message}}
    if streamed:
        headers = {"Cache-Control": "no-cache"}
        return Response(b"data: %b\n\n" % orjson.dumps(error), media_type="text/event-stream", headers=headers)
    return _json(error)


def _json(value: Any) -> Response:
    return Response(orjson.dumps(value), media_type="application/json")
