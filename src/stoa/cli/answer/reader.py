"""Reads a run's stream in a separate thread, so that the terminal is still updated while the network waits."""

import queue
import threading
import time
from dataclasses import dataclass

from stoa.cli.stream.errors import ConnectionFailed, StoaError
from stoa.cli.stream.events import AnyEvent
from stoa.cli.stream.follow import Follower
from stoa.cli.stream.stream import Stream, open_stream
from stoa.cli.stream.transport import EVENT_STREAM, Call, Transport, path


@dataclass(frozen=True, slots=True)
class StreamItem:
    """An event, and the answer's text after it. The last one says whether the hash has verified the whole stream."""

    event: AnyEvent
    text: str
    run_id: str
    verified: bool | None


@dataclass(frozen=True, slots=True)
class Unreachable:
    """The server cannot be reached at the moment."""

    message: str


Item = StreamItem | Unreachable | StoaError | None
"""None is the end."""


def stream_of(run_id: str) -> tuple[Call, Follower]:
    """The call for a run's stream from its first event, and the state of its reader."""
    return Call("GET", path("/v1/runs/{}/stream", run_id), headers={"Accept": EVENT_STREAM}), Follower(run_id=run_id)


class Reader:
    """`patient`: retries a server that cannot be reached before the first event too, not only after it."""

    def __init__(self, transport: Transport, call: Call, follower: Follower, *, patient: bool) -> None:
        self._transport = transport
        self._follower = follower
        self._call = call
        self._patient = patient
        self._items: queue.SimpleQueue[Item] = queue.SimpleQueue()
        self._left = threading.Event()
        threading.Thread(target=self._read, name="stoa.reader", daemon=True).start()

    def next(self, seconds_max: float) -> Item:
        """The next item. Raises queue.Empty after `seconds_max`."""
        return self._items.get(timeout=seconds_max)

    def leave(self) -> None:
        """Stops reading; the run continues. The thread ends at the next event, or with the process."""
        self._left.set()

    def _read(self) -> None:
        try:
            if (stream := self._open()) is None:
                return
            with stream:
                for event in stream:
                    if self._left.is_set():
                        return
                    run_id = stream.run_id or ""
                    self._items.put(StreamItem(event, stream.text, run_id, stream.verified))
            self._items.put(None)
        except StoaError as error:
            self._items.put(error)

    def _open(self) -> Stream | None:
        until = time.monotonic() + self._transport.policy.reconnect_seconds
        failures = 0
        while not self._left.is_set():
            try:
                return open_stream(self._transport, self._call, self._follower)
            except ConnectionFailed as error:
                failures += 1
                if not self._patient or not self._call.safe or time.monotonic() > until:
                    raise
                self._items.put(Unreachable(error.message))
                self._transport.wait(failures, error)
        return None
