"""The JSON shapes of callbacks (contract section 5)."""

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal
from uuid import UUID

from pydantic import AfterValidator, Field

from stoa.callbacks.rules import CALLBACKS_MAX, URL_CHARACTERS_MAX
from stoa.callbacks.types import Attempt, Callback, CallbackStatus, NewCallback, SigningSecret
from stoa.http import Body, Timestamp, Wire
from stoa.http.wire import storable

__all__ = ["CALLBACKS_MAX", "CallbackBody", "CallbackWire", "callback", "new_callbacks", "signing_secret"]


class CallbackAuth(Body):
    """Sent as `Authorization: Bearer …`; stored encrypted, and never shown."""

    type: Literal["bearer"]
    token: Annotated[str, Field(min_length=1, max_length=4_096, pattern=r"^[\x21-\x7e]+$")]


class CallbackBody(Body):
    """An https address that is POSTed to once the run has ended; `metadata` is sent back in the message."""

    url: Annotated[str, Field(min_length=1, max_length=URL_CHARACTERS_MAX), AfterValidator(storable)]
    auth: CallbackAuth | None = None
    metadata: Annotated[dict[str, Any], Field(max_length=50)] | None = None


class AttemptWire(Wire):
    """One POST. Without `ended_at` it is under way, or its server died and whether it arrived is not known."""

    number: int
    begun_at: Timestamp
    ended_at: Timestamp | None
    status_code: int | None
    error: dict[str, Any] | None


class CallbackWire(Wire):
    """`webhook_id` is the header of that name: the same at every attempt and replay. `next_attempt_at` while it is
    `pending`."""

    id: UUID
    run_id: UUID
    webhook_id: str
    url: str
    status: Literal["waiting", "pending", "running", "delivered", "failed"]
    metadata: dict[str, Any] | None
    error: dict[str, Any] | None
    next_attempt_at: Timestamp | None
    created_at: Timestamp
    ended_at: Timestamp | None
    attempts: Sequence[AttemptWire]


class SigningSecretWire(Wire):
    """`secret` as the libraries of Standard Webhooks take it. Until `previous_expires_at` messages are signed with the
    one before too."""

    secret: str
    created_at: Timestamp
    previous_expires_at: Timestamp | None


def new_callbacks(bodies: Sequence[CallbackBody]) -> Sequence[NewCallback]:
    return [NewCallback(one.url, one.auth.token if one.auth else None, one.metadata) for one in bodies]


def callback(value: Callback) -> CallbackWire:
    pending = value.status is CallbackStatus.PENDING
    return CallbackWire(
        id=value.id,
        run_id=value.run_id,
        webhook_id=value.webhook_id,
        url=value.url,
        status=value.status.value,
        metadata=_dict(value.metadata),
        error=_dict(value.error),
        next_attempt_at=value.not_before if pending else None,
        created_at=value.created_at,
        ended_at=value.ended_at,
        attempts=[_attempt(one) for one in value.attempts],
    )


def signing_secret(value: SigningSecret) -> SigningSecretWire:
    return SigningSecretWire(
        secret=value.secret, created_at=value.created_at, previous_expires_at=value.previous_expires_at
    )


def _attempt(value: Attempt) -> AttemptWire:
    return AttemptWire(
        number=value.number,
        begun_at=value.begun_at,
        ended_at=value.ended_at,
        status_code=value.status_code,
        error=_dict(value.error),
    )


def _dict(value: Mapping[str, Any] | None) -> dict[str, Any] | None:
    return dict(value) if value is not None else None
