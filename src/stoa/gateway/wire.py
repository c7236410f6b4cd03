"""The JSON shapes of models and connections (contract section 8)."""

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, ClassVar
from uuid import UUID

from pydantic import AfterValidator, BeforeValidator, Field

from stoa.gateway.catalogue import ModelEntry
from stoa.gateway.connections import Connection
from stoa.gateway.registry import provider_of
from stoa.gateway.router.breaker import CircuitState
from stoa.gateway.types import ProviderName
from stoa.http import Body, Timestamp, Wire
from stoa.http.wire import storable
from stoa.outbound.certificates import CaBundle

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


class ModelWire(Wire):
    id: UUID
    slug: str
    name: str
    provider: str
    default: bool


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


def model(value: ModelEntry) -> ModelWire:
    return ModelWire(id=value.id, slug=value.slug, name=value.name, provider=value.provider, default=value.default)


def provider(entry: ModelEntry, state: CircuitState) -> ProviderWire:
    return ProviderWire(id=entry.provider, name=entry.provider, model=entry.slug, state=state)


def connection(value: Connection) -> ConnectionWire:
    return ConnectionWire(**{name: getattr(value, name) for name in ConnectionWire.model_fields})
