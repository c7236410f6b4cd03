"""`POST /` of an app over a WebSocket: one JSON message per frame (contract section 5).

A client sends what it would POST and gets the platform's messages; when the run has ended it may send the next. While a
run is under way it may answer the run's questions, or cancel it. A connection that breaks ends no run.
"""

from collections.abc import Collection
from typing import Any, Final

import orjson
from fastapi import APIRouter, WebSocket
from pydantic import TypeAdapter, ValidationError

from stoa.apps import AppCaller, AppGate
from stoa.http import errors
from stoa.http.authentication import bearer_token
from stoa.http.bodies import MESSAGE_LIMIT, read_json
from stoa.http.sse import Frames
from stoa.http.talks import POLICY, RESTART, Talk, check_origin, connection_of
from stoa.kernel.errors import AppError, BadRequest, Conflict
from stoa.runs import app_wire, wire
from stoa.runs.host import AppRuns, StreamState
from stoa.runs.types import Run

_INPUT: Final[TypeAdapter[Any]] = TypeAdapter(wire.InputBody)


def socket_routes(app_runs: AppRuns, gate: AppGate, origins: Collection[str]) -> APIRouter:
    router = APIRouter()

    @router.websocket("/")
    async def converse(socket: WebSocket) -> None:
        try:
            check_origin(socket, origins)
            await _admitted(socket, gate)
        except AppError as refusal:
            # Before the handshake, as any other route refuses: a close code would arrive without its reason.
            await socket.send_denial_response(errors.response(refusal))
            return
        await socket.accept()
        await _Talk(socket, app_runs, gate).go_on()

    return router


async def _admitted(socket: WebSocket, gate: AppGate) -> AppCaller:
    connection = connection_of(socket)
    return await gate.admit(connection, bearer_token(connection), "apps:run")


class _Talk(Talk):
    def __init__(self, socket: WebSocket, app_runs: AppRuns, gate: AppGate) -> None:
        super().__init__(socket)
        self._app_runs = app_runs
        self._gate = gate
        self._run: Run | None = None

    async def take(self, text: bytes) -> None:
        caller = await _admitted(self._socket, self._gate)
        said = await read_json(text, MESSAGE_LIMIT)
        if isinstance(said, dict) and "type" in said:
            await self._answer(caller, said)
        else:
            await self._invoke(caller, said)

    async def _invoke(self, caller: AppCaller, said: Any) -> None:
        if self._following is not None:
            assert self._run is not None, "what is followed is a run"
            raise Conflict(f"The run {self._run.id} is under way on this connection; wait for its end, or cancel it.")
        body = _checked(said)
        self._app_runs.reading.admit(caller.principal)
        entities = await self._app_runs.entities(caller)
        run = await self._app_runs.invoke(caller, body, (), None)
        if body.execution_mode == "async":
            await self.send(app_wire.accepted(run).model_dump(mode="json", exclude_none=True))
            return
        saying, frames = self._app_runs.reading.lines(caller.principal, run.id, entities)
        self._run = run
        self.follow(frames, self._follow(saying, frames), run.id)

    async def _follow(self, saying: StreamState, frames: Frames) -> None:
        await self.deliver(frames)
        if saying.state == "revoked":
            await self.close(POLICY, "unauthorized")
        elif saying.state == "going":
            await self.close(RESTART, "read on at /v1/runs/{id}/stream")

    async def _answer(self, caller: AppCaller, said: dict[str, Any]) -> None:
        if self._run is None:
            raise BadRequest.field("type", "is for a run of this connection, and there was none")
        if said == {"type": "cancel"}:
            await self._app_runs.runs.cancel(caller.principal, self._run.id)
            await self.send({"message": "canceled"})
            return
        try:
            given = _INPUT.validate_python(said)
        except ValidationError as error:
            raise _explained(error, _INPUT) from error
        await self._app_runs.runs.answer(caller.principal, self._run.id, wire.given(given))
        await self.send({"message": "ok"})

    async def refuse(self, refusal: AppError) -> None:
        await self.send(orjson.loads(errors.body(refusal.code, refusal.message, refusal.details)))


def _checked(said: Any) -> app_wire.InvokeApp:
    try:
        return app_wire.InvokeApp.model_validate(said)
    except ValidationError as error:
        raise _explained(error, app_wire.InvokeApp) from error


def _explained(error: ValidationError, shape: Any) -> BadRequest:
    found = [{**one, "loc": ("body", *one["loc"])} for one in error.errors(include_url=False)]
    details = errors.explain(found, shape)
    return BadRequest("; ".join(f"{name} {reason}" for name, reason in details.items()), details=details)
