"""The signature of a webhook delivery: HMAC-SHA256 over the body. Pure."""

import base64
import binascii
import hashlib
import hmac
from collections.abc import Mapping
from datetime import datetime
from typing import Final

from stoa.triggers.types import Signature

TOLERANCE_SECONDS: Final = 300
"""Maximum difference of a Standard Webhook's timestamp from now; older ones are replays."""
STANDARD_PREFIX: Final = "whsec_"


def problem(signature: Signature, secret: str, headers: Mapping[str, str], body: bytes, now: datetime) -> str | None:
    """Why the delivery is refused, or None. Header names are in lower case."""
    if signature.scheme == "standard":
        return _standard(secret, headers, body, now)
    sent = headers.get(signature.header.lower(), "").strip().removeprefix("sha256=")
    if not sent:
        return f"The header {signature.header} is missing."
    expected = hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()
    same = hmac.compare_digest(expected.encode(), sent.lower().encode("utf-8", "replace"))
    return None if same else f"The signature in {signature.header} is not that of this body."


def _standard(secret: str, headers: Mapping[str, str], body: bytes, now: datetime) -> str | None:
    missing = [one for one in ("webhook-id", "webhook-timestamp", "webhook-signature") if not headers.get(one)]
    if missing:
        return f"The header {missing[0]} is missing."
    stamp = headers["webhook-timestamp"]
    if not stamp.isdecimal() or len(stamp) > 12 or abs(now.timestamp() - int(stamp)) > TOLERANCE_SECONDS:
        return f"webhook-timestamp is not within {TOLERANCE_SECONDS} seconds of the present."
    signed = f"{headers['webhook-id']}.{stamp}.".encode("utf-8", "surrogateescape") + body
    expected = base64.b64encode(hmac.new(key_of(secret), signed, hashlib.sha256).digest())
    sent = [one.partition(",") for one in headers["webhook-signature"].split()]
    for version, _, value in sent:
        if version == "v1" and hmac.compare_digest(expected, value.encode("utf-8", "replace")):
            return None
    return "The signature in webhook-signature is not that of this body."


def key_of(secret: str) -> bytes:
    """A Standard Webhooks secret is base64 behind `whsec_`; any other text is its own bytes."""
    if secret.startswith(STANDARD_PREFIX):
        try:
            return base64.b64decode(secret.removeprefix(STANDARD_PREFIX), validate=True)
        except (binascii.Error, ValueError):
            pass
    return secret.encode()
