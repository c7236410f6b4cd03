"""Providers' models, and the results of requesting them."""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from uuid import UUID

from stoa.gateway.types import Capabilities, Model


@dataclass(frozen=True, slots=True)
class ModelEntry:
    """A row of the catalogue."""

    id: UUID
    slug: str
    name: str
    provider: str
    abilities: Capabilities
    default: bool = False


@dataclass(frozen=True, slots=True)
class Offer:
    """A model that a provider has: `wire_name` is what the provider calls it."""

    wire_name: str
    name: str
    abilities: Capabilities


@dataclass(frozen=True, slots=True)
class Provider:
    """A configured provider. `offers` requests its list of models (raises ProviderError); `build` makes the adapter of
    one."""

    name: str
    offers: Callable[[], Awaitable[Sequence[Offer]]]
    build: Callable[[Offer], Model]
    optional: bool = False
    """Searched automatically: its absence is not reported."""
    url: str = ""
    """The address at which it is requested."""


@dataclass(frozen=True, slots=True)
class ProviderState:
    """The result of requesting a provider's models. `models` is None while there is none, and `trouble` says why."""

    name: str
    url: str
    models: int | None
    trouble: str | None
    optional: bool


class ProviderError(Exception):
    """A provider's models could not be requested; the message says why. `field` is the setting at fault."""

    def __init__(self, message: str, field: str = "base_url") -> None:
        super().__init__(message)
        self.field = field


class NoModelList(ProviderError):
    """The provider answers, and has no list of models."""
