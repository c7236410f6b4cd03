"""Tasks with an owner, and what their loops wait for. A background loop that breaks is logged with its stack and started again; it never dies unseen."""

import asyncio
import random
from collections.abc import Awaitable, Callable, Coroutine
from contextlib import suppress
from typing import Any, Final

import structlog

from stoa.kernel.errors import Unavailable

RESTART_SECONDS: Final = 1.0
_log = structlog.get_logger("stoa.supervise")


def spread(seconds: float) -> float:
    """So long, give or take a fifth: many nodes do not look into one database at the same moment."""
    return seconds * random.uniform(0.8, 1.2)  # noqa: S311 — guards nothing


class Wakeup:
    """What a loop that looks for work waits for: being told of some, or that its time has come, since a nudge may be lost."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._given = asyncio.Event()

    def give(self) -> None:
        self._given.set()

    async def wait(self) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(spread(self._seconds)):
                await self._given.wait()
        self._given.clear()


class Supervisor:
    """Owns a component's background tasks: `keep` restarts a loop, `once` runs to its end; `stop` ends them all."""

    def __init__(self) -> None:
        self._tasks: set[asyncio.Task[None]] = set()

    def keep(self, loop: Callable[[], Awaitable[None]], name: str) -> None:
        """Runs `loop` until `stop`; when it raises, logs and starts it again after a second."""
        self._own(self._again(loop, name), name)

    def once(self, work: Coroutine[Any, Any, None], name: str) -> asyncio.Task[None]:
        return self._own(self._one(work, name), name)

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

    async def _again(self, loop: Callable[[], Awaitable[None]], name: str) -> None:
        while True:
            try:
                await loop()
                return
            except Unavailable as error:
                _log.warning("paused", task=name, error=error.message, retry_seconds=RESTART_SECONDS)
                await asyncio.sleep(RESTART_SECONDS)
            except Exception:  # noqa: BLE001 - an edge at which bugs end
                _log.exception("bug", task=name)
                await asyncio.sleep(RESTART_SECONDS)

    async def _one(self, work: Coroutine[Any, Any, None], name: str) -> None:
        try:
            await work
        except Unavailable as error:
            _log.warning("given up", task=name, error=error.message)
        except Exception:  # noqa: BLE001 - an edge at which bugs end
            _log.exception("bug", task=name)
