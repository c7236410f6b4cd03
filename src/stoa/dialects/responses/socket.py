"""`/v1/responses` over a WebSocket: one JSON message per frame, for clients that send one response after the other.

A client sends `response.create` with the fields of a request, gets the events of the response, and may then send the
next. A response that is not stored can be continued only on its own connection, until a continuation fails.
"""

import asyncio
from collections.abc import Collection, Sequence
from typing import Any, Final

import orjson
from fastapi import APIRouter, WebSocket

from stoa.dialects.responses import reading
from stoa.dialects.responses.errors import as_openai
from stoa.dialects.responses.names import response_id
from stoa.dialects.responses.service import Responses, include_of, translator_of
from stoa.dialects.responses.translator import ResponseTranslator
from stoa.events import decode
from stoa.http import Gate, errors
from stoa.http.authentication import bearer_token
from stoa.http.bodies import CHAT_LIMIT, read_json
from stoa.http.talks import POLICY, RESTART, Talk, check_origin, connection_of
from stoa.journal import Record
from stoa.kernel.errors import AppError, BadRequest, Conflict
from stoa.kernel.principal import Principal
from stoa.runs import Run
from stoa.streams import Follower, Streams

CREATE: Final = "response.create"
OF_HTTP: Final = ("stream", "stream_options", "background")
KEEP_SECONDS: Final = 3_600
"""How long after its end an unstored response can be continued."""
UNSTORED_MAX: Final = 100
"""The limit of unstored responses that can be continued on one connection."""


def socket_routes(responses: Responses, streams: Streams, gate: Gate, origins: Collection[str]) -> APIRouter:
    router = APIRouter()

    @router.websocket("/v1/responses")
    async def respond(socket: WebSocket) -> None:
        try:
            check_origin(socket, origins)
            await _admitted(socket, gate)
        except AppError as refusal:
            # Refused before the handshake, like on any other route: a close code would carry no reason.
            await socket.send_denial_response(errors.rendered(socket.scope, refusal))
            return
        await socket.accept()
        await _Talk(socket, responses, streams, gate).go_on()

    return router


async def _admitted(socket: WebSocket, gate: Gate) -> Principal:
    connection = connection_of(socket)
    return await gate.admit(connection, bearer_token(connection), "conversations:write")


class _Lines:
    """The events of a response, one JSON line each."""

    heartbeat = b""
    """WebSocket pings keep the connection open."""

    def __init__(self, translator: ResponseTranslator) -> None:
        self.translator = translator
        self.is_revoked = False

    def revoked(self) -> bytes:
        self.is_revoked = True
        return b""

    def frames(self, records: Sequence[Record], /) -> bytes:
        made = self.translator.take([decode(record.type, record.payload) for record in records])
        return b"".join(orjson.dumps(frame) + b"\n" for frame in made)


class _Talk(Talk):
    def __init__(self, socket: WebSocket, responses: Responses, streams: Streams, gate: Gate) -> None:
        super().__init__(socket)
        self._responses = responses
        self._streams = streams
        self._gate = gate
        self._unstored: dict[str, None] = {}
        """By id, oldest first."""
        self._lines: _Lines | None = None

    async def take(self, text: bytes) -> None:
        principal = await _admitted(self._socket, self._gate)
        with as_openai():
            await self._create(principal, await read_json(text, CHAT_LIMIT))

    async def _create(self, principal: Principal, said: Any) -> None:
        fields = said if isinstance(said, dict) else {}
        if fields.get("type") != CREATE:
            raise BadRequest.field("type", f"must be {CREATE}")
        for name in OF_HTTP:
            if fields.get(name) is not None:
                raise BadRequest.field(name, "is not taken over a WebSocket: every response is streamed")
        if self._following is not None and self._lines is not None and self._lines.translator.ended:
            await asyncio.wait([self._following])  # The last event may be read before its task has ended.
        if self._following is not None:
            raise Conflict("A response is under way on this connection; wait for its end.")
        previous = fields.get("previous_response_id")
        try:
            asked = reading.read({name: value for name, value in fields.items() if name != "type"})
            asked.wanted |= {} if asked.store else {"keep_seconds": KEEP_SECONDS}
            self._streams.admit(principal)
            include = include_of(fields.get("include"))
            run = await self._responses.create(principal, asked, include, None, unstored=self._unstored)
        except AppError:
            if isinstance(previous, str):
                # The failure may have been about the previous response, so it cannot be continued again.
                self._unstored.pop(previous, None)
            raise
        lines = self._lines = _Lines(translator_of(run, include))
        follower = self._streams.follow(principal, run.id, rendering=lines)
        self.follow(follower, self._follow(run, lines, follower, previous, kept=not asked.store), run.id)

    async def _follow(self, run: Run, lines: _Lines, follower: Follower, previous: Any, *, kept: bool) -> None:
        await self.deliver(follower)
        if lines.is_revoked:
            await self.close(POLICY, "unauthorized")
        elif not lines.translator.ended:
            await self.close(RESTART, "the response goes on; read it at /v1/responses/{id}?stream=true")
        elif lines.translator.response()["status"] == "failed":
            self._unstored.pop(str(previous), None)
        elif kept:
            self._unstored[response_id(run.id)] = None
            while len(self._unstored) > UNSTORED_MAX:
                del self._unstored[next(iter(self._unstored))]

    async def refuse(self, refusal: AppError) -> None:
        held = orjson.loads(errors.rendered(self._socket.scope, refusal).body)["error"]
        await self.send({"type": "error", "status": refusal.status, "sequence_number": 0, "error": held})
