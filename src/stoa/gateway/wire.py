"""The JSON shapes of models and connections (contract section 8)."""

from collections.abc import Mapping, Sequence
from datetime import date
from typing import Annotated, Any, ClassVar, Final, Literal
from uuid import UUID

from pydantic import AfterValidator, BeforeValidator, Field

from stoa.gateway.connections import Connection
from stoa.gateway.offers import ModelEntry
from stoa.gateway.prices import Facts, Price
from stoa.gateway.registry import provider_of
from stoa.gateway.router.breaker import CircuitState
from stoa.http import Body, Timestamp, Wire
from stoa.http.wire import storable
from stoa.kernel.model_providers import ProviderName
from stoa.outbound.certificates import CaBundle

Capability = Literal["images", "tools", "documents"]
_CAPABILITIES: Final[Sequence[Capability]] = ("images", "tools", "documents")
ModelName = Annotated[str, Field(min_length=1, max_length=200, pattern=r"^[\x21-\x7e]+$")]


class ConnectionConfig(Body):
    """`models` names the models of a provider that lists none; then it is not asked. `ca_bundle`: certificate
    authorities (PEM) that the provider's certificate may be signed by, beside the system's."""

    base_url: Annotated[str, Field(min_length=1, max_length=500), AfterValidator(storable)] | None = None
    api_key: Annotated[str, Field(min_length=1, max_length=2000, pattern=r"^[\x21-\x7e]+$")] | None = None
    models: Annotated[Sequence[ModelName], Field(min_length=1, max_length=100)] | None = None
    ca_bundle: CaBundle | None = None


def _provider(type_: object) -> object:
    """The platform's name for a provider (`dynamiq.connections.OpenAI`) as ours."""
    return provider_of(type_) or type_ if isinstance(type_, str) else type_


class CreateConnection(Body):
    """`name` leads the slugs of the connection's models: `name/model`. `type` is taken as the platform's library names
    it too: `dynamiq.connections.OpenAI`."""

    example: ClassVar[Mapping[str, Any]] = {"name": "openai", "type": "openai", "config": {"api_key": "sk-example"}}

    name: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9-]{0,62}$")]
    type: Annotated[ProviderName, BeforeValidator(_provider)]
    config: ConnectionConfig = ConnectionConfig()


class UpdateConnection(Body):
    """An `api_key` left out keeps the stored one."""

    example: ClassVar[Mapping[str, Any]] = {"config": {"api_key": "sk-example"}}

    config: ConnectionConfig


class PriceWire(Wire):
    """US dollars per million tokens, where the operator read that, and when."""

    prompt: float
    completion: float
    cached: float | None
    cache_write: float | None
    source: str | None
    as_of: date | None


class ModelWire(Wire):
    """`context_tokens`, `output_tokens` and `capabilities` are what the operator says (then `source` and `as_of` say
    where that was read, and when), or else the provider, or else what the model's name suggests. There is no `price`
    where the operator has set none."""

    id: UUID
    slug: str
    name: str
    provider: str
    default: bool
    context_tokens: int
    output_tokens: int | None
    capabilities: Sequence[Capability]
    source: str | None
    as_of: date | None
    price: PriceWire | None


class ProviderWire(Wire):
    """`state`: `open` while the gateway leaves a provider alone that has failed repeatedly, `half_open` when the next
    call tries it, as this node knows it."""

    id: str
    name: str
    model: str
    state: CircuitState


class ConnectionWire(Wire):
    id: UUID
    org_id: UUID
    project_id: UUID
    name: str
    type: ProviderName
    base_url: str | None
    has_api_key: bool
    ca_bundle: str | None
    created_at: Timestamp
    updated_at: Timestamp


def model(value: ModelEntry, facts: Facts | None, price: Price | None) -> ModelWire:
    abilities = value.abilities
    return ModelWire(
        id=value.id,
        slug=value.slug,
        name=value.name,
        provider=value.provider,
        default=value.default,
        context_tokens=abilities.context_tokens,
        output_tokens=abilities.output_tokens_max,
        capabilities=[name for name in _CAPABILITIES if getattr(abilities, name)],
        source=facts.source if facts is not None else None,
        as_of=facts.as_of if facts is not None else None,
        price=PriceWire(**{name: getattr(price, name) for name in PriceWire.model_fields}) if price else None,
    )


def provider(entry: ModelEntry, state: CircuitState) -> ProviderWire:
    return ProviderWire(id=entry.provider, name=entry.provider, model=entry.slug, state=state)


def connection(value: Connection) -> ConnectionWire:
    return ConnectionWire(**{name: getattr(value, name) for name in ConnectionWire.model_fields})
