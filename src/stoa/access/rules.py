"""Pure decisions about keys: their form, their hash, what they may be allowed."""

import hashlib
import re
import secrets
import string
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Final

from stoa.access.types import AccessKey
from stoa.kernel.clock import rfc3339
from stoa.kernel.errors import BadRequest, Forbidden
from stoa.kernel.principal import Principal

PREFIX: Final = "stoa_acc_"
SESSION_PREFIX: Final = "stoa_ses_"
LINK_PREFIX: Final = "stoa_lnk_"
SESSION_LIFETIME: Final = timedelta(days=14)
LINK_LIFETIME: Final = timedelta(minutes=15)
_ALPHABET: Final = string.ascii_letters + string.digits
_FORM: Final = re.compile(rf"^{PREFIX}[A-Za-z0-9]{{64}}$")

PERMISSIONS: Final = (
    "access:read",
    "access:write",
    "connections:read",
    "connections:write",
    "conversations:read",
    "conversations:write",
    "doctor:read",
    "knowledge:read",
    "knowledge:write",
    "models:read",
    "runs:read",
    "runs:write",
    "tools:read",
    "tools:write",
    "traces:read",
    "traces:write",
    "usage:read",
)
"""The closed vocabulary. Reading and writing are apart: a key that writes only cannot read."""


def new_secret(prefix: str = PREFIX) -> str:
    return prefix + "".join(secrets.choice(_ALPHABET) for _ in range(64))


def well_formed(secret: str) -> bool:
    return _FORM.match(secret) is not None


def digest(secret: str) -> bytes:
    """SHA-512. A key holds 380 random bits, so a slow hash would protect nothing."""
    return hashlib.sha512(secret.encode("utf-8", "surrogateescape")).digest()


def preview(secret: str) -> str:
    return f"{PREFIX}{secret[len(PREFIX) : len(PREFIX) + 3]}...{secret[-3:]}"


def check_expiry(wanted: datetime | None, creator: Principal, now: datetime) -> datetime | None:
    """The new key's end: no later than its creator's. Raises BadRequest."""
    if wanted is None:
        return creator.expires_at
    if wanted <= now:
        raise BadRequest.field("expires_at", "must be in the future")
    if creator.expires_at is not None and wanted > creator.expires_at:
        raise BadRequest.field(
            "expires_at",
            f"is after {rfc3339(creator.expires_at)}, when the key that makes it expires; leave it out to take that time",
        )
    return wanted


def manages_keys(key: AccessKey) -> bool:
    """Whether it can manage all keys of its organization."""
    return key.project_id is None and (key.permissions is None or "access:write" in key.permissions)


def check_permissions(wanted: Sequence[str] | None, creator: Principal) -> list[str] | None:
    """The new key's permissions. Raises BadRequest for an unknown one, Forbidden for more than the creator's own."""
    if wanted is None:
        return sorted(creator.permissions) if creator.permissions is not None else None
    for index, permission in enumerate(wanted):
        if permission not in PERMISSIONS:
            raise BadRequest.field(f"permissions[{index}]", f"is none of {', '.join(PERMISSIONS)}")
    extra = set(wanted) - creator.permissions if creator.permissions is not None else set[str]()
    if extra:
        raise Forbidden(f"A key cannot give more than it has: {', '.join(sorted(extra))}.")
    return sorted(set(wanted))
