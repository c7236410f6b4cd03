"""Who stops reading, or is canceled while reading, leaves no connection behind and loses no event."""

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest

from stoa_client import AsyncStoa, ProtocolError, RetryPolicy, Stoa, StreamLost
from stoa_client.events import AnyEvent
from tests.support.client_cases import document
from tests.support.client_results import KEY
from tests.support.javascript import node
from tests.support.running import NO_AUTHORITIES
from tests.support.scripted_stoa import RUN_ID, ScriptedStoa

ENDLESS = RetryPolicy(first_seconds=3600, seconds_max=3600, idle_seconds=60)
EVENT_STREAM = {"Content-Type": "text/event-stream"}


class Watched(httpx.AsyncHTTPTransport):
    """Says when an answer's body is waited for."""

    def __init__(self) -> None:
        super().__init__(verify=NO_AUTHORITIES)
        self.waits = asyncio.Event()
        self.closed = 0

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        response = await super().handle_async_request(request)
        assert isinstance(response.stream, httpx.AsyncByteStream)
        return httpx.Response(response.status_code, headers=response.headers, stream=_Body(self, response.stream))


class _Body(httpx.AsyncByteStream):
    def __init__(self, watched: Watched, stream: httpx.AsyncByteStream) -> None:
        self._watched = watched
        self._stream = stream

    async def __aiter__(self) -> AsyncIterator[bytes]:
        self._watched.waits.set()
        async for chunk in self._stream:
            yield chunk
            self._watched.waits.set()

    async def aclose(self) -> None:
        self._watched.closed += 1
        await self._stream.aclose()


def silent_after(scripted: ScriptedStoa, events: int) -> str:
    url, _ = scripted.play(document()["runs"]["answer"], [{"cut_after": events, "end": "hang"}])
    return url


async def test_a_reader_that_was_canceled_reads_on(scripted: ScriptedStoa) -> None:
    """`asyncio.wait_for` around one event ends a generator for good; the iteration would seem to be at its end."""
    transport = Watched()
    async with httpx.AsyncClient(transport=transport) as http, asyncio.timeout(30):
        stream = await AsyncStoa(silent_after(scripted, 2), KEY, http=http).runs.stream(RUN_ID)
        async with stream:
            seen: list[AnyEvent] = [await anext(stream), await anext(stream)]
            transport.waits.clear()
            waiting = asyncio.create_task(_next(stream))
            await asyncio.sleep(0)
            waiting.cancel()
            with pytest.raises(asyncio.CancelledError):
                await waiting
            assert transport.closed == 1, "the connection of the canceled read is gone"
            seen += [event async for event in stream]
            assert [event.sequence for event in seen] == [1, 2, 3, 4, 5, 6]
            assert stream.verified is True


async def _next(stream: Any) -> AnyEvent:
    return await anext(stream)


async def test_another_task_closes_a_stream_that_waits(scripted: ScriptedStoa) -> None:
    transport = Watched()
    async with httpx.AsyncClient(transport=transport) as http, asyncio.timeout(30):
        stream = await AsyncStoa(silent_after(scripted, 2), KEY, http=http, retries=ENDLESS).runs.stream(RUN_ID)
        assert [(await anext(stream)).sequence, (await anext(stream)).sequence] == [1, 2]
        waiting = asyncio.create_task(_next(stream))
        await asyncio.sleep(0)
        await stream.aclose()
        with pytest.raises(StopAsyncIteration):
            await _outcome(waiting)
        assert transport.closed == 1
        with pytest.raises(StreamLost):
            await stream.output()


async def _outcome(task: "asyncio.Task[AnyEvent]") -> AnyEvent:
    (done,) = await asyncio.gather(task, return_exceptions=True)
    if isinstance(done, RuntimeError) and isinstance(done.__cause__, StopAsyncIteration):
        raise done.__cause__
    if isinstance(done, BaseException):
        raise done
    return done


def test_a_trace_whose_steps_are_no_objects() -> None:
    def answer(_: httpx.Request) -> httpx.Response:
        return httpx.Response(200, text="event: span\ndata: [1\n\n", headers=EVENT_STREAM)

    with httpx.Client(transport=httpx.MockTransport(answer)) as http:
        stoa = Stoa("http://stoa.test", KEY, http=http)
        with stoa.traces.tail("t") as tail, pytest.raises(ProtocolError, match="no JSON object"):
            next(tail)


def test_a_trace_that_a_proxy_answers_for() -> None:
    """While resuming, too: it was asked again for two minutes."""
    answers = [
        httpx.Response(200, text='event: span\ndata: {"id": "a"}\n\n', headers=EVENT_STREAM),
        httpx.Response(200, text="<html>Sign in</html>", headers={"Content-Type": "text/html"}),
    ]
    with httpx.Client(transport=httpx.MockTransport(lambda _: answers.pop(0))) as http:
        stoa = Stoa("http://stoa.test", KEY, http=http, retries=RetryPolicy(first_seconds=0))
        with stoa.traces.tail("t") as tail:
            assert next(tail).raw == {"id": "a"}
            with pytest.raises(ProtocolError, match="text/html"):
                next(tail)


def test_javascript_closes_whatever_it_waits_for(scripted: ScriptedStoa) -> None:
    over = {"done": True}
    lines = node("run_closing.mjs", {"url": silent_after(scripted, 2), "run_id": RUN_ID}, seconds_max=30)
    assert [json.loads(line) for line in lines] == [
        {"read": [1, 2]},
        {"closed while it waits for an event": over},
        {"closed between two connections": over},
        {"closed while it connects": over},
        {"aborted by the caller": "enough"},
    ]
