"""Kinds of artifacts: MIME types, limits, and how a link shows them. Pure functions."""

import mimetypes
import re
import secrets
from collections.abc import Mapping
from datetime import datetime
from typing import Final
from uuid import UUID

from stoa.artifacts.types import Kind
from stoa.kernel.errors import BadRequest, TooLarge

SORTABLE: Final = {"created_at": "created_at", "updated_at": "updated_at", "name": "name"}
VERSIONS_SORTABLE: Final = {"created_at": "created_at", "version": "version"}
VERSIONS_MAX: Final = 50
"""Versions per artifact. Above it the oldest are deleted."""
MIB: Final = 1024 * 1024
BYTES_MAX: Final = 25 * MIB
BYTES_MAX_OF: Final[Mapping[Kind, int]] = {Kind.HTML: 16 * MIB, Kind.BUNDLE: 100 * MIB}
TEXT_KINDS: Final = frozenset(
    {Kind.HTML, Kind.MARKDOWN, Kind.CODE, Kind.SVG, Kind.MERMAID, Kind.JSON, Kind.CSV, Kind.CHART}
)
MIME_TYPES: Final[Mapping[Kind, str]] = {
    Kind.HTML: "text/html",
    Kind.MARKDOWN: "text/markdown",
    Kind.CODE: "text/plain",
    Kind.SVG: "image/svg+xml",
    Kind.MERMAID: "text/plain",
    Kind.JSON: "application/json",
    Kind.CSV: "text/csv",
    Kind.CHART: "application/json",
    Kind.IMAGE: "image/png",
    Kind.PDF: "application/pdf",
    Kind.FILE: "application/octet-stream",
    Kind.BUNDLE: "application/zip",
}
TYPED_BY_FILE: Final = frozenset({Kind.FILE, Kind.IMAGE, Kind.CODE})
"""Kinds whose versions may have different MIME types. Every other kind has one fixed type."""
ENTRY: Final = "index.html"
_MIME: Final = re.compile(r"[\w.+-]{1,60}/[\w.+-]{1,100}")
_PICTURES: Final = frozenset({"image/png", "image/jpeg", "image/gif", "image/webp"})
SHOWN: Final = (
    "sandbox allow-scripts; default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline';"
    " img-src data: blob:; font-src data:; media-src data:; form-action 'none'; base-uri 'none'; frame-ancestors 'none'"
)
"""Headers for an untrusted document in a browser: its scripts run in an opaque origin and cannot make requests."""


def bytes_max(kind: Kind) -> int:
    return BYTES_MAX_OF.get(kind, BYTES_MAX)


def check_size(kind: Kind, size: int) -> None:
    """Raises BadRequest or TooLarge."""
    if size == 0:
        raise BadRequest.field("content", "is empty: there is nothing to publish")
    if size > bytes_max(kind):
        raise TooLarge(f"An artifact of kind {kind.value} has at most {bytes_max(kind)} bytes; this one has {size}.")


def mime_type(kind: Kind, wanted: str | None, file_name: str) -> str:
    """The MIME type of a version. Raises BadRequest."""
    if wanted is not None and not _MIME.fullmatch(wanted):
        raise BadRequest.field("mime_type", "is no media type")
    if kind not in TYPED_BY_FILE:
        return MIME_TYPES[kind]
    chosen = wanted or (None if kind is Kind.CODE else mimetypes.guess_type(file_name)[0]) or MIME_TYPES[kind]
    if kind is Kind.IMAGE and not chosen.startswith("image/"):
        raise BadRequest.field("mime_type", "is no type of images")
    return chosen


def check_entry(kind: Kind, entry_path: str | None) -> str | None:
    """The page that a bundle opens with. Raises BadRequest."""
    if kind is not Kind.BUNDLE:
        if entry_path is not None:
            raise BadRequest.field("entry_path", "belongs to bundles alone")
        return None
    return entry_path or ENTRY


def inline_type(kind: Kind, declared: str) -> str | None:
    """The MIME type with which a browser shows it, or None if it is only downloaded."""
    if kind is Kind.HTML:
        return "text/html; charset=utf-8"
    if kind is Kind.SVG:
        return "image/svg+xml"
    if kind in TEXT_KINDS:
        return "text/plain; charset=utf-8"
    return declared if kind is Kind.IMAGE and declared in _PICTURES else None


def check_expiry(expires_at: datetime | None, now: datetime) -> datetime | None:
    """Raises BadRequest."""
    if expires_at is not None and expires_at <= now:
        raise BadRequest.field("expires_at", "must be in the future")
    return expires_at


def new_share_id() -> UUID:
    """122 random bits. The id is the only secret of a link."""
    return UUID(bytes=secrets.token_bytes(16), version=4)


def token(share_id: UUID) -> str:
    return share_id.hex


def share_id_of(given: str) -> UUID | None:
    return UUID(hex=given) if re.fullmatch(r"[0-9a-f]{32}", given) else None
