# Written by tools/clients/carried.py from clients/python/src/stoa_client/_sync/stream.py; change that.
"""The events of a run, over as many connections as it takes."""

import time
from collections.abc import Generator, Iterator
from types import TracebackType
from typing import Self

from stoa.cli.stream import transport as wire
from stoa.cli.stream.errors import (
    APIError,
    ConnectionFailed,
    IntegrityError,
    ProtocolError,
    RunCanceled,
    RunFailed,
    StreamLost,
)
from stoa.cli.stream.events import AnyEvent, RunCanceledEvent, RunFailedEvent, TerminalEvent
from stoa.cli.stream.follow import Follower, TextChange
from stoa.cli.stream.sse import Decoder
from stoa.cli.stream.transport import Call, Response, Transport


class Stream:
    """An iterator over a run's events: each exactly once, in order, to the terminal event, whatever breaks between.

    A broken connection is resumed after the last event that was seen. GapError is raised where an event is missing.
    `verified` says at the end whether all came exactly as written. The run goes on when you stop reading: `close()`, or
    `with`, frees the connection; `cancel()` ends the run.
    """

    def __init__(self, transport: Transport, follower: Follower, call: Call, response: Response) -> None:
        self._transport = transport
        self._follower = follower
        self._call = call
        """Opens the stream anew while the run's id is not known: it is safe to repeat."""
        self._nothing_left = response.status_code == 204
        self._response: Response | None = response
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
        """None until the end, and where nothing can be said: the stream began in the middle, or the server sent no hash."""
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

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> AnyEvent:
        return self._events.__next__()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Stops reading. The run goes on."""
        self._events.close()
        self._hang_up()

    def cancel(self) -> None:
        """Ends the run; its terminal event is still to come."""
        if self.run_id is None:
            raise ProtocolError("The run's id is not known yet: read its first event before you cancel it.")
        self._transport.json(Call("POST", wire.path("/v1/runs/{}/cancel", self.run_id)))

    def text_changes(self) -> Iterator[TextChange]:
        """The answer's text as it changes, to the end. After a recovery `discarded` is the text that is void."""
        for _ in self:
            if (change := self.last_change) is not None:
                yield change

    def output(self) -> str:
        """Reads to the end and gives the whole answer. Raises RunFailed, RunCanceled, and IntegrityError where it is not
        what the server wrote.
        """
        for _ in self:
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
    def _follow(self) -> Generator[AnyEvent, None, None]:
        failures, heard = 0, time.monotonic()
        while self.terminal is None and not self._nothing_left:
            failure: Exception | None = None
            try:
                if self._response is None:
                    self._response = self._open()
                decoder = Decoder()
                for chunk in self._response.iter_bytes():
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
                self._hang_up()
            failures += 1
            if time.monotonic() - heard > self._transport.policy.reconnect_seconds:
                raise self._lost(failure) from failure
            self._transport.wait(failures, failure)

    def _open(self) -> Response:
        """The stream after the last event that was seen."""
        call = self._call
        if self.run_id is not None:
            headers = {"Accept": wire.EVENT_STREAM, "Cache-Control": "no-store"}
            if self.sequence:
                headers["Last-Event-ID"] = str(self.sequence)
            call = Call("GET", wire.path("/v1/runs/{}/stream", self.run_id), headers=headers)
        response = self._transport.attempt(call, stream=True)
        if response.status_code == 204:
            response.close()
            raise ProtocolError(
                f"The server says that run {self.run_id} has ended, but its terminal event was never seen: "
                f"something between lost it. runs.events({self.run_id!r}) reads the stored events.",
                run_id=self.run_id,
                sequence=self.sequence,
            )
        try:
            self._learn_run(response)
        except ProtocolError:
            response.close()
            raise
        return response

    def _learn_run(self, response: Response) -> None:
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

    def _hang_up(self) -> None:
        response, self._response = self._response, None
        if response is not None:
            response.close()


def open_stream(transport: Transport, call: Call, follower: Follower) -> Stream:
    """Raises what refuses the stream before its first event."""
    response = transport.answer(call, stream=True)
    try:
        return Stream(transport, follower, call, response)
    except ProtocolError:
        response.close()
        raise
