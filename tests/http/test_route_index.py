"""The index of routes finds, for every route of every host, the one that the framework's own loop finds."""

import gc
import re

from starlette.routing import BaseRoute, Match, Route
from starlette.types import Scope

from stoa.http.route_index import Indexed, RouteIndex
from tests.conftest import Running

VALUES = ("0b54a6d2-6a0f-4b5e-9f6f-0d4f5a3c2b1a", "latest", "a/b/")
SCOPE: Scope = {"type": "http", "root_path": ""}
METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")


def first(routes: list[BaseRoute], method: str, path: str) -> BaseRoute | None:
    scope = {**SCOPE, "method": method, "path": path}
    return next((route for route in routes if route.matches(scope)[0] is Match.FULL), None)


async def test_every_route_of_every_host(shared_server: Running) -> None:
    assert (await shared_server.client.get("/health")).status_code == 200
    hosts = [one._router.routes for one in gc.get_objects() if isinstance(one, Indexed)]
    assert len(hosts) >= 5
    asked = found_most = 0
    for routes in hosts:
        index = RouteIndex(routes)
        paths = [route.path for route in routes if isinstance(route, Route)]
        for path in sorted({re.sub(r"{[^}]*}", value, one) for one in paths for value in VALUES}):
            taking = [one for one in routes if one.matches({**SCOPE, "path": path, "method": ""})[0] is not Match.NONE]
            for method in METHODS:
                found = list(index.candidates(method, path))
                assert first(found, method, path) is first(taking, method, path), (method, path)
                found_most = max(found_most, len(found))
                asked += 1
    assert asked > 1_000
    assert found_most <= 5, "a request is compared with a handful of patterns"
