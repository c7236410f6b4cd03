"""Models and connections on the api host (contract section 8)."""

from typing import Annotated
from uuid import UUID

from fastapi import Depends, Path, Query

from stoa.gateway import wire
from stoa.gateway.catalogue import Catalogue
from stoa.gateway.connections import ChangedConnection, Connections, NewConnection
from stoa.gateway.offers import ModelEntry
from stoa.gateway.registry import provider_of
from stoa.gateway.router.breaker import Breakers
from stoa.gateway.router.caching import Cache
from stoa.gateway.router.routing import Routing
from stoa.gateway.types import Endpoint
from stoa.http import (
    Acknowledgement,
    Data,
    DataList,
    Gate,
    IdempotencyKeyHeader,
    Paging,
    Routes,
    page_of,
    refusals,
    repeated,
)
from stoa.http.wire import DeletedWire
from stoa.kernel.pages import Page, PageRequest
from stoa.kernel.principal import Principal

SORTABLE = {"created_at": "created_at", "updated_at": "updated_at", "name": "name"}


def routes(
    catalogue: Catalogue,
    connections: Connections,
    routing: Routing,
    breakers: Breakers,
    cache: Cache,
    gate: Gate,
) -> Routes:
    router = Routes(tags=["gateway"])
    reading, writing = gate("connections:read"), gate("connections:write")

    @router.get("/v1/router/models", responses=refusals())
    async def list_models(
        principal: Annotated[Principal, gate("models:read")], page: Annotated[PageRequest, Depends(Paging())]
    ) -> DataList[wire.ModelWire]:
        """The models that `model_id` takes, by id or by slug; the default first. With what they can do and cost, as far
        as the operator or their provider says."""

        def shown(entry: ModelEntry) -> wire.ModelWire:
            return wire.model(entry, catalogue.facts(entry.slug), routing.price_line(entry.slug))

        return page_of(await catalogue.list(principal, page), shown)

    @router.get("/v1/router/models/{model_id:path}/providers", responses=refusals(404))
    async def list_providers(
        model_id: Annotated[str, Path(max_length=300)], principal: Annotated[Principal, gate("models:read")]
    ) -> DataList[wire.ProviderWire]:
        """Who serves a model (by its id or slug), and whether the gateway calls them just now. For a route that the
        operator set: every provider behind it, in the order in which they are tried."""
        route = routing.route(model_id)
        if route is not None:
            entries = await routing.entries_of(principal, route)
        else:
            entries = [await catalogue.entry(principal, model_id)]
        found = [
            wire.provider(entry, breakers.state(routing.circuit(entry.slug, principal.org_id))) for entry in entries
        ]
        return page_of(Page(found, 1, PageRequest().page_size, len(found)), lambda one: one)

    @router.delete("/v1/router/cache", responses=refusals(404))
    async def clear_cache(
        principal: Annotated[Principal, writing],
        project_id: Annotated[
            UUID | None, Query(description="Left out: the project that calls of this key are billed to.")
        ] = None,
    ) -> DeletedWire:
        """Deletes the answers that were kept for a project. The receipt is at /v1/deletions/{deletion_id}."""
        return DeletedWire(message="deleted", deletion_id=await cache.clear(principal, project_id))

    @router.get("/v1/connections", responses=refusals())
    async def list_connections(
        principal: Annotated[Principal, reading],
        page: Annotated[PageRequest, Depends(Paging(SORTABLE))],
        project_id: UUID | None = None,
        type: Annotated[  # noqa: A002 — the parameter's name
            list[Annotated[str, Query(max_length=200)]] | None,
            Query(description="May be repeated; `openai`, or `dynamiq.connections.OpenAI`."),
        ] = None,
    ) -> DataList[wire.ConnectionWire]:
        types = [provider_of(one) or one for one in type] if type else None
        return page_of(await connections.list(principal, page, project_id, types), wire.connection)

    @router.post("/v1/connections", status_code=201, responses=refusals(409))
    async def create_connection(
        body: wire.CreateConnection,
        principal: Annotated[Principal, writing],
        idempotency_key: IdempotencyKeyHeader = None,
    ) -> Data[wire.ConnectionWire]:
        """Adds a provider. It is asked for its models at once, which join the catalogue; its credential is never shown
        again."""
        once = repeated(idempotency_key, "connections", body)
        config = body.config
        endpoint = Endpoint(body.type, config.base_url, config.api_key, config.ca_bundle)
        new = NewConnection(body.name, endpoint, config.models)
        return Data(data=wire.connection(await connections.create(principal, new, once)))

    @router.get("/v1/connections/{connection_id}", responses=refusals(404))
    async def get_connection(
        connection_id: UUID, principal: Annotated[Principal, reading]
    ) -> Data[wire.ConnectionWire]:
        return Data(data=wire.connection(await connections.get(principal, connection_id)))

    @router.put("/v1/connections/{connection_id}", responses=refusals(404))
    async def update_connection(
        connection_id: UUID, body: wire.UpdateConnection, principal: Annotated[Principal, writing]
    ) -> Data[wire.ConnectionWire]:
        config = body.config
        changed = ChangedConnection(config.base_url, config.api_key, config.ca_bundle, config.models)
        updated = await connections.update(principal, connection_id, changed)
        return Data(data=wire.connection(updated))

    @router.delete("/v1/connections/{connection_id}", responses=refusals(404))
    async def delete_connection(connection_id: UUID, principal: Annotated[Principal, writing]) -> Acknowledgement:
        await connections.delete(principal, connection_id)
        return Acknowledgement(message="deleted")

    return router
