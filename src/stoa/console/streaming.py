"""Sends a run's journal as pieces of HTML: follows the public stream and sends the changes of the answer. A client can
resume after any event."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence
from contextlib import aclosing
from time import perf_counter
from typing import Any, Final

import orjson
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from stoa.console.answers import Answer, Event, Render
from stoa.console.client import Api

FLUSH_SECONDS: Final = 0.04
"""The time between two frames. All events in between are rendered once."""
RENDER_SHARE: Final = 10
"""After a frame, pause for at least this multiple of the time that rendering it took."""
PAUSE_SECONDS_MAX: Final = 0.5
"""The longest of these pauses. The first frame of a server imports the Markdown parser and compiles templates, and a
busy machine renders slowly: neither may hold back the end of an answer for seconds."""
HEARTBEAT_SECONDS: Final = 15.0
EVENTS_MAX: Final = 2_000
"""Events that are buffered ahead of rendering."""
HEARTBEAT: Final = b": heartbeat\n\n"
RETRY: Final = b"retry: 1000\n\n"


async def events_of(chunks: AsyncIterator[bytes]) -> AsyncGenerator[Sequence[Event]]:
    """The events of a stream, grouped by chunk."""
    rest = b""
    async for chunk in chunks:
        *frames, rest = (rest + chunk).split(b"\n\n")
        found = [
            orjson.loads(line[6:])
            for frame in frames
            for line in frame.split(b"\n")
            if line.startswith(b"data: ")
        ]  # fmt: skip
        if found:
            yield found


async def followed(api: Api, run_id: str, after: int, render: Render) -> AsyncGenerator[bytes]:
    """The frames of a run. Raises Refused if the caller cannot see it."""
    async with (
        api.stream(f"/v1/runs/{run_id}/stream") as chunks,
        aclosing(translated(run_id, chunks, after, render)) as frames,
    ):
        async for frame in frames:
            yield frame


async def translated(
    run_id: str, chunks: AsyncIterator[bytes], after: int, render: Render, flush_seconds: float = FLUSH_SECONDS
) -> AsyncGenerator[bytes]:
    """Frames after event `after`. The id of a frame is the sequence of its last event."""
    answer = Answer(run_id)
    queue: asyncio.Queue[Event | None] = asyncio.Queue(EVENTS_MAX)

    async def read() -> None:
        try:
            async for events in events_of(chunks):
                for event in events:
                    await queue.put(event)
        finally:
            await queue.put(None)

    reading = asyncio.create_task(read(), name="console.read")
    try:
        yield RETRY
        ended = after > 0 and await _skip(answer, queue, after, render)
        pause, said = 0.0, answer.status if after else "started"
        while not ended:
            event = await _next(queue)
            if event is _SILENCE:
                yield HEARTBEAT
                continue
            await asyncio.sleep(pause)
            ended = _apply(answer, event, queue)
            begun = perf_counter()
            changes = await asyncio.to_thread(answer.changes, render)
            pause = pause_after(perf_counter() - begun, flush_seconds)
            if changes:
                yield _frame(answer.sequence, "put", changes)
            if answer.status != said and not ended:
                said = answer.status
                yield _frame(answer.sequence, "state", {"status": said})
        if answer.end is not None:
            yield _frame(answer.sequence, "end", _end(answer, render))
    finally:
        reading.cancel()
        await asyncio.gather(reading, return_exceptions=True)


def pause_after(rendering_seconds: float, flush_seconds: float = FLUSH_SECONDS) -> float:
    """Seconds to collect events after a frame that took so long to render."""
    return min(PAUSE_SECONDS_MAX, max(flush_seconds, RENDER_SHARE * rendering_seconds))


_SILENCE: Final[Event] = {}


async def _next(queue: "asyncio.Queue[Event | None]") -> Event | None:
    try:
        async with asyncio.timeout(HEARTBEAT_SECONDS):
            return await queue.get()
    except TimeoutError:
        return _SILENCE


async def _skip(answer: Answer, queue: "asyncio.Queue[Event | None]", after: int, render: Render) -> bool:
    """Applies the events that the page already has, and discards their HTML. True if the stream has no more events."""
    while answer.sequence < after:
        event = await queue.get()
        if event is None:
            return True
        answer.apply(event)
    await asyncio.to_thread(answer.changes, render)
    return answer.end is not None


def _apply(answer: Answer, first: Event | None, queue: "asyncio.Queue[Event | None]") -> bool:
    """Applies all buffered events. True if the stream or the run has ended."""
    event = first
    while event is not None:
        answer.apply(event)
        if answer.end is not None:
            return True
        try:
            event = queue.get_nowait()
        except asyncio.QueueEmpty:
            return False
    return True


def _end(answer: Answer, render: Render) -> Mapping[str, Any]:
    assert answer.end is not None
    data = answer.end["data"]
    return {
        "status": answer.status,
        "events": data.get("log", {}).get("events"),
        "html": render("ending.html", end=answer.end, run_id=answer.run_id, status=answer.status, data=data),
    }


def _frame(sequence: int, name: str, data: object) -> bytes:
    return b"id: %d\nevent: %b\ndata: %b\n\n" % (sequence, name.encode(), orjson.dumps(data))


class FrameStream(Response):
    """Sends frames until they end or the client disconnects, then closes their generator."""

    def __init__(self, frames: AsyncGenerator[bytes]) -> None:
        super().__init__(media_type="text/event-stream")
        self._frames = frames
        del self.headers["content-length"]
        self.headers.update(
            {"Cache-Control": "no-store", "X-Accel-Buffering": "no", "X-Content-Type-Options": "nosniff"}
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG002 — the port's signature
        await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
        sending = asyncio.create_task(self._deliver(send), name="console.deliver")
        watching = asyncio.create_task(_gone(receive), name="console.watch")
        try:
            await asyncio.wait([sending, watching], return_when=asyncio.FIRST_COMPLETED)
            if sending.done():
                sending.result()
        finally:
            sending.cancel()
            watching.cancel()
            await asyncio.gather(sending, watching, return_exceptions=True)

    async def _deliver(self, send: Send) -> None:
        async with aclosing(self._frames) as frames:
            async for frame in frames:
                await send({"type": "http.response.body", "body": frame, "more_body": True})
        await send({"type": "http.response.body", "body": b"", "more_body": False})


async def _gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
