"""Providers as configuration names them: asked for their models, and turned into adapters."""

import asyncio
from collections.abc import Callable, Sequence
from typing import Final
from urllib.parse import urlsplit

from stoa.gateway.addresses import check_address
from stoa.gateway.catalogue import Offer, Provider, ProviderError
from stoa.gateway.providers.anthropic import AnthropicModel
from stoa.gateway.providers.openai import OpenAIModel
from stoa.gateway.providers.transport import Transport
from stoa.gateway.roots import root
from stoa.gateway.types import Model

LIST_SECONDS_MAX: Final = 10.0
LOCAL_LIST_SECONDS_MAX: Final = 0.5
"""A local server that is there answers at once."""


class ModelFactory:
    """Long-lived: holds the connections to all providers. `pace` is how long a reader of deltas may gather under load."""

    def __init__(self, *, pace: Callable[[], float], allow_private: bool) -> None:
        self._transport = Transport(pace=pace)
        self._guarded = Transport(pace=pace, allow_private=allow_private)
        self._allow_private = allow_private

    async def close(self) -> None:
        await self._transport.close()
        await self._guarded.close()

    def provider(
        self,
        name: str,
        type_: str,
        base_url: str | None,
        api_key: str | None,
        only: Sequence[str] | None,
        *,
        optional: bool,
    ) -> Provider:
        async def offers() -> Sequence[Offer]:
            if optional:  # Mostly it is not there, and then a start need not load the HTTP client.
                await _listens(root(type_, base_url))
            found = await self.ask(
                type_, base_url, api_key, seconds_max=LOCAL_LIST_SECONDS_MAX if optional else LIST_SECONDS_MAX
            )
            return found if only is None else [offer for offer in found if offer.wire_name in only]

        return Provider(
            name,
            offers,
            lambda offer: _model(self._transport, type_, base_url, api_key, offer),
            optional,
            root(type_, base_url),
        )

    def build_for_tenant(self, type_: str, base_url: str | None, api_key: str | None, offer: Offer) -> Model:
        """A model of a connection that a tenant made: every call of it goes to an address that is allowed."""
        return _model(self._guarded, type_, base_url, api_key, offer)

    async def ask(
        self, type_: str, base_url: str | None, api_key: str | None, *, seconds_max: float = LIST_SECONDS_MAX
    ) -> Sequence[Offer]:
        """The provider's own model list. Raises ProviderError."""
        return await self._ask(type_, base_url, api_key, seconds_max=seconds_max, allow_private=True)

    async def _ask(
        self, type_: str, base_url: str | None, api_key: str | None, *, seconds_max: float, allow_private: bool
    ) -> Sequence[Offer]:
        from stoa.gateway.providers.listing import list_anthropic, list_openai  # noqa: PLC0415 — the server starts without aiohttp
        from stoa.outbound.client import client  # noqa: PLC0415

        listing = list_anthropic if type_ == "anthropic" else list_openai
        async with client(allow_private=allow_private, seconds_max=seconds_max) as session:
            return await listing(session, root(type_, base_url), api_key)

    async def ask_for_tenant(self, type_: str, base_url: str | None, api_key: str | None) -> Sequence[Offer]:
        """The same for a connection that a tenant makes, whose address is checked first. Raises ProviderError."""
        await check_address(root(type_, base_url), allow_private=self._allow_private)
        if type_ != "ollama" and not api_key:
            raise ProviderError("a key is needed", "api_key")
        return await self._ask(
            type_, base_url, api_key, seconds_max=LIST_SECONDS_MAX, allow_private=self._allow_private
        )


async def _listens(url: str) -> None:
    """Raises ProviderError where nobody takes a connection."""
    parts = urlsplit(url)
    try:
        async with asyncio.timeout(LOCAL_LIST_SECONDS_MAX):
            _, writer = await asyncio.open_connection(
                parts.hostname, parts.port or (443 if parts.scheme == "https" else 80)
            )
    except (OSError, TimeoutError, ValueError) as error:
        raise ProviderError("nothing listens there") from error
    writer.close()


def _model(transport: Transport, type_: str, base_url: str | None, api_key: str | None, offer: Offer) -> Model:
    adapter = AnthropicModel if type_ == "anthropic" else OpenAIModel
    return adapter(transport, root(type_, base_url), api_key, offer.wire_name, offer.abilities)
