"""Supervised background tasks, the wake-up that their loops wait for, and heartbeats that show progress.

A background loop that raises is logged with its stack and restarted. An error of the logging itself does not end the
loop.
"""

import asyncio
import random
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from contextlib import suppress
from time import monotonic
from typing import Any, Final

import structlog

from stoa.kernel.errors import Unavailable
from stoa.kernel.metrics import Gauge, Metric

RESTART_SECONDS: Final = 1.0
STUCK_SECONDS: Final = 10.0
"""An iteration that is due for so long without being finished counts as stuck. Healthy ones take milliseconds."""
_log = structlog.get_logger("stoa.supervise")


def spread(seconds: float) -> float:
    """The given time ± 20 %, so that nodes do not query one database at the same moment."""
    return seconds * random.uniform(0.8, 1.2)  # noqa: S311 — guards nothing


class Wakeup:
    """What a polling loop waits for: `wake`, or the end of the poll interval, because a notification may be lost."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._event = asyncio.Event()

    def wake(self) -> None:
        self._event.set()

    async def wait(self) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(spread(self._seconds)):
                await self._event.wait()
        self._event.clear()


class Heartbeat:
    """Progress of one loop: `begin` when an iteration is due, `done` when it succeeded. A loop that waits for work is
    between two iterations.

    A loop that died, hangs, or always fails leaves its iteration open, and is `stuck` after `seconds_max`.
    """

    def __init__(
        self, name: str, seconds_max: float = STUCK_SECONDS, monotonic_seconds: Callable[[], float] = monotonic
    ) -> None:
        self.name = name
        self._seconds_max = seconds_max
        self._monotonic_seconds = monotonic_seconds
        self._due_since: float | None = None

    def begin(self) -> None:
        if self._due_since is None:
            self._due_since = self._monotonic_seconds()

    def done(self) -> None:
        self._due_since = None

    @property
    def stuck(self) -> bool:
        return self._due_since is not None and self._monotonic_seconds() - self._due_since > self._seconds_max


class Heartbeats:
    """The monitored loops of this process. Those that are `vital` are needed to answer a message."""

    def __init__(self, vital: Sequence[Heartbeat], others: Sequence[Heartbeat] = ()) -> None:
        self._vital = vital
        self._others = others

    def metrics(self) -> Sequence[Metric]:
        def levels() -> dict[tuple[str, ...], float]:
            return {(one.name,): float(one.stuck) for one in (*self._vital, *self._others)}

        return [
            Gauge(
                "stoa_loop_stuck",
                "1 while a background loop has made no progress for ten seconds.",
                levels,
                ("loop",),
                "max",
            )
        ]

    def stuck(self) -> Sequence[str]:
        """All of them, for the doctor."""
        return [one.name for one in (*self._vital, *self._others) if one.stuck]

    def check_vital(self) -> None:
        """Raises Unavailable naming the loops without which this process cannot answer."""
        if stuck := [one.name for one in self._vital if one.stuck]:
            raise Unavailable(
                f"Background work is stuck on this node: {', '.join(stuck)}. If it stays so, restart the node."
            )


class Supervisor:
    """Owns a component's background tasks: `keep` restarts a loop, `once` runs to its end; `stop` ends them all."""

    def __init__(self) -> None:
        self._tasks: set[asyncio.Task[None]] = set()

    def keep(self, loop: Callable[[], Awaitable[None]], name: str, heartbeat: Heartbeat | None = None) -> None:
        """Runs `loop` until `stop`. When it raises, logs that and restarts it after a second.

        `heartbeat` is the loop's own; a failure opens an iteration, so that a loop which never completes one is
        reported.
        """
        self._own(self._restart(loop, name, heartbeat or Heartbeat(name)), name)

    def keep_every(self, seconds: float, action: Callable[[], Awaitable[object]], name: str) -> None:
        """Runs `action` about every `seconds`, first after that time; skips a call if the database is unavailable."""

        async def loop() -> None:
            while True:
                await asyncio.sleep(spread(seconds))
                with suppress(Unavailable):
                    await action()

        self.keep(loop, name)

    def once(self, work: Coroutine[Any, Any, None], name: str) -> asyncio.Task[None]:
        return self._own(self._run_once(work, name), name)

    async def stop(self) -> None:
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _own(self, work: Coroutine[Any, Any, None], name: str) -> asyncio.Task[None]:
        task = asyncio.create_task(work, name=name)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def _restart(self, loop: Callable[[], Awaitable[None]], name: str, heartbeat: Heartbeat) -> None:
        task = asyncio.current_task()
        assert task is not None
        while True:
            try:
                await loop()
                return
            except asyncio.CancelledError as error:
                if task.cancelling():
                    raise
                # Another task cancelled a future that the loop awaited. That must not end the loop.
                _report(name, error)
            except Exception as error:  # noqa: BLE001 - an edge at which bugs end
                _report(name, error)
            heartbeat.begin()
            await asyncio.sleep(RESTART_SECONDS)

    async def _run_once(self, work: Coroutine[Any, Any, None], name: str) -> None:
        try:
            await work
        except Unavailable as error:
            with suppress(Exception):
                _log.warning("task ended: database unavailable", task=name, error=error.message)
        except Exception:  # noqa: BLE001 - an edge at which bugs end
            with suppress(Exception):
                _log.exception("bug", task=name)


def _report(name: str, error: BaseException) -> None:
    """Logs why a loop is restarted. Never raises: a failing log must not end the loop."""
    with suppress(Exception):
        if isinstance(error, Unavailable):
            _log.warning("paused", task=name, error=error.message, retry_seconds=RESTART_SECONDS)
        else:
            _log.error("bug", task=name, exc_info=error)
