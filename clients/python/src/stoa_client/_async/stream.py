"""The events of a run, over as many connections as it takes."""

import time
from collections.abc import AsyncGenerator, AsyncIterator
from types import TracebackType
from typing import Self

import httpx

from stoa_client import wire
from stoa_client._async.transport import AsyncTransport
from stoa_client.errors import (
    APIError,
    ConnectionFailed,
    IntegrityError,
    ProtocolError,
    RunCanceled,
    RunFailed,
    StreamLost,
)
from stoa_client.events import AnyEvent, RunCanceledEvent, RunFailedEvent, TerminalEvent
from stoa_client.follow import Follower, TextChange
from stoa_client.sse import Decoder
from stoa_client.wire import Call


class AsyncStream:
    """An iterator over a run's events: each exactly once, in order, to the terminal event, whatever breaks between.

    A broken connection is resumed after the last event that was seen. GapError is raised where an event is missing.
    `verified` says at the end whether all came exactly as written. The run goes on when you stop reading: `aclose()`,
    or `async with`, frees the connection; `cancel()` ends the run.
    """

    def __init__(self, transport: AsyncTransport, follower: Follower, call: Call, response: httpx.Response) -> None:
        self._transport = transport
        self._follower = follower
        self._call = call
        """Opens the stream anew while the run's id is not known: it is safe to repeat."""
        self._nothing_left = response.status_code == 204
        self._response: httpx.Response | None = response
        if not self._nothing_left:
            self._learn_run(response)
        self._events = self._follow()

    @property
    def run_id(self) -> str | None:
        return self._follower.run_id

    @property
    def sequence(self) -> int:
        """The last event that was yielded."""
        return self._follower.sequence

    @property
    def verified(self) -> bool | None:
        """None until the end, and where nothing can be said: the stream began in the middle, or the server sent no
        hash."""
        return self._follower.verified

    @property
    def terminal(self) -> TerminalEvent | None:
        return self._follower.terminal

    @property
    def text(self) -> str:
        """The answer as far as it has come; without what a recovered run has discarded."""
        return self._follower.text.whole

    @property
    def last_change(self) -> TextChange | None:
        """What the last event did to the text, if anything."""
        return self._follower.last_change

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> AnyEvent:
        return await self._events.__anext__()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Stops reading. The run goes on."""
        await self._events.aclose()
        await self._hang_up()

    async def cancel(self) -> None:
        """Ends the run; its terminal event is still to come."""
        if self.run_id is None:
            raise ProtocolError("The run's id is not known yet: read its first event before you cancel it.")
        await self._transport.json(Call("POST", wire.path("/v1/runs/{}/cancel", self.run_id)))

    async def text_changes(self) -> AsyncIterator[TextChange]:
        """The answer's text as it changes, to the end. After a recovery `discarded` is the text that is void."""
        async for _ in self:
            if (change := self.last_change) is not None:
                yield change

    async def output(self) -> str:
        """Reads to the end and gives the whole answer. Raises RunFailed, RunCanceled, and IntegrityError where it is
        not what the server wrote.
        """
        async for _ in self:
            pass
        terminal = self.terminal
        if terminal is None:
            raise StreamLost("This stream was closed before the run ended.", run_id=self.run_id, sequence=self.sequence)
        run_id = self.run_id or terminal.data.id
        if self.verified is False:
            raise IntegrityError(
                f"Not every event of run {run_id} came as it was written; read it again with runs.events({run_id!r}).",
                run_id=run_id,
                sequence=self.sequence,
            )
        if isinstance(terminal, RunFailedEvent):
            error = terminal.data.error
            raise RunFailed(error.message, run_id=run_id, code=error.code, retryable=bool(error.retryable))
        if isinstance(terminal, RunCanceledEvent):
            raise RunCanceled(run_id=run_id, reason=terminal.data.reason)
        return terminal.data.output

    # --- connections ------------------------------------------------------------------------------------------------
    async def _follow(self) -> AsyncGenerator[AnyEvent, None]:
        failures, heard = 0, time.monotonic()
        while self.terminal is None and not self._nothing_left:
            failure: Exception | None = None
            try:
                if self._response is None:
                    self._response = await self._open()
                decoder = Decoder()
                async for chunk in self._response.aiter_bytes():
                    heard = time.monotonic()
                    for frame in decoder.feed(chunk):
                        event = self._follower.take(frame)
                        if event is not None:
                            failures = 0
                            yield event
                            # The reader may take its time; that is no silence of the server's.
                            heard = time.monotonic()
                        if self.terminal is not None:
                            return
            except wire.LOST as error:
                failure = error
            except ConnectionFailed as error:
                failure = error
            except APIError as error:
                failure = self._refused(error)
            finally:
                await self._hang_up()
            failures += 1
            if time.monotonic() - heard > self._transport.policy.reconnect_seconds:
                raise self._lost(failure) from failure
            await self._transport.wait(failures, failure)

    async def _open(self) -> httpx.Response:
        """The stream after the last event that was seen."""
        call = self._call
        if self.run_id is not None:
            headers = {"Accept": wire.EVENT_STREAM, "Cache-Control": "no-store"}
            if self.sequence:
                headers["Last-Event-ID"] = str(self.sequence)
            call = Call("GET", wire.path("/v1/runs/{}/stream", self.run_id), headers=headers)
        response = await self._transport.attempt(call, stream=True)
        if response.status_code == 204:
            await response.aclose()
            raise ProtocolError(
                f"The server says that run {self.run_id} has ended, but its terminal event was never seen: "
                f"something between lost it. runs.events({self.run_id!r}) reads the stored events.",
                run_id=self.run_id,
                sequence=self.sequence,
            )
        try:
            self._learn_run(response)
        except ProtocolError:
            await response.aclose()
            raise
        return response

    def _learn_run(self, response: httpx.Response) -> None:
        kind = response.headers.get("Content-Type", "")
        if not kind.lower().startswith(wire.EVENT_STREAM):
            raise ProtocolError(
                f"{self._transport.base_url} answered with {kind or 'no content type'!r} instead of an event stream; "
                "look at the base URL, and for a proxy that answers by itself.",
                run_id=self.run_id,
                sequence=self.sequence,
            )
        if self.run_id is None:
            self._follower.run_id = response.headers.get("Stoa-Run-Id")

    def _refused(self, error: APIError) -> Exception:
        """The refusal, where asking again may help; otherwise raises it."""
        if self._transport.policy.repeats(error.status, safe=True, retry_after=error.retry_after):
            return error
        raise error

    def _lost(self, failure: Exception | None) -> StreamLost:
        seconds = self._transport.policy.reconnect_seconds
        because = f" The last that was tried: {failure}" if failure is not None else ""
        return StreamLost(
            f"Nothing was heard of run {self.run_id or '(not begun)'} for {seconds:g} s. It goes on without a reader: "
            f"runs.stream({self.run_id!r}, after_sequence={self.sequence}) continues here.{because}",
            run_id=self.run_id,
            sequence=self.sequence,
        )

    async def _hang_up(self) -> None:
        response, self._response = self._response, None
        if response is not None:
            await response.aclose()


async def open_stream(transport: AsyncTransport, call: Call, follower: Follower) -> AsyncStream:
    """Raises what refuses the stream before its first event."""
    response = await transport.answer(call, stream=True)
    try:
        return AsyncStream(transport, follower, call, response)
    except ProtocolError:
        await response.aclose()
        raise
