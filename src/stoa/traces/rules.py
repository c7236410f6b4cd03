"""Pure decisions about spans: what the platform's SDK sends, and what of it can be stored (contract section 9)."""

import base64
import binascii
import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Final, Literal
from urllib.parse import urlsplit

import orjson

from stoa.kernel.errors import BadRequest
from stoa.kernel.storable import as_storable
from stoa.traces.types import Batch, Place, Rejected, Span

TYPES: Final = ("workflow", "flow", "node")
STATUSES: Final = ("succeeded", "failed", "skipped", "canceled")
SPANS_MAX: Final = 5_000
"""The limit of one request: it keeps one core of a node busy for less than a second."""
ID_CHARACTERS_MAX: Final = 255
NAME_CHARACTERS_MAX: Final = 1_000
TAGS_MAX: Final = 100
COST_USD_MAX: Final = 1e8
TOKENS_MAX: Final = 2**53


TOO_DEEP: Final = "is nested too deep"
WORDS_MAX: Final = 10


def cursor(at: Place) -> str:
    """Where a list goes on, as a client sends it back."""
    return base64.urlsafe_b64encode(orjson.dumps([at.started_at, at.id])).decode().rstrip("=")


def place(text: str) -> Place:
    """Parses a cursor. Raises BadRequest for one that this server did not issue."""
    try:
        started_at, trace_id = orjson.loads(
            base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
        )
        moment = datetime.fromisoformat(started_at)
        if moment.tzinfo is not None and isinstance(trace_id, str) and as_storable(trace_id) == trace_id:
            return Place(moment, trace_id)
    except (binascii.Error, orjson.JSONDecodeError, UnicodeError, ValueError, TypeError):
        pass
    raise BadRequest.field("cursor", "is none that this list gave; send the next_cursor of a page as it is")


class _InvalidRun(ValueError):
    def __init__(self, field: str, reason: str) -> None:
        super().__init__(field, reason)
        self.field, self.reason = field, reason


def read_runs(runs: Sequence[Any]) -> Batch:
    """The SDK's runs as spans. Each invalid run is rejected alone. Of two runs with one id the last counts."""
    spans: list[Span] = []
    rejected: list[Rejected] = []
    for index, run in enumerate(runs):
        try:
            spans.append(_span(run))
        except _InvalidRun as bad:
            rejected.append(Rejected(index, bad.field, bad.reason))
    return Batch(distinct(spans), rejected)


def distinct(spans: Sequence[Span]) -> Sequence[Span]:
    """One span for each id: the last one, unless only an earlier one is finished."""
    kept: dict[tuple[str, str], Span] = {}
    for span in spans:
        known = kept.get((span.trace_id, span.id))
        if known is None or known.ended_at is None or span.ended_at is not None:
            kept[span.trace_id, span.id] = span
    return list(kept.values())


def _span(run: Any) -> Span:
    if not isinstance(run, Mapping):
        raise _InvalidRun("", "must be an object")
    ended_at = _time(run, "end_time") if run.get("end_time") is not None else None
    status = run.get("status")
    if status is not None and status not in STATUSES:
        raise _InvalidRun("status", f"must be one of {', '.join(STATUSES)}, or null while the run is not finished")
    if run.get("type") not in TYPES:
        raise _InvalidRun("type", f"must be one of {', '.join(TYPES)}")
    started_at = _time(run, "start_time")
    # Clocks are set back and differ between machines: a run that ends before it begins gets no duration.
    if ended_at is not None:
        ended_at = max(started_at, ended_at)
    if not can_be_stored(run):
        raise _InvalidRun("", TOO_DEEP)
    metadata = run.get("metadata")
    usage = metadata.get("usage") if isinstance(metadata, Mapping) else None
    used: Mapping[str, Any] = usage if isinstance(usage, Mapping) else {}
    return Span(
        trace_id=_id(run, "trace_id"),
        id=_id(run, "id"),
        parent_id=_id(run, "parent_run_id") if run.get("parent_run_id") is not None else None,
        wire="sdk",
        name=_name(run),
        type=run["type"],
        status=status if ended_at is not None else None,
        started_at=started_at,
        ended_at=ended_at,
        body=run,
        source_id=_id(run, "source_id"),
        session_id=optional_text(run.get("session_id")),
        user_id=optional_text(run.get("user_id")) or optional_text(_within(metadata, "user_id")),
        model=_model(metadata),
        prompt_tokens=count(used.get("prompt_tokens")),
        completion_tokens=count(used.get("completion_tokens")),
        cost_usd=dollars(used.get("total_tokens_cost_usd")),
        tags=tags(run.get("tags")),
    )


def _id(run: Mapping[str, Any], field: str) -> str:
    value = run.get(field)
    if not isinstance(value, str) or not value.strip():
        raise _InvalidRun(field, "is required, and must be a string with something in it")
    if len(value) > ID_CHARACTERS_MAX:
        raise _InvalidRun(field, f"has more than {ID_CHARACTERS_MAX} characters")
    return as_storable(value)


def _name(run: Mapping[str, Any]) -> str:
    value = run.get("name")
    if not isinstance(value, str) or not value.strip():
        raise _InvalidRun("name", "is required, and must be a string with something in it")
    return as_storable(value)[:NAME_CHARACTERS_MAX]


