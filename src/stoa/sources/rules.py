"""Pure decisions about sources: when a sync is due, when it fails for good, when deletions look like an accident."""

import mimetypes
import re
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import PurePosixPath
from typing import Any, Final
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import orjson
from cronsim import CronSim, CronSimError

from stoa.kernel.errors import BadRequest
from stoa.sources.types import SyncStatus

SORTABLE: Final = {"created_at": "created_at", "updated_at": "updated_at", "name": "name"}
SYNCS_SORTABLE: Final = {"created_at": "created_at"}

ITEM_BYTES_MAX: Final = 128 * 1024 * 1024
"""The limit of an upload."""
ENTRIES_MAX: Final = 100_000
"""Addresses of one source. A source with more is refused as a whole, with the advice to narrow it."""
ORIGIN_BYTES_MAX: Final = 2_000
"""The longest address that fits into a PostgreSQL index together with the other key columns."""
METADATA_BYTES_MAX: Final = 16 * 1024

SYNCS_KEPT: Final = 100
"""How many outcomes are kept per source."""

WITHHELD_FROM: Final = 10
"""Fewer deletions than these are never withheld, unless nothing at all was found."""

ACTIVE: Final = frozenset({SyncStatus.PENDING, SyncStatus.RUNNING})

_INTERVAL: Final = re.compile(r"([1-9]\d{0,4})([mhd])")
_UNITS: Final = {"m": "minutes", "h": "hours", "d": "days"}
_UNREAD_KINDS: Final = frozenset({"image", "audio", "video", "font"})
_UNREAD_SUFFIXES: Final = frozenset(
    {
        ".map",
        ".woff",
        ".woff2",
        ".ttf",
        ".otf",
        ".eot",
        ".ico",
        ".gz",
        ".tgz",
        ".bz2",
        ".xz",
        ".zst",
        ".7z",
        ".rar",
        ".tar",
        ".jar",
        ".whl",
        ".exe",
        ".dll",
        ".so",
        ".dylib",
        ".bin",
        ".o",
        ".a",
        ".class",
        ".pyc",
        ".iso",
        ".dmg",
        ".deb",
        ".rpm",
        ".wasm",
        ".sqlite",
        ".db",
        ".parquet",
        ".npy",
        ".npz",
        ".onnx",
        ".safetensors",
        ".pack",
        ".idx",
        ".lock",
    }
)


def schedule_problem(schedule: str) -> str | None:
    """Why the schedule is invalid, or None."""
    if _INTERVAL.fullmatch(schedule):
        return None
    if len(schedule.split()) != 5:
        return "is neither an interval such as 15m, 6h or 1d nor the five fields of cron, such as 0 3 * * *"
    try:
        CronSim(schedule, datetime(2026, 1, 1, tzinfo=UTC))
    except CronSimError as error:
        return f"is no cron expression: {error}"
    return None


def timezone_problem(name: str) -> str | None:
    try:
        ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        return "is no time zone of the tz database, such as Europe/Berlin"
    return None


def first_sync(schedule: str | None, timezone: str, now: datetime) -> datetime | None:
    """With an interval at once; with cron at its next moment."""
    return now if schedule and _INTERVAL.fullmatch(schedule) else next_sync(schedule, timezone, now)


def next_sync(schedule: str | None, timezone: str, now: datetime) -> datetime | None:
    """The first moment after `now`. Several missed syncs (no node was up) are made up for by one."""
    if schedule is None:
        return None
    if found := _INTERVAL.fullmatch(schedule):
        return now + timedelta(**{_UNITS[found[2]]: int(found[1])})
    return next(CronSim(schedule, now.astimezone(ZoneInfo(timezone)))).astimezone(UTC)


def backoff_seconds(attempt: int) -> float:
    """How long a sync waits after a transient failure: 5, 20, 80 seconds."""
    return 5.0 * 4 ** (attempt - 1)


def withheld(gone: int, items: int, found: int) -> bool:
    """Whether so many deletions are probably an accident of the origin (an empty mount, a moved site) and must be
    confirmed.

    `gone` of `items` would be deleted; `found` addresses were seen. Then nothing is deleted until somebody confirms.
    """
    if gone == 0:
        return False
    return found == 0 or (gone >= WITHHELD_FROM and gone * 2 > items)


def withheld_message(gone: int, items: int, source_id: object) -> str:
    return (
        f"{gone} of the source's {items} items are not at its origin any more. "
        "That many may be an accident, so none was deleted;"
        f' if it is right, POST /v1/knowledgebase-sources/{source_id}/sync {{"confirm_deletions": true}}.'
    )


def metadata_problem(metadata: Mapping[str, Any]) -> str | None:
    encoded = orjson.dumps(metadata)
    if len(encoded) > METADATA_BYTES_MAX:
        return f"is over {METADATA_BYTES_MAX // 1024} KiB as JSON"
    if b"\\u0000" in encoded:
        return "cannot hold the character NUL"
    return None


def unread(path: str) -> bool:
    """Whether a file's name says that it contains no text: pictures, sounds, programs, archives."""
    suffix = PurePosixPath(path.lower()).suffix
    kind = (mimetypes.guess_type(path, strict=False)[0] or "").partition("/")[0]
    return suffix in _UNREAD_SUFFIXES or (
        kind in _UNREAD_KINDS and suffix not in (".ts", ".mts")
    )  # TypeScript, not a video.


def hidden(path: str) -> bool:
    return any(part.startswith(".") for part in path.split("/"))


def usable(origin: str) -> bool:
    """Whether an address can be stored: file names are bytes, and may not be valid text."""
    try:
        return len(origin.encode()) <= ORIGIN_BYTES_MAX and "\0" not in origin
    except UnicodeEncodeError:
        return False


def shown(origin: str) -> str:
    """A storable form of an address that is not."""
    return (
        origin.encode("utf-8", "backslashreplace")[: ORIGIN_BYTES_MAX - 100]
        .decode("utf-8", "ignore")
        .replace("\0", "\\0")
    )


def item_name(name: str) -> str:
    """A valid item name: the end of a path, shortened so that its suffix stays."""
    text = "".join(
        character if character.isprintable() else "_" for character in name.rstrip("/").rsplit("/", 1)[-1]
    ).strip()
    if text in ("", ".", ".."):
        return "index"
    return text if len(text) <= 200 else text[:150] + text[-50:]


def check_origin(was: str | None, becomes: str | None, *, wanted: bool) -> bool:
    """Whether a source now reads from another origin (scheme, host, port).

    Raises BadRequest if stored secrets are `wanted` there: they would be sent to somebody whom their owner did not
    name.
    """
    if was != becomes and becomes is not None and wanted:
        raise BadRequest.field(
            "secrets", f"must be sent again: they were given for {was}, and this source now leads to {becomes}"
        )
    return was != becomes
