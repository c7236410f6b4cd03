"""One page of several workers: sums of what is counted, and of each gauge what its kind says."""

import json

from stoa.kernel.metrics import Counter, Gauge, Histogram, Metric
from stoa.kernel.snapshots import added, merged, metrics_of, snapshot


def of(counted: float, level: float) -> list[Metric]:
    counter = Counter("c", "C.", ("k",), [("zero",)])
    counter.add("a", by=counted)
    lengths = Histogram("h", "H.", (1.0, 2.0))
    lengths.observe(counted)
    return [
        counter,
        lengths,
        Gauge("sum", "S.", lambda: level),
        Gauge("max", "M.", lambda: {("x",): level}, ("l",), "max"),
        Gauge("same", "D.", lambda: level, across="same"),
        Gauge("each", "E.", lambda: level, across="each"),
    ]


def shown(families: object) -> dict[str, object]:
    assert isinstance(families, list)
    return {family["name"]: {tuple(labels): value for labels, value in family["series"]} for family in families}


def test_sums_and_gauges() -> None:
    one, two = snapshot(of(1.5, 10)), snapshot(of(5, 7))
    assert shown(merged({1: one, 2: two}, asked=2)) == {
        "c": {("zero",): 0, ("a",): 6.5},
        "h": {(): [0, 1, 1, 6.5]},
        "sum": {(): 17},
        "max": {("x",): 10},
        "same": {(): 7},
        "each": {("2",): 7, ("1",): 10},
    }


def test_dead_and_silent_processes_keep_their_counters_only() -> None:
    gone = added(snapshot(of(1, 10)), snapshot(of(2, 20)))
    whole = shown(merged({2: snapshot(of(4, 7))}, 2, stale=[snapshot(of(8, 9))], ended=gone))
    assert whole["c"] == {("zero",): 0, ("a",): 15}
    assert whole["h"] == {(): [1, 1, 2, 15]}
    assert (whole["sum"], whole["max"]) == ({(): 7}, {("x",): 7})


def test_a_snapshot_is_json_and_its_metrics_are_what_it_was_taken_of() -> None:
    taken = snapshot(of(3, 4))
    assert snapshot(metrics_of(json.loads(json.dumps(taken)))) == taken
    before = json.dumps(taken)
    merged({1: taken, 2: taken}, 1, ended=added(taken, taken))
    assert json.dumps(taken) == before, "sums change no snapshot"