def _time(run: Mapping[str, Any], field: str) -> datetime:
    value = run.get(field)
    if not isinstance(value, str):
        raise _InvalidRun(field, "is required, and must be a time such as 2026-01-31T12:00:00Z")
    try:
        moment = datetime.fromisoformat(value)
        return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).astimezone(UTC)
    except (ValueError, OverflowError) as error:
        raise _InvalidRun(field, "must be a time such as 2026-01-31T12:00:00Z") from error


def _within(value: Any, field: str) -> Any:
    return value.get(field) if isinstance(value, Mapping) else None


def _model(metadata: Any) -> str | None:
    """The SDK names the model inside its node: `metadata.node.model`, or `metadata.node.llm.model` of an agent."""
    node = _within(metadata, "node")
    return optional_text(_within(node, "model")) or optional_text(_within(_within(node, "llm"), "model"))


def optional_text(value: Any) -> str | None:
    return as_storable(value)[:ID_CHARACTERS_MAX] if isinstance(value, str) and value else None


def can_be_stored(body: Any) -> bool:
    """Whether the value can be written as JSON: more than 254 levels of lists and objects cannot."""
    try:
        orjson.dumps(body)
    except TypeError:
        return False
    return True


def count(value: Any) -> int | None:
    """A number of tokens; None for anything else. Exporters that write every attribute as a string write digits."""
    if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) < 16:
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return int(value) if 0 <= value <= TOKENS_MAX else None


def dollars(value: Any) -> float | None:
    if isinstance(value, str):
        try:
            value = float(value[:40])
        except ValueError:
            return None
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return float(value) if 0 <= value <= COST_USD_MAX else None


def tags(value: Any) -> Sequence[str]:
    """A list of tags. Exporters that write every attribute as a string write the list as JSON, or one tag."""
    if isinstance(value, str):
        try:
            value = orjson.loads(value) if value.startswith("[") else [value]
        except orjson.JSONDecodeError:
            value = [value]
    if not isinstance(value, Sequence) or isinstance(value, str):
        return ()
    return [as_storable(tag)[:ID_CHARACTERS_MAX] for tag in value[:TAGS_MAX] if isinstance(tag, str)]


# --- exports ----------------------------------------------------------------------------------------------------------
RETRIED: Final = frozenset({401, 403, 404, 405, 407, 408, 425, 429})
"""Statuses, beside 5xx, after which the same request is sent again. OTLP retries only 429, 502, 503 and 504. Here an
expired key or a wrong path does not lose runs either: they wait until somebody corrects the settings."""
FIRST_WAIT_SECONDS: Final = 5.0
WAIT_SECONDS_MAX: Final = 300.0
RETRY_AFTER_SECONDS_MAX: Final = 3600.0
URL_CHARACTERS_MAX: Final = 2_000
HEADERS_MAX: Final = 20
HEADER_CHARACTERS_MAX: Final = 4_000
_HEADER_NAME: Final = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]{1,100}")
_OURS: Final = frozenset(
    {"content-type", "content-encoding", "content-length", "host", "transfer-encoding", "connection"}
)


def verdict(status: int) -> Literal["delivered", "again", "refused"]:
    """What the endpoint's status means for the batch."""
    if 200 <= status < 300:
        return "delivered"
    return "again" if status >= 500 or status in RETRIED or 300 <= status < 400 else "refused"


def seconds_after(text: str | None) -> float | None:
    """Parses a Retry-After in seconds."""
    return min(float(text), RETRY_AFTER_SECONDS_MAX) if text and text.isascii() and text.isdigit() else None


def backoff(failures: int, spread: float, retry_after_seconds: float | None) -> float:
    """Seconds until the next attempt: 5, 10, 20 … 300, plus or minus a fifth, or the receiver's Retry-After where that
    is longer. `spread` is 0 to 1."""
    waits = min(FIRST_WAIT_SECONDS * 2 ** min(failures, 10), WAIT_SECONDS_MAX) * (0.8 + 0.4 * spread)
    return max(waits, retry_after_seconds or 0.0)


def checked_endpoint(url: str, *, allow_private: bool) -> str:
    """Raises BadRequest. Private addresses are refused at each call, not here."""
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname, parts.port
    except ValueError as error:
        raise BadRequest.field("export.url", "is no URL") from error
    unfit = len(url) > URL_CHARACTERS_MAX or any(one.isspace() or ord(one) < 0x21 or ord(one) > 0x7E for one in url)
    if not host or parts.scheme not in ("https", "http") or unfit:
        raise BadRequest.field("export.url", "must be an https URL, such as https://collector.example.com/v1/traces")
    if parts.username is not None or parts.password is not None:
        raise BadRequest.field("export.url", "must not hold a user name or password; send them in export.headers")
    if parts.scheme == "http" and not allow_private:
        raise BadRequest.field(
            "export.url", "must be an https URL; plain http is for private addresses, where the operator allows them"
        )
    return url


def checked_headers(headers: Mapping[str, str]) -> Mapping[str, str]:
    """Raises BadRequest."""
    if len(headers) > HEADERS_MAX:
        raise BadRequest.field("export.headers", f"may hold {HEADERS_MAX} headers")
    for name, value in headers.items():
        fits = all(0x20 <= ord(one) <= 0x7E for one in value) and len(value) <= HEADER_CHARACTERS_MAX
        if not _HEADER_NAME.fullmatch(name) or not fits or name.lower() in _OURS:
            raise BadRequest.field(f"export.headers.{name[:100]}", "cannot be sent")
    return headers


def same_origin(before: str | None, after: str) -> bool:
    """Whether two endpoints have the same scheme, host and port."""
    return before is not None and urlsplit(before)[:2] == urlsplit(after)[:2]
