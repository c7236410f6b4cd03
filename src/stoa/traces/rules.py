"""Pure decisions about spans: what the platform's SDK sends, and what of it can be stored (contract section 9)."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Final

from stoa.kernel.storable import as_storable
from stoa.traces.types import Batch, Rejected, Span

TYPES: Final = ("workflow", "flow", "node")
STATUSES: Final = ("succeeded", "failed", "skipped", "canceled")
SPANS_MAX: Final = 5_000
"""Of one request: such a request holds a node for less than a second of one core."""
ID_CHARACTERS_MAX: Final = 255
NAME_CHARACTERS_MAX: Final = 1_000
TAGS_MAX: Final = 100
COST_USD_MAX: Final = 1e8
TOKENS_MAX: Final = 2**53


class _Bad(ValueError):
    def __init__(self, field: str, reason: str) -> None:
        super().__init__(field, reason)
        self.field, self.reason = field, reason


def read_runs(runs: Sequence[Any]) -> Batch:
    """The SDK's runs as spans. A run that is wrong is rejected by itself; the last of two with one id counts."""
    spans: list[Span] = []
    rejected: list[Rejected] = []
    for index, run in enumerate(runs):
        try:
            spans.append(_span(run))
        except _Bad as bad:
            rejected.append(Rejected(index, bad.field, bad.reason))
    return Batch(distinct(spans), rejected)


def distinct(spans: Sequence[Span]) -> Sequence[Span]:
    """One span for each id: the later one, unless only the earlier one is finished."""
    kept: dict[tuple[str, str], Span] = {}
    for span in spans:
        known = kept.get((span.trace_id, span.id))
        if known is None or known.ended_at is None or span.ended_at is not None:
            kept[span.trace_id, span.id] = span
    return list(kept.values())


def _span(run: Any) -> Span:
    if not isinstance(run, Mapping):
        raise _Bad("", "must be an object")
    ended_at = _time(run, "end_time") if run.get("end_time") is not None else None
    status = run.get("status")
    if status is not None and status not in STATUSES:
        raise _Bad("status", f"must be one of {', '.join(STATUSES)}, or null while the run is not finished")
    if run.get("type") not in TYPES:
        raise _Bad("type", f"must be one of {', '.join(TYPES)}")
    started_at = _time(run, "start_time")
    if ended_at is not None and ended_at < started_at:
        raise _Bad("end_time", "lies before start_time")
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
        raise _Bad(field, "is required, and must be a string with something in it")
    if len(value) > ID_CHARACTERS_MAX:
        raise _Bad(field, f"has more than {ID_CHARACTERS_MAX} characters")
    return as_storable(value)


def _name(run: Mapping[str, Any]) -> str:
    value = run.get("name")
    if not isinstance(value, str) or not value.strip():
        raise _Bad("name", "is required, and must be a string with something in it")
    return as_storable(value)[:NAME_CHARACTERS_MAX]


def _time(run: Mapping[str, Any], field: str) -> datetime:
    value = run.get(field)
    if not isinstance(value, str):
        raise _Bad(field, "is required, and must be a time such as 2026-01-31T12:00:00Z")
    try:
        moment = datetime.fromisoformat(value)
        return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).astimezone(UTC)
    except (ValueError, OverflowError) as error:
        raise _Bad(field, "must be a time such as 2026-01-31T12:00:00Z") from error


def _within(value: Any, field: str) -> Any:
    return value.get(field) if isinstance(value, Mapping) else None


def _model(metadata: Any) -> str | None:
    """The SDK names the model inside its node: `metadata.node.model`, or `metadata.node.llm.model` of an agent."""
    node = _within(metadata, "node")
    return optional_text(_within(node, "model")) or optional_text(_within(_within(node, "llm"), "model"))


def optional_text(value: Any) -> str | None:
    return as_storable(value)[:ID_CHARACTERS_MAX] if isinstance(value, str) and value else None


def count(value: Any) -> int | None:
    """A count of tokens; None for what is none."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return int(value) if 0 <= value <= TOKENS_MAX else None


def dollars(value: Any) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return float(value) if 0 <= value <= COST_USD_MAX else None


def tags(value: Any) -> Sequence[str]:
    if not isinstance(value, Sequence) or isinstance(value, str):
        return ()
    return [as_storable(tag)[:ID_CHARACTERS_MAX] for tag in value[:TAGS_MAX] if isinstance(tag, str)]
