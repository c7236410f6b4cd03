"""A trace's steps as rows of a tree with a timeline. Pure. A template draws them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from stoa.console.times import moment

WIDTH: Final = 320
BAR_WIDTH_MIN: Final = 2.0
ROWS_MAX: Final = 500
"""Steps that a page shows. The API returns all."""
DEPTH_SHOWN_MAX: Final = 12


@dataclass(frozen=True, slots=True)
class Row:
    """A step. `x` and `width` are those of its bar; `end` is None while the step is running."""

    number: int
    span: Mapping[str, Any]
    depth: int
    kind: str
    status: str
    start: float
    seconds: float | None
    tokens: int | None
    x: float
    width: float


@dataclass(frozen=True, slots=True)
class Tree:
    rows: Sequence[Row]
    more: int
    seconds: float
    roots: int
    tokens: int
    cost: float | None
    status: str
    width: int = WIDTH


def tree(spans: Sequence[Mapping[str, Any]], now: datetime) -> Tree:
    """Parents before children, siblings by start time. A step whose parent is missing becomes a root. In a cycle of
    parents, the first step becomes a root."""
    if not spans:
        return Tree((), 0, 0.0, 0, 0, None, "")
    begun = min(moment(span["start_time"]) for span in spans)
    whole = max(0.001, *((_end(span, now) - begun).total_seconds() for span in spans))
    ordered = _ordered(spans)
    rows: list[Row] = []
    for number, (depth, span) in enumerate(ordered[:ROWS_MAX], 1):
        start, ended = (moment(span["start_time"]) - begun).total_seconds(), span.get("end_time")
        seconds = (_end(span, now) - moment(span["start_time"])).total_seconds()
        width = max(BAR_WIDTH_MIN, WIDTH * seconds / whole)
        x = min(WIDTH * start / whole, WIDTH - BAR_WIDTH_MIN)
        status = span.get("status") or ("" if ended else "running")
        tokens = (span.get("prompt_tokens") or 0) + (span.get("completion_tokens") or 0) or None
        kind = "failed" if status == "failed" else _kind(span)
        rows.append(
            Row(
                number, span, min(depth, DEPTH_SHOWN_MAX), kind, status, start, seconds if ended else None, tokens, x,
                min(width, WIDTH - x),
            )
        )  # fmt: skip
    costs = [span["cost_usd"] for span in spans if span.get("cost_usd") is not None]
    tokens = sum((span.get("prompt_tokens") or 0) + (span.get("completion_tokens") or 0) for span in spans)
    tops = [span for depth, span in ordered if depth == 0]
    return Tree(
        rows,
        max(0, len(ordered) - ROWS_MAX),
        whole,
        len(tops),
        tokens,
        sum(costs) if costs else None,
        _status(spans, tops),
    )


def _status(spans: Sequence[Mapping[str, Any]], tops: Sequence[Mapping[str, Any]]) -> str:
    if any(not span.get("end_time") for span in spans):
        return "running"
    ended = {span.get("status") for span in tops}
    return next((status for status in ("failed", "canceled") if status in ended), "succeeded")


def _end(span: Mapping[str, Any], now: datetime) -> datetime:
    return moment(span["end_time"]) if span.get("end_time") else max(now, moment(span["start_time"]))


def _ordered(spans: Sequence[Mapping[str, Any]]) -> Sequence[tuple[int, Mapping[str, Any]]]:
    known = {span["id"] for span in spans}
    below: dict[str | None, list[Mapping[str, Any]]] = {}
    for span in spans:
        parent = span.get("parent_run_id")
        below.setdefault(parent if parent in known and parent != span["id"] else None, []).append(span)
    seen: set[str] = set()
    found: list[tuple[int, Mapping[str, Any]]] = []
    for top in [*below.get(None, ()), *spans]:
        left = [(0, top)]
        while left:
            depth, span = left.pop()
            if span["id"] in seen:
                continue
            seen.add(span["id"])
            found.append((depth, span))
            left += [(depth + 1, child) for child in reversed(below.get(span["id"], ()))]
    return found


def _kind(span: Mapping[str, Any]) -> str:
    if span.get("model"):
        return "model"
    if not span.get("parent_run_id"):
        return "whole"
    return "subagent" if str(span["id"]).startswith(("agent", "node")) else "tool"
