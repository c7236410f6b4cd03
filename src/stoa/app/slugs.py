"""From a slug to the models that answer in runs."""

from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from uuid import UUID

from stoa import apps, gateway, runs
from stoa.kernel.errors import BadRequest
from stoa.kernel.principal import Principal


class Slugs:
    """The models that answer for a slug in runs."""

    def __init__(self, catalogue: gateway.Catalogue, routing: gateway.Routing, held: apps.Apps) -> None:
        self._catalogue = catalogue
        self._routing = routing
        self._apps = held

    async def models_of(self, principal: Principal, slug: str) -> Sequence[UUID]:
        targets = await self._routing.targets(principal, slug)
        return [(await self._catalogue.named(principal, target.slug))[0].id for target in targets]

    async def named(self, principal: Principal, agent: str) -> tuple[str, str]:
        """The name and description of an app, or of a model."""
        try:
            app_id = UUID(agent)
        except ValueError:
            targets = await self._routing.targets(principal, agent)
            entry, _ = await self._catalogue.named(principal, targets[0].slug)
            return entry.name, f"The model {entry.slug}."
        app = await self._apps.get(principal, app_id)
        return app.name, app.description or f"The app {app.name}."

    async def default_model(self, _principal: Principal, _slug: str) -> UUID:
        return self._catalogue.default.id


def find_model(
    catalogue: gateway.Catalogue, routing: gateway.Routing, breakers: gateway.Breakers
) -> Callable[[runs.Run, UUID | None], Awaitable[runs.Supply]]:
    """The model of a run, or of a node of its graph, with its price. For a slug with several models the run gets all of
    them, in the order that was drawn when it began."""

    async def find(run: runs.Run, model_id: UUID | None) -> runs.Supply:
        assert model_id is not None, "a deployment names the model of every node that has one"
        named = [UUID(one) for one in (run.options.get("wanted") or {}).get("models", ())]
        if model_id not in named:
            slug, model = await catalogue.model(run.org_id, run.project_id, model_id)
            return runs.Supply(model, slug, routing.price(slug), partial(gateway.extra_of, model))
        targets = await _targets(run, named)
        together = gateway.FallingBack(targets, breakers)
        return runs.Supply(together, targets[0].slug, together.price, lambda fields: fields)

    async def _targets(run: runs.Run, named: Sequence[UUID]) -> Sequence[gateway.Target]:
        """The targets that exist now. Raises BadRequest where none does."""
        found: list[gateway.Target] = []
        for number, model_id in enumerate(named, 1):
            try:
                slug, model = await catalogue.model(run.org_id, run.project_id, model_id)
            except BadRequest:
                if number == len(named) and not found:
                    raise
                continue
            found.append(routing.target(slug, model, run.org_id))
        return found

    return find
