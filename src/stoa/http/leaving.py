"""Work for a client that may go before it is done."""

import asyncio
from collections.abc import Callable, Coroutine
from functools import partial
from typing import Any, Final, TypeVar

from starlette.requests import ClientDisconnect
from starlette.types import Receive, Scope

WHEN_GONE: Final = "stoa.when_gone"
"""The key of the scope for a function: it takes what is called, once, when the client goes before it has its answer;
None takes that back. Costs no task, which waiting for `http.disconnect` does. Absent where another server serves."""
T = TypeVar("T")


async def while_connected(scope: Scope, receive: Receive, work: Coroutine[Any, Any, T]) -> T:
    """What `work` gives; it is cancelled when the client goes. Raises ClientDisconnect then."""
    task = asyncio.current_task()
    assert task is not None
    left = ended = False

    def leave() -> None:
        nonlocal left
        if not ended:
            left = True
            task.cancel()

    stop_watching = _watch(scope, receive, leave)
    try:
        return await work
    except asyncio.CancelledError:
        if left and not task.uncancel():
            raise ClientDisconnect from None
        raise
    finally:
        ended = True
        stop_watching()


def _watch(scope: Scope, receive: Receive, leave: Callable[[], None]) -> Callable[[], None]:
    """Calls `leave` when the client goes, until what this gives is called."""
    when_gone: Callable[[Callable[[], None] | None], None] | None = scope.get(WHEN_GONE)
    if when_gone is not None:
        when_gone(leave)
        return partial(when_gone, None)
    watching = asyncio.ensure_future(_gone(receive))

    def ended(watcher: asyncio.Future[None]) -> None:
        if not watcher.cancelled():
            watcher.exception()  # Whatever it raises: nobody waits for the answer.
            leave()

    def stop() -> None:
        watching.remove_done_callback(ended)
        watching.cancel()

    watching.add_done_callback(ended)
    return stop


async def _gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
