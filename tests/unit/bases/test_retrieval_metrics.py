"""The measures against values worked out by hand, and intervals that hold what they promise."""

import math
from random import Random

import pytest

from stoa.bases.retrieval_metrics import estimate, first_places, judged, ndcg, recall, reciprocal_rank


def test_ndcg_by_hand() -> None:
    # Gains 2^3-1, 2^0-1, 2^2-1 at places 1, 2, 3; the ideal has 7, 3, 1.
    grades = {"a": 3, "b": 2, "c": 1}
    found = 7 / math.log2(2) + 0 + 3 / math.log2(4)
    best = 7 / math.log2(2) + 3 / math.log2(3) + 1 / math.log2(4)
    assert ndcg(["a", "x", "b"], grades) == pytest.approx(found / best)
    assert ndcg(["a", "b", "c"], grades) == 1.0
    assert ndcg([], grades) == ndcg(["x"] * 10 + ["a"], grades) == 0.0
    assert ndcg(["x", "a"], {"a": 1}) == pytest.approx(1 / math.log2(3))


def test_ndcg_with_more_relevant_than_places() -> None:
    grades = dict.fromkeys(range(30), 1)
    assert ndcg(list(range(30)), grades) == 1.0
    discounts = [1 / math.log2(place + 1) for place in range(1, 11)]
    assert ndcg(list(range(5)), grades) == pytest.approx(sum(discounts[:5]) / sum(discounts))


def test_recall_and_reciprocal_rank_by_hand() -> None:
    grades = {"a": 1, "b": 2, "c": 0}
    assert recall(["x", "b"], grades) == 0.5
    assert recall(["x"] * 10 + ["a"], grades) == 0.0
    assert reciprocal_rank(["x", "c", "b"], grades) == pytest.approx(1 / 3)
    assert reciprocal_rank(["x"], grades) == 0.0
    assert judged(["a", "b"], grades)["recall@10"] == 1.0


def test_judging_nothing_is_an_error() -> None:
    with pytest.raises(ValueError, match="relevant"):
        ndcg(["a"], {"a": 0})
    with pytest.raises(ValueError, match="nothing"):
        estimate([])


def test_an_interval_holds_the_mean_and_narrows_with_more() -> None:
    draw = Random(1)
    few, many = [draw.random() for _ in range(20)], [draw.random() for _ in range(2_000)]
    for values in (few, many):
        found = estimate(values)
        assert found.low < found.mean < found.high
    assert estimate(many).high - estimate(many).low < (estimate(few).high - estimate(few).low) / 4
    assert estimate([0.5] * 9) == estimate([0.5] * 9)
    assert (estimate([0.5] * 9).low, estimate([0.5] * 9).high) == (0.5, 0.5)


def test_intervals_cover_what_they_claim() -> None:
    """Of many samples of one population about 95 % have the true mean in their interval."""
    draw = Random(2)
    held = sum(
        (found := estimate([draw.random() for _ in range(60)], samples=300)).low <= 0.5 <= found.high
        for _ in range(200)
    )
    assert 178 <= held <= 199


def test_a_paired_interval_is_significant_where_separate_intervals_are_not() -> None:
    draw = Random(3)
    first = [draw.random() for _ in range(100)]
    second = [value + 0.02 + draw.uniform(-0.01, 0.01) for value in first]
    assert estimate(first).high > estimate(second).low
    assert estimate([b - a for a, b in zip(first, second, strict=True)]).decided


def test_chunks_as_items() -> None:
    assert first_places(["b", "a", "b", "c", "a"]) == ["b", "a", "c"]
