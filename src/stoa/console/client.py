"""Calls the public API in process: the same app, authentication and responses as over a socket."""

import asyncio
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from typing import Any, Final
from urllib.parse import urlencode

import orjson
from starlette.types import ASGIApp, Message, Scope

from stoa.http.authentication import BROWSER
from stoa.http.bodies import ALLOWANCE, Allowance
from stoa.http.edge import EXTRA_HEADERS

CHUNKS_MAX: Final = 16
"""Chunks of a stream that are buffered ahead of the page."""
Query = Mapping[str, str | int | list[str] | None]


class Refused(Exception):
    """An error response of the API, with the server's message."""

    def __init__(self, status: int, error: Mapping[str, Any]) -> None:
        super().__init__(f"{status} {error.get('message')}")
        self.status = status
        self.code = str(error.get("code", "error"))
        self.message = str(error.get("message", "The server gave no reason."))


class Api:
    """Calls the API as one session, with the permissions of the session's key."""

    def __init__(self, app: ASGIApp, scope: Scope, session: str) -> None:
        self._app = app
        self._scope = scope
        self._session = session

    async def get(self, path: str, query: Query | None = None) -> Any:
        """The JSON of the response. Raises Refused."""
        return await self._answer("GET", path, query, b"")

    async def post(self, path: str, body: Mapping[str, Any]) -> Any:
        """The same for a query that is too long for a URL, such as a search. Raises Refused."""
        return await self._answer("POST", path, None, orjson.dumps(body))

    async def _answer(self, method: str, path: str, query: Query | None, sent: bytes) -> Any:
        async with self._open(method, path, query, sent) as (status, chunks):
            body = b"".join([chunk async for chunk in chunks])
        answer: Any = orjson.loads(body) if body else {}
        if status >= 400:
            raise Refused(status, answer.get("error", {}))
        return answer

    @asynccontextmanager
    async def stream(self, path: str) -> AsyncGenerator[AsyncGenerator[bytes]]:
        """The bytes of a stream as they arrive. Raises Refused. Leaving the context disconnects."""
        async with self._open("GET", path, None, b"") as (status, chunks):
            if status >= 400:
                body = b"".join([chunk async for chunk in chunks])
                raise Refused(status, orjson.loads(body).get("error", {}))
            yield chunks

    @asynccontextmanager
    async def _open(
        self, method: str, path: str, query: Query | None, body: bytes
    ) -> AsyncGenerator[tuple[int, AsyncGenerator[bytes]]]:
        sent: asyncio.Queue[Message | None] = asyncio.Queue(CHUNKS_MAX)
        gone = asyncio.Event()
        asked = False

        async def receive() -> Message:
            nonlocal asked
            if not asked:
                asked = True
                return {"type": "http.request", "body": body, "more_body": False}
            await gone.wait()
            return {"type": "http.disconnect"}

        async def call() -> None:
            try:
                await self._app(self._below(method, path, query), receive, sent.put)
            finally:
                await sent.put(None)

        task = asyncio.create_task(call(), name="console.call")
        try:
            start = await sent.get()
            if start is None:
                await task  # Raises the exception of the app.
                raise AssertionError(f"{path} was not answered")
            yield start["status"], _bodies(sent, task)
        finally:
            gone.set()
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    def _below(self, method: str, path: str, query: Query | None) -> Scope:
        kept = [(name, value) for name, value in self._scope["headers"] if name in (b"host", b"user-agent")]
        string = urlencode({name: value for name, value in (query or {}).items() if value is not None}, doseq=True)
        return {
            **{name: self._scope.get(name) for name in ("type", "asgi", "http_version", "scheme", "server", "client")},
            "method": method,
            "path": path,
            "raw_path": path.encode(),
            "root_path": "",
            "query_string": string.encode(),
            "headers": [
                *kept,
                (b"content-type", b"application/json"),
                (b"authorization", b"Bearer " + self._session.encode("latin-1", "replace")),
            ],
            "state": {},
            BROWSER: True,
            EXTRA_HEADERS: {},
            ALLOWANCE: Allowance(),
        }


async def _bodies(sent: "asyncio.Queue[Message | None]", task: "asyncio.Task[None]") -> AsyncGenerator[bytes]:
    while (message := await sent.get()) is not None:
        if message.get("body"):
            yield message["body"]
    await task
