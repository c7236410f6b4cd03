"""Pure rules of triggers: limits, state transitions, a webhook's secret, delivery ids."""

import hashlib
import secrets
import string
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Final

from stoa.kernel.errors import BadRequest
from stoa.triggers.types import CatchUp, Config, Schedule, Signature, TriggerStatus, Webhook

SORTABLE: Final = {"created_at": "created_at", "updated_at": "updated_at", "name": "name"}
EVENTS_SORTABLE: Final = {"received_at": "received_at"}
PREVIEW_MAX: Final = 100
TRIGGERS_MAX: Final = 200
"""The limit of triggers of one app."""
WAITING_MAX: Final = 100
"""Pending events of one trigger. A schedule that catches up on more continues when these have started; a webhook
answers 429."""
EVENTS_KEPT: Final = timedelta(days=30)
PRUNED_MAX: Final = 1_000
HOOK_PREFIX: Final = "stoa_hook_"
DELIVERY_CHARACTERS_MAX: Final = 255
DELIVERY_HEADERS: Final = ("webhook-id", "x-github-delivery", "x-gitlab-event-uuid", "idempotency-key", "ce-id")
"""Headers with a delivery's id, unless the trigger names one."""
DEACTIVATED: Final = {"code": "deactivated", "message": "The trigger was deactivated before this run began."}
_ALPHABET: Final = string.ascii_letters + string.digits


def new_hook() -> str:
    """The secret part of a webhook's URL: 380 random bits."""
    return HOOK_PREFIX + "".join(secrets.choice(_ALPHABET) for _ in range(64))


def digest(secret: str) -> bytes:
    return hashlib.sha512(secret.encode("utf-8", "surrogateescape")).digest()


def backoff_seconds(attempt: int) -> float:
    """The backoff after a temporary failure: 2, 8, 32 seconds."""
    return 2.0 * 4 ** (attempt - 1)


def check_current(config: Config, now: datetime) -> None:
    """Raises BadRequest where a schedule is in the past."""
    if not isinstance(config, Schedule):
        return
    if config.run_at is not None and config.run_at <= now:
        raise BadRequest.field("config.run_at", "must be in the future")
    if config.expires_at is not None and config.expires_at <= now:
        raise BadRequest.field("config.expires_at", "must be in the future")


def wake_at(schedule: Schedule, next_at: datetime | None) -> datetime | None:
    """When a node has to process it next: also at its expiry, to set its status."""
    known = [one for one in (next_at, schedule.expires_at) if one is not None]
    return min(known) if known else None


def check_move(status: TriggerStatus, wanted: TriggerStatus) -> None:
    """Raises BadRequest. Activating what is active, and deactivating what is not, changes nothing."""
    if status is TriggerStatus.EXPIRED:
        verb = "activated" if wanted is TriggerStatus.ACTIVE else "deactivated"
        raise BadRequest(f"An expired trigger cannot be {verb}; change its config to a time in the future first.")


def delivery_id(webhook: Webhook, headers: Mapping[str, str]) -> str | None:
    """None without a header: each request is then a separate delivery. Header names are in lower case.

    Of a Standard Webhook only `webhook-id` counts, because it is signed: with another header's value somebody could
    send a recorded delivery as a new one.
    """
    named = (webhook.delivery_header.lower(),) if webhook.delivery_header else DELIVERY_HEADERS
    signed = webhook.signature is not None and webhook.signature.scheme == "standard"
    names = ("webhook-id",) if signed else named
    found = next((headers[name].strip() for name in names if headers.get(name, "").strip()), None)
    if found is None:
        return None
    if len(found) > DELIVERY_CHARACTERS_MAX or not found.isprintable():
        # Still one id for one delivery.
        return hashlib.sha256(found.encode("utf-8", "surrogateescape")).hexdigest()
    return found


def as_json(config: Config) -> dict[str, object]:
    """As it is stored."""
    if isinstance(config, Schedule):
        fields: dict[str, object | None] = {
            "timezone": config.timezone,
            "schedule": config.cron,
            "run_at": config.run_at.isoformat() if config.run_at else None,
            "expires_at": config.expires_at.isoformat() if config.expires_at else None,
            "catch_up": config.catch_up.value,
        }
    else:
        signature = config.signature
        fields = {
            "delivery_header": config.delivery_header,
            "signature": {"scheme": signature.scheme, "header": signature.header} if signature else None,
        }
    return {name: value for name, value in fields.items() if value is not None}


def from_json(stored: Mapping[str, object]) -> Config:
    if "timezone" not in stored:
        signature = stored.get("signature")
        header = stored.get("delivery_header")
        return Webhook(
            str(header) if header is not None else None, Signature(**signature) if isinstance(signature, dict) else None
        )
    return Schedule(
        str(stored["timezone"]),
        str(stored["schedule"]) if "schedule" in stored else None,
        datetime.fromisoformat(str(stored["run_at"])) if "run_at" in stored else None,
        datetime.fromisoformat(str(stored["expires_at"])) if "expires_at" in stored else None,
        CatchUp(str(stored.get("catch_up", CatchUp.LAST))),
    )
