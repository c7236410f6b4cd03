"""Builds adapters from configured providers, and requests their lists of models."""

import asyncio
from collections.abc import Callable, Sequence
from typing import Final
from urllib.parse import urlsplit

from stoa.gateway.addresses import check_address
from stoa.gateway.offers import NoModelList, Offer, Provider, ProviderError
from stoa.gateway.providers.transport import Transport
from stoa.gateway.registry import kind_of, root
from stoa.gateway.types import Capabilities, Endpoint, Model
from stoa.outbound import Outbound

LIST_SECONDS_MAX: Final = 10.0
LOCAL_LIST_SECONDS_MAX: Final = 0.5
"""A local server that is running answers at once."""


class ModelFactory:
    """Long-lived: holds the connections to all providers. `pace` returns how long a reader of deltas may collect them
    under load."""

    def __init__(self, *, pace: Callable[[], float], outbound: Outbound) -> None:
        self._outbound = outbound
        self._transport = Transport(pace=pace, outbound=outbound.trusted())
        self._local = Transport(pace=pace, outbound=outbound.trusted().direct())
        self._guarded = Transport(pace=pace, outbound=outbound)

    async def close(self) -> None:
        await self._transport.close()
        await self._local.close()
        await self._guarded.close()

    def provider(self, name: str, endpoint: Endpoint, only: Sequence[str] | None, *, optional: bool) -> Provider:
        url = root(endpoint.type, endpoint.base_url)
        local = endpoint.type == "ollama" and endpoint.base_url is None  # On this machine: called without the proxy.
        way, transport = self._outbound.trusted(), self._transport
        if local:
            way, transport = way.direct(), self._local

        async def offers() -> Sequence[Offer]:
            if (
                named := only if kind_of(endpoint.type).lister == "list_azure" else None
            ):  # Azure's list has models, not deployments.
                return _named(named)
            if optional:  # Usually it is not running, and then a start need not load the HTTP client.
                await _listens(url, way)
            seconds_max = LOCAL_LIST_SECONDS_MAX if optional else LIST_SECONDS_MAX
            try:
                found = await self._ask(endpoint, seconds_max=seconds_max, outbound=way)
            except NoModelList:
                if not only:
                    raise
                return _named(only)
            return found if only is None else [offer for offer in found if offer.wire_name in only]

        return Provider(name, offers, lambda offer: _model(transport, endpoint, offer), optional, url)

    def build_for_tenant(self, endpoint: Endpoint, offer: Offer) -> Model:
        """A model of a tenant's connection: every call checks that the address is allowed."""
        return _model(self._guarded, endpoint, offer)

    async def _ask(self, endpoint: Endpoint, *, seconds_max: float, outbound: Outbound) -> Sequence[Offer]:
        url = root(endpoint.type, endpoint.base_url)
        if not url:
            raise ProviderError("the address of your resource is needed")
        from stoa.gateway.providers import listing  # noqa: PLC0415 — the server starts without aiohttp
        from stoa.outbound.client import client  # noqa: PLC0415

        async with client(await outbound.trusting(endpoint.ca_bundle), seconds_max=seconds_max) as session:
            return await getattr(listing, kind_of(endpoint.type).lister)(session, url, endpoint.api_key)

    async def ask_for_tenant(self, endpoint: Endpoint, named: Sequence[str] | None = None) -> Sequence[Offer]:
        """The same for a new connection of a tenant, whose address is checked first. If the models are `named`, the
        provider is not asked for its list. Raises ProviderError."""
        if url := root(endpoint.type, endpoint.base_url):
            await check_address(url, self._outbound)
        if kind_of(endpoint.type).needs_key and not endpoint.api_key:
            raise ProviderError("a key is needed", "api_key")
        if named is not None:
            if not url:
                raise ProviderError("the address of your resource is needed")
            return _named(named)
        return await self._ask(endpoint, seconds_max=LIST_SECONDS_MAX, outbound=self._outbound)


def _named(names: Sequence[str]) -> Sequence[Offer]:
    """Models of which only the name is known: their provider refuses unsupported features."""
    return [Offer(name, name, Capabilities(images=True, tools=True)) for name in dict.fromkeys(names)]


async def _listens(url: str, outbound: Outbound) -> None:
    """Raises ProviderError if no server accepts a connection."""
    parts = urlsplit(url)
    try:
        async with asyncio.timeout(LOCAL_LIST_SECONDS_MAX):
            tls = parts.scheme == "https"
            sock = await outbound.connect(parts.hostname or "", parts.port or (443 if tls else 80), tls=tls)
    except (OSError, TimeoutError, ValueError) as error:
        raise ProviderError("nothing listens there") from error
    sock.close()


def _model(transport: Transport, endpoint: Endpoint, offer: Offer) -> Model:
    kind, url = kind_of(endpoint.type), root(endpoint.type, endpoint.base_url)
    return kind.adapter(
        transport,
        url,
        endpoint.api_key,
        offer.wire_name,
        offer.abilities,
        demands=kind.demands,
        ca_bundle=endpoint.ca_bundle,
    )
