"""Pure rules of credentials and roles: format, hash, permissions."""

import hashlib
import re
import secrets
import string
import zoneinfo
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Final
from uuid import UUID

from stoa.access.types import AccessKey, OrgRole, ProjectRole
from stoa.kernel.clock import rfc3339
from stoa.kernel.errors import BadRequest, Forbidden
from stoa.kernel.principal import Grants, Principal

PREFIX: Final = "stoa_acc_"
KEY_SESSION_PREFIX: Final = "stoa_web_"
LINK_PREFIX: Final = "stoa_lnk_"
SESSION_LIFETIME: Final = timedelta(days=14)
LINK_LIFETIME: Final = timedelta(minutes=15)
_ALPHABET: Final = string.ascii_letters + string.digits
_TAIL: Final = re.compile(r"[A-Za-z0-9]{64}\Z")
TOKEN_PREFIX: Final = "stoa_pat_"  # noqa: S105 — a prefix, no secret
INVITATION_PREFIX: Final = "stoa_inv_"
SESSION_PREFIX: Final = "stoa_ses_"
RESET_PREFIX: Final = "stoa_rst_"
OWNER_PREFIX: Final = "stoa_own_"

_EMAIL: Final = re.compile(r"[^@\s\x00-\x1f]+@[^@\s\x00-\x1f]+")
EMAIL_CHARACTERS_MAX: Final = 254
NAME_CHARACTERS_MAX: Final = 100
PASSWORD_CHARACTERS_MIN: Final = 12
PASSWORD_CHARACTERS_MAX: Final = 1_024
INVITATION_DAYS: Final = 7
SESSION_DAYS: Final = 14
RESET_LIFETIME: Final = timedelta(minutes=30)
RESETS_PER_DAY_MAX: Final = 10
"""Mails to one address per day, so that nobody can flood a mailbox; and never two within a minute."""
ATTEMPTS_MAX: Final = 10
"""Failed sign-ins before the next attempt has to wait."""
ATTEMPT_DELAY_SECONDS: Final = 30.0
"""The wait. It does not grow with further failures, so that nobody can lock a user out for long."""

PERMISSIONS: Final = (
    "access:read",
    "access:write",
    "apps:read",
    "apps:run",
    "apps:write",
    "artifacts:read",
    "artifacts:write",
    "audit:read",
    "connections:read",
    "connections:write",
    "conversations:read",
    "conversations:write",
    "doctor:read",
    "knowledge:read",
    "knowledge:write",
    "memory:read",
    "memory:write",
    "models:read",
    "projects:transfer",
    "projects:write",
    "router:call",
    "runs:read",
    "runs:write",
    "skills:read",
    "skills:write",
    "tools:read",
    "tools:write",
    "traces:read",
    "traces:write",
    "usage:read",
)
"""The closed vocabulary. Reading and writing are separate: a write-only key cannot read."""


_READING: Final = frozenset(one for one in PERMISSIONS if one.endswith(":read")) - {"audit:read", "doctor:read"}
_EDITING: Final = _READING | {
    "apps:run",
    "apps:write",
    "artifacts:write",
    "connections:write",
    "conversations:write",
    "knowledge:write",
    "memory:write",
    "runs:write",
    "skills:write",
    "tools:write",
    "traces:write",
}
PROJECT_ROLES: Final[Mapping[ProjectRole, frozenset[str]]] = {
    ProjectRole.VIEWER: _READING,
    ProjectRole.EDITOR: _EDITING,
    ProjectRole.ADMIN: _EDITING | {"access:write", "projects:write"},
}
"""The permissions of a role in its project."""
ORG_ROLES: Final[Mapping[OrgRole, frozenset[str]]] = {
    OrgRole.OWNER: frozenset(PERMISSIONS),
    OrgRole.ADMIN: frozenset(PERMISSIONS),
    OrgRole.MEMBER: frozenset({"access:read", "models:read", "projects:write"}),
}
"""The permissions of a role: of owners and admins in the organization and all of its projects, of members in the
organization itself."""


def grants(role: str, projects: Mapping[str, str] | None) -> Grants:
    """What a user with this role in the organization may do; `projects` are those a member may enter, with the role."""
    granted = ORG_ROLES[OrgRole(role)]
    if role != OrgRole.MEMBER:
        return Grants(granted, granted, {})
    return Grants(
        frozenset(), granted, {UUID(one): PROJECT_ROLES[ProjectRole(its)] for one, its in (projects or {}).items()}
    )


def new_secret(prefix: str = PREFIX) -> str:
    return prefix + "".join(secrets.choice(_ALPHABET) for _ in range(64))


def well_formed(secret: str, prefix: str = PREFIX) -> bool:
    return secret.startswith(prefix) and _TAIL.match(secret, len(prefix)) is not None


