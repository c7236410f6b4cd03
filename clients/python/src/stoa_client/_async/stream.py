"""The stream of a run's events, which reconnects as often as necessary."""

from collections.abc import AsyncIterator

import httpx

from stoa_client import wire
from stoa_client._async.reader import AsyncReader
from stoa_client._async.transport import AsyncTransport
from stoa_client.errors import IntegrityError, ProtocolError, RunCanceled, RunFailed, StreamLost
from stoa_client.events import AnyEvent, RunCanceledEvent, RunFailedEvent, TerminalEvent
from stoa_client.follow import Follower, TextChange
from stoa_client.sse import Frame
from stoa_client.wire import Call


class AsyncStream(AsyncReader[AnyEvent]):
    """An iterator over a run's events: each exactly once, in order, to the terminal event, even if connections break.

    A broken stream is resumed after the last event that was seen. GapError is raised if an event is missing. `verified`
    says at the end whether all events arrived exactly as they were written. The run continues if you stop reading:
    `aclose()`, or `async with`, releases the connection; `cancel()` ends the run.
    """

    def __init__(self, transport: AsyncTransport, follower: Follower, call: Call, response: httpx.Response) -> None:
        super().__init__(transport, response)
        self._follower = follower
        self._call = call
        """Reopens the stream while the run's id is not known. It is safe to repeat."""
        self._nothing_left = response.status_code == 204
        if not self._nothing_left:
            self._check(response)

    @property
    def run_id(self) -> str | None:
        return self._follower.run_id

    @property
    def sequence(self) -> int:
        """The sequence of the last event that was yielded."""
        return self._follower.sequence

    @property
    def verified(self) -> bool | None:
        """None until the end, and if it cannot be verified, because the stream began in the middle or the server sent
        no hash."""
        return self._follower.verified

    @property
    def terminal(self) -> TerminalEvent | None:
        return self._follower.terminal

    @property
    def text(self) -> str:
        """The answer so far, without text that a recovered run has discarded."""
        return self._follower.text.whole

    @property
    def last_change(self) -> TextChange | None:
        """The change of the text by the last event, if any."""
        return self._follower.last_change

    async def cancel(self) -> None:
        """Cancels the run. Its terminal event follows in this stream."""
        if self.run_id is None:
            raise ProtocolError("The run's id is not known yet: read its first event before you cancel it.")
        await self._transport.json(Call("POST", wire.path("/v1/runs/{}/cancel", self.run_id)))

    async def text_changes(self) -> AsyncIterator[TextChange]:
        """Yields the changes of the answer's text until the end. After a recovery `discarded` is the text to remove."""
        async for _ in self:
            if (change := self.last_change) is not None:
                yield change

    async def output(self) -> str:
        """Reads to the end and returns the complete answer. Raises RunFailed, RunCanceled, and IntegrityError if the
        events are not those that the server wrote.
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
    def _over(self) -> bool:
        return self.terminal is not None or self._nothing_left

    def _take(self, frame: Frame) -> AnyEvent | None:
        return self._follower.take(frame)

    def _again(self) -> Call:
        if self.run_id is None:
            return self._call
        headers = {"Accept": wire.EVENT_STREAM, "Cache-Control": "no-store"}
        if self.sequence:
            headers["Last-Event-ID"] = str(self.sequence)
        return Call("GET", wire.path("/v1/runs/{}/stream", self.run_id), headers=headers)

    def _check(self, response: httpx.Response) -> None:
        """Also reads the run's id from the headers."""
        if response.status_code == 204:
            raise self._protocol(
                f"The server says that run {self.run_id} has ended, but its terminal event was never seen: "
                f"something between lost it. runs.events({self.run_id!r}) reads the stored events."
            )
        super()._check(response)
        if self.run_id is None:
            self._follower.run_id = response.headers.get("Stoa-Run-Id")

    def _protocol(self, message: str) -> ProtocolError:
        return ProtocolError(message, run_id=self.run_id, sequence=self.sequence)

    def _lost(self, failure: Exception | None) -> StreamLost:
        seconds = self._transport.policy.reconnect_seconds
        because = f" The last that was tried: {failure}" if failure is not None else ""
        return StreamLost(
            f"Nothing was heard of run {self.run_id or '(not begun)'} for {seconds:g} s. It goes on without a reader: "
            f"runs.stream({self.run_id!r}, after_sequence={self.sequence}) continues here.{because}",
            run_id=self.run_id,
            sequence=self.sequence,
        )


async def open_stream(transport: AsyncTransport, call: Call, follower: Follower) -> AsyncStream:
    """Raises the errors that occur before the first event."""
    response = await transport.answer(call, stream=True)
    try:
        return AsyncStream(transport, follower, call, response)
    except ProtocolError:
        await response.aclose()
        raise
