"""From a slug to the models that can answer, in the order in which they are tried."""

import random
from collections.abc import Callable, Sequence
from typing import Final
from uuid import UUID, uuid5

from stoa.gateway.catalogue import NAMESPACE, Catalogue
from stoa.gateway.offers import ModelEntry
from stoa.gateway.prices import Price, line_of, price_of
from stoa.gateway.router.types import PriceOf, RouteSettings, Target, TargetSettings
from stoa.gateway.types import Model
from stoa.kernel.errors import NotFound, Unavailable
from stoa.kernel.principal import Principal

PRICES_MAX: Final = 10_000
"""Slugs whose price line is cached."""


class Routing:
    def __init__(
        self,
        catalogue: Catalogue,
        routes: Sequence[RouteSettings],
        prices: Sequence[Price],
        chance: Callable[[], float] = random.random,
    ) -> None:
        self._catalogue = catalogue
        self._routes = {route.slug: route for route in routes}
        self._prices = prices
        self._known: dict[str, PriceOf] = {}
        self.chance = chance

    @property
    def routes(self) -> Sequence[RouteSettings]:
        return list(self._routes.values())

    def route(self, name: str) -> RouteSettings | None:
        """The route with this slug or id."""
        by_id = (route for slug, route in self._routes.items() if str(route_id(slug)) == name.lower())
        return self._routes.get(name) or next(by_id, None)

    def price(self, slug: str) -> PriceOf:
        if (known := self._known.get(slug)) is None:
            if len(self._known) >= PRICES_MAX:
                self._known.clear()
            known = self._known[slug] = price_of(slug, self._prices)
        return known

    def price_line(self, slug: str) -> Price | None:
        """A model's line of the operator's price table; None if it has no price."""
        return line_of(slug, self._prices)

    async def targets(self, principal: Principal, slug: str) -> Sequence[Target]:
        """The models that can answer, in the order in which they are tried. Raises NotFound; Unavailable if none of a
        route's models exists now."""
        route = self._routes.get(slug)
        if route is None:
            entry, model = await self._catalogue.named(principal, slug)
            return [self.target(entry.slug, model, principal.org_id)]
        found: list[Target] = []
        for target in in_order(route.targets, self.chance):
            try:
                entry, model = await self._catalogue.named(principal, target.model)
            except NotFound:
                continue
            found.append(self.target(entry.slug, model, principal.org_id))
        if not found:
            raise Unavailable(f"None of the models behind {slug} is available on this server just now.")
        return found

    async def entries_of(self, principal: Principal, route: RouteSettings) -> Sequence[ModelEntry]:
        """The existing models behind a slug, in the order of the settings."""
        found: list[ModelEntry] = []
        for target in sorted(route.targets, key=lambda one: one.order):
            try:
                found.append((await self._catalogue.named(principal, target.model))[0])
            except NotFound:
                continue
        return found

    def target(self, slug: str, model: Model, org_id: UUID) -> Target:
        return Target(slug, self.circuit(slug, org_id), model, self.price(slug))

    def circuit(self, slug: str, org_id: UUID) -> str:
        """The circuit's name. All organizations share the circuits of the operator's providers; a connection's circuit
        belongs to its organization."""
        provider = slug.partition("/")[0]
        operators = self._catalogue.find(slug)
        return operators.provider if operators is not None else f"{org_id}/{provider}"


def route_id(slug: str) -> UUID:
    """The same on every node and at every start, like the ids of models."""
    return uuid5(NAMESPACE, f"route:{slug}")


def in_order(targets: Sequence[TargetSettings], chance: Callable[[], float]) -> Sequence[TargetSettings]:
    """Sorted by `order`; entries of one order in weighted random order. A weight of 0 comes last among them."""
    out: list[TargetSettings] = []
    for order in sorted({target.order for target in targets}):
        left = [target for target in targets if target.order == order]
        while left:
            mark = chance() * sum(target.weight for target in left)
            chosen = left[-1]
            for target in left:
                mark -= target.weight
                if mark < 0:
                    chosen = target
                    break
            left.remove(chosen)
            out.append(chosen)
    return out
