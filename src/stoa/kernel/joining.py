"""Group commit: concurrent requests for the same work share one statement and one commit."""

import asyncio
from collections.abc import Awaitable, Callable, Hashable, Sequence
from functools import partial
from typing import Generic, TypeVar

from stoa.kernel.errors import DatabaseUnavailable

Item = TypeVar("Item")
Result = TypeVar("Result")
Key = TypeVar("Key", bound=Hashable)


class Joined(Generic[Item, Result]):
    """`work` takes the waiting items and returns a result for each, in order; an exception of it is raised for each.

    No item waits for others to arrive: items of one loop iteration start together, and items that arrive while
    `at_once_max` calls of `work` are in progress start when one of them ends. With `alone`, an item that arrives while
    nothing is in progress is processed at once, in the caller's task. A call that takes longer than `seconds_max` no
    longer counts, so a call that hangs delays others by that time at most.
    """

    def __init__(
        self,
        name: str,
        work: Callable[[Sequence[Item]], Awaitable[Sequence[Result]]],
        *,
        items_max: int,
        at_once_max: int,
        seconds_max: float | None = None,
        alone: Callable[[Item], Awaitable[Result]] | None = None,
    ) -> None:
        self._name = name
        self._work = work
        self._items_max = items_max
        self._at_once_max = at_once_max
        self._seconds_max = seconds_max
        self._alone = alone
        self._waiting: list[tuple[Item, asyncio.Future[Result]]] = []
        self._running: set[object] = set()
        """Tasks, and one mark for each item that is done alone."""
        self._late: set[object] = set()
        self._scheduled = False

    @property
    def idle(self) -> bool:
        return not (self._running or self._waiting)

    async def finished(self) -> None:
        """Waits until nothing is waiting or in progress, for a shutdown: callers may be gone."""
        while self._waiting or self._running or self._late:
            tasks = [one for one in (*self._running, *self._late) if isinstance(one, asyncio.Task)]
            await (asyncio.wait(tasks) if tasks else asyncio.sleep(0))

    async def do(self, item: Item) -> Result:
        """The shared work continues when one of its callers is cancelled."""
        loop = asyncio.get_running_loop()
        if self._alone is not None and self.idle:
            mark = object()
            timer = self._count(loop, mark)
            try:
                return await self._alone(item)
            finally:
                self._uncount(loop, mark, timer)
        done: asyncio.Future[Result] = loop.create_future()
        self._waiting.append((item, done))
        self._schedule(loop)
        return await done

    def _schedule(self, loop: asyncio.AbstractEventLoop) -> None:
        if self._waiting and not self._scheduled and len(self._running) < self._at_once_max:
            self._scheduled = True
            loop.call_soon(self._begin, loop)

    def _begin(self, loop: asyncio.AbstractEventLoop) -> None:
        self._scheduled = False
        batch, self._waiting = self._waiting[: self._items_max], self._waiting[self._items_max :]
        task = loop.create_task(self._together([item for item, _ in batch]), name=self._name)
        timer = self._count(loop, task)
        task.add_done_callback(partial(self._ended, batch, timer))
        self._schedule(loop)

    def _count(self, loop: asyncio.AbstractEventLoop, work: object) -> asyncio.TimerHandle | None:
        self._running.add(work)
        if self._seconds_max is None:
            return None
        return loop.call_later(self._seconds_max, self._count_no_more, loop, work)

    def _count_no_more(self, loop: asyncio.AbstractEventLoop, work: object) -> None:
        self._running.discard(work)
        self._late.add(work)
        self._schedule(loop)

    def _uncount(self, loop: asyncio.AbstractEventLoop, work: object, timer: asyncio.TimerHandle | None) -> None:
        if timer is not None:
            timer.cancel()
        self._running.discard(work)
        self._late.discard(work)
        self._schedule(loop)

    async def _together(self, items: Sequence[Item]) -> Sequence[Result]:
        return await self._work(items)

    def _ended(
        self,
        batch: list[tuple[Item, asyncio.Future[Result]]],
        timer: asyncio.TimerHandle | None,
        task: asyncio.Task[Sequence[Result]],
    ) -> None:
        self._uncount(task.get_loop(), task, timer)
        error = None if task.cancelled() else task.exception()
        results = task.result() if error is None and not task.cancelled() else ()
        for place, (_, done) in enumerate(batch):
            if done.done():  # The caller was cancelled.
                continue
            if task.cancelled():
                done.cancel()
            elif isinstance(error, DatabaseUnavailable):
                done.set_exception(DatabaseUnavailable(error.message))  # A separate exception for each traceback.
            elif error is not None:
                done.set_exception(error)
            else:
                done.set_result(results[place])


class JoinedByKey(Generic[Key, Item, Result]):
    """A `Joined` for each key, so that only items of one key share their work, and one key's work delays no other."""

    def __init__(
        self,
        name: str,
        work: Callable[[Key, Sequence[Item]], Awaitable[Sequence[Result]]],
        *,
        items_max: int,
        at_once_max: int = 1,
    ) -> None:
        self._name = name
        self._work = work
        self._items_max = items_max
        self._at_once_max = at_once_max
        self._of_keys: dict[Key, Joined[Item, Result]] = {}

    async def do(self, key: Key, item: Item) -> Result:
        joined = self._of_keys.get(key)
        if joined is None:
            joined = self._of_keys[key] = Joined(
                self._name, partial(self._work, key), items_max=self._items_max, at_once_max=self._at_once_max
            )
        try:
            return await joined.do(item)
        finally:
            if joined.idle and self._of_keys.get(key) is joined:
                del self._of_keys[key]

    async def finished(self) -> None:
        """Waits until nothing is waiting or in progress, for a shutdown: callers may be gone."""
        for joined in list(self._of_keys.values()):
            await joined.finished()
        self._of_keys.clear()
