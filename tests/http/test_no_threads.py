"""Routes and what they depend on run on the event loop: a plain function the framework sends to a thread, which costs
two switches a request and, on a busy server, milliseconds of waiting for the interpreter's lock."""

import inspect
from collections.abc import Iterator
from typing import Any

from fastapi import FastAPI
from fastapi.dependencies.models import Dependant
from fastapi.routing import APIRoute

from tests.conftest import Running


async def test_every_route_and_dependency_is_a_coroutine(shared_server: Running) -> None:
    apps = list(_apps(shared_server.server.asgi, set()))
    assert len(apps) == 5, "one for each kind of host"
    routes = [one for app in apps for one in app.routes if isinstance(one, APIRoute)]
    assert len(routes) > 200
    plain = {_name(call) for route in routes for call in _calls(route.dependant) if not _awaited(call)}
    assert not plain


def _apps(layer: Any, seen: set[int]) -> Iterator[FastAPI]:
    """The apps below a layer of the server: whatever its fields hold, whatever these are called."""
    if id(layer) in seen:
        return
    seen.add(id(layer))
    if isinstance(layer, FastAPI):
        yield layer
    elif isinstance(layer, dict):
        for one in layer.values():
            yield from _apps(one, seen)
    elif type(layer).__module__.startswith(("stoa.", "starlette.", "uvicorn.")):
        slots = (getattr(layer, name, None) for kind in type(layer).__mro__ for name in getattr(kind, "__slots__", ()))
        for one in (*vars(layer).values(), *slots) if hasattr(layer, "__dict__") else slots:
            yield from _apps(one, seen)


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