def digest(secret: str) -> bytes:
    """SHA-512. A key holds 380 random bits, so a slow hash would protect nothing."""
    return hashlib.sha512(secret.encode("utf-8", "surrogateescape")).digest()


def preview(secret: str, prefix: str = PREFIX) -> str:
    return f"{prefix}{secret[len(prefix) : len(prefix) + 3]}...{secret[-3:]}"


def check_expiry(wanted: datetime | None, creator: Principal, now: datetime) -> datetime | None:
    """The new key's end: no later than its creator's. Raises BadRequest."""
    if wanted is None:
        return creator.expires_at
    if wanted <= now:
        raise BadRequest.field("expires_at", "must be in the future")
    if creator.expires_at is not None and wanted > creator.expires_at:
        raise BadRequest.field(
            "expires_at",
            f"is after {rfc3339(creator.expires_at)}, when the key that makes it expires; leave it out to take"
            " that time",
        )
    return wanted


NEVER: Final = datetime.max.replace(tzinfo=UTC)
NO_MANAGER: Final = (
    "The organization would keep no key that can manage its keys. Make another organization-wide key with the"
    " permission access:write first."
)


def manages_keys(key: AccessKey) -> bool:
    """Whether it can manage all keys of its organization."""
    return key.project_id is None and (key.permissions is None or "access:write" in key.permissions)


def manages_until(before: AccessKey, after: AccessKey, now: datetime) -> datetime | None:
    """Until when another key that can manage the organization's keys must be valid, when this one changes; None: the
    change removes no such key. A key without expiry needs another one without expiry."""
    if not manages_keys(before):
        return None
    if not manages_keys(after):
        return now
    if after.expires_at is None or (before.expires_at is not None and after.expires_at >= before.expires_at):
        return None
    return NEVER if before.expires_at is None else after.expires_at


def check_permissions(wanted: Sequence[str] | None, allowed: frozenset[str] | None) -> list[str] | None:
    """The new key's permissions, where its creator has the `allowed` ones (None: all). Raises BadRequest for an unknown
    one, Forbidden for more than the creator's own."""
    if wanted is None:
        return sorted(allowed) if allowed is not None else None
    for index, permission in enumerate(wanted):
        if permission not in PERMISSIONS:
            raise BadRequest.field(f"permissions[{index}]", f"is none of {', '.join(PERMISSIONS)}")
    extra = set(wanted) - allowed if allowed is not None else set[str]()
    if extra:
        raise Forbidden(f"A key cannot give more than it has: {', '.join(sorted(extra))}.")
    return sorted(set(wanted))


def check_admits(principal: Principal, role: OrgRole, project_role: ProjectRole | None = None) -> None:
    """Raises Forbidden if an access key would make somebody more than it is itself. A user's own role is checked where
    the user's requests are permitted."""
    if principal.user_id is not None:
        return
    if principal.rate_limit is not None or principal.spending_limit is not None:
        raise Forbidden("A key with a rate or spending limit cannot admit people: they would have none of its limits.")
    if principal.permissions is None:
        return
    # A member enters every internal project as an editor.
    given = ORG_ROLES[role] | (PROJECT_ROLES[ProjectRole.EDITOR] if role is OrgRole.MEMBER else frozenset())
    given |= PROJECT_ROLES[project_role] if project_role is not None else frozenset()
    if extra := sorted(given - principal.permissions):
        raise Forbidden(
            f"This role gives more than this key has: {', '.join(extra)}. Use a key with these permissions."
        )


def check_email(text: str) -> str:
    """In lower case. Raises BadRequest."""
    email = text.strip().lower()
    if not _EMAIL.fullmatch(email) or len(email) > EMAIL_CHARACTERS_MAX:
        raise BadRequest.field("email", "is no e-mail address")
    return email


def check_password(password: str) -> str:
    """Raises BadRequest."""
    if not PASSWORD_CHARACTERS_MIN <= len(password) <= PASSWORD_CHARACTERS_MAX:
        raise BadRequest.field(
            "password", f"must have {PASSWORD_CHARACTERS_MIN} to {PASSWORD_CHARACTERS_MAX} characters"
        )
    return password


def check_name(name: str) -> str:
    """Raises BadRequest."""
    if not name.strip() or len(name) > NAME_CHARACTERS_MAX or "\x00" in name:
        raise BadRequest.field("name", f"must have 1 to {NAME_CHARACTERS_MAX} characters")
    return name


def check_timezone(name: str) -> str:
    """Raises BadRequest."""
    if name != "UTC" and name not in zoneinfo.available_timezones():
        raise BadRequest.field("timezone", "is no time zone of the IANA database, as Europe/Vienna is")
    return name
