"""Builds the slice: the catalogue, the connections, and the factory of adapters."""

from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from uuid import UUID

from stoa.db.receipts import Receipts
from stoa.gateway.api import routes
from stoa.gateway.catalogue import Catalogue
from stoa.gateway.connections import Connections, Projects
from stoa.gateway.exported import EXPORTED
from stoa.gateway.factory import ModelFactory
from stoa.gateway.ocr.api import ocr_routes
from stoa.gateway.ocr.asking import Asking
from stoa.gateway.ocr.service import Ocr, Reader
from stoa.gateway.offers import Provider
from stoa.gateway.prices import Facts, Price
from stoa.gateway.registry import compatible_root
from stoa.gateway.router import api as router_api
from stoa.gateway.router import messages_api
from stoa.gateway.router import wire as router_wire
from stoa.gateway.router.accounting import Accounts
from stoa.gateway.router.breaker import Breakers
from stoa.gateway.router.caching import KIND, Cache
from stoa.gateway.router.calls import Calls
from stoa.gateway.router.chat import Chat
from stoa.gateway.router.direct import PATH, DirectChat
from stoa.gateway.router.embeddings import Embedder, Embeddings
from stoa.gateway.router.messages import Messages
from stoa.gateway.router.repeating import Repeats
from stoa.gateway.router.routing import Routing
from stoa.gateway.router.types import RouteSettings
from stoa.gateway.secrets import Vault
from stoa.gateway.types import Endpoint, Model
from stoa.http.component import Component, Kit
from stoa.http.hosts import HostKind
from stoa.http.shortcut import route_of
from stoa.outbound import Outbound


@dataclass(frozen=True, slots=True, kw_only=True)
class ProviderSettings:
    """An operator's provider, from the settings or the environment."""

    name: str
    type: str
    base_url: str | None
    api_key: str | None
    ca_bundle: str | None
    models: Sequence[str] | None
    """The models it has; None asks the provider."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GatewayComponent(Component):
    catalogue: Catalogue
    vault: Vault
    routing: Routing
    breakers: Breakers


@asynccontextmanager
async def open_component(
    kit: Kit,
    projects: Projects,
    builtin: tuple[str, Model],
    *,
    node_id: UUID,
    records: Path,
    providers: Sequence[ProviderSettings],
    routes_of_slugs: Sequence[RouteSettings],
    prices: Sequence[Price],
    facts: Sequence[Facts],
    embedders: Mapping[str, Embedder],
    default_model: str | None,
    pace: Callable[[], float],
    outbound: Outbound,
    reader: Reader,
    drain_seconds_max: float,
) -> AsyncGenerator[GatewayComponent]:
    """`builtin` is the slug and the adapter of the model that needs no provider; `records` the directory for files of
    open calls; `pace` returns the seconds between two writes of the journal; `facts` are the operator's facts about
    models; `embedders` are this server's own, by slug; `reader` reads files for OCR."""
    async with AsyncExitStack() as stack:
        vault = Vault(kit.secret)
        factory = ModelFactory(pace=pace, outbound=outbound)
        stack.push_async_callback(factory.close)
        adapters = [_provider(factory, configured) for configured in providers]
        build = factory.build_for_tenant
        catalogue = Catalogue(kit.database, vault, builtin, adapters, build, default_model, compatible_root, facts)
        connections = Connections(kit.database, vault, projects, factory.ask_for_tenant, kit.ids)
        routing = Routing(catalogue, routes_of_slugs, prices)
        accounts = Accounts(kit.database, node_id, routing.price, records)
        calls = Calls(accounts, breakers := Breakers(kit.clock.monotonic), projects, kit.ids, kit.clock)
        chat = Chat(calls, routing, router_wire.error_body)
        cache = Cache(kit.database, calls, Receipts(kit.database, kit.ids, [KIND]))
        embeddings = Embeddings(calls, routing, catalogue, embedders)
        repeats = Repeats(kit.database, kit.ids, kit.clock)
        routed = router_api.Routed(chat, embeddings, routing, catalogue, repeats, cache)
        router = router_api.routes(routed, kit.gate)
        shown = routes(catalogue, connections, routing, breakers, cache, kit.gate)
        ocr = ocr_routes(Ocr(Asking(calls, routing, connections), reader, kit.schemas), kit.gate)
        messages = messages_api.message_routes(Messages(calls, routing, chat.streams), kit.gate)
        yield GatewayComponent(
            catalogue=catalogue,
            vault=vault,
            routing=routing,
            breakers=breakers,
            exported=EXPORTED,
            routers={HostKind.API: [shown, ocr], HostKind.ROUTER: [router, messages]},
            around={HostKind.ROUTER: lambda app: DirectChat(app, chat, kit.gate, route_of(router, PATH))},
            render={HostKind.ROUTER: router_wire.refused},
            metrics=[*accounts.metrics(), *calls.metrics()],
            background=[catalogue, accounts, cache],
            heartbeats=[accounts.heartbeat],
            drain=[partial(chat.drain, drain_seconds_max)],
            hang_up=[chat.hang_up],
        )


def _provider(factory: ModelFactory, configured: ProviderSettings) -> Provider:
    return factory.provider(
        configured.name,
        Endpoint(configured.type, configured.base_url, configured.api_key, configured.ca_bundle),
        configured.models,
        optional=configured.type == "ollama" and configured.base_url is None,
    )
