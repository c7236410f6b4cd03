"""Work for a client that may disconnect before it is done."""

import asyncio
from collections.abc import Callable, Coroutine
from functools import partial
from typing import Any, Final, TypeVar

from starlette.requests import ClientDisconnect
from starlette.types import Receive, Scope

WHEN_GONE: Final = "stoa.when_gone"
"""The key of the scope for a function that registers a callback for the client's disconnect before its response; None
removes it. It needs no task, as waiting for `http.disconnect` does. Absent with other ASGI servers."""
T = TypeVar("T")


async def while_connected(scope: Scope, receive: Receive, work: Coroutine[Any, Any, T]) -> T:
    """The result of `work`, which is cancelled when the client disconnects. Raises ClientDisconnect then."""
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
    """Calls `leave` when the client disconnects, until the returned function is called."""
    when_gone: Callable[[Callable[[], None] | None], None] | None = scope.get(WHEN_GONE)
    if when_gone is not None:
        when_gone(leave)
        return partial(when_gone, None)
    watching = asyncio.ensure_future(_gone(receive))

    def ended(watcher: asyncio.Future[None]) -> None:
        if not watcher.cancelled():
            watcher.exception()  # Retrieved and ignored: nobody waits for the response.
            leave()

    def stop() -> None:
        watching.remove_done_callback(ended)
        watching.cancel()

    watching.add_done_callback(ended)
    return stop


async def _gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
