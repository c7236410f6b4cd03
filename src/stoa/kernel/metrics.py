"""Metrics of this process, as plain numbers: raising one costs less than a microsecond. `stoa.http.metrics` renders
them.

Each slice lists its metrics; the composition root collects them. Labels come from closed sets (routes, statuses, codes,
the operator's models), never from what a client sends. Beyond SERIES_MAX, values are counted under the label `other`.
"""

from bisect import bisect_left
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, Literal, TypeAlias

Labels: TypeAlias = tuple[str, ...]
Across: TypeAlias = Literal["sum", "max", "same", "each"]
"""How the workers of one server make one value of a gauge: `sum` of what each has; `max` of what may be wrong with any;
`same` is read from the database, so one of them says it for all; `each` is shown by worker."""

SERIES_MAX: Final = 1_000
"""Series of one metric. More is a bug, which must not exhaust memory."""
OTHER: Final = "other"

FAST: Final = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0)
"""Bounds in seconds for what a database or an index does."""
SLOW: Final = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)
"""For what a client waits for."""
LONG: Final = (0.1, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 900.0, 3600.0)
"""For work that may take minutes."""


@dataclass(slots=True)
class Counter:
    """Only goes up. `name` without the `_total` that readers of counters expect. `known` series show from the start, as
    zeros."""

    name: str
    says: str
    labels: Labels = ()
    known: Sequence[Labels] = ()
    values: dict[Labels, float] = field(default_factory=dict[Labels, float])

    def __post_init__(self) -> None:
        self.values.update(dict.fromkeys(self.known if self.labels else [()], 0))

    def add(self, *labels: str, by: float = 1) -> None:
        values = self.values
        if labels not in values and len(values) >= SERIES_MAX:
            labels = (OTHER,) * len(labels)
        values[labels] = values.get(labels, 0) + by


@dataclass(slots=True)
class Histogram:
    """Counts per bucket, one more for larger values, and the sum."""

    name: str
    says: str
    bounds: Sequence[float]
    labels: Labels = ()
    values: dict[Labels, list[float]] = field(default_factory=dict[Labels, list[float]])

    def observe(self, value: float, *labels: str) -> None:
        held = self.values.get(labels)
        if held is None:
            if len(self.values) >= SERIES_MAX:
                labels = (OTHER,) * len(labels)
            held = self.values.setdefault(labels, [0] * (len(self.bounds) + 2))
        held[bisect_left(self.bounds, value)] += 1
        held[-1] += value


@dataclass(slots=True)
class Gauge:
    """A current value, read at each scrape. `read` returns one number, or one for each set of labels; nothing when it
    is unknown."""

    name: str
    says: str
    read: Callable[[], float | Mapping[Labels, float]]
    labels: Labels = ()
    across: Across = "sum"


Metric: TypeAlias = Counter | Histogram | Gauge
