"""The JSON shapes of access keys after they were made: changes, rotations, uses."""

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, ClassVar
from uuid import UUID

from pydantic import AwareDatetime, BeforeValidator, Field

from stoa.access.types import AccessKey, KeyChanges, KeyEffects
from stoa.access.wire import (
    AccessKeyWire,
    DependentTriggerWire,
    Name,
    SpendingLimitWire,
    dependents,
    key_fields,
    total,
)
from stoa.http import Body, Timestamp, Wire
from stoa.kernel.principal import SpendingLimit


class KeyUseWire(Wire):
    address: str | None
    client: str | None
    first_at: Timestamp
    last_at: Timestamp


class UsedAccessKeyWire(AccessKeyWire):
    """`uses` are the addresses and clients that used the key in the last 90 days, the most recent first, at most 20."""

    uses: Sequence[KeyUseWire]


class UpdateAccessKey(Body):
    """Only the fields that are sent change. null removes a limit, an expiry or a restriction, if the caller and the
    key's creator do not have it either."""

    example: ClassVar[Mapping[str, Any]] = {"permissions": ["conversations:read"]}

    name: Name | None = None
    expires_at: AwareDatetime | None = None
    permissions: Annotated[list[str], Field(min_length=1, max_length=50)] | None = None
    rate_limit: Annotated[int, Field(ge=1, le=1_000_000)] | None = None
    spending_limit: (
        Annotated[SpendingLimitWire, BeforeValidator(total, json_schema_input_type=float | SpendingLimitWire)] | None
    ) = None
    cache_seconds: Annotated[int, Field(ge=1, le=86_400)] | None = None
    resumable_streams: bool | None = None


class RotateAccessKey(Body):
    """Both keys are valid for this time. 0 ends the old key at once."""

    example: ClassVar[Mapping[str, Any]] = {"overlap_seconds": 86_400}

    overlap_seconds: Annotated[int, Field(ge=0, le=90 * 86_400)] = 86_400


class KeyLossWire(Wire):
    id: UUID
    name: str
    loses: Sequence[str]


class KeyEffectsWire(Wire):
    """The permissions that keys would lose, and the triggers that would start no more runs."""

    keys: Sequence[KeyLossWire]
    triggers: Sequence[DependentTriggerWire]


def used_key(value: AccessKey) -> UsedAccessKeyWire:
    uses = [KeyUseWire(address=u.address, client=u.client, first_at=u.first_at, last_at=u.last_at) for u in value.uses]
    return UsedAccessKeyWire(**key_fields(value), uses=uses)


def key_changes(body: UpdateAccessKey) -> KeyChanges:
    limit = SpendingLimit(body.spending_limit.usd, body.spending_limit.period) if body.spending_limit else None
    fields = frozenset(body.model_fields_set)
    return KeyChanges(
        fields,
        body.name,
        body.permissions,
        body.expires_at,
        body.rate_limit,
        limit,
        body.cache_seconds,
        resumable_streams=bool(body.resumable_streams),
    )


def key_effects(value: KeyEffects) -> KeyEffectsWire:
    keys = [KeyLossWire(id=one.id, name=one.name, loses=one.loses) for one in value.keys]
    return KeyEffectsWire(keys=keys, triggers=dependents(value.triggers))
