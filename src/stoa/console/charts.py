"""Computes charts as numbers for SVG: bars per day, timelines. Pure. Templates draw them, each with a table."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Any, Final

from stoa.console.times import moment

WIDTH: Final = 640
HEIGHT: Final = 120
SLOTS_MIN: Final = 24
"""Minimum columns of a chart of single values. Fewer values are drawn at the right end, with the same width."""
BARS_MAX: Final = 200
"""Bars of a timeline. Further steps are only in the table."""
BAR_WIDTH_MIN: Final = 2.0
ROW: Final = 22
MARK: Final = 8
"""Width in pixels of the mark of a mean."""


@dataclass(frozen=True, slots=True)
class Column:
    label: str
    value: float
    x: float
    y: float
    width: float
    height: float
    named: bool
    """Whether the label is drawn below it."""


@dataclass(frozen=True, slots=True)
class Columns:
    columns: Sequence[Column]
    largest: float
    total: float
    width: int = WIDTH
    room: int = HEIGHT


def columns(values: Mapping[str, float], last: date, days: int) -> Columns:
    """A column for each of the last days, including days with zero."""
    names = [str(last - timedelta(days=days - 1 - index)) for index in range(days)]
    largest = max([values.get(name, 0.0) for name in names] or [0.0])
    step, room = WIDTH / max(1, days), HEIGHT
    made: list[Column] = []
    for index, name in enumerate(names):
        value = values.get(name, 0.0)
        height = room * value / largest if largest else 0.0
        named = index in (0, days // 2, days - 1)
        made.append(Column(name, value, index * step + 1, room - height, max(1.0, step - 2), height, named))
    return Columns(made, largest, sum(column.value for column in made))


@dataclass(frozen=True, slots=True)
class Interval:
    """A row with a mean and its confidence interval, between 0 and 1."""

    name: str
    mean: float
    low: float
    high: float
    x: float
    left: float
    width: float


def intervals(rows: Sequence[tuple[str, Mapping[str, float]]]) -> Sequence[Interval]:
    """A row for each mean; all values are between 0 and 1."""
    return [
        Interval(
            name, one["mean"], one["low"], one["high"],
            x=min(WIDTH - MARK / 2, max(MARK / 2, WIDTH * _share(one["mean"]))), left=WIDTH * _share(one["low"]),
            width=max(BAR_WIDTH_MIN, WIDTH * (_share(one["high"]) - _share(one["low"]))),
        )
        for name, one in rows
    ]  # fmt: skip


def _share(value: float) -> float:
    return min(1.0, max(0.0, value))


def latest(values: Sequence[tuple[str, float]]) -> Columns:
    """A column for each value, in their order. The first and the last have labels."""
    largest = max([value for _, value in values] or [0.0])
    slots = max(SLOTS_MIN, len(values))
    step, begin = WIDTH / slots, WIDTH * (slots - len(values)) / slots
    made: list[Column] = []
    for index, (name, value) in enumerate(values):
        height = HEIGHT * value / largest if largest else 0.0
        named = index in (0, len(values) - 1) and len(values) >= SLOTS_MIN
        made.append(Column(name, value, begin + index * step + 1, HEIGHT - height, max(1.0, step - 2), height, named))
    return Columns(made, largest, sum(value for _, value in values))


def percentile(values: Sequence[float], share: float) -> float | None:
    """The percentile by nearest rank. None if there are no values."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))] if ordered else None


@dataclass(frozen=True, slots=True)
class Bar:
    """A step of a run. `start` is in seconds since the start of the run; `end` is None while the step is running."""

    name: str
    kind: str
    depth: int
    start: float
    seconds: float | None
    status: str
    tokens: int | None
    cost: float | None
    x: float
    y: float
    width: float


@dataclass(frozen=True, slots=True)
class Timeline:
    bars: Sequence[Bar]
    more: int
    seconds: float
    height: int
    width: int = WIDTH


def timeline(spans: Sequence[Mapping[str, Any]], waits: Sequence[tuple[str, str | None]], now: datetime) -> Timeline:
    """A row for each step and each wait for a person, by start time, indented below its parent."""
    if not spans:
        return Timeline((), 0, 0.0, 0)
    begun = min(moment(span["start_time"]) for span in spans)
    depths = _depths(spans)
    steps = [
        (span["name"], _kind(span), depths[span["id"]], span["start_time"], span.get("end_time"), span)
        for span in spans
    ]  # fmt: skip
    steps += [("", "wait", 1, start, end, {"status": "succeeded" if end else None}) for start, end in waits]
    steps.sort(key=lambda step: (step[3], step[2]))
    ends = [moment(end) if end else now for _, _, _, _, end, _ in steps]
    whole = max(0.001, (max(ends) - begun).total_seconds())
    bars: list[Bar] = []
    for row, ((name, kind, depth, start, end, span), ended) in enumerate(zip(steps, ends, strict=True)):
        if row >= BARS_MAX:
            break
        offset, seconds = (moment(start) - begun).total_seconds(), (ended - moment(start)).total_seconds()
        width = max(BAR_WIDTH_MIN, WIDTH * seconds / whole)
        x = min(WIDTH * offset / whole, WIDTH - BAR_WIDTH_MIN)
        tokens = (span.get("prompt_tokens") or 0) + (span.get("completion_tokens") or 0) or None
        status = span.get("status") or ("running" if end is None else "")
        bars.append(
            Bar(name, "failed" if status == "failed" else kind, depth, offset, seconds if end else None, status, tokens,
                span.get("cost_usd"), x, row * ROW, min(width, WIDTH - x))
        )  # fmt: skip
    return Timeline(bars, max(0, len(steps) - BARS_MAX), whole, len(bars) * ROW)


def _depths(spans: Sequence[Mapping[str, Any]]) -> Mapping[str, int]:
    parents = {span["id"]: span.get("parent_run_id") for span in spans}
    found: dict[str, int] = {}
    for span in spans:
        depth, above, seen = 0, parents[span["id"]], {span["id"]}
        while above in parents and above not in seen:
            seen.add(above)
            depth, above = depth + 1, parents[above]
        found[span["id"]] = depth
    return found


def _kind(span: Mapping[str, Any]) -> str:
    if span.get("model"):
        return "model"
    if span["type"] != "node":
        return "whole"
    return "subagent" if str(span["id"]).startswith("agent") else "tool"
