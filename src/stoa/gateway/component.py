"""Models, built: the catalogue, the connections, and the factory of adapters."""

from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass

from stoa.gateway.api import routes
from stoa.gateway.catalogue import Catalogue, Provider
from stoa.gateway.connections import Connections, Projects
from stoa.gateway.factory import ModelFactory
from stoa.gateway.registry import compatible_root
from stoa.gateway.secrets import Vault
from stoa.gateway.types import Model
from stoa.http.component import Component, Kit
from stoa.http.hosts import HostKind
from stoa.outbound import Outbound


@dataclass(frozen=True, slots=True, kw_only=True)
class ProviderSettings:
    """A provider of the operator's, as it stands in the settings or the environment."""

    name: str
    type: str
    base_url: str | None
    api_key: str | None
    models: Sequence[str] | None
    """The models it has; None asks the provider."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GatewayComponent(Component):
    catalogue: Catalogue
    vault: Vault


@asynccontextmanager
async def open_component(
    kit: Kit,
    projects: Projects,
    builtin: tuple[str, Model],
    *,
    providers: Sequence[ProviderSettings],
    default_model: str | None,
    pace: Callable[[], float],
    outbound: Outbound,
) -> AsyncGenerator[GatewayComponent]:
    """`builtin` is the slug and the adapter of the model that needs no provider; `pace` the seconds between two writes
    of the journal."""
    async with AsyncExitStack() as stack:
        vault = Vault(kit.secret)
        factory = ModelFactory(pace=pace, outbound=outbound)
        stack.push_async_callback(factory.close)
        catalogue = Catalogue(
            kit.database,
            vault,
            builtin,
            [_provider(factory, configured) for configured in providers],
            factory.build_for_tenant,
            default_model,
            compatible_root,
        )
        connections = Connections(kit.database, vault, projects, factory.ask_for_tenant, kit.ids)
        yield GatewayComponent(
            catalogue=catalogue,
            vault=vault,
            routers={HostKind.API: [routes(catalogue, connections, kit.gate)]},
            background=[catalogue],
        )


def _provider(factory: ModelFactory, configured: ProviderSettings) -> Provider:
    return factory.provider(
        configured.name,
        configured.type,
        configured.base_url,
        configured.api_key,
        configured.models,
        optional=configured.type == "ollama" and configured.base_url is None,
    )
