"""Snapshots of metrics, which the workers of one server send to their parent, and their sums.

A snapshot is JSON: a list of families, each `{name, kind, says, labels, across, bounds, series}`, and `series` is a
list of `[labels, value]`. The value of a histogram is its list of counts and sum.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final, TypeAlias

from stoa.kernel.metrics import Counter, Gauge, Histogram, Labels, Metric

Family: TypeAlias = dict[str, Any]
Snapshot: TypeAlias = Sequence[Family]

COUNTED: Final = ("counter", "histogram")
"""Kinds that only increase; they are kept after their process has ended."""


def snapshot(metrics: Iterable[Metric]) -> list[Family]:
    return [_family(metric) for metric in metrics]


def _family(metric: Metric) -> Family:
    family: Family = {"name": metric.name, "says": metric.says, "labels": list(metric.labels)}
    if isinstance(metric, Gauge):
        read = metric.read()
        values: Mapping[Labels, Any] = read if isinstance(read, Mapping) else {(): read}
        family |= {"kind": "gauge", "across": metric.across}
    elif isinstance(metric, Histogram):
        values = metric.values
        family |= {"kind": "histogram", "bounds": list(metric.bounds)}
    else:
        values = metric.values
        family["kind"] = "counter"
    return family | {"series": [[list(labels), _plain(value)] for labels, value in values.items()]}


def _plain(value: Any) -> Any:
    return [float(one) for one in value] if isinstance(value, list) else float(value)  # pyright: ignore[reportUnknownVariableType, reportUnknownArgumentType]


def metrics_of(families: Snapshot) -> list[Metric]:
    """The metrics of a snapshot, as values."""
    return [_metric(family) for family in families]


def _metric(family: Family) -> Metric:
    name, says, labels = family["name"], family["says"], tuple(family["labels"])
    values = {tuple(held): value for held, value in family["series"]}
    if family["kind"] == "gauge":
        return Gauge(name, says, lambda: values, labels, family["across"])
    if family["kind"] == "histogram":
        return Histogram(name, says, family["bounds"], labels, values)
    counter = Counter(name, says, labels)
    counter.values = values
    return counter


def added(one: Snapshot, other: Snapshot) -> list[Family]:
    """The sum of the counters and histograms of both. Gauges are left out, because they are current values."""
    whole: dict[str, Family] = {}
    for family in (*one, *other):
        if family["kind"] in COUNTED:
            _into(whole, family, "sum")
    return list(whole.values())


def merged(
    snapshots: Mapping[int, Snapshot], asked: int, *, stale: Sequence[Snapshot] = (), ended: Snapshot = ()
) -> list[Family]:
    """One page for several workers.

    `snapshots` are those of the workers that have answered, by the worker's number; `stale` are older ones of workers
    that have not, and `ended` sums up processes that are gone: only counters and histograms of these two are used.
    `asked` is the worker that serves the page: a gauge that all workers read from the database is taken from it.
    """
    whole: dict[str, Family] = {}
    order = [asked, *(place for place in sorted(snapshots) if place != asked)]
    for place in order:
        for family in snapshots.get(place, ()):
            across = family.get("across", "sum")
            if across == "each":
                _into(whole, _of_worker(family, place), "sum")
            elif across != "same" or place == asked:
                _into(whole, family, across)
    for older in (*stale, ended):
        for family in older:
            if family["kind"] in COUNTED:
                _into(whole, family, "sum")
    return list(whole.values())


def _of_worker(family: Family, place: int) -> Family:
    series = [[[*labels, str(place)], value] for labels, value in family["series"]]
    return family | {"labels": [*family["labels"], "worker"], "series": series}


def _into(whole: dict[str, Family], family: Family, across: str) -> None:
    held = whole.get(family["name"])
    if held is None:
        whole[family["name"]] = family | {"series": [list(one) for one in family["series"]]}
        return
    places = {tuple(labels): place for place, (labels, _) in enumerate(held["series"])}
    for labels, value in family["series"]:
        place = places.get(tuple(labels))
        if place is None:
            held["series"].append([labels, value])
        else:
            held["series"][place][1] = _both(held["series"][place][1], value, across)


def _both(one: Any, other: Any, across: str) -> Any:
    if isinstance(one, list):
        return [a + b for a, b in zip(one, other, strict=True)]  # pyright: ignore[reportUnknownVariableType, reportUnknownArgumentType]
    return max(one, other) if across == "max" else one + other
