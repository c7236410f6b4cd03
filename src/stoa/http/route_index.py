"""Finds a request's route by the segments of its path. The framework asks every route in turn: some 70 patterns before
the one that matches, a third of a millisecond.

The index names every route that can match, in their order, and each of those still decides for itself. Whatever none of
them takes (a redirect to the path with or without a slash at its end, 404) goes to the framework unchanged. A refusal
of the method (405) names every method of the path in `Allow`; the framework names those of the first route.
"""

from collections.abc import Iterable, Iterator, Sequence
from itertools import chain
from typing import Final

from fastapi import APIRouter
from starlette._utils import get_route_path
from starlette.exceptions import HTTPException
from starlette.routing import BaseRoute, Match, Route
from starlette.types import Receive, Scope, Send

ANY_METHOD: Final = "*"
"""Not a method that a client can send: it holds what decides by itself."""
REST: Final = ":path}"
"""The end of a parameter that takes several segments."""

Candidate = tuple[int, BaseRoute]
"""A route, and its place among all: an earlier one has precedence."""


class _Branch:
    """The routes that share the segments up to here."""

    __slots__ = ("below", "ending", "named", "rest")

    def __init__(self) -> None:
        self.named: dict[str, _Branch] = {}
        """By the next segment."""
        self.below: _Branch | None = None
        """Behind a segment that is a parameter, or holds one."""
        self.ending: dict[str, list[Candidate]] = {}
        """Routes whose path ends here, by method."""
        self.rest: dict[str, list[Candidate]] = {}
        """Routes that may take any number of further segments, by method."""

    def descend(self, segment: str) -> "_Branch":
        if "{" not in segment:
            return self.named.setdefault(segment, _Branch())
        self.below = self.below or _Branch()
        return self.below


class RouteIndex:
    def __init__(self, routes: Iterable[BaseRoute]) -> None:
        self._root = _Branch()
        for place, route in enumerate(routes):
            self._add(place, route)

    def _add(self, place: int, route: BaseRoute) -> None:
        if not isinstance(route, Route):  # A mount, a host, a WebSocket: it may match anything.
            self._root.rest.setdefault(ANY_METHOD, []).append((place, route))
            return
        branch, many = self._root, False
        for segment in route.path.split("/")[1:]:
            if many := REST in segment:
                break
            branch = branch.descend(segment)
        kept = branch.rest if many else branch.ending
        for method in route.methods or (ANY_METHOD,):
            kept.setdefault(method, []).append((place, route))

    def candidates(self, method: str | None, path: str) -> Sequence[BaseRoute]:
        """Every route that may take this request, in their order; without a method, for any."""
        found: list[Candidate] = []
        branches = [self._root]
        for segment in path.split("/")[1:]:
            found += _of(method, (branch.rest for branch in branches))
            branches = [*_next(branches, segment)]
            if not branches:
                break
        found += _of(method, (kept for branch in branches for kept in (branch.rest, branch.ending)))
        if len(found) > 1:
            found = sorted(dict(found).items(), key=_place)
        return [route for _, route in found]


def _next(branches: Iterable[_Branch], segment: str) -> Iterator[_Branch]:
    for branch in branches:
        if (named := branch.named.get(segment)) is not None:
            yield named
        if branch.below is not None:
            yield branch.below


def _of(method: str | None, kept: Iterable[dict[str, list[Candidate]]]) -> Iterator[Candidate]:
    for by_method in kept:
        if method is None:
            yield from chain.from_iterable(by_method.values())
        elif by_method:
            yield from by_method.get(method, ())
            yield from by_method.get(ANY_METHOD, ())


def _place(candidate: Candidate) -> int:
    return candidate[0]


class Indexed:
    """An ASGI app in front of a router's own loop over its routes."""

    def __init__(self, router: APIRouter) -> None:
        self._router = router
        self._index = RouteIndex(router.routes)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            for route in self._index.candidates(scope["method"], get_route_path(scope)):
                match, found = route.matches(scope)
                if match is Match.FULL:
                    scope.setdefault("router", self._router)
                    scope.update(found)
                    await route.handle(scope, receive, send)
                    return
            self._refuse_method(scope)
        await self._router.app(scope, receive, send)

    def _refuse_method(self, scope: Scope) -> None:
        """Raises HTTPException where the path has routes, of other methods."""
        refusing = [
            (route, found)
            for route in self._index.candidates(None, get_route_path(scope))
            for match, found in (route.matches(scope),)
            if match is Match.PARTIAL
        ]
        if refusing:
            scope.update(refusing[0][1])
            allowed = {method for route, _ in refusing if isinstance(route, Route) for method in route.methods or ()}
            raise HTTPException(405, headers={"Allow": ", ".join(sorted(allowed))})


def install(router: APIRouter) -> None:
    """To be called when the router has all its routes."""
    router.middleware_stack = Indexed(router)
