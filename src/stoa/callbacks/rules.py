"""Pure decisions about callbacks: allowed URLs, signatures (Standard Webhooks), and waits between attempts."""

import base64
import hashlib
import hmac
from collections.abc import Sequence
from typing import Final
from urllib.parse import urlsplit

from stoa.kernel.errors import BadRequest

CALLBACKS_MAX: Final = 5
"""Callbacks per run (contract section 5)."""
URL_CHARACTERS_MAX: Final = 2_048
SECRET_BYTES: Final = 32
SECRET_PREFIX: Final = "whsec_"  # noqa: S105 — what leads a secret
OVERLAP_SECONDS: Final = 24 * 3600
"""How long after a rotation the previous secret signs too, so that receivers can switch without losing a message."""
POST_SECONDS_MAX: Final = 15.0
WAITS: Final = (5.0, 300.0, 1_800.0, 7_200.0, 18_000.0, 36_000.0, 36_000.0)
"""Seconds between attempts, as Standard Webhooks recommends: about 30 hours in total, so that a receiver may be down
overnight."""
RETRY_AFTER_MAX: Final = 24 * 3600.0
"""The longest Retry-After of a receiver that is honoured."""
SPREAD: Final = 0.2
"""Random part of a wait, so that a receiver that was down does not get all retries in the same second."""
GONE: Final = 410
"""The status by which a receiver refuses further attempts (Standard Webhooks)."""


def checked_url(path: str, url: str, *, allow_private: bool) -> str:
    """Raises BadRequest naming `path`. Whether the host resolves to a private address is checked at each POST."""
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname, parts.port
    except ValueError as error:
        raise BadRequest.field(path, "is no URL") from error
    if not host or parts.scheme not in ("https", "http") or any(one.isspace() or ord(one) < 0x20 for one in url):
        raise BadRequest.field(path, "must be an https URL")
    if parts.username is not None or parts.password is not None:
        raise BadRequest.field(path, "must not hold a user name or password; send auth {type: bearer, token}")
    if parts.scheme == "http" and not allow_private:
        raise BadRequest.field(
            path, "must be an https URL; plain http is for private addresses, where the operator allows them"
        )
    return url


def new_secret(random: bytes) -> str:
    return SECRET_PREFIX + base64.b64encode(random).decode()


def signatures(secrets: Sequence[str], webhook_id: str, timestamp: int, body: bytes) -> str:
    """The value of `webhook-signature`: one signature per secret, separated by spaces."""
    signed = f"{webhook_id}.{timestamp}.".encode() + body
    keys = [base64.b64decode(secret.removeprefix(SECRET_PREFIX)) for secret in secrets]
    return " ".join(f"v1,{base64.b64encode(hmac.digest(key, signed, hashlib.sha256)).decode()}" for key in keys)


def wait_seconds(attempt: int, spread: float, retry_after_seconds: float | None) -> float:
    """The wait after the `attempt`-th attempt. `spread` is a random number between 0 and 1."""
    usual = WAITS[min(attempt, len(WAITS)) - 1] * (1 + SPREAD * spread)
    return max(usual, min(retry_after_seconds or 0.0, RETRY_AFTER_MAX))


def retry_after(value: str | None) -> float | None:
    """A Retry-After in seconds. None for a date, which is not supported."""
    text = (value or "").strip()
    return float(text) if text.isascii() and text.isdigit() and len(text) < 8 else None


def problem_of(status: int) -> str | None:
    """Why a response is not a success, or None if it is."""
    if 200 <= status < 300:
        return None
    if 300 <= status < 400:
        return f"The receiver answered {status}: it wants the call elsewhere, and redirects are not followed."
    if status == GONE:
        return "The receiver answered 410: it wants no more callbacks here."
    return f"The receiver answered {status}."
