"""Routes and what they depend on run on the event loop: a plain function the framework sends to a thread, which costs
two switches a request and, on a busy server, milliseconds of waiting for the interpreter's lock."""

import gc
import inspect
from collections.abc import Iterator
from typing import Any

from fastapi.dependencies.models import Dependant
from fastapi.routing import APIRoute

from tests.conftest import Running


async def test_every_route_and_dependency_is_a_coroutine(shared_server: Running) -> None:
    assert shared_server.url
    routes = [one for one in gc.get_objects() if isinstance(one, APIRoute)]
    assert len(routes) > 200
    plain = {_name(call) for route in routes for call in _calls(route.dependant) if not _awaited(call)}
    assert not plain


def _calls(dependant: Dependant) -> Iterator[Any]:
    if dependant.call is not None:
        yield dependant.call
    for one in dependant.dependencies:
        yield from _calls(one)


def _awaited(call: Any) -> bool:
    own = getattr(call, "func", call)
    called = own if inspect.isroutine(own) else type(own).__call__
    return inspect.iscoroutinefunction(called) or inspect.isasyncgenfunction(called)


def _name(call: Any) -> str:
    return f"{getattr(call, '__module__', '')}.{getattr(call, '__qualname__', call)}"
