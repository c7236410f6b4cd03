"""Providers as configuration names them: asked for their models, and turned into adapters."""

from collections.abc import Callable, Sequence
from typing import Final, Literal

import aiohttp

from stoa.gateway.addresses import check_address
from stoa.gateway.catalogue import Offer, Provider, ProviderError
from stoa.gateway.providers.anthropic import AnthropicModel
from stoa.gateway.providers.listing import list_anthropic, list_openai
from stoa.gateway.providers.openai import OpenAIModel
from stoa.gateway.providers.transport import Transport
from stoa.gateway.types import Model

ProviderType = Literal["openai", "anthropic", "ollama"]

DEFAULT_URLS: Final = {
    "openai": "https://api.openai.com/v1",
    "anthropic": "https://api.anthropic.com/v1",
    "ollama": "http://127.0.0.1:11434",
}
LIST_SECONDS_MAX: Final = 10.0
LOCAL_LIST_SECONDS_MAX: Final = 0.5
"""A local server that is there answers at once."""


class Suppliers:
    """Long-lived: holds the connections to all providers. `pace` is how long a reader of deltas may gather under load."""

    def __init__(self, *, pace: Callable[[], float], allow_private: bool) -> None:
        self._transport = Transport(pace=pace)
        self._allow_private = allow_private

    async def close(self) -> None:
        await self._transport.close()

    def provider(
        self, name: str, type_: str, base_url: str | None, api_key: str | None, only: Sequence[str] | None, *, optional: bool
    ) -> Provider:
        async def offers() -> Sequence[Offer]:
            found = await self.ask(type_, base_url, api_key, seconds_max=LOCAL_LIST_SECONDS_MAX if optional else LIST_SECONDS_MAX)
            return found if only is None else [offer for offer in found if offer.wire_name in only]

        return Provider(name, offers, lambda offer: self.build(type_, base_url, api_key, offer), optional)

    def build(self, type_: str, base_url: str | None, api_key: str | None, offer: Offer) -> Model:
        url = root(type_, base_url)
        if type_ == "anthropic":
            return AnthropicModel(self._transport, url, api_key, offer.wire_name, offer.abilities)
        return OpenAIModel(self._transport, url, api_key, offer.wire_name, offer.abilities)

    async def ask(self, type_: str, base_url: str | None, api_key: str | None, *, seconds_max: float = LIST_SECONDS_MAX) -> Sequence[Offer]:
        """The provider's own model list. Raises ProviderError."""
        timeout = aiohttp.ClientTimeout(total=seconds_max)
        listing = list_anthropic if type_ == "anthropic" else list_openai
        async with aiohttp.ClientSession(timeout=timeout) as session:
            return await listing(session, root(type_, base_url), api_key)

    async def ask_for_tenant(self, type_: str, base_url: str | None, api_key: str | None) -> Sequence[Offer]:
        """The same for a connection that a tenant makes, whose address is checked first. Raises ProviderError."""
        await check_address(root(type_, base_url), allow_private=self._allow_private)
        if type_ != "ollama" and not api_key:
            raise ProviderError("a key is needed", "api_key")
        return await self.ask(type_, base_url, api_key)


def root(type_: str, base_url: str | None) -> str:
    """The base of a provider's API. Ollama is named by its host alone and speaks OpenAI's wire under /v1."""
    url = (base_url or DEFAULT_URLS[type_]).rstrip("/")
    if type_ == "ollama":
        url = url if "://" in url else f"http://{url}"
        url = url if url.endswith("/v1") else f"{url}/v1"
    return url
